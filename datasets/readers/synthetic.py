"""The drawn data sets that come with the program; they need no data root."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from datasets.readers.benchmark import Benchmark
from datasets.readers.market1501 import read_market_tree
from datasets.records import DataSplits
from datasets.synthetic.places import DOMAINS


def read_synthetic(_root: Path, _split: int = 0, *, name: str) -> DataSplits:
    """One domain, drawn on first use."""
    from datasets.synthetic.render import synthetic_folder  # drawing needs scikit-image

    return read_market_tree(name, synthetic_folder(name))


BENCHMARKS = {
    f"synthetic_{domain}": Benchmark(partial(read_synthetic, name=f"synthetic_{domain}"))
    for domain in DOMAINS
}
