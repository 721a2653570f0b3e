"""Compare the size of a data set with the published one."""

from __future__ import annotations

from collections.abc import Mapping

from datasets.readers.benchmark import Benchmark, Choices
from datasets.records import DataSplits

LABELS: dict[str, str] = {
    "train_ids": "training identities",
    "train_images": "training images",
    "query_ids": "query identities",
    "query_images": "query images",
    "gallery_images": "gallery images",
}
"""Fields of `PublishedSizes` in words."""

LARGE_DISTRACTOR_SET = 400_000


def check_sizes(splits: DataSplits, benchmarks: Mapping[str, Benchmark]) -> list[str]:
    """Warnings where a size is not the published one; none for data sets without a record."""
    if splits.name not in benchmarks:
        return []
    benchmark, found = benchmarks[splits.name], count(splits)
    warnings = []
    for quantity, label in LABELS.items():
        expected: Choices = getattr(benchmark.sizes, quantity)
        if expected and found[quantity] not in expected:
            wanted = " or ".join(f"{value:,}" for value in expected)
            guess = _guess_reason(benchmark, quantity, found[quantity])
            warnings.append(
                f"{splits.name}: {wanted} {label} expected, {found[quantity]:,} found{guess}"
            )
    twin = _find_twin(benchmark, found, benchmarks) if warnings else None
    if twin:
        warnings.append(f"{splits.name}: these are the sizes of {twin}; is this the right folder?")
    return warnings


def count(splits: DataSplits) -> dict[str, int]:
    """The fields of `PublishedSizes` as found."""
    return {
        "train_ids": len({sample.pid for sample in splits.train}),
        "train_images": len(splits.train),
        "query_ids": len({sample.pid for sample in splits.query}),
        "query_images": len(splits.query),
        "gallery_images": len(splits.gallery),
    }


def _guess_reason(benchmark: Benchmark, quantity: str, found: int) -> str:
    known = benchmark.deviations.get((quantity, found))
    expected = getattr(benchmark.sizes, quantity)[0]
    if known is None and quantity == "gallery_images" and found > expected + LARGE_DISTRACTOR_SET:
        known = "a gallery with extra distractors"
    elif known is None and quantity.endswith("images") and found < expected:
        known = "an incomplete copy or a subset"
    return f": looks like {known}" if known else ""


def _find_twin(
    benchmark: Benchmark, found: Mapping[str, int], benchmarks: Mapping[str, Benchmark]
) -> str | None:
    """Another benchmark whose training set or test set has the sizes found."""
    for name, other in benchmarks.items():
        for pair in (("train_ids", "train_images"), ("query_images", "gallery_images")):
            differs = any(getattr(other.sizes, x) != getattr(benchmark.sizes, x) for x in pair)
            if differs and all(found[x] in getattr(other.sizes, x) for x in pair):
                return name
    return None
