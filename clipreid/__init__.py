"""Image re-identification models built on CLIP, to be imported into other programs.

Names are loaded on first use, so `import clipreid` itself imports neither torch nor anything else
that takes time.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipreid import plugins
    from config import load_cfg
    from datasets import read_dataset
    from processor.evaluation import evaluate_features, rerank
    from processor.experiment import evaluate, train
    from processor.extractor import Extractor
    from processor.metrics.pair_threshold import find_threshold
    from processor.search.gallery import Gallery
    from processor.search.stored_features import read_features
    from processor.search.tracklets import pool_tracklets

__version__ = "0.1.0"
__all__ = [
    "Extractor",
    "Gallery",
    "__version__",
    "evaluate",
    "evaluate_features",
    "find_threshold",
    "load_cfg",
    "plugins",
    "pool_tracklets",
    "read_dataset",
    "read_features",
    "rerank",
    "train",
]

# An installed copy has all packages below this one; in a checkout they lie next to it.
PREFIX = f"{__name__}." if find_spec(f"{__name__}.processor") else ""
_MODULES = {
    "Extractor": "processor.extractor",
    "Gallery": "processor.search.gallery",
    "evaluate": "processor.experiment",
    "evaluate_features": "processor.evaluation",
    "find_threshold": "processor.metrics.pair_threshold",
    "load_cfg": "config",
    "pool_tracklets": "processor.search.tracklets",
    "read_dataset": "datasets",
    "read_features": "processor.search.stored_features",
    "rerank": "processor.evaluation",
    "train": "processor.experiment",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name == "plugins":
        return import_module(f"{__name__}.plugins")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(PREFIX + _MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
