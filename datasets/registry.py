"""Every data set by name, and the way from a name in the configuration to its images."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from datasets.own.folder import own_data_name, read_own_data
from datasets.readers import cuhk03, frozen_splits, grid, synthetic, vehicleid
from datasets.readers.airport import read_airport
from datasets.readers.cuhk01 import read_cuhk01
from datasets.readers.cuhk02 import read_cuhk02
from datasets.readers.cuhk_sysu import read_cuhk_sysu
from datasets.readers.dukemtmc import read_dukemtmc
from datasets.readers.ilids import read_ilids
from datasets.readers.lpw import read_lpw
from datasets.readers.market1501 import read_market1501
from datasets.readers.msmt17 import read_msmt17
from datasets.readers.occ_duke import read_occ_duke
from datasets.readers.occ_reid import read_occ_reid
from datasets.readers.p_dukemtmc import read_p_dukemtmc
from datasets.readers.personx import read_personx
from datasets.readers.prid import read_prid
from datasets.readers.published_sizes import check_counts
from datasets.readers.randperson import read_randperson
from datasets.readers.sensereid import read_sensereid
from datasets.readers.veri import read_veri
from datasets.readers.veri_wild import read_veri_wild
from datasets.readers.viper import read_viper
from datasets.records import DataSplits

logger = logging.getLogger(__name__)

Reader = Callable[[Path, int], DataSplits]
"""(data root, index of the split) -> the data set."""

READERS: dict[str, Reader] = {
    "market1501": read_market1501,
    "dukemtmc": read_dukemtmc,
    "msmt17": read_msmt17,
    "occ_duke": read_occ_duke,
    "occ_reid": read_occ_reid,
    "p_dukemtmc": read_p_dukemtmc,
    "cuhk01": read_cuhk01,
    "cuhk02": read_cuhk02,
    "cuhk03": cuhk03.read_cuhk03,
    "cuhk03_labeled": partial(cuhk03.read_cuhk03, flavour="labeled"),
    "cuhk03_classic": cuhk03.read_cuhk03_classic,
    "cuhk03_classic_labeled": partial(cuhk03.read_cuhk03_classic, flavour="labeled"),
    "cuhk_sysu": read_cuhk_sysu,
    "viper": read_viper,
    "prid": read_prid,
    "grid": grid.read_grid,
    "ilids": read_ilids,
    "sensereid": read_sensereid,
    "randperson": read_randperson,
    "personx": read_personx,
    "lpw": read_lpw,
    "airport": read_airport,
    "veri": read_veri,
    "veri_wild": read_veri_wild,
    "veri_wild_5000": partial(read_veri_wild, size=5000),
    "veri_wild_10000": partial(read_veri_wild, size=10000),
    "VehicleID": vehicleid.read_vehicleid,
    "VehicleID_1600": partial(vehicleid.read_vehicleid, size=1600),
    "VehicleID_2400": partial(vehicleid.read_vehicleid, size=2400),
    **{name: partial(synthetic.read_synthetic, name=name) for name in synthetic.NAMES},
}

NUM_SPLITS: dict[str, int] = {
    "viper": frozen_splits.NUM_SPLITS,
    "prid": frozen_splits.NUM_SPLITS,
    "ilids": frozen_splits.NUM_SPLITS,
    "grid": grid.NUM_SPLITS,
    "cuhk03_classic": cuhk03.NUM_SPLITS,
    "cuhk03_classic_labeled": cuhk03.NUM_SPLITS,
    "VehicleID": vehicleid.NUM_TRIALS,
    "VehicleID_1600": vehicleid.NUM_TRIALS,
    "VehicleID_2400": vehicleid.NUM_TRIALS,
}
"""Number of splits where a benchmark averages over several; all others have one."""


def read_dataset(name: str, root: str | Path, split: int = 0) -> DataSplits:
    """Read a data set: a registered one, or own data given as a folder or CSV path.

    Args:
        name: a key of `READERS`, or a path: absolute, below `root`, or from the working folder.
        root: the data root.
        split: index of the split, below `num_splits(name)`.

    Raises:
        ValueError: the name is neither known nor a path, or there is no such split.
        FileNotFoundError: the data set is not below the root.
    """
    root = Path(root).expanduser()
    own_data = None if name in READERS else _find_own_data(name, root)
    if name not in READERS and own_data is None:
        raise ValueError(_unknown_name(name, root))
    if not 0 <= split < num_splits(name):
        raise ValueError(f"data set {name}: no split {split}; it has {num_splits(name)}, from 0")
    if own_data is not None:
        return _log_summary(read_own_data(own_data))
    splits = READERS[name](root, split)
    if split > 0:  # the first one has been described
        return replace(splits, notes=(*splits.notes, *check_counts(splits)))
    return _add_count_remarks(_log_summary(splits))


def num_splits(name: str) -> int:
    """How many splits (trials) the data set's protocol averages over; 1 for own data."""
    return NUM_SPLITS.get(name, 1)


def locate(name: str, root: str | Path) -> tuple[str, Path | None]:
    """What a data set is called and, for own data, where it lies, however the path is written.

    Args:
        name: as for `read_dataset`; a data set that is not there keeps this name.
        root: the data root.
    """
    path = None if name in READERS else _find_own_data(name, Path(root).expanduser())
    return (name, None) if path is None else (own_data_name(path), path.resolve())


def _find_own_data(name: str, root: Path) -> Path | None:
    if not name:
        return None
    for path in (root / Path(name).expanduser(), Path(name)):
        if path.is_dir() or (path.suffix.lower() == ".csv" and path.is_file()):
            return path
    return None


def _unknown_name(name: str, root: Path) -> str:
    by_lower = {known.lower(): known for known in READERS}
    close = [by_lower[match] for match in get_close_matches(name.lower(), by_lower)]
    hint = f"; did you mean {' or '.join(close)}" if close else ""
    return (
        f"DATASETS.NAMES, DATASETS.TARGETS: unknown data set {name!r}; "
        f"known: {', '.join(READERS)}{hint}; "
        f"or give the path of a folder or CSV file, below {str(root)!r} or from here"
    )


def _add_count_remarks(splits: DataSplits) -> DataSplits:
    remarks = check_counts(splits)
    for remark in remarks:
        logger.warning("%s", remark)
    return replace(splits, notes=(*splits.notes, *remarks))


def _log_summary(splits: DataSplits) -> DataSplits:
    parts = []
    for part in ("train", "query", "gallery"):
        samples = getattr(splits, part)
        parts.append(f"{part} {len({s.pid for s in samples}):,} ids, {len(samples):,} images")
    logger.info("%s: %s", splits.name, "; ".join(parts))
    for note in splits.notes:
        logger.info("%s: %s", splits.name, note)
    return splits
