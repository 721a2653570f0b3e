"""The configuration of a network file: its preprocessing, from itself or from options."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from config import ConfigError, load_cfg
from model.network_files.embedder import NetworkFile

logger = logging.getLogger(__name__)

# Facts that this project writes into exported files -> the options that they set.
_DESCRIBED = {
    "image_size": "INPUT.SIZE_TEST",
    "interpolation": "INPUT.TEST_INTERPOLATION",
    "normalization": "INPUT.NORMALIZATION",
    "channels": "INPUT.CHANNELS",
    "mean": "INPUT.PIXEL_MEAN",
    "std": "INPUT.PIXEL_STD",
    "neck_feature": "TEST.NECK_FEAT",
}
# Levels 0..255 as they are.
_LEVELS = {
    "INPUT.NORMALIZATION": "fixed",
    "INPUT.CHANNELS": "rgb",
    "INPUT.PIXEL_MEAN": [0.0, 0.0, 0.0],
    "INPUT.PIXEL_STD": [1 / 255] * 3,
}
_PREPROCESSING = ("INPUT.SIZE_TEST", "INPUT.CHANNELS", "INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD")
# Options that cannot have an effect -> the values that ask for none, and why.
_WITHOUT_EFFECT = {
    "MODEL.COMPILE": ("False", "it runs as it is"),
    "MODEL.SIE_CAMERA": ("False", "it takes no cameras"),
    "MODEL.SIE_VIEW": ("False", "it takes no viewpoints"),
    "TEST.EMA": ("False", "it has no averaged weights"),
    "TEST.NECK_FEAT": ("", "its features are those of its output (TEST.OUTPUT)"),
    "TEST.AMP": ("off", "it computes in its own number format"),
}
NAME = "network file"  # MODEL.NAME of all of them: a file's name tells nothing about its network


def output_of(config_file: str | None, opts: Sequence[str]) -> str:
    """TEST.OUTPUT, which is needed before the file can tell anything."""
    typed = dict(zip(opts[::2], opts[1::2], strict=False)).get("TEST.OUTPUT")
    if typed is None and config_file is not None:
        return str(load_cfg(config_file, quiet=True).TEST.OUTPUT)
    return typed or ""


def configure_network_file(
    network: NetworkFile, config_file: str | None, opts: Sequence[str]
) -> CfgNode:
    """The configuration to run a network file with.

    Preprocessing comes from `opts`, else from the file where this project exported it, else from
    the config file or the defaults, which are logged.

    Raises:
        ConfigError: an option that cannot have an effect on such a file, or an image size that it
            does not take.
    """
    path, typed = network.path, set(opts[::2])
    values = dict(zip(opts[::2], opts[1::2], strict=True))
    for option, (none, reason) in _WITHOUT_EFFECT.items():
        if values.get(option, none).lower() != none.lower():
            raise ConfigError(f"{option}: {path} is a network file; {reason}")
    told = _told_options(network.description) if network.description else {}
    if network.image_size is not None:
        told["INPUT.SIZE_TEST"] = list(network.image_size)
    if network.takes_levels:
        for option in typed & _LEVELS.keys():
            raise ConfigError(f"{option}: {path} takes levels 0 to 255 and normalizes them itself")
        told |= _LEVELS
    own = {
        "MODEL.NAME": NAME,
        "TEST.AMP": "off",  # also where a config file says otherwise
        "SOLVER.AMP": "off",
        "MODEL.PRETRAIN_CHOICE": "none",
        "MODEL.PRETRAIN_PATH": "",
    }
    added = {key: value for key, value in {**own, **told}.items() if key not in typed}
    sized = complete_sizes([*_as_opts(added), *opts])
    cfg = load_cfg(config_file, sized, quiet=True)
    size = list(cfg.INPUT.SIZE_TEST)
    if network.image_size not in (None, tuple(size)):
        raise ConfigError(
            f"INPUT.SIZE_TEST: {size}, but {path} takes images of {list(network.image_size or ())}"
        )
    if not network.description:
        used = "; ".join(f"{key} {_value(cfg, key)}" for key in _PREPROCESSING)
        logger.info("%s does not describe its preprocessing; used: %s", path, used)
    return cfg


def _told_options(description: Mapping[str, Any]) -> dict[str, Any]:
    return {key: description[fact] for fact, key in _DESCRIBED.items() if fact in description}


def complete_sizes(opts: Sequence[str]) -> list[str]:
    """Overrides with SIZE_TRAIN as SIZE_TEST, to which it has to be equal."""
    size = dict(zip(opts[::2], opts[1::2], strict=True)).get("INPUT.SIZE_TEST")
    if size is None or "INPUT.SIZE_TRAIN" in opts[::2]:
        return list(opts)
    return [*opts, "INPUT.SIZE_TRAIN", size]


def _as_opts(options: Mapping[str, Any]) -> list[str]:
    return [text for key, value in options.items() for text in (key, str(value))]


def _value(cfg: CfgNode, key: str) -> Any:
    section, name = key.split(".")
    return cfg[section][name]


def needs_a_checkpoint(path: str | Path) -> str:
    """The message for a use of a network file that needs weights by name."""
    return (
        f"{path} is a network file: it can be evaluated and searched with, but training, prompts, "
        "attention maps and exports need a checkpoint"
    )
