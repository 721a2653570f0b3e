"""Hugging Face's CLIPModel: its parameter names and layouts as OpenAI's."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_SIDES = {"vision_model.": "visual.", "text_model.": ""}
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)")
_PARTS = ("q", "k", "v")  # joined in this order
_IN_LAYER = {
    "self_attn.out_proj.": "attn.out_proj.",
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
}
_OUTSIDE = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.weight": "ln_pre.weight",  # so spelled there
    "pre_layrnorm.bias": "ln_pre.bias",
    "post_layernorm.weight": "ln_post.weight",
    "post_layernorm.bias": "ln_post.bias",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_PROJECTIONS = {
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}


def is_hugging_face(names: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the names of Hugging Face's CLIPModel."""
    return any(name.startswith("vision_model.") for name in names)


def translate_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A CLIPModel's state dict under OpenAI's names.

    Queries, keys and values are joined into one matrix; the projections are transposed. Names that
    CLIP does not have stay as they are.

    Raises:
        ValueError: a layer lacks one of queries, keys and values.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in _PROJECTIONS:
            renamed[_PROJECTIONS[name]] = tensor.T.contiguous()
            continue
        side = next((prefix for prefix in _SIDES if name.startswith(prefix)), None)
        if side is None:
            renamed[name] = tensor
            continue
        inner = name.removeprefix(side)
        if inner == "embeddings.position_ids":
            continue
        layer = _LAYER.fullmatch(inner)
        if layer is None:
            renamed[_SIDES[side] + _OUTSIDE.get(inner, inner)] = tensor
            continue
        block = f"{_SIDES[side]}transformer.resblocks.{layer[1]}."
        if layer[2].startswith("self_attn.q_proj."):
            kind = layer[2].rpartition(".")[2]
            renamed[f"{block}attn.in_proj_{kind}"] = _join(state, name)
        elif not layer[2].startswith(("self_attn.k_proj.", "self_attn.v_proj.")):
            renamed[block + _rename_in_layer(layer[2])] = tensor
    return renamed


def _join(state: Mapping[str, Tensor], query: str) -> Tensor:
    """The matrix or bias of queries, keys and values, one below the other."""
    names = [query.replace(".q_proj.", f".{part}_proj.") for part in _PARTS]
    missing = [name for name in names if name not in state]
    if missing:
        raise ValueError(f"holds {query}, but not {', '.join(missing)}")
    return torch.cat([state[name] for name in names])


def _rename_in_layer(name: str) -> str:
    old = next((x for x in _IN_LAYER if name.startswith(x)), "")
    return _IN_LAYER[old] + name.removeprefix(old) if old else name
