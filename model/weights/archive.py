"""TorchScript archives: their tensors, read without executing their code."""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# What torch.jit.save writes. Others may allocate more than the file holds, or call by name.
_OPCODES = {
    *("PROTO", "GLOBAL", "NEWOBJ", "REDUCE", "BUILD", "BINPERSID", "STOP", "MARK"),
    *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
}
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MOST_PROGRAM_BYTES = 64 * 2**20  # of data.pkl; OpenAI's have less than 1 MB


class _Module:
    """A stub for any class of the archive's own code: its attributes, without its methods."""

    def __setstate__(self, attributes: Any) -> None:
        self.attributes = attributes if isinstance(attributes, dict) else {}


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def check_archive_size(path: Path) -> None:
    """Raise ValueError if a zip file claims to unpack to more bytes than it has."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = [x for x in archive.infolist() if "/code/" not in x.filename]  # never read
        size = sum(entry.file_size for entry in entries)
        if size > path.stat().st_size:
            raise ValueError(f"its entries unpack to {size:,} bytes, more than the file has")


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers of a TorchScript archive by name, on the CPU.

    The archive's code is never compiled or called: every class below `__torch__` becomes a stub
    that only keeps attributes, so that the `__setstate__` of a hostile file has no effect.

    Raises:
        ValueError: the archive holds anything but modules, tensors and plain values, or tensors
            that do not fit their bytes.
    """
    with zipfile.ZipFile(path) as archive:
        entry = next(x for x in archive.namelist() if x.endswith("/data.pkl"))
        if archive.getinfo(entry).file_size > _MOST_PROGRAM_BYTES:
            raise ValueError(f"its {entry} is larger than any list of tensors")
        program = archive.read(entry)
        _check_opcodes(program)
        root = _Unpickler(program, archive, entry.removesuffix("data.pkl")).load()
    return dict(_named_tensors(root, "", set()))


def _check_opcodes(program: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(program):
        if opcode.name not in _OPCODES:
            raise ValueError(f"its data.pkl has the operation {opcode.name}")
        if opcode.name == "LONG_BINPUT" and (argument or 0) > len(program):
            raise ValueError("its data.pkl asks for more memory than it describes")


class _Unpickler(pickle.Unpickler):
    """Knows tensors, type tags of lists and stubs; refuses any other name."""

    def __init__(self, program: bytes, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(program))
        self._archive = archive
        self._folder = folder

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        known: dict[str, Any] = {
            "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
            "torch.jit._pickle.restore_type_tag": _first,
            **{f"torch.jit._pickle.build_{kind}list": _first for kind in _LISTS},
            "torch.device": _device,
            "collections.OrderedDict": OrderedDict,
        }
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if f"{module}.{name}" not in known:
            raise ValueError(f"it holds a Python object of type {module}.{name}")
        return known[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Tensor:
        """The numbers of a storage, (numel,)."""
        _, dtype, key, _, numel = pid
        data = bytearray(self._archive.read(f"{self._folder}data/{key}"))
        if len(data) != numel * dtype.itemsize:
            raise ValueError(
                f"its tensor data {key} have {len(data):,} bytes, not {numel:,} values"
            )
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


_LISTS = ("int", "tensor", "double", "bool")


def _first(value: Any, *_: Any) -> Any:
    """The list inside a type tag."""
    return value


def _device(*_: Any) -> None:
    """Devices have no meaning here: everything is read to the CPU."""


def _rebuild_tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    """A view of a storage; torch refuses one that reaches beyond its end."""
    return storage.as_strided(size, stride, offset)


def _named_tensors(module: Any, prefix: str, above: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a module and, below its name, of its submodules."""
    if id(module) in above:
        raise ValueError(f"its module {prefix} contains itself")
    above = above | {id(module)}
    for name, value in getattr(module, "attributes", {}).items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _named_tensors(value, f"{prefix}{name}.", above)
