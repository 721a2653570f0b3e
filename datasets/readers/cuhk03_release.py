"""The release of CUHK03: pictures and test sets in one MATLAB file of version 7.3 (HDF5)."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

logger = logging.getLogger(__name__)

IMAGES_PER_VIEW = 5


def read_test_set(release_file: Path, split: int) -> set[tuple[int, int]]:
    """The (pair of cameras, identity) of the test persons of one split, both counted from 1.

    Raises:
        ValueError: the file does not hold this split.
    """
    with _open(release_file) as release:
        test_sets = _read_cell(release, "testsets")
        if split >= len(test_sets):
            raise ValueError(f"{release_file}: {len(test_sets)} test sets, none numbered {split}")
        pairs, identities = _put_first(test_sets[split], 2, release_file)
    return set(zip(pairs.astype(int).tolist(), identities.astype(int).tolist(), strict=True))


def extract_images(release_file: Path, flavour: str, folder: Path) -> None:
    """Write the pictures of a flavour as `{pair}_{identity:03}_{view}_{image:02}.png`.

    They are written beside the folder and renamed at the end, so a folder is always complete.

    Raises:
        OSError: the pictures cannot be read or written.
    """
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    with _open(release_file) as release:
        logger.info("extracting the %s pictures of %s into %s, once", flavour, release_file, folder)
        try:
            draft.mkdir()
            for name, pixels in _read_pictures(release, flavour):
                Image.fromarray(pixels).save(draft / name)
            draft.rename(folder)
        except OSError as error:
            if not folder.is_dir():  # otherwise another process was faster
                raise OSError(
                    f"cannot extract the pictures of {release_file} into {folder} ({error}); "
                    f"{folder.parent} must be writable, once, and the release file complete"
                ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    logger.info("extracted %d pictures into %s", len(list(folder.iterdir())), folder)


def _read_pictures(release: Any, flavour: str) -> Iterator[tuple[str, np.ndarray]]:
    """File name and (H, W, 3) pixels of every picture; a person lacks some of the ten."""
    for pair, pictures in enumerate(_read_cell(release, flavour), start=1):
        rows = _put_first(pictures, 2 * IMAGES_PER_VIEW, release.filename)
        for image, row in enumerate(rows, start=1):
            view = 1 if image <= IMAGES_PER_VIEW else 2
            for identity, reference in enumerate(row, start=1):
                pixels = release[reference][()]
                if pixels.ndim == 3:  # an empty cell is a small array of fewer axes
                    yield f"{pair}_{identity:03}_{view}_{image:02}.png", pixels.T


def _read_cell(release: Any, name: str) -> list[np.ndarray]:
    """The arrays of a MATLAB cell array of one row or column."""
    if name not in release:
        raise ValueError(f"{release.filename}: no {name!r} in it; is this the release of CUHK03?")
    return [release[reference][()] for reference in release[name][()].ravel()]


def _put_first(array: np.ndarray, length: int, source: Path | str) -> np.ndarray:
    """The array with the axis of this length first; HDF5 has MATLAB's arrays transposed."""
    if length not in array.shape:
        raise ValueError(f"{source}: expected {length} rows or columns, found {array.shape}")
    return array if array.shape[0] == length else array.T


def _open(release_file: Path) -> Any:
    try:
        import h5py  # an optional package: only this file needs it
    except ImportError as error:
        raise ImportError(f"reading {release_file} needs h5py: pip install h5py") from error
    try:
        return h5py.File(release_file, "r")
    except OSError as error:
        raise ValueError(
            f"cannot read {release_file} ({error}); it must be the HDF5 file of the release. "
            "Is the copy complete?"
        ) from error
