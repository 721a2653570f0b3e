"""Reading weights files of every known origin, without executing code."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from config.errors import ConfigError
from config.text import read_text
from model.network_files.runtimes import is_network_file
from model.weights.archive import check_archive_size, is_torchscript, read_torchscript
from model.weights.containers import check_tensor, find_state
from model.weights.hugging_face import is_hugging_face, translate_hugging_face
from model.weights.locate import CONFIG, locate_weights

CHECKPOINT_FORMAT = "clipreid/1"
# How torch and `read_torchscript` name the type of an object that they refuse.
_OBJECT = re.compile(r"(?:GLOBAL|function|class|type) <?((?:[A-Za-z_]\w*\.)+\w+)")


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A weights file after reading.

    Attributes:
        state: parameter names, without prefixes of wrappers, to tensors.
        config: the run's configuration as YAML text; "" in files of other projects.
        meta: num_classes, num_cameras, ... as written by this project; otherwise empty.
        training: optimizer, schedule and random states of a `last.pth`; otherwise empty.
        averaged: averages of some of the tensors in `state`, by name; empty if there are none.
        torchscript: whether the file is one of OpenAI's archives.
    """

    state: dict[str, Tensor]
    config: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    averaged: dict[str, Tensor] = field(default_factory=dict)
    torchscript: bool = False


def read_weights_file(path: str | Path, option: str = "") -> WeightsFile:
    """Read a checkpoint or weights file without executing pickled code.

    Reads this project's checkpoints and exported folders, CLIP-ReID's state dicts, OpenAI's
    TorchScript archives and state dicts, open_clip's `.bin` and `.safetensors`, Hugging Face's
    CLIPModel (file or folder); see `find_state` for what may be wrapped around them.

    Args:
        path: the file, or what else `locate_weights` accepts.
        option: the option that names it, for the error message.

    Raises:
        FileNotFoundError: no such file; see also `locate_weights`.
        ValueError: damaged, holds Python objects other than tensors, or no state dict.
    """
    path = locate_weights(path)
    if is_network_file(path):
        raise ConfigError(
            f"{option}: {path} is a network file, without weights by name: it can be evaluated and "
            "searched with (TEST.WEIGHT), not trained".removeprefix(": ")
        )
    if not path.is_file():
        raise FileNotFoundError(f"{option}: no weights file {path}".removeprefix(": "))
    try:
        content = _read_content(path)
    except (MemoryError, PermissionError, FileNotFoundError):
        raise
    except OtherFormatError as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # every container raises its own errors for a damaged file
        if isinstance(error, RuntimeError) and "allocate memory" in str(error):
            raise  # not the file's fault
        raise ValueError(f"{path} cannot be read as weights: {_explain(error)}") from error
    try:
        if isinstance(content, dict) and is_checkpoint_format(content.get("format")):
            return _as_checkpoint(content)
        state = find_state(content)
        if is_hugging_face(state):
            state = translate_hugging_face(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return WeightsFile(state, torchscript=is_torchscript(path))


class OtherFormatError(ValueError):
    """A checkpoint of another version of this program."""


def is_checkpoint_format(name: Any) -> bool:
    """Whether this is the format of a checkpoint; OtherFormatError = of another version."""
    family = CHECKPOINT_FORMAT.partition("/")[0]
    if isinstance(name, str) and name.partition("/")[0] == family and name != CHECKPOINT_FORMAT:
        raise OtherFormatError(
            f"its format is {name}, and this version of the program reads {CHECKPOINT_FORMAT}; use "
            "the version that wrote it"
        )
    return bool(name == CHECKPOINT_FORMAT)


def _explain(error: Exception) -> str:
    """Why a file was refused, with the type of a Python object in it and the remedy."""
    named = _OBJECT.search(str(error))
    if named is None:
        return (
            f"it is damaged or holds Python objects other than tensors, which are never executed "
            f"({type(error).__name__}); copy or download it again"
        )
    return (
        f"it holds a Python object of type {named[1]}, and objects are never executed; where it "
        "was written, save the tensors alone: torch.save(model.state_dict(), FILE)"
    )


def _as_checkpoint(content: dict[str, Any]) -> WeightsFile:
    """A checkpoint of this project; raises ValueError if one of its parts has another type."""
    content = {"training": {}, "ema": {}, **content}
    kinds = {"model": dict, "config": str, "meta": dict, "training": dict, "ema": dict}
    for part, kind in kinds.items():
        if not isinstance(content.get(part), kind):
            raise ValueError(
                f"its part {part!r} is damaged: expected {kind.__name__}, got "
                f"{type(content.get(part)).__name__}"
            )
    for part in ("model", "ema"):
        for name, tensor in content[part].items():
            if not (isinstance(name, str) and isinstance(tensor, Tensor)):
                raise ValueError(f"its part {part!r} is damaged: {name!r} is not a tensor")
            check_tensor(name, tensor)
    return WeightsFile(*(content[part] for part in ("model", "config", "meta", "training", "ema")))


def _read_content(path: Path) -> Any:
    """The content of a file, whatever its container; pickled code is refused."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    check_archive_size(path)
    if is_torchscript(path):
        return read_torchscript(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old formats are expected here
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> dict[str, Any]:
    """A state dict, or a checkpoint whose configuration lies next to it."""
    state = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata() or {}
    if not is_checkpoint_format(header.get("format")):
        return state
    if "meta" not in header:
        raise ValueError("its header has no meta")
    config = path.with_name(CONFIG)
    if not config.is_file():
        raise FileNotFoundError(f"{path}: its configuration is missing: no file {config}")
    return {
        "format": CHECKPOINT_FORMAT,
        "model": state,
        "config": read_text(config),
        "meta": dict(json.loads(header["meta"])),
    }
