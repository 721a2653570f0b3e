"""CLIP from open_clip: its architectures, its image encoders, its published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import try_to_load_from_cache
from open_clip.model import CLIP
from open_clip.modified_resnet import ModifiedResNet
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import nn

from config.text import read_text
from model.encoders.architecture import parse_architecture
from model.encoders.clip_resnet import ClipResNet
from model.encoders.clip_vit import ClipViT
from model.encoders.image_encoder import ImageEncoder
from model.encoders.kind import REMEDY, Backbone, EncoderOptions

QUICK_GELU = "-quickgelu"


def clip_names() -> list[str]:
    """Names of OpenAI's CLIP architectures in open_clip, without the ending -quickgelu."""
    names = [name for name in open_clip.list_models() if name.endswith(QUICK_GELU)]
    return sorted(name.removesuffix(QUICK_GELU) for name in names)


def is_model_config(name: str) -> bool:
    """Whether MODEL.NAME is the path or the content of a JSON model config."""
    return name.endswith(".json") or name.startswith("{")


def clip_architecture(name: str) -> dict[str, Any]:
    """The open_clip model config of an OpenAI CLIP, with QuickGELU.

    OpenAI's weights were trained with QuickGELU `x * sigmoid(1.702 x)`; plain GELU loads them
    without an error and gives wrong features.

    Args:
        name: one of `clip_names()`, or the path of a JSON file in open_clip's model-config format
            (its `quick_gelu` counts; absent is true), or the content of one.

    Raises:
        ValueError: no such architecture or file, or a config that lacks a part.
    """
    if is_model_config(name):
        architecture = parse_architecture(architecture_text(name), f"MODEL.NAME: {name}")
    else:
        architecture = open_clip.get_model_config(name.removesuffix(QUICK_GELU) + QUICK_GELU)
        if architecture is None:
            raise ValueError(
                f"MODEL.NAME: {name!r} is not an OpenAI CLIP; known: {', '.join(clip_names())}"
            )
    return {"quick_gelu": True, **architecture}


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
        ValueError: see `clip_architecture`, `ClipViT` and `ClipResNet`; another image tower.
    """
    clip = build_clip(name)
    return Backbone(build_clip_encoder(clip.visual, options), clip)


def build_clip_encoder(tower: nn.Module, options: EncoderOptions) -> ImageEncoder:
    """The encoder around an image tower of open_clip; reuses the tower's modules."""
    if isinstance(tower, VisionTransformer):
        return ClipViT(
            tower,
            options.image_size,
            options.stride,
            grad_checkpointing=options.grad_checkpointing,
        )
    if isinstance(tower, ModifiedResNet):
        return ClipResNet(tower, options.image_size, options.last_stride)
    raise ValueError(f"MODEL.NAME: an image tower of type {type(tower).__name__} is not supported")


def build_clip(name: str) -> CLIP:
    """An open_clip model in float32 with random weights; raises as `clip_architecture`."""
    architecture = clip_architecture(name)
    try:
        clip = CLIP(
            embed_dim=architecture["embed_dim"],
            vision_cfg=architecture["vision_cfg"],
            text_cfg=architecture["text_cfg"],
            quick_gelu=architecture["quick_gelu"],
        )
    except (AssertionError, TypeError, ZeroDivisionError, ValueError) as error:
        raise ValueError(f"MODEL.NAME: {name} does not describe a CLIP: {error}") from error
    for module in clip.modules():
        if isinstance(module, ResidualAttentionBlock):
            _register_in_openai_order(module)
    return clip


def _register_in_openai_order(block: ResidualAttentionBlock) -> None:
    """Optimizer states are matched by the position of a parameter."""
    for name in ("attn", "ln_1", "mlp", "ln_2"):
        part = getattr(block, name)
        delattr(block, name)
        block.add_module(name, part)


def find_clip_weights(name: str) -> Path:
    """OpenAI's weights of an architecture: a cached file of clip or open_clip, else a download.

    Raises:
        FileNotFoundError: no published weights, or the download failed; names every way out.
    """
    base = name.removesuffix(QUICK_GELU)
    source = {} if is_model_config(name) else get_pretrained_cfg(base, "openai")
    if not source:
        raise FileNotFoundError(f"MODEL.NAME {name} has no published weights: {REMEDY}")
    archive = Path.home() / ".cache" / "clip" / source["url"].rsplit("/", 1)[-1]
    if archive.is_file():
        return archive
    model_id = source.get("hf_hub", "").rstrip("/")
    for file in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        cached = try_to_load_from_cache(model_id, file) if model_id else None
        if isinstance(cached, str):
            return Path(cached)
    try:
        return Path(download_pretrained(source, prefer_hf_hub=False))
    except Exception as error:
        raise FileNotFoundError(
            f"the CLIP weights of {name} are not on this machine and the download failed "
            f"({type(error).__name__}). Put {source['url']} at {archive}, or {REMEDY}. open_clip's "
            f".bin or .safetensors of {source.get('hf_hub', base)} works too"
        ) from error
