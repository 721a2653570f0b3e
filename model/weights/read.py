"""Reading weights files of every known origin, without executing code."""

from __future__ import annotations

import json
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from model.weights.locate import CONFIG, locate_weights

CHECKPOINT_FORMAT = "clipreid/1"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A weights file after reading.

    Attributes:
        state: parameter names, without a leading `module.`, to tensors.
        config: the run's configuration as YAML text; "" in files of other projects.
        meta: num_classes, num_cameras, ... as written by this project; otherwise empty.
        training: optimizer, schedule and random states of a `last.pth`; otherwise empty.
        torchscript: whether the file is one of OpenAI's archives.
    """

    state: dict[str, Tensor]
    config: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    torchscript: bool = False


def read_weights_file(path: str | Path, option: str = "") -> WeightsFile:
    """Read a checkpoint or weights file without executing pickled code.

    Reads this project's checkpoints and exported folders, CLIP-ReID's state dicts (with or without
    `module.`), OpenAI's TorchScript archives and state dicts, open_clip's `.bin` and
    `.safetensors`.

    Args:
        path: the file, or what else `locate_weights` accepts.
        option: the option that names it, for the error message.

    Raises:
        FileNotFoundError: no such file; see also `locate_weights`.
        ValueError: damaged, holds Python objects other than tensors, or no state dict.
    """
    path = locate_weights(path)
    if not path.is_file():
        raise FileNotFoundError(f"{option}: no weights file {path}".removeprefix(": "))
    try:
        content = _read_content(path)
    except (MemoryError, PermissionError, FileNotFoundError):
        raise
    except Exception as error:  # every container raises its own errors for a damaged file
        raise ValueError(
            f"{path} cannot be read as weights: it is damaged or holds Python objects other than "
            f"tensors, which are never executed ({type(error).__name__})"
        ) from error
    if isinstance(content, dict) and content.get("format") == CHECKPOINT_FORMAT:
        return WeightsFile(
            content["model"], content["config"], content["meta"], content.get("training", {})
        )
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not any(torch.is_tensor(v) for v in content.values()):
        raise ValueError(f"{path}: not a state dict of tensors but a {type(content).__name__}")
    state = {key.removeprefix("module."): v for key, v in content.items() if torch.is_tensor(v)}
    return WeightsFile(state, torchscript=_is_torchscript(path))


def _read_content(path: Path) -> Any:
    """The content of a file, whatever its container; pickled code is refused."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old formats are expected here
        if _is_torchscript(path):
            return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> dict[str, Any]:
    """A state dict, or a checkpoint whose configuration lies next to it."""
    state = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata() or {}
    if header.get("format") != CHECKPOINT_FORMAT:
        return state
    config = path.with_name(CONFIG)
    if not config.is_file():
        raise FileNotFoundError(f"{path}: its configuration is missing: no file {config}")
    return {
        "format": CHECKPOINT_FORMAT,
        "model": state,
        "config": config.read_text(encoding="utf-8"),
        "meta": dict(json.loads(header["meta"])),
    }


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
