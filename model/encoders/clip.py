"""CLIPs of open_clip: their architectures, their towers, their published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import try_to_load_from_cache
from open_clip.model import CLIP, CustomTextCLIP, _build_vision_tower
from open_clip.modified_resnet import ModifiedResNet
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import nn

from config.text import read_text
from model.encoders.architecture import parse_architecture
from model.encoders.clip_resnet import ClipResNet
from model.encoders.clip_text import TextTower, why_without_prompts
from model.encoders.clip_timm import build_clip_timm
from model.encoders.clip_vit import ClipViT
from model.encoders.image_encoder import ImageEncoder
from model.encoders.kind import REMEDY, Backbone, EncoderOptions, suggest_nearest

QUICK_GELU = "-quickgelu"
OPENAI = "openai"  # the tag of the weights that CLIP-ReID starts from
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def openai_names() -> list[str]:
    """Names of OpenAI's CLIP architectures in open_clip, without the ending -quickgelu."""
    names = open_clip.list_pretrained_models_by_tag(OPENAI)
    return sorted({name.removesuffix(QUICK_GELU) for name in names})


def clip_names() -> list[str]:
    """All names of open_clip."""
    return list(open_clip.list_models())


def is_model_config(name: str) -> bool:
    """Whether MODEL.NAME is the path or the content of a JSON model config."""
    return name.endswith(".json") or name.startswith("{")


def clip_architecture(name: str, tag: str = "") -> dict[str, Any]:
    """The open_clip model config of a CLIP, with the GELU that its weights were trained with.

    OpenAI's weights were trained with QuickGELU `x * sigmoid(1.702 x)`; plain GELU loads them
    without an error and gives wrong features.

    Args:
        name: one of `clip_names()`, or the path of a JSON file in open_clip's model-config format
            (its `quick_gelu` counts; absent is true), or the content of one.
        tag: of the published weights; empty = OpenAI's where there are some.

    Raises:
        ValueError: no such architecture, weights or file, or a config that lacks a part.
    """
    if is_model_config(name):
        if tag:
            raise ValueError("MODEL.PRETRAIN_TAG: a JSON model config has no published weights")
        own = parse_architecture(architecture_text(name), f"MODEL.NAME: {name}")
        return {"quick_gelu": True, **own}
    architecture = open_clip.get_model_config(name)
    if architecture is None:
        nearest = suggest_nearest(name, clip_names())
        raise ValueError(f"MODEL.NAME: open_clip has no model {name!r}{nearest}")
    source = find_source(name, tag)
    return {**architecture, "quick_gelu": (source or architecture).get("quick_gelu", False)}


def find_source(name: str, tag: str = "") -> dict[str, Any]:
    """open_clip's entry of published weights; empty for a model without OpenAI's if `tag` is empty.

    Raises:
        ValueError: no weights of this tag, with the known ones.
    """
    base, tag_found = name.removesuffix(QUICK_GELU), tag or OPENAI
    source = get_pretrained_cfg(name, tag_found)
    quick = (open_clip.get_model_config(name) or {}).get("quick_gelu", False)
    if not source:  # of the same architecture, with its own GELU
        source, quick = get_pretrained_cfg(base, tag_found), False
    if tag and not source:
        raise ValueError(
            f"MODEL.PRETRAIN_TAG: there are no weights {tag!r} of {name}; known: {_tags(name)}"
        )
    if not source:
        return {}
    return {"quick_gelu": quick, **source, **({"quick_gelu": True} if tag_found == OPENAI else {})}


def _tags(name: str) -> str:
    names = (name, name.removesuffix(QUICK_GELU))
    found = [tag for known in names for tag in open_clip.list_pretrained_tags_by_model(known)]
    return ", ".join(dict.fromkeys(found)) or "none"


def architecture_text(name: str) -> str:
    """The JSON model config that MODEL.NAME names or is; empty for a named architecture.

    A checkpoint carries it so that the model can be rebuilt without the file.

    Raises:
        ValueError: no such file.
    """
    if name.startswith("{"):
        return name
    if not name.endswith(".json"):
        return ""
    if not Path(name).is_file():
        raise ValueError(f"MODEL.NAME: no file {name}")
    return read_text(Path(name))


