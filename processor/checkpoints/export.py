"""Export to ONNX: write a model's image side, describe it, run it for comparison."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config.packages import import_optional
from model.embedder import Embedder
from processor.runtime.files import atomic_file

INPUT, OUTPUT = "images", "features"
OPSET = 17  # the first with layer normalization
NEEDS, REMEDY = "exporting needs onnx and onnxruntime", "pip install '.[export]'"


class ImageTower(nn.Module):
    """Images -> (B, D) descriptors, for unknown cameras and viewpoints.

    Args:
        model: with side information, all images get the mean embedding.
        preprocess: (B, H, W, 3) uint8 -> normalized images; None = images are normalized already.
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
    """Write an image tower as one ONNX file for any batch size, atomically.

    The tower is traced: the one exporter of torch that needs no further package and works from
    torch 2.6 on.

    Args:
        path: the file.
        tower: on the CPU.
        example: a batch of two images or more.
        description: the file's metadata; every value is stored as JSON.
        check: called with the finished temporary file; if it raises, `path` stays as it was.

    Raises:
        MissingPackageError: onnx.
    """
    onnx = import_optional("onnx", NEEDS, REMEDY)
    tower.eval()
    with atomic_file(path) as partial:
        with torch.no_grad(), _traceable():
            torch.onnx.export(
                tower,
                (example,),
                str(partial),
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            )
        file = onnx.load(str(partial))
        metadata = {key: json.dumps(value) for key, value in description.items()}
        onnx.helper.set_model_props(file, metadata)
        onnx.save(file, str(partial))
        if check is not None:
            check(partial)


@contextmanager
def _traceable() -> Iterator[None]:
    """Attention in operators that ONNX has, without torch's warnings about tracing itself."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def smallest_cosine(
    embed: Callable[[Tensor], Tensor], batches: Sequence[tuple[Tensor, Tensor]]
) -> float:
    """The smallest cosine between a file's descriptors and the expected ones.

    Args:
        embed: the file's descriptors of images.
        batches: images, and their (B, D) descriptors.

    Returns:
        The cosine; NaN if a descriptor is not finite.
    """
    cosines = [
        F.cosine_similarity(embed(images).double(), expected.double())
        for images, expected in batches
    ]
    return float(torch.cat(cosines).min())
