"""CLIP itself, from open_clip: its architectures and where its weights are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import try_to_load_from_cache
from open_clip.model import CLIP
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.transformer import ResidualAttentionBlock


def clip_architecture(name: str) -> dict[str, Any]:
    """The open_clip model config of an OpenAI CLIP, with QuickGELU.

    OpenAI's weights were trained with QuickGELU `x * sigmoid(1.702 x)`; plain GELU loads them
    without an error and gives wrong features.

    Args:
        name: "ViT-B-16", "RN50", another OpenAI architecture of open_clip, or the path of a JSON
            file in open_clip's model-config format (its `quick_gelu` counts; absent is true), or
            the content of one.

    Raises:
        ValueError: no such architecture or file, or one this project cannot use.
    """
    if name.endswith(".json") or name.startswith("{"):
        architecture = json.loads(architecture_text(name))
    else:
        architecture = open_clip.get_model_config(f"{name.removesuffix('-quickgelu')}-quickgelu")
        if architecture is None:
            known = sorted(n for n in open_clip.list_models() if n.endswith("-quickgelu"))
            raise ValueError(
                f"MODEL.NAME: {name!r} is no OpenAI CLIP of open_clip and no JSON file; known: "
                + ", ".join(n.removesuffix("-quickgelu") for n in known)
            )
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(architecture)
    if missing:
        raise ValueError(f"MODEL.NAME: {name} lacks {', '.join(sorted(missing))}")
    return {"quick_gelu": True, **architecture}


def architecture_text(name: str) -> str:
    """The JSON model config that MODEL.NAME names or is; empty for an architecture of open_clip.

    A checkpoint carries it, so that the model can be rebuilt without the file.

    Raises:
        ValueError: no such file.
    """
    if name.startswith("{"):
        return name
    if not name.endswith(".json"):
        return ""
    if not Path(name).is_file():
        raise ValueError(f"MODEL.NAME: no file {name}")
    return Path(name).read_text(encoding="utf-8")


def build_clip(name: str) -> CLIP:
    """An open_clip model in float32 with random weights; raises as `clip_architecture`."""
    architecture = clip_architecture(name)
    clip = CLIP(
        embed_dim=architecture["embed_dim"],
        vision_cfg=architecture["vision_cfg"],
        text_cfg=architecture["text_cfg"],
        quick_gelu=architecture["quick_gelu"],
    )
    for module in clip.modules():
        if isinstance(module, ResidualAttentionBlock):
            _openai_order(module)
    return clip


def _openai_order(block: ResidualAttentionBlock) -> None:
    """Register a block's parts in OpenAI's order: optimizer states are matched by position."""
    for name in ("attn", "ln_1", "mlp", "ln_2"):
        part = getattr(block, name)
        delattr(block, name)
        block.add_module(name, part)


def find_clip_weights(name: str) -> Path:
    """OpenAI's weights of an architecture: open_clip's cached file, downloaded when absent.

    Raises:
        FileNotFoundError: they are neither cached nor to be had; says which file to put where.
    """
    base = name.removesuffix("-quickgelu")
    source = get_pretrained_cfg(base, "openai") if not name.endswith(".json") else {}
    if not source:
        raise FileNotFoundError(
            f"MODEL.NAME {name} has no published weights: give a file with MODEL.PRETRAIN_PATH, or "
            "start from random weights with MODEL.PRETRAIN_CHOICE none"
        )
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
            f"the CLIP weights of {name} are not on this machine and could not be fetched "
            f"({type(error).__name__}). Put OpenAI's {archive.name} at {archive}, or set "
            f"MODEL.PRETRAIN_PATH to a local copy (that archive, or open_clip's .bin/.safetensors "
            f"of {source.get('hf_hub', base)}). It is published at {source['url']}"
        ) from error