def build_clip_backbone(name: str, options: EncoderOptions) -> Backbone:
    """A CLIP with random weights, its image tower as an encoder for ReID.

    Raises:
        ValueError: see `clip_architecture` and `build_clip_encoder`.
    """
    architecture = clip_architecture(name, options.tag)
    reason = why_without_prompts(architecture)
    if reason:
        tower = build_image_tower(name, options.tag)
        return Backbone(build_clip_encoder(tower, options), without_text=reason)
    clip = build_clip(name, options.tag)
    return Backbone(build_clip_encoder(clip.visual, options), TextTower.of(clip))


def build_clip_encoder(tower: nn.Module, options: EncoderOptions) -> ImageEncoder:
    """The encoder around an image tower of open_clip; reuses the tower's modules.

    Raises:
        ValueError: another tower; see `ClipViT`, `ClipResNet` and `build_clip_timm`.
    """
    if isinstance(tower, VisionTransformer):
        return ClipViT(
            tower,
            options.image_size,
            options.stride,
            grad_checkpointing=options.grad_checkpointing,
        )
    if isinstance(tower, ModifiedResNet):
        return ClipResNet(tower, options.image_size, options.last_stride)
    if isinstance(tower, TimmModel):
        return build_clip_timm(tower, options)
    raise ValueError(f"MODEL.NAME: an image tower of type {type(tower).__name__} is not supported")


def build_clip(name: str, tag: str = "") -> CLIP | CustomTextCLIP:
    """An open_clip model in float32 with random weights; raises as `clip_architecture`."""
    architecture = clip_architecture(name, tag)
    kind = CustomTextCLIP if architecture.get("custom_text") else CLIP
    try:
        clip = kind(
            embed_dim=architecture["embed_dim"],
            vision_cfg=architecture["vision_cfg"],
            text_cfg=architecture["text_cfg"],
            quick_gelu=architecture["quick_gelu"],
        )
    except (AssertionError, RuntimeError, TypeError, ZeroDivisionError, ValueError) as error:
        raise ValueError(f"MODEL.NAME: {name} does not describe a CLIP: {error}") from error
    _use_openai_order(clip)
    return clip


def build_image_tower(name: str, tag: str = "") -> nn.Module:
    """The image tower of `build_clip` alone, for text towers that are not built here."""
    architecture = clip_architecture(name, tag)
    tower: nn.Module = _build_vision_tower(
        architecture["embed_dim"], architecture["vision_cfg"], architecture["quick_gelu"]
    )
    _use_openai_order(tower)
    return tower


def _use_openai_order(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, ResidualAttentionBlock):
            _register_in_openai_order(module)


def _register_in_openai_order(block: ResidualAttentionBlock) -> None:
    """Optimizer states are matched by the position of a parameter."""
    for name in ("attn", "ln_1", "mlp", "ln_2"):
        part = getattr(block, name)
        delattr(block, name)
        block.add_module(name, part)


def find_clip_weights(name: str, tag: str = "") -> Path:
    """Published weights of a CLIP: a cached file of clip or open_clip, else a download.

    Args:
        name: as in `clip_architecture`.
        tag: of open_clip; empty = OpenAI's.

    Raises:
        FileNotFoundError: no published weights, or the download failed; names every way out.
        ValueError: no such tag.
    """
    if is_model_config(name):
        raise FileNotFoundError(f"MODEL.NAME {name} has no published weights: {REMEDY}")
    source = find_source(name, tag)
    if not source:
        raise FileNotFoundError(
            f"MODEL.NAME {name} has no weights of OpenAI; set MODEL.PRETRAIN_TAG to one of "
            f"{_tags(name)}, or {REMEDY}"
        )
    archive = Path.home() / ".cache" / "clip" / str(source.get("url", "")).rsplit("/", 1)[-1]
    if archive.is_file():
        return archive
    model_id, _, file = str(source.get("hf_hub", "")).rpartition("/")
    for hub_file in (file,) if file else _HUB_FILES:
        cached = try_to_load_from_cache(model_id, hub_file) if model_id else None
        if isinstance(cached, str):
            return Path(cached)
    try:
        return Path(download_pretrained(source, prefer_hf_hub="url" not in source))
    except Exception as error:
        by_hand = f"Put {source['url']} at {archive}, or {REMEDY}" if "url" in source else REMEDY
        raise FileNotFoundError(
            f"the CLIP weights of {name} are not on this machine and the download failed "
            f"({type(error).__name__}). {by_hand}. open_clip's .bin or .safetensors of "
            f"{model_id or name} works too"
        ) from error
