"""Load the configuration: defaults, YAML files, the environment, overrides; later ones win."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from config.checks import check_cfg, check_pretraining
from config.defaults import default_cfg
from config.files import Layer, find_model_config, make_layer, read_layers, read_tree
from config.legacy import NO_EFFECT, PRESET, check_preset, translate_model_name
from config.options import OPTIONS, find_option, lookup
from config.overrides import COMMAND_LINE, Overrides, list_overrides, pair_overrides
from config.values import set_value

logger = logging.getLogger(__name__)

DATA_VARIABLE = "REID_DATA"


@dataclass(frozen=True, slots=True)
class Setting:
    """Key and value of an option as written, and where."""

    key: str
    value: Any
    source: str


def load_cfg(
    config_file: str | Path | None = None, opts: Overrides = (), *, quiet: bool = False
) -> CfgNode:
    """The complete configuration of a run, checked and frozen.

    Later sources win: defaults, YAML file, environment variable REID_DATA (`DATASETS.ROOT_DIR`),
    overrides. Original CLIP-ReID files load unchanged (`config.legacy`).

    A YAML file with the line `_BASE_: ../person/vit_clipreid.yml` (one path, relative to its own
    folder) inherits all options of that file but OUTPUT_DIR; its own options win. The base may have
    a base in turn. A JSON model config in MODEL.NAME is also found next to the file that names it.
    The default OUTPUT_DIR is named after the given file.

    Args:
        config_file: a YAML file; None takes the defaults.
        opts: overrides `KEY VALUE KEY VALUE ...` as typed on the command line, or a dict.
        quiet: no warning of options without effect, no note on flat `SOLVER.X`.

    Raises:
        FileNotFoundError: the file or a base does not exist.
        UnknownOptionError: an option does not exist; names the nearest ones.
        ConfigError: a value of the wrong type, options that do not fit each other, an option given
            twice in a file, or a file that is its own base.
    """
    layers = read_layers(config_file) if config_file else []
    cfg = build_cfg(layers, list_overrides(opts or ()), quiet=quiet)
    check_pretraining(cfg)
    if config_file and not cfg.OUTPUT_DIR:
        file = Path(config_file).resolve()
        cfg.OUTPUT_DIR = f"runs/{file.parent.name}/{file.stem}"
    cfg.freeze()
    return cfg


def load_cfg_text(text: str, opts: Sequence[str] = ()) -> CfgNode:
    """The configuration in a checkpoint, YAML text, with overrides; raises as `load_cfg`."""
    source = "the checkpoint's configuration"
    cfg = build_cfg([make_layer(read_tree(text, source), source)], opts)
    cfg.freeze()
    return cfg


def dump_cfg(cfg: CfgNode) -> str:
    """The configuration as YAML text, which loads as an equal one."""
    return cfg.dump()


def build_cfg(files: Sequence[Layer], opts: Sequence[str], *, quiet: bool = False) -> CfgNode:
    """Defaults, then `files`, the environment and `opts` on top; raises as `load_cfg`."""
    cfg = default_cfg()
    given: dict[str, Setting] = {}
    for layer in (*files, _read_environment(), Layer(COMMAND_LINE, pair_overrides(opts))):
        for key, value in layer.pairs:
            name = find_option(key, layer.source)
            given[name] = Setting(key, value, layer.source)
            if name in OPTIONS:
                set_value(cfg, name, value, layer.source)
    if PRESET in given:
        check_preset(given[PRESET].value, given)
    cfg.MODEL.NAME = _find_model(cfg, files, given)
    if not quiet:
        _warn_of_no_effect(given)
        _note_flat_options(cfg, given)
    check_cfg(cfg)
    return cfg


def _read_environment() -> Layer:
    root = os.environ.get(DATA_VARIABLE)
    return Layer(DATA_VARIABLE, [("DATASETS.ROOT_DIR", root)] if root else [])


def _find_model(cfg: CfgNode, files: Sequence[Layer], given: Mapping[str, Setting]) -> str:
    """MODEL.NAME; a JSON file may lie next to the file that names it, else next to its heirs."""
    sources = [layer.source for layer in reversed(files)]
    if "MODEL.NAME" in given:
        sources.sort(key=lambda source: source != given["MODEL.NAME"].source)
    name = find_model_config(cfg.MODEL.NAME, sources)
    return translate_model_name(name, unsupervised=cfg.DSGL.ENABLED)


def _warn_of_no_effect(given: Iterable[str]) -> None:
    names = sorted(NO_EFFECT.intersection(given))
    if names:
        logger.warning("options without effect: %s", ", ".join(names))


def _note_flat_options(cfg: CfgNode, given: Mapping[str, Setting]) -> None:
    """Say which options of other stages a flat `SOLVER.X` leaves unchanged."""
    stages = {
        "STAGE0": cfg.SOLVER.STAGE0.MAX_EPOCHS > 0,
        "STAGE1": cfg.MODEL.TEXT_TOWER and not cfg.DSGL.ENABLED,
    }
    for name, setting in given.items():
        if setting.key == name or not name.startswith("SOLVER.STAGE2."):
            continue
        others = [name.replace("STAGE2", stage) for stage, used in stages.items() if used]
        unchanged = [f"{x} ({lookup(cfg, x)})" for x in others if x in OPTIONS]
        if unchanged:
            logger.info("%s sets %s, not %s", setting.key, name, " or ".join(unchanged))
