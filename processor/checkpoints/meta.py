"""Facts that a checkpoint carries in addition to weights and configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from yacs.config import CfgNode

from config import ConfigError
from config.plugins import describe_plugins
from datasets.sources import TrainingSet
from model.encoders.architecture import parse_architecture
from model.encoders.clip import architecture_text
from model.weights.read import WeightsFile
from processor.checkpoints.save import Meta

NAMES = ("names", "camera_names")
VERI_VIEWPOINTS = 8  # of the only benchmark with viewpoints
SIZES = ("num_classes", "num_cameras", "num_views")
MOST_ROWS = 10_000_000  # of a table in a file; more would fill the memory before it fails


def _is_text(entry: Any) -> bool:
    return isinstance(entry, str)


def _is_plugin(entry: Any) -> bool:
    return isinstance(entry, dict) and all(_is_text(entry.get(key)) for key in ("path", "sha256"))


# Facts that are JSON lists -> what an entry is.
_LISTS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(NAMES, _is_text),
    "plugins": _is_plugin,
}


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """Sizes of a model that depend on its training data."""

    num_classes: int
    num_cameras: int
    num_views: int

    @classmethod
    def of(cls, data: TrainingSet) -> ModelSizes:
        """Sizes of a model trained on these images."""
        return cls(data.num_classes, data.num_cameras, data.num_views)


def describe_training(cfg: CfgNode, data: TrainingSet) -> Meta:
    """The facts that the checkpoints of a training run carry about their model.

    Among them are, as JSON lists, "names": the identity behind every label (empty if trained
    without labels), and "camera_names": the camera behind every row of the camera table.
    """
    identities = () if cfg.DSGL.ENABLED else data.identity_names
    return {
        **describe_model(cfg, ModelSizes.of(data), data.camera_ranges()),
        "use_all": data.use_all,
        **{
            key: json.dumps(names, ensure_ascii=False)
            for key, names in zip(NAMES, (identities, data.camera_names), strict=True)
        },
    }


def describe_model(cfg: CfgNode, sizes: ModelSizes, cameras: dict[str, range]) -> Meta:
    """The facts about a model that an original file allows to tell, too.

    Args:
        cfg: MODEL.NAME, DSGL.ENABLED and PLUGINS count.
        sizes: of the model.
        cameras: per source, the rows of its cameras in the camera table.
    """
    return {
        "architecture": architecture_text(cfg.MODEL.NAME),
        "num_classes": 0 if cfg.DSGL.ENABLED else sizes.num_classes,
        "num_cameras": sizes.num_cameras,
        "num_views": sizes.num_views,
        "cameras": json.dumps({name: [rows.start, rows.stop] for name, rows in cameras.items()}),
        "plugins": json.dumps(describe_plugins(cfg.PLUGINS)),
        "torch": str(torch.__version__),
    }


def check_meta(file: WeightsFile, origin: str) -> None:
    """Check the facts in a file before a model is built from them.

    Raises:
        ValueError: they describe no model of this project; names `origin` and the fact.
    """
    if not file.meta:
        return
    for key in SIZES:
        size = file.meta.get(key)
        if type(size) is not int or not 0 <= size <= MOST_ROWS:
            raise ValueError(f"{origin}: {key} is {size!r}, expected 0 to {MOST_ROWS:,}")
    architecture = str(file.meta.get("architecture", ""))
    if architecture:
        parse_architecture(architecture, f"{origin}: its architecture")
    for key, is_entry in _LISTS.items():
        try:
            found = json.loads(file.meta.get(key, "[]"))
            known = isinstance(found, list) and all(map(is_entry, found))
        except (TypeError, ValueError, RecursionError):
            known = False
        if not known:
            raise ValueError(f"{origin}: {key} is damaged, expected a JSON list")
    try:
        cameras = dict(json.loads(file.meta["cameras"]))
        ends = [(0, *rows, file.meta["num_cameras"]) for rows in cameras.values()]
        whole = all(type(value) is int for x in ends for value in x)
        known = whole and all(len(x) == 4 and list(x) == sorted(x) for x in ends)
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError):
        known = False
    if not known:
        raise ValueError(f"{origin}: cameras is {file.meta.get('cameras')!r}, not rows of a table")


def read_sizes(file: WeightsFile, cfg: CfgNode) -> ModelSizes:
    """Sizes of the model in a file: from its meta, else from the shapes of its tensors.

    Raises:
        ConfigError: the side-information table does not fit MODEL.SIE_*.
    """
    if file.meta:
        return ModelSizes(*(int(file.meta[key]) for key in SIZES))
    classes = file.state.get("classifier.weight")
    num_classes = 1 if classes is None else len(classes)
    rows = len(file.state["cv_embed"]) if "cv_embed" in file.state else 1
    if not cfg.MODEL.SIE_VIEW:
        return ModelSizes(num_classes, rows, 1)
    if not cfg.MODEL.SIE_CAMERA:
        return ModelSizes(num_classes, 1, rows)
    if rows % VERI_VIEWPOINTS:
        raise ConfigError(
            f"MODEL.SIE_CAMERA, MODEL.SIE_VIEW: {rows} rows of side information are not pairs of "
            f"cameras and VeRi-776's {VERI_VIEWPOINTS} viewpoints; set only one of the two"
        )
    return ModelSizes(num_classes, rows // VERI_VIEWPOINTS, VERI_VIEWPOINTS)
