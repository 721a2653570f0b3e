"""For torch.hub: load("path/of/this", "clip_reid", source="local", checkpoint="last.pth")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from processor.extractor import Extractor

dependencies = [
    *("torch", "torchvision", "yacs", "timm", "ftfy", "regex", "skimage", "tqdm", "open_clip"),
    *("safetensors", "numpy", "scipy", "sklearn", "tensorboard", "PIL", "yaml", "huggingface_hub"),
]


def clip_reid(checkpoint: str, **options: Any) -> Extractor:
    """Images to retrieval features; the options are those of `processor.extractor.Extractor`."""
    from processor.extractor import Extractor  # after torch.hub has looked for the dependencies

    return Extractor(checkpoint, **options)
