"""Drawn ReID data: people, places and cameras, and captions of the people."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets.synthetic.captions import caption

__all__ = ["caption"]


def __getattr__(name: str) -> Any:
    """`caption`, without scikit-image until it is asked for."""
    if name != "caption":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from datasets.synthetic.captions import caption

    return caption
