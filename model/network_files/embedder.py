"""A network file as an embedder: its layout, its batch, its output."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from config.errors import ConfigError
from model.embedder import Embedder
from model.network_files.runtimes import Port, Runtime, open_runtime

# Weights beside the network: OpenVINO's, and the usual names of ONNX's external data.
_COMPANIONS = {".xml": (".bin",), ".onnx": (".onnx.data", ".onnx_data")}


class NetworkFile(Embedder):
    """A network in an ONNX or OpenVINO file; it runs on the CPU, whatever the images' device.

    A network with a fixed batch is run several times, the last time on a batch filled up with
    copies of the last image. Cameras and viewpoints are ignored.

    Args:
        path: the file.
        output: which of several outputs holds the features; "" = the only one.

    Raises:
        FileNotFoundError, MissingPackageError, ValueError: see `open_runtime`.
        ValueError: several inputs, another input than images, or no such output.
    """

    def __init__(self, path: str | Path, output: str = "") -> None:
        super().__init__()
        self.path = Path(path)
        self._run: Runtime = open_runtime(self.path)
        self._input = self._image_input()
        self._output = self._choose_output(output)

    @property
    def description(self) -> Mapping[str, Any]:
        """Facts that this project wrote into the file; empty in other files."""
        return self._run.description

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels, if the file takes only one size."""
        shape = self._input.shape
        height, width = shape[1:3] if self._channels_last else shape[2:4]
        return None if height is None or width is None else (height, width)

    @property
    def takes_levels(self) -> bool:
        """Whether the file takes uint8 levels and normalizes them itself."""
        return self._input.dtype == np.uint8

    def embed(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> Tensor:
        """(B, 3, H, W) images in the file's own numbers -> (B, D) float32.

        Raises:
            ValueError: the output is not one row per image.
        """
        del camids, viewids
        batch = self.as_input(images)
        size = self._input.shape[0] or len(batch)
        rows = [self._rows(batch[i : i + size], size) for i in range(0, len(batch), size)]
        return torch.from_numpy(np.concatenate(rows)).to(images.device)

    def as_input(self, images: Tensor) -> np.ndarray:
        """(B, 3, H, W) images in the file's own numbers, in its layout and type."""
        array = images.detach().float().cpu()
        if self.takes_levels:
            array = array.round().clamp(0, 255)
        if self._channels_last:
            array = array.permute(0, 2, 3, 1)
        return np.ascontiguousarray(array.numpy().astype(self._input.dtype))

    @property
    def megabytes(self) -> float:
        """Size of the file and of the weights beside it."""
        return sum(file.stat().st_size for file in self._files()) / 1e6

    def digest(self) -> str:
        """SHA-256 of the file and of the weights beside it."""
        found = hashlib.sha256()
        for file in self._files():
            with file.open("rb") as stream:
                while block := stream.read(2**20):
                    found.update(block)
        return found.hexdigest()

    def _files(self) -> list[Path]:
        beside = (self.path.with_suffix(x) for x in _COMPANIONS[self.path.suffix])
        return [self.path, *filter(Path.is_file, beside)]

    def _rows(self, batch: np.ndarray, size: int) -> np.ndarray:
        missing = size - len(batch)
        filled = np.concatenate([batch, batch[-1:].repeat(missing, 0)]) if missing else batch
        rows = self._run(filled, self._output).astype(np.float32)
        if rows.ndim < 2 or len(rows) != size:
            raise ValueError(
                f"{self.path}: its output {self._output} has shape {rows.shape} for {size} images, "
                f"not one row each; TEST.OUTPUT names another of {_names(self._run.outputs)}"
            )
        return rows.reshape(size, -1)[: len(batch)]

    @property
    def _channels_last(self) -> bool:
        return self._input.shape[1] != 3

    def _image_input(self) -> Port:
        inputs = self._run.inputs
        shape = inputs[0].shape
        if len(inputs) > 1 or len(shape) != 4 or 3 not in (shape[1], shape[3]):
            found = ", ".join(f"{port.name} {port.shape}" for port in inputs)
            raise ValueError(
                f"{self.path}: expected one input of images, (batch, 3, height, width) or (batch, "
                f"height, width, 3); it has {found}"
            )
        return inputs[0]

    def _choose_output(self, name: str) -> str:
        outputs = self._run.outputs
        if name in [port.name for port in outputs]:
            return name
        if name or len(outputs) > 1:
            wrong = f"no output {name!r}" if name else "several outputs"
            raise ConfigError(
                f"TEST.OUTPUT: {self.path} has {wrong}; name one of {_names(outputs)}"
            )
        return outputs[0].name


def _names(ports: Sequence[Port]) -> str:
    return ", ".join(f"{port.name} {port.shape}" for port in ports)
