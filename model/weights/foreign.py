"""Parameter names of other projects' files, translated to those of the bare network.

fast-reid and DINO-like files (PersonViT, SOLIDER) keep the network below `backbone.`, MoCo's
(LUPerson) below `encoder_q.`, the strong baseline's below `base.`, torchreid's at the top.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_PREFIXES = ("backbone.", "encoder_q.", "base.")
# fast-reid's neck and classifier.
_HEADS = {
    "heads.bottleneck.0.": "bottleneck.",
    "heads.bnneck.": "bottleneck.",
    "heads.classifier.weight": "classifier.weight",
    "heads.weight": "classifier.weight",
}
# A part of a name -> the architecture it belongs to; none of them is in timm.
_OTHERS = {
    ".conv2a.": "OSNet",
    "NL_2.0.": "a ResNet with non-local blocks (AGW)",
    "b1.0.": "MGN",
    "patch_embed.conv.0.": "a ViT with a convolutional stem (TransReID-SSL)",
    "stem.0.conv.": "a RegNet or ResNeSt of fast-reid",
}
_SWIN = {
    r"patch_embed\.projection\.": "patch_embed.proj.",
    r"stages\.(\d+)\.": r"layers.\1.",
    r"\.attn\.w_msa\.": ".attn.",
    r"\.ffn\.layers\.0\.0\.": ".mlp.fc1.",
    r"\.ffn\.layers\.1\.": ".mlp.fc2.",
    r"^norm3\.": "norm.",
}


def split_network(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The bare network of a file, and the rest under this project's names where it has some."""
    prefix = next((x for x in _PREFIXES if any(key.startswith(x) for key in state)), "")
    if not prefix:
        return dict(state), {}
    network = {k.removeprefix(prefix): x for k, x in state.items() if k.startswith(prefix)}
    rest = {_rename_head(k): x for k, x in state.items() if not k.startswith(prefix)}
    return network, rest


def _rename_head(name: str) -> str:
    old = next((old for old in _HEADS if name.startswith(old)), "")
    return _HEADS[old] + name.removeprefix(old) if old else name


def translate_network(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """SOLIDER's Swin under the names and in the order of the original Swin; others as they are.

    Its library cuts the four patches that are merged channel by channel, the original patch by
    patch, first down and then to the right.
    """
    if not any(".attn.w_msa." in name for name in state):
        return state
    renamed = {}
    for name, tensor in state.items():
        merged = re.search(r"\.downsample\.(norm|reduction)\.", name)
        for old, new in _SWIN.items():
            name = re.sub(old, new, name)
        renamed[name] = reorder_merged(tensor) if merged else tensor
    return renamed


def reorder_merged(tensor: Tensor) -> Tensor:
    """(..., C * 2 rows * 2 columns) -> (..., 2 columns * 2 rows * C)."""
    parts = tensor.unflatten(-1, (-1, 2, 2))
    return torch.movedim(parts, (-1, -2, -3), (-3, -2, -1)).flatten(-3)


def describe_other(names: Mapping[str, Tensor]) -> str:
    """The architecture that a file's names tell, if it is one that timm does not have; else ""."""
    for part, architecture in _OTHERS.items():
        if any(part in name for name in names):
            return architecture
    return ""
