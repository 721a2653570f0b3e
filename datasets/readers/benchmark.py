"""The record that every reader file ends with: all facts about one benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasets.records import DataSplits

Reader = Callable[[Path, int], DataSplits]
"""(data root, index of the split) -> the data set."""
Choices = tuple[int, ...]
"""Published values: several where sources differ, none where no source gives one."""


@dataclass(frozen=True, slots=True)
class PublishedSizes:
    """Sizes of a benchmark as published."""

    train_ids: Choices = ()
    train_images: Choices = ()
    query_ids: Choices = ()
    query_images: Choices = ()
    gallery_images: Choices = ()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One registered data set.

    Attributes:
        read: reads one split.
        num_splits: splits, or trials, that the protocol averages over.
        family: registry name of the data set whose identities it shows; empty = its own name.
        people: registry name of a data set that shows some of the same people under other numbers;
            empty = its family.
        trains_apart_from_tests: its training identities are in no test split of the family.
        noun: the word for an identity in prompts.
        sizes: published sizes.
        deviations: (field of `PublishedSizes`, size found) -> likely reason.
    """

    read: Reader
    num_splits: int = 1
    family: str = ""
    people: str = ""
    trains_apart_from_tests: bool = False
    noun: str = "person"
    sizes: PublishedSizes = field(default_factory=PublishedSizes)
    deviations: Mapping[tuple[str, int], str] = field(default_factory=dict)
