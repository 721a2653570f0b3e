"""A model's image tower as an ONNX file: written, described, and run for comparison."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from processor.runtime.files import atomic_file

INPUT, OUTPUT = "images", "features"
OPSET = 17  # the first with layer normalization


class MissingPackageError(ValueError):
    """A package that only exporting needs is not installed."""


class Embedder(Protocol):
    """What an image tower is made of: a module with the method `embed`."""

    def embed(
        self, images: Tensor, camids: Tensor | None = None, viewids: Tensor | None = None
    ) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, D) descriptors."""


class ImageTower(nn.Module):
    """Images -> (B, D) descriptors, of cameras and viewpoints that the model does not know.

    Args:
        model: a module with `embed`; where it has side information, all images get the mean
            embedding.
        preprocess: (B, H, W, 3) uint8 -> what `embed` takes; None = images come normalized.
        unit_length: L2-normalize the descriptors.
    """

    def __init__(
        self,
        model: Embedder,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        unit_length: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocess = preprocess
        self.unit_length = unit_length

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float or, with preprocessing, (B, H, W, 3) uint8 RGB -> (B, D)."""
        if self.preprocess is not None:
            images = self.preprocess(images)
        unknown = torch.full((images.shape[0],), -1, dtype=torch.long)
        features = self.model.embed(images, unknown, unknown)
        return F.normalize(features, dim=1) if self.unit_length else features


def write_onnx(
    path: Path,
    tower: ImageTower,
    example: Tensor,
    description: Mapping[str, Any],
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write an image tower as one ONNX file with any batch size; whole or not at all.

    It is traced: of the ways that torch has, the one that needs no further package and works from
    torch 2.6 on.

    Args:
        path: the file.
        tower: on the CPU.
        example: a batch of two images or more.
        description: goes into the file's metadata, every value as JSON.
        check: is given the file before it takes its place, and may raise.

    Raises:
        MissingPackageError: onnx.
    """
    onnx = _import("onnx")
    tower.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as beside:
        with torch.no_grad(), _traceable():
            torch.onnx.export(
                tower,
                (example,),
                str(beside),
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            )
        file = onnx.load(str(beside))
        metadata = {key: json.dumps(value) for key, value in description.items()}
        onnx.helper.set_model_props(file, metadata)
        onnx.save(file, str(beside))
        if check is not None:
            check(beside)


@contextmanager
def _traceable() -> Iterator[None]:
    """Attention in parts that ONNX has, without torch's remarks on the tracing of its own code."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


class OnnxFile:
    """An ONNX file to run on the CPU.

    Args:
        path: the file.

    Raises:
        MissingPackageError: onnxruntime.
    """

    def __init__(self, path: Path) -> None:
        runtime = _import("onnxruntime")
        self._session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    @property
    def description(self) -> dict[str, Any]:
        """The file's metadata."""
        stored = self._session.get_modelmeta().custom_metadata_map
        return {key: json.loads(value) for key, value in stored.items()}

    def __call__(self, images: Tensor) -> Tensor:
        """A batch as the file takes it -> (B, D)."""
        (features,) = self._session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(np.asarray(features))


def smallest_cosine(file: OnnxFile, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    """How alike a file's descriptors are to those expected: the smallest cosine of all images.

    Args:
        file: the file.
        batches: images as the file takes them, and their (B, D) descriptors.

    Returns:
        The cosine; NaN where a descriptor is not finite.
    """
    cosines = [
        F.cosine_similarity(file(images).double(), expected.double())
        for images, expected in batches
    ]
    return float(torch.cat(cosines).min())


def _import(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"the package {package} is not installed: pip install {package}"
        ) from error
