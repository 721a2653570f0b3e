"""The rendered data sets that come with the program; they need no data root."""

from __future__ import annotations

from pathlib import Path

from datasets.readers.market1501 import read_market_tree
from datasets.records import DataSplits
from datasets.synthetic.places import DOMAINS
from datasets.synthetic.render import synthetic_folder

NAMES = tuple(f"synthetic_{domain}" for domain in DOMAINS)


def read_synthetic(_root: Path, _split: int = 0, *, name: str) -> DataSplits:
    """One rendered domain, drawn on first use."""
    return read_market_tree(name, synthetic_folder(name))
