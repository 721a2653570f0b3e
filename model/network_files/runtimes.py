"""The programs that run network files: onnxruntime and OpenVINO, on the CPU in float32."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from config.packages import import_optional

ONNX, OPENVINO = ".onnx", ".xml"
# Facts that all files of this project have.
_FACTS = {
    "image_size",
    "interpolation",
    "normalization",
    "mean",
    "std",
    "dimension",
    "neck_feature",
}
SECTION = "clipreid"  # of an OpenVINO file's information


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a network.

    Attributes:
        name: as the file spells it.
        shape: None where a dimension is free.
        dtype: of its arrays.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


class Runtime(Protocol):
    """A network that is ready to run.

    Attributes:
        inputs: of the network.
        outputs: of the network.
        description: facts that this project wrote into the file; empty in other files.
    """

    inputs: Sequence[Port]
    outputs: Sequence[Port]
    description: Mapping[str, Any]

    def __call__(self, images: np.ndarray, output: str) -> np.ndarray:
        """The named output for a batch in the format of the only input."""


@dataclass(slots=True)
class OnnxRuntime:
    """An ONNX file; raises MissingPackageError, or onnxruntime's error for a damaged file."""

    path: Path
    inputs: Sequence[Port] = field(init=False)
    outputs: Sequence[Port] = field(init=False)
    description: Mapping[str, Any] = field(init=False)
    _session: Any = field(init=False)

    def __post_init__(self) -> None:
        runtime = import_optional("onnxruntime", "ONNX files need it", "pip install onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # shared cores
        self._session = runtime.InferenceSession(
            str(self.path), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [self._port(x) for x in self._session.get_inputs()]
        self.outputs = [self._port(x) for x in self._session.get_outputs()]
        self.description = _read_json(self._session.get_modelmeta().custom_metadata_map)

    @staticmethod
    def _port(port: Any) -> Port:
        kind = port.type.removeprefix("tensor(").removesuffix(")")
        kind = {"float": "float32", "double": "float64"}.get(kind, kind)
        shape = tuple(size if isinstance(size, int) and size > 0 else None for size in port.shape)
        return Port(port.name, shape, np.dtype(kind))

    def __call__(self, images: np.ndarray, output: str) -> np.ndarray:
        """The named output for a batch."""
        (found,) = self._session.run([output], {self.inputs[0].name: images})
        return np.asarray(found)


@dataclass(slots=True)
class OpenVinoRuntime:
    """An OpenVINO file `.xml` beside its `.bin`; raises MissingPackageError or OpenVINO's error."""

    path: Path
    inputs: Sequence[Port] = field(init=False)
    outputs: Sequence[Port] = field(init=False)
    description: Mapping[str, Any] = field(init=False)
    _compiled: Any = field(init=False)

    def __post_init__(self) -> None:
        openvino = import_optional("openvino", "OpenVINO files need it", "pip install openvino")
        network = openvino.Core().read_model(str(self.path))
        exact = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
        threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self._compiled = openvino.compile_model(network, "CPU", {**exact, **threads})
        self.inputs = [self._port(x) for x in self._compiled.inputs]
        self.outputs = [self._port(x) for x in self._compiled.outputs]
        own = network.has_rt_info([SECTION])
        stored = network.get_rt_info([SECTION]).value if own else {}
        self.description = _read_json({key: str(value) for key, value in stored.items()})

    @staticmethod
    def _port(port: Any) -> Port:
        name = port.any_name if port.names else port.node.friendly_name
        shape = tuple(
            size.get_length() if size.is_static else None for size in port.get_partial_shape()
        )
        return Port(name, shape, np.dtype(port.get_element_type().to_dtype()))

    def __call__(self, images: np.ndarray, output: str) -> np.ndarray:
        """The named output for a batch."""
        number = [port.name for port in self.outputs].index(output)
        return np.asarray(self._compiled([images])[self._compiled.output(number)])


def _read_json(stored: Mapping[str, str]) -> dict[str, Any]:
    """What this project wrote, in JSON; {} for another program's facts, whatever their names."""
    if not stored.keys() >= _FACTS:
        return {}
    found = {}
    for key, value in stored.items():
        try:
            found[key] = json.loads(value)
        except ValueError:
            continue
    return found


RUNTIMES: dict[str, type[OnnxRuntime | OpenVinoRuntime]] = {
    ONNX: OnnxRuntime,
    OPENVINO: OpenVinoRuntime,
}


def is_network_file(path: str | Path) -> bool:
    """Whether a name is that of a network file."""
    return Path(path).suffix in RUNTIMES


def open_runtime(path: Path) -> Runtime:
    """The file, ready to run.

    Raises:
        FileNotFoundError: no such file, or an OpenVINO file without its `.bin`.
        MissingPackageError: the program that runs it.
        ValueError: damaged.
    """
    needed = [path, *([path.with_suffix(".bin")] if path.suffix == OPENVINO else [])]
    for file in needed:
        if not file.is_file():
            raise FileNotFoundError(f"TEST.WEIGHT: no file {file}")
    try:
        return RUNTIMES[path.suffix](path)
    except Exception as error:  # each program has its own
        if isinstance(error, ValueError | MemoryError):
            raise
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"{path} cannot be read as a network: {reason}") from error
