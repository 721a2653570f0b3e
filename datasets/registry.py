"""Every data set by name: its record, its images and its facts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from config.plugins import register
from config.text import expand_home
from datasets.own.folder import own_data_name, read_own_data
from datasets.own.table import DataFrame, is_table, read_frame
from datasets.readers import (
    airport,
    cuhk01,
    cuhk02,
    cuhk03,
    cuhk_sysu,
    dukemtmc,
    grid,
    ilids,
    lpw,
    market1501,
    msmt17,
    occ_duke,
    occ_reid,
    p_dukemtmc,
    personx,
    prid,
    randperson,
    sensereid,
    synthetic,
    vehicleid,
    veri,
    veri_wild,
    viper,
)
from datasets.readers.benchmark import Benchmark
from datasets.readers.image_files import TABLE_SUFFIXES, describe_unread
from datasets.readers.published_sizes import check_sizes
from datasets.records import DataSplits

logger = logging.getLogger(__name__)

BENCHMARKS: dict[str, Benchmark] = {
    "market1501": market1501.BENCHMARK,
    "dukemtmc": dukemtmc.BENCHMARK,
    "msmt17": msmt17.BENCHMARK,
    "msmt17_train": msmt17.TRAIN_ONLY,
    "occ_duke": occ_duke.BENCHMARK,
    "occ_reid": occ_reid.BENCHMARK,
    "p_dukemtmc": p_dukemtmc.BENCHMARK,
    "cuhk01": cuhk01.BENCHMARK,
    "cuhk02": cuhk02.BENCHMARK,
    "cuhk03": cuhk03.DETECTED,
    "cuhk03_labeled": cuhk03.LABELED,
    "cuhk03_classic": cuhk03.CLASSIC,
    "cuhk03_classic_labeled": cuhk03.CLASSIC_LABELED,
    "cuhk_sysu": cuhk_sysu.BENCHMARK,
    "viper": viper.BENCHMARK,
    "prid": prid.BENCHMARK,
    "grid": grid.BENCHMARK,
    "ilids": ilids.BENCHMARK,
    "sensereid": sensereid.BENCHMARK,
    "randperson": randperson.BENCHMARK,
    "personx": personx.BENCHMARK,
    "lpw": lpw.BENCHMARK,
    "airport": airport.BENCHMARK,
    "veri": veri.BENCHMARK,
    "veri_wild": veri_wild.SMALL,
    "veri_wild_5000": veri_wild.MEDIUM,
    "veri_wild_10000": veri_wild.LARGE,
    "VehicleID": vehicleid.SMALL,
    "VehicleID_1600": vehicleid.MEDIUM,
    "VehicleID_2400": vehicleid.LARGE,
    **synthetic.BENCHMARKS,
}


def register_dataset(
    name: str, read: Any = None, *, num_splits: int = 1, family: str = "", noun: str = "person"
) -> Any:
    """Register a data set; without `read`, the decorator of a function.

    Args:
        name: in DATASETS.NAMES and DATASETS.TARGETS.
        read: data root and index of the split -> `DataSplits` of this name.
        num_splits: splits that results are averaged over.
        family: registered data set whose identities it shows; empty = its own name.
        noun: the word for an identity in prompts.

    Raises:
        ValueError: the name is taken.
    """

    def add(read: Any) -> Any:
        register(BENCHMARKS, name, Benchmark(read, num_splits, family, noun=noun))
        return read

    return add if read is None else add(read)


def read_dataset(
    name: str | os.PathLike[str] | DataFrame,
    root: str | Path,
    split: int = 0,
    *,
    tested_only: bool = False,
) -> DataSplits:
    """Read a data set: a registered one, or own data given as a folder, CSV path or DataFrame.

    Args:
        name: a key of `BENCHMARKS`; a path: absolute, below `root`, or from the working folder; or
            a table with the columns of `read_entries` and paths relative to `root`.
        root: the data root.
        split: index of the split, below `num_splits(name)`.
        tested_only: no model was trained on it, so own data without a given split needs none:
            all its identities are tested.

    Raises:
        ValueError: the name is neither registered nor a path, or the split does not exist.
        FileNotFoundError: the data set is not below the root.
    """
    root = expand_home(root)
    if isinstance(name, os.PathLike):
        name = os.fspath(name)
    if not isinstance(name, str | DataFrame):
        raise ValueError(f"expected a data set's name or path, or a table, got {name!r}")
    if not isinstance(name, str):
        return _log_summary(read_frame(name, root, tested_only=tested_only))
    own_data = None if name in BENCHMARKS else _find_own_data(name, root)
    if name not in BENCHMARKS and own_data is None:
        raise ValueError(_unknown_name(name, root))
    if not 0 <= split < num_splits(name):
        raise ValueError(f"data set {name}: no split {split}; it has {num_splits(name)}, from 0")
    if own_data is not None:
        return _log_summary(read_own_data(own_data, tested_only=tested_only))
    splits = BENCHMARKS[name].read(root, split)
    if split == 0:
        _log_summary(splits)
    remarks = check_sizes(splits, BENCHMARKS)
    if split == 0:  # the remarks on the others are the same
        for remark in remarks:
            logger.warning("%s", remark)
    return replace(splits, notes=(*splits.notes, *remarks))


def num_splits(name: str) -> int:
    """Number of splits (trials) that the protocol averages over; 1 for own data."""
    return BENCHMARKS[name].num_splits if name in BENCHMARKS else 1


def family(name: str) -> str:
    """The data set whose identities `name` shows; `name` may be a flavour or protocol of it."""
    return (BENCHMARKS[name].family if name in BENCHMARKS else "") or name


def people(name: str) -> str:
    """The data set whose people `name` shows, perhaps under other numbers."""
    return (BENCHMARKS[name].people if name in BENCHMARKS else "") or family(name)


def trains_apart_from_tests(name: str) -> bool:
    """Whether its training identities are in no test split of the family."""
    return name in BENCHMARKS and BENCHMARKS[name].trains_apart_from_tests


def prompt_noun(names: Iterable[str]) -> str:
    """The noun of a prompt for all these data sets: "person" unless they agree on another."""
    nouns = {BENCHMARKS[name].noun if name in BENCHMARKS else "person" for name in names}
    return nouns.pop() if len(nouns) == 1 else "person"


def locate(name: str, root: str | Path) -> tuple[str, Path | None]:
    """The name of a data set and the path of own data, however the path is written.

    Args:
        name: as for `read_dataset`; returned as it is if nothing is found.
        root: the data root.
    """
    path = None if name in BENCHMARKS else _find_own_data(name, expand_home(root))
    return (name, None) if path is None else (own_data_name(path), path.resolve())


def _find_own_data(name: str, root: Path) -> Path | None:
    if not name:
        return None
    paths = _own_places(name, root)
    # os.path: names of any length
    return next((x for x in paths if os.path.isdir(x) or is_table(x)), None)  # noqa: PTH112


def _own_places(name: str, root: Path) -> tuple[Path, ...]:
    return root / expand_home(name), Path(name)


def _unknown_name(name: str, root: Path) -> str:
    for path in _own_places(name, root):
        if os.path.isfile(path):  # noqa: PTH113 - names of any length
            ending = " or ".join(TABLE_SUFFIXES)
            return (
                f"DATASETS.NAMES, DATASETS.TARGETS: unknown data set {name!r}: {path} is a file, "
                f"but a table has to end in {ending}"
            )
    by_lower = {known.lower(): known for known in BENCHMARKS}
    close = [by_lower[match] for match in get_close_matches(name.lower(), by_lower)]
    hint = f"; did you mean {' or '.join(close)}" if close else ""
    return (
        f"DATASETS.NAMES, DATASETS.TARGETS: unknown data set {name!r}; "
        f"known: {', '.join(BENCHMARKS)}{hint}; "
        f"or give the path of a folder or CSV file, below {str(root)!r} or from here; "
        "PLUGINS names files that register other data sets"
    )


def _log_summary(splits: DataSplits) -> DataSplits:
    parts = []
    for part in ("train", "query", "gallery"):
        samples = getattr(splits, part)
        parts.append(f"{part} {len({s.pid for s in samples}):,} ids, {len(samples):,} images")
    logger.debug("%s: %s", splits.name, "; ".join(parts))
    if splits.unread:
        logger.warning("%s: %s", splits.name, describe_unread(splits.unread))
    for note in splits.notes:
        logger.info("%s: %s", splits.name, note)
    return splits
