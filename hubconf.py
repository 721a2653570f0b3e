"""torch.hub entry: load("path/to/checkout", "clip_reid", source="local", checkpoint="last.pth")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import clipreid
from clipreid.renaming import import_below_clipreid

if TYPE_CHECKING:
    from clipreid import Extractor


def clip_reid(checkpoint: str, **options: Any) -> Extractor:
    """A `clipreid.Extractor`: images to retrieval features; takes its options.

    A `clipreid` that the process has already imported is used, otherwise that of this folder.
    """
    import_below_clipreid()
    return clipreid.Extractor(checkpoint, **options)
