"""torch.hub entry: load("path/to/checkout", "clip_reid", source="local", checkpoint="last.pth")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from processor.extractor import Extractor

dependencies = [
    *("torch", "torchvision", "yacs", "timm", "ftfy", "regex", "skimage", "tqdm", "open_clip"),
    *("safetensors", "numpy", "scipy", "sklearn", "tensorboard", "PIL", "yaml", "huggingface_hub"),
]


def clip_reid(checkpoint: str, **options: Any) -> Extractor:
    """A `processor.extractor.Extractor`: images to retrieval features; takes its options."""
    from processor.extractor import Extractor  # torch.hub checks the dependencies first

    return Extractor(checkpoint, **options)
