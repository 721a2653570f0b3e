"""Rows of a model's camera table, by data set."""

from __future__ import annotations

import json
import logging

from yacs.config import CfgNode

from config import ConfigError
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
                    f"file, so rename one; if both are the same: DATASETS.NAMES {target_path}"
                )
    return cameras.get(target)
