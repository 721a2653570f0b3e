"""The configuration to rebuild a checkpoint's model with."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from yacs.config import CfgNode

from config import load_cfg
from config.free_options import is_free
from config.load import load_cfg_text
from config.options import flatten
from model.encoders.clip import architecture_text
from model.weights.read import WeightsFile
from model.weights.translate import Grid, infer_options, options_told

logger = logging.getLogger(__name__)

# Options that the weights depend on: the checkpoint's values override a config file's.
ARCHITECTURE = (
    "MODEL.NAME",
    "MODEL.PRETRAIN_TAG",
    "MODEL.LAST_STRIDE",
    "MODEL.NECK",
    "MODEL.TEXT_TOWER",
    "MODEL.PROMPT",
    "MODEL.STRIDE_SIZE",
    "MODEL.SIE_CAMERA",
    "MODEL.SIE_VIEW",
    "MODEL.SIE_COE",
    "DSGL.ENABLED",
    "DSGL.POOLING",
    "DSGL.EMBED_DIM",
    "INPUT.SIZE_TRAIN",
    "INPUT.SIZE_TEST",
    "INPUT.TEST_INTERPOLATION",
    "INPUT.NORMALIZATION",
    "INPUT.CHANNELS",
    "INPUT.PIXEL_MEAN",
    "INPUT.PIXEL_STD",
)
# The checkpoint holds all weights: CLIP's are neither downloaded nor read.
NO_PRETRAINING = ("MODEL.PRETRAIN_CHOICE", "none", "MODEL.PRETRAIN_PATH", "")


def choose_configuration(
    file: WeightsFile, config_file: str | None, opts: Sequence[str]
) -> CfgNode:
    """The configuration for a checkpoint's model.

    ARCHITECTURE and the options of plug-ins come from `opts`, else from the checkpoint, else from
    the shapes of an original file; all other options from `opts`, else the config file, else the
    checkpoint.

    Raises:
        ConfigError, FileNotFoundError, UnknownOptionError: see `load_cfg`.
        ValueError: see `infer_options`.
    """
    if not file.config:
        if config_file is None:
            return _infer_configuration(file, opts)
        told = _told_by_shapes(file, load_cfg(config_file, [*opts, *NO_PRETRAINING]), opts)
        return load_cfg(config_file, [*told, *opts, *NO_PRETRAINING], quiet=True)
    architecture = str(file.meta.get("architecture", ""))
    name = ["MODEL.NAME", architecture] if architecture else []  # the JSON file may be gone
    if config_file is None:
        return load_cfg_text(file.config, [*name, *opts, *NO_PRETRAINING])
    saved = dict(flatten(load_cfg_text(file.config, name)))
    own = [*name, "DSGL.ENABLED", str(saved["DSGL.ENABLED"])]  # decides which names are valid
    given = dict(flatten(load_cfg(config_file, [*own, *opts, *NO_PRETRAINING], quiet=True)))
    saved["MODEL.NAME"] = architecture or saved["MODEL.NAME"]
    given["MODEL.NAME"] = architecture_text(given["MODEL.NAME"]) or given["MODEL.NAME"]
    typed = set(opts[::2])
    kept: list[str] = []
    for key in (*ARCHITECTURE, *filter(is_free, saved)):
        value = saved[key]
        if value != given.get(key) and key not in typed:
            logger.warning("%s: %s from the checkpoint replaces %s", key, value, given.get(key))
            kept += [key, json.dumps(value) if is_free(key) else str(value)]
    return load_cfg(config_file, [*own, *opts, *kept, *NO_PRETRAINING])


def _told_by_shapes(file: WeightsFile, cfg: CfgNode, opts: Sequence[str]) -> list[str]:
    """Overrides for what a file without configuration tells by its shapes; typed ones win."""
    sides = cfg.MODEL.SIE_CAMERA or cfg.MODEL.SIE_VIEW
    now = Grid(tuple(cfg.MODEL.STRIDE_SIZE), tuple(cfg.INPUT.SIZE_TEST))
    told = options_told(file.state, now, side_information=sides)
    values = dict(flatten(cfg))
    kept: list[str] = []
    for key, value in told.items():
        if key not in opts[::2] and str(values[key]) != value:
            logger.warning(
                "%s: %s, by the shapes of the file, replaces %s", key, value, values[key]
            )
            kept += [key, value]
    if "MODEL.SIE_CAMERA" in kept[::2]:
        _warn_of_side_information(cfg)
    return kept


def _infer_configuration(file: WeightsFile, opts: Sequence[str]) -> CfgNode:
    """The configuration of an original CLIP-ReID file, from its shapes."""
    cfg = load_cfg(None, [*infer_options(file.state), *opts, *NO_PRETRAINING])
    logger.info("the file has no configuration; its shapes are those of %s", cfg.MODEL.NAME)
    if cfg.MODEL.SIE_CAMERA or cfg.MODEL.SIE_VIEW:
        _warn_of_side_information(cfg)
    return cfg


def _warn_of_side_information(cfg: CfgNode) -> None:
    logger.warning(
        "the file does not tell MODEL.SIE_COE (using %s; the published recipe has 1.0) or whether "
        "its side information is about cameras or viewpoints",
        cfg.MODEL.SIE_COE,
    )
