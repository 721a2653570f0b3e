"""The release of CUHK03: images and test sets in one MATLAB 7.3 file (HDF5)."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from config.packages import import_optional

logger = logging.getLogger(__name__)

IMAGES_PER_VIEW = 5


def read_test_set(release_file: Path, split: int) -> set[tuple[int, int]]:
    """The test persons of a split as (camera pair, identity), both counted from 1.

    Raises:
        ValueError: the file does not hold this split.
    """
    with _open(release_file) as release:
        test_sets = _read_cell(release, "testsets")
        if split >= len(test_sets):
            raise ValueError(f"{release_file}: no test set {split}, only {len(test_sets)}")
        pairs, identities = _put_first(test_sets[split], 2, release_file)
    return set(zip(pairs.astype(int).tolist(), identities.astype(int).tolist(), strict=True))


def extract_images(release_file: Path, flavour: str, folder: Path) -> None:
    """Write the images of a flavour as `{pair}_{identity:03}_{view}_{image:02}.png`.

    They are written to a temporary folder, which is renamed at the end: an existing folder is
    always complete.

    Raises:
        OSError: the images cannot be read or written.
    """
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    with _open(release_file) as release:
        logger.info("extracting the %s images of %s to %s, once", flavour, release_file, folder)
        try:
            draft.mkdir()
            for name, pixels in _read_images(release, flavour):
                Image.fromarray(pixels).save(draft / name)
            draft.rename(folder)
        except OSError as error:
            if not folder.is_dir():  # else another process was faster
                raise OSError(
                    f"cannot extract the images of {release_file} to {folder} ({error}); make "
                    f"{folder.parent} writable, and check that the release file is complete"
                ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    logger.info("extracted %d images to %s", len(list(folder.iterdir())), folder)


def _read_images(release: Any, flavour: str) -> Iterator[tuple[str, np.ndarray]]:
    """File name and (H, W, 3) pixels of every image; not every person has all ten."""
    for pair, images in enumerate(_read_cell(release, flavour), start=1):
        rows = _put_first(images, 2 * IMAGES_PER_VIEW, release.filename)
        for image, row in enumerate(rows, start=1):
            view = 1 if image <= IMAGES_PER_VIEW else 2
            for identity, reference in enumerate(row, start=1):
                pixels = release[reference][()]
                if pixels.ndim == 3:  # an empty cell has fewer axes
                    yield f"{pair}_{identity:03}_{view}_{image:02}.png", pixels.T


def _read_cell(release: Any, name: str) -> list[np.ndarray]:
    """The arrays in a MATLAB cell array with one row or column."""
    if name not in release:
        raise ValueError(f"{release.filename} has no {name!r}; is this the release of CUHK03?")
    return [release[reference][()] for reference in release[name][()].ravel()]


def _put_first(array: np.ndarray, length: int, source: Path | str) -> np.ndarray:
    """The array with the axis of this length first: HDF5 stores MATLAB arrays transposed."""
    if length not in array.shape:
        raise ValueError(f"{source}: expected {length} rows or columns, found {array.shape}")
    return array if array.shape[0] == length else array.T


def _open(release_file: Path) -> Any:
    h5py = import_optional("h5py", f"reading {release_file} needs it", "pip install h5py")
    try:
        return h5py.File(release_file, "r")
    except OSError as error:
        raise ValueError(
            f"cannot read {release_file} ({error}); it must be the HDF5 file of the release. "
            "Is the copy complete?"
        ) from error
