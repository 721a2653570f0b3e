"""What a weights file wraps around its tensors: dicts, and prefixes of the names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

PREFIXES = ("module.", "model.", "net.", "base_model.", "clip_model.")
_COMPILED = "_orig_mod."  # torch.compile adds it to any module, also inside a model
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "teacher",
)  # the usual ones, in this order


def find_state(content: Any) -> dict[str, Tensor]:
    """The state dict in the content of a file, however deep, with plain names.

    A usual wrapper wins; otherwise the only dict with tensors is taken. PREFIXES and that of
    torch.compile are removed, in any order and number.

    Raises:
        ValueError: no state dict, several, or two names that differ in their prefixes only.
    """
    found = _unwrap(content)
    if not isinstance(found, Mapping) or not _own_tensors(found):
        raise ValueError(f"not a state dict of tensors but a {type(content).__name__}")
    state: dict[str, Tensor] = {}
    for key, tensor in _own_tensors(found).items():
        name = _plain_name(key)
        if name in state:
            raise ValueError(f"holds {name} twice, under different prefixes, such as {key}")
        check_tensor(name, tensor)
        state[name] = tensor
    return state


def check_tensor(name: str, tensor: Tensor) -> None:
    """Raise ValueError unless a tensor holds all of its values, in plain order, on the CPU.

    A few stored bytes can claim any shape: a stride of 0 repeats them, a sparse tensor leaves them
    out, and a meta tensor has none.
    """
    plain = (
        tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    )
    if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"{name} of shape {tuple(tensor.shape)} does not hold all of its values")


def _unwrap(content: Any) -> Any:
    """The innermost dict that holds the tensors."""
    while isinstance(content, Mapping):
        usual = [key for key in _WRAPPERS if _holds_tensors(content.get(key))]
        if usual:
            content = content[usual[0]]
            continue
        if _own_tensors(content):
            return content
        nested = [key for key, value in content.items() if _holds_tensors(value)]
        if len(nested) > 1:
            raise ValueError(
                f"holds several state dicts: {', '.join(map(str, nested))}; save one alone: "
                f"torch.save(torch.load(FILE)[{nested[0]!r}], 'one.pth')"
            )
        if not nested:
            return content
        content = content[nested[0]]
    return content


def _own_tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}


def _holds_tensors(value: Any, depth: int = 4) -> bool:
    """Whether a dict holds tensors by name, itself or in a dict; optimizers number theirs."""
    if not isinstance(value, Mapping) or not depth:
        return False
    named = [v for k, v in value.items() if isinstance(k, str)]
    return any(isinstance(v, Tensor) or _holds_tensors(v, depth - 1) for v in named)


def _plain_name(key: str) -> str:
    name = key.replace(_COMPILED, "")
    while prefix := next((x for x in PREFIXES if name.startswith(x) and name != x), ""):
        name = name.removeprefix(prefix)
    return name
