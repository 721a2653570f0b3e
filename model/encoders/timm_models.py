"""timm's models by name: how they are built and where their weights are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from timm.models import get_pretrained_cfg
from torch import nn
from torch.hub import download_url_to_file, get_dir

from model.encoders.image_encoder import ImageEncoder
from model.encoders.kind import REMEDY, Backbone, EncoderOptions, suggest_nearest
from model.encoders.timm_network import TimmNetwork
from model.encoders.timm_vit import TimmViT, is_plain_vit

TIMM = "timm/"
PLAIN_STRIDE = (16, 16)
_FILES = ("model.safetensors", "pytorch_model.bin")


def build_timm_backbone(name: str, options: EncoderOptions) -> Backbone:
    """A network of timm with random weights.

    Args:
        name: `timm/` and a name of timm, with or without a tag: timm/resnet50.a1_in1k.
        options: image size; strides of plain ViTs, the last stride of ResNets.

    Raises:
        ValueError: unknown name; see `TimmNetwork` and `TimmViT`.
    """
    tagged_name(name, options.tag)  # refuses an unknown tag
    return Backbone(wrap_timm(create_network(name, options.image_size), options))


def wrap_timm(
    network: Any,
    options: EncoderOptions,
    projection: nn.Module | None = None,
    joint_width: int = 0,
) -> ImageEncoder:
    """The encoder around a network of timm; raises ValueError for options that do not fit it."""
    if is_plain_vit(network):
        return TimmViT(
            network,
            options.image_size,
            options.stride,
            projection=projection,
            joint_width=joint_width,
            grad_checkpointing=options.grad_checkpointing,
        )
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", PLAIN_STRIDE)
    if options.stride not in (PLAIN_STRIDE, patch):
        raise ValueError(
            f"MODEL.STRIDE_SIZE: {list(options.stride)}; {type(network).__name__} is not a plain "
            f"ViT, whose patches could overlap; leave it at {list(PLAIN_STRIDE)}"
        )
    return TimmNetwork(
        network,
        options.image_size,
        last_stride=options.last_stride,
        projection=projection,
        joint_width=joint_width,
        grad_checkpointing=options.grad_checkpointing,
    )


def create_network(name: str, image_size: tuple[int, int]) -> Any:
    """Timm's network without a classifier, for an image size if its layers depend on one.

    Raises:
        ValueError: unknown name, with the nearest known ones.
    """
    inner = known_name(name)
    try:
        return timm.create_model(inner, num_classes=0, img_size=image_size)
    except TypeError as error:
        if "img_size" not in str(error):
            raise ValueError(f"MODEL.NAME: {name} cannot be built: {error}") from error
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"INPUT.SIZE_TRAIN: {name} cannot be built for images of {list(image_size)}: {error}"
        ) from error
    return timm.create_model(inner, num_classes=0)


def count_parameters(inner: str) -> int:
    """Parameters of timm's network of a name, which takes no memory; 0 if timm cannot tell."""
    try:
        with torch.device("meta"):
            network = timm.create_model(inner, num_classes=0)
    except Exception:  # some compute numbers while they are built
        return 0
    return sum(parameter.numel() for parameter in network.parameters())


def known_name(name: str) -> str:
    """Timm's name behind MODEL.NAME; raises ValueError for one it does not know."""
    inner = name.removeprefix(TIMM)
    base, _, tag = inner.partition(".")
    if not timm.is_model(base):
        raise ValueError(
            f"MODEL.NAME: timm has no model {base!r}{suggest_nearest(base, timm.list_models())}"
        )
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        known = ", ".join(tags) or "none"
        raise ValueError(f"MODEL.NAME: timm has no weights {tag!r} of {base}; known: {known}")
    return inner


def tagged_name(name: str, tag: str) -> str:
    """The name with a tag in place of its own, if one is given; raises as `known_name`."""
    tagged = f"{name.partition('.')[0]}.{tag}" if tag else name
    known_name(tagged)
    return tagged


def find_timm_weights(name: str, tag: str = "") -> Path:
    """Timm's weights of a model: a cached file of Hugging Face or torch, else a download.

    Args:
        name: see `build_timm_backbone`.
        tag: in place of one in the name.

    Raises:
        ValueError: unknown name or tag.
        FileNotFoundError: none are published, or the download failed; names every way out.
    """
    inner = known_name(tagged_name(name, tag))
    source = get_pretrained_cfg(inner, allow_unregistered=False)
    if source is None or not (source.hf_hub_id or source.url):
        raise FileNotFoundError(f"MODEL.NAME {name} has no published weights: {REMEDY}")
    if source.hf_hub_id:
        repository = str(source.hf_hub_id)
        files = (source.hf_hub_filename,) if source.hf_hub_filename else _FILES
        for file in files:
            cached = try_to_load_from_cache(repository, file)
            if isinstance(cached, str):
                return Path(cached)
    archive = Path(get_dir()) / "checkpoints" / str(source.url or "").rsplit("/", 1)[-1]
    if archive.is_file():
        return archive
    try:
        if source.hf_hub_id:
            return Path(hf_hub_download(repository, files[0]))
        archive.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(str(source.url), str(archive))
    except Exception as error:
        origin = source.hf_hub_id or source.url
        raise FileNotFoundError(
            f"the weights of {name} are not on this machine and the download of {origin} failed "
            f"({type(error).__name__}); {REMEDY}"
        ) from error
    return archive
