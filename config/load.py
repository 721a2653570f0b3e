"""Load the configuration: defaults, YAML files, the environment, overrides; later ones win."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from config.checks import check_cfg, check_pretraining
from config.defaults import default_cfg
from config.files import (
    Layer,
    check_stored_yaml,
    dump_yaml,
    find_beside,
    make_layer,
    read_layers,
    read_tree,
    read_value,
)
from config.free_options import is_free
from config.legacy import NO_EFFECT, PRESET, check_preset, translate_model_name
from config.options import OPTIONS, find_option, lookup
from config.overrides import COMMAND_LINE, Overrides, list_overrides, pair_overrides
from config.plugins import import_plugins
from config.samplers import SAMPLERS
from config.text import expand_home
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
    The default OUTPUT_DIR is named after the given file. Files and modules in PLUGINS are imported;
    a file is also found from the folder of the YAML file that names it.

    Args:
        config_file: a YAML file; None takes the defaults.
        opts: overrides `KEY VALUE KEY VALUE ...` as typed on the command line, or a dict.
        quiet: no warning of options without effect, no note on flat `SOLVER.X`.

    Raises:
        FileNotFoundError: the file or a base does not exist.
        UnknownOptionError: an option does not exist; names the nearest ones.
        ConfigError: a value of the wrong type, options that do not fit each other, an option given
            twice in a file, a file that is its own base, or a plug-in that cannot be imported.
    """
    layers = read_layers(config_file) if config_file else []
    cfg = build_cfg(layers, list_overrides(opts or ()), quiet=quiet)
    check_pretraining(cfg)
    if config_file and not cfg.OUTPUT_DIR:
        file = Path(config_file).resolve()
        cfg.OUTPUT_DIR = f"runs/{file.parent.name}/{file.stem}"
    cfg.OUTPUT_DIR = str(expand_home(cfg.OUTPUT_DIR)) if cfg.OUTPUT_DIR else ""
    cfg.freeze()
    return cfg


def load_cfg_text(text: str, opts: Sequence[str] = ()) -> CfgNode:
    """The configuration in a checkpoint, YAML text, with overrides; raises as `load_cfg`.

    A checkpoint runs no code: PLUGINS in the text are left out, only those in `opts` are imported.
    The text may therefore name a sampler that is unknown here.
    """
    source = "the checkpoint's configuration"
    check_stored_yaml(text, source)
    layer = make_layer(read_tree(text, source), source)
    pairs = [(key, value) for key, value in layer.pairs if key != "PLUGINS"]
    cfg = build_cfg([replace(layer, pairs=pairs)], opts, trained=True)
    cfg.freeze()
    return cfg


def dump_cfg(cfg: CfgNode) -> str:
    """The configuration as YAML text, which loads as an equal one."""
    return dump_yaml(cfg)


def build_cfg(
    files: Sequence[Layer], opts: Sequence[str], *, quiet: bool = False, trained: bool = False
) -> CfgNode:
    """Defaults, then `files`, the environment and `opts` on top; raises as `load_cfg`.

    Args:
        files: options of YAML files, the most specific last.
        opts: overrides `KEY VALUE ...`.
        quiet: as for `load_cfg`.
        trained: `files` tell how a model was trained; a sampler that they name may be unknown.
    """
    cfg = default_cfg()
    given: dict[str, Setting] = {}
    for layer in (*files, _read_environment(), _read_overrides(opts)):
        for key, value in layer.pairs:
            name = find_option(key, layer.source)
            given[name] = Setting(key, value, layer.source)
            if is_free(name) or name in OPTIONS:
                set_value(cfg, name, value, layer.source)
    if PRESET in given:
        check_preset(given[PRESET].value, given)
    cfg.PLUGINS = import_plugins(
        cfg.PLUGINS, [Path(x).parent for x in _files(files, given, "PLUGINS")]
    )
    cfg.MODEL.NAME = _find_model(cfg, files, given)
    cfg.MODEL.PRETRAIN_PATH = find_beside(
        cfg.MODEL.PRETRAIN_PATH, _files(files, given, "MODEL.PRETRAIN_PATH")
    )
    if not quiet:
        _warn_of_no_effect(given)
        _note_flat_options(cfg, given)
    sampler = given.get("DATALOADER.SAMPLER")
    typed = sampler is not None and sampler.source == COMMAND_LINE
    check_cfg(cfg, batches=not trained or typed or cfg.DATALOADER.SAMPLER in SAMPLERS)
    return cfg


def _read_environment() -> Layer:
    root = os.environ.get(DATA_VARIABLE)
    return Layer(DATA_VARIABLE, [("DATASETS.ROOT_DIR", root)] if root else [])


def _read_overrides(opts: Sequence[str]) -> Layer:
    """What was typed; the values of free options are YAML."""
    pairs = pair_overrides(opts)
    return Layer(COMMAND_LINE, [(k, read_value(v, k) if is_free(k) else v) for k, v in pairs])


def _files(layers: Sequence[Layer], given: Mapping[str, Setting], name: str) -> list[str]:
    """The files of the layers: the one that sets an option, then its heirs before its bases."""
    sources = [layer.source for layer in reversed(layers)]
    if name in given:
        sources.sort(key=lambda source: source != given[name].source)
    return sources


def _find_model(cfg: CfgNode, files: Sequence[Layer], given: Mapping[str, Setting]) -> str:
    """MODEL.NAME; a JSON file may lie next to the file that names it, else next to its heirs."""
    name = find_beside(cfg.MODEL.NAME, _files(files, given, "MODEL.NAME"))
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
