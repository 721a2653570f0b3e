"""Rows of a model's camera table, by data set."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence

from yacs.config import CfgNode

from config import ConfigError
from datasets.records import Sample
from datasets.registry import BENCHMARKS, locate
from model.weights.read import WeightsFile

logger = logging.getLogger(__name__)


def read_cameras(
    file: WeightsFile, cfg: CfgNode, num_cameras: int, *, named: bool
) -> dict[str, range]:
    """Per source of the model in a file, the rows of its cameras.

    Args:
        file: of this project, or an original file without this information.
        cfg: DATASETS.NAMES counts for an original file.
        num_cameras: rows of the camera table.
        named: whether the user named the sources; a default is not evidence.
    """
    if file.meta:
        saved = json.loads(str(file.meta["cameras"]))
        return {name: range(*ends) for name, ends in saved.items()}
    if named and len(cfg.DATASETS.NAMES) == 1:
        return {cfg.DATASETS.NAMES[0]: range(num_cameras)}
    if "cv_embed" in file.state:
        logger.warning(
            "the file does not name its training data: all images get its cameras' mean "
            "embedding; name the data set with DATASETS.NAMES"
        )
    return {}


def cameras_of(cfg: CfgNode, name: str, cameras: dict[str, range]) -> range | None:
    """Rows of a data set's cameras in the model's table; None if it is not a source.

    Args:
        cfg: DATASETS counts.
        name: the data set, as `read_dataset` takes it.
        cameras: per source of the model, its rows in the camera table.

    Raises:
        ConfigError: another data set has the name of a source.
    """
    target, target_path = locate(name, cfg.DATASETS.ROOT_DIR)
    trained = [locate(source, cfg.DATASETS.ROOT_DIR) for source in cfg.DATASETS.NAMES]
    if target in cameras and (target, target_path) not in trained:
        for source, path in trained:
            if source == target:
                unknown = "the benchmark" if target in BENCHMARKS else "that of the training"
                places = " and ".join(str(x or unknown) for x in (path, target_path))
                raise ConfigError(
                    f"DATASETS.NAMES, DATASETS.TARGETS: two data sets are called {target}: "
                    f"{places}; cameras and results are looked up by the name of the folder or "
                    "file, so rename one"
                )
    return cameras.get(target)


def check_camera_names(samples: Iterable[Sample], rows: range, names: Sequence[str]) -> None:
    """Check that the cameras of a data set are those a model was trained with, under their rows.

    Cameras of own data are numbered by their names, so that a new camera moves those after it.

    Args:
        samples: of the data set.
        rows: of its cameras in the model's camera table.
        names: the camera behind every row of the table; empty = unknown.

    Raises:
        ConfigError: names a camera that the model does not know, or knows under another row.
    """
    for sample in samples:
        row = rows.start + sample.camid
        known = names[row] if row < rows.stop else "none"
        if sample.camera and known and known != sample.camera:
            trained = ", ".join(name for name in names[rows.start : rows.stop] if name)
            raise ConfigError(
                f"DATASETS.TARGETS: {sample.path} is from camera {sample.camera}, but the model "
                f"learned camera {known} in its place; it was trained with {trained}. Rename the "
                "data set, so that its cameras count as unknown, or restore its cameras"
            )
