"""Rebuild a model from a checkpoint alone."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from torch import Tensor
from yacs.config import CfgNode

from config import ConfigError, load_cfg
from config.load import flatten, load_cfg_text
from model import CLIPReID, build_model
from model.clip import architecture_text
from model.weights import WeightsFile, infer_options, load_state, read_weights_file

logger = logging.getLogger(__name__)

# Options that the weights depend on: the file's own values win over a config file's.
ARCHITECTURE = (
    "MODEL.NAME",
    "MODEL.LAST_STRIDE",
    "MODEL.NECK",
    "MODEL.TEXT_TOWER",
    "MODEL.PROMPT",
    "MODEL.STRIDE_SIZE",
    "MODEL.SIE_CAMERA",
    "MODEL.SIE_VIEW",
    "MODEL.SIE_COE",
    "INPUT.SIZE_TRAIN",
    "INPUT.SIZE_TEST",
    "INPUT.PIXEL_MEAN",
    "INPUT.PIXEL_STD",
)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model from a file, on the CPU.

    Attributes:
        model: with the file's weights.
        cfg: the configuration it was rebuilt with.
        camera_offsets: source data set -> what was added to its camids in training.
    """

    model: CLIPReID
    cfg: CfgNode
    camera_offsets: dict[str, int]


def open_model(
    path: str, config_file: str | None = None, opts: list[str] | None = None
) -> LoadedModel:
    """Build the model that a checkpoint holds; CLIP's own weights are not needed.

    The architecture comes from `opts`, else from the checkpoint, else from its shapes; everything
    else from `opts`, else the config file, else the checkpoint.

    Args:
        path: a checkpoint of this project or of CLIP-ReID.
        config_file: a YAML file, or None.
        opts: overrides `KEY VALUE ...`.

    Raises:
        ConfigError: no path.
        FileNotFoundError, ValueError: see `read_weights_file` and `load_weights`.
    """
    if not path:
        raise ConfigError("TEST.WEIGHT: name the checkpoint to evaluate, e.g. TEST.WEIGHT last.pth")
    opts = list(opts or [])
    file = read_weights_file(path)
    cfg = _configuration(file, config_file, opts)
    model = build_model(cfg, *_sizes(file))
    logger.info("%s: %s", path, load_state(model, file.state, path))
    offsets = json.loads(str(file.meta.get("camera_offsets", "{}")))
    return LoadedModel(model, cfg, offsets)


def _configuration(file: WeightsFile, config_file: str | None, opts: list[str]) -> CfgNode:
    no_download = ["MODEL.PRETRAIN_CHOICE", "none"]
    text = str(file.meta.get("architecture", ""))
    own_name = ["MODEL.NAME", text] if text else []  # the JSON file may be gone
    if config_file is None:
        if file.config:
            return load_cfg_text(file.config, [*own_name, *opts, *no_download])
        cfg = load_cfg(None, [*infer_options(file.state), *opts, *no_download])
        logger.info("no configuration in the file: %s, from its shapes", cfg.MODEL.NAME)
        if cfg.MODEL.SIE_CAMERA:
            logger.warning(
                "the file does not say MODEL.SIE_COE (%s is taken; the published recipe has 1.0) "
                "nor whether its side information is of cameras or viewpoints",
                cfg.MODEL.SIE_COE,
            )
        return cfg
    if not file.config:
        return load_cfg(config_file, [*opts, *no_download])
    given = dict(flatten(load_cfg(config_file, opts)))
    saved = dict(flatten(load_cfg_text(file.config, own_name)))
    saved["MODEL.NAME"] = text or saved["MODEL.NAME"]
    given["MODEL.NAME"] = architecture_text(given["MODEL.NAME"]) or given["MODEL.NAME"]
    typed = set(opts[::2])
    kept: list[str] = []
    for key in ARCHITECTURE:
        if saved[key] != given[key] and key not in typed:
            logger.warning("%s: %s, as the checkpoint says, not %s", key, saved[key], given[key])
            kept += [key, str(saved[key])]
    return load_cfg(config_file, [*opts, *kept, *no_download])


def _sizes(file: WeightsFile) -> tuple[int, int, int]:
    """Classes, cameras and viewpoints of the model in the file."""
    if file.meta:
        return (
            int(file.meta["num_classes"]),
            int(file.meta["num_cameras"]),
            int(file.meta["num_views"]),
        )
    rows = {key.removeprefix("module."): len(value) for key, value in _tables(file.state).items()}
    return rows.get("classifier.weight", 1), rows.get("cv_embed", 1), 1


def _tables(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if value.ndim == 2}
