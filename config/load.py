"""Reading the configuration: defaults, then YAML files, then the environment, then overrides."""

from __future__ import annotations

import ast
import difflib
import logging
import math
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from config.checks import check_cfg, lookup
from config.defaults import default_cfg
from config.errors import ConfigError, UnknownOptionError
from config.legacy import NO_EFFECT, translate_key, translate_model_name, translate_value
from config.presets import PRESETS

logger = logging.getLogger(__name__)

DATA_VARIABLE = "REID_DATA"
BASE_KEY = "_BASE_"

Layer = tuple[str, dict[str, Any]]
"""Where options come from, as errors name it, and their tree."""

_KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
}


def load_cfg(
    config_file: str | Path | None = None, opts: Sequence[str] = (), *, quiet: bool = False
) -> CfgNode:
    """The complete configuration of a run, checked and frozen.

    Later sources win: defaults, DATALOADER.DFGS.PRESET, YAML file, environment variable REID_DATA
    (`DATASETS.ROOT_DIR`), overrides. Original CLIP-ReID files load as they are (`config.legacy`).

    A YAML file with the line `_BASE_: ../person/vit_clipreid.yml` (a path from its own folder, one
    only) has all options of that file, and its own win; the base may have a base in turn. A JSON
    model config in MODEL.NAME is also found beside the file that names it. The default OUTPUT_DIR
    is named after the given file, never after a base.

    Args:
        config_file: a YAML file; None takes the defaults.
        opts: overrides `KEY VALUE KEY VALUE ...` as typed on the command line.
        quiet: do not warn of options without effect.

    Raises:
        FileNotFoundError: no such file, or no such base.
        UnknownOptionError: an option that does not exist, with the nearest ones.
        ConfigError: a value of the wrong type, options that do not fit each other, or a file that
            is its own base.
    """
    opts = opts or ()
    layers = read_layers(config_file) if config_file else [("", {})]
    cfg = build_cfg(layers, opts, quiet=quiet)
    if config_file and not cfg.OUTPUT_DIR:
        file = Path(config_file).resolve()
        cfg.OUTPUT_DIR = f"runs/{file.parent.name}/{file.stem}"
    cfg.freeze()
    return cfg


def load_cfg_text(text: str, opts: Sequence[str] = ()) -> CfgNode:
    """The configuration a checkpoint carries as YAML text, with overrides; raises as `load_cfg`."""
    cfg = build_cfg([("the checkpoint's configuration", yaml.safe_load(text) or {})], opts)
    cfg.freeze()
    return cfg


def dump_cfg(cfg: CfgNode) -> str:
    """The configuration as YAML text that loads again; options without effect are left out."""
    kept = cfg.clone()
    kept.defrost()
    for name in NO_EFFECT:
        *parents, leaf = name.split(".")
        node = kept
        for parent in parents:
            node = node[parent]
        del node[leaf]
    return kept.dump()


def build_cfg(layers: Sequence[Layer], opts: Sequence[str], *, quiet: bool = False) -> CfgNode:
    """Defaults, then `layers`, the environment and `opts` on top; raises as `load_cfg`."""
    if len(opts) % 2:
        raise ConfigError(
            f"overrides come in pairs KEY VALUE; {opts[-1]!r} has no value (got: {' '.join(opts)})"
        )
    cfg = default_cfg()
    pairs = [(key, value, origin) for origin, tree in layers for key, value in flatten(tree)]
    if os.environ.get(DATA_VARIABLE):
        pairs.append(("DATASETS.ROOT_DIR", os.environ[DATA_VARIABLE], DATA_VARIABLE))
    pairs += [(opts[i], opts[i + 1], "the command line") for i in range(0, len(opts), 2)]
    known = frozenset(key for key, _ in flatten(cfg))
    given: dict[str, str] = {}  # name -> the source whose value counts
    without_effect = set()
    for key, value, source in pairs:
        name = translate_key(key, known)
        if value is None and any(option.startswith(f"{key}.") for option in known):
            continue  # an empty block
        if name not in known:
            raise UnknownOptionError(unknown_option_message(key, known, source))
        if name in NO_EFFECT:
            without_effect.add(name)
        given[name] = source
        set_value(cfg, name, value, source)
    apply_preset(cfg, given)
    # Beside the file that names it first, then beside the given file and its bases.
    origins = [origin for origin, _ in reversed(layers)]
    origins.sort(key=lambda origin: origin != given.get("MODEL.NAME"))
    cfg.MODEL.NAME = find_model_config(cfg.MODEL.NAME, origins)
    cfg.MODEL.NAME = translate_model_name(cfg.MODEL.NAME, unsupervised=cfg.DSGL.ENABLED)
    if without_effect and not quiet:
        logger.warning("options without effect: %s", ", ".join(sorted(without_effect)))
    check_cfg(cfg)
    return cfg


def apply_preset(cfg: CfgNode, given: Collection[str]) -> None:
    """Put in the values of DATALOADER.DFGS.PRESET, but for the options in `given`."""
    for name, value in PRESETS.get(cfg.DATALOADER.DFGS.PRESET, {}).items():
        if name not in given:
            set_value(cfg, name, value, f"the preset {cfg.DATALOADER.DFGS.PRESET}")


def find_model_config(name: str, files: Sequence[str]) -> str:
    """MODEL.NAME, or where a JSON model config lies that is not at that path: beside a file."""
    if not name.endswith(".json") or Path(name).is_file():
        return name
    beside = (Path(file).parent / Path(name).name for file in files)
    return next((str(path) for path in beside if path.is_file()), name)


def read_layers(config_file: str | Path) -> list[Layer]:
    """A YAML file and its bases, the file itself last.

    Raises:
        FileNotFoundError: no such file or base.
        ConfigError: no tree of options, `_BASE_` is not a path, or the bases go round in a circle.
    """
    path = Path(config_file)
    tree = read_yaml(path, "--config_file")
    layers = [(str(path), tree)]
    seen = {path.resolve()}
    while BASE_KEY in tree:
        heir, path = path, base_path(path, tree.pop(BASE_KEY))
        if path.resolve() in seen:
            raise ConfigError(f"{BASE_KEY} of {heir}: {path} is itself based on {heir}")
        seen.add(path.resolve())
        tree = read_yaml(path, f"{BASE_KEY} of {heir}")
        layers.insert(0, (str(path), tree))
    return layers


def base_path(heir: Path, value: Any) -> Path:
    """The file that `_BASE_: value` in the file `heir` means; raises ConfigError."""
    if not isinstance(value, str) or not value:
        raise ConfigError(
            f"{BASE_KEY} of {heir}: {value!r} should be the path of one YAML file, from the folder "
            "of this one"
        )
    return heir.parent / value


def read_yaml(path: Path, role: str) -> dict[str, Any]:
    """The tree of one YAML file; an empty file or block (`DATASETS:`) counts as absent.

    Args:
        path: the file.
        role: what names the file, for errors.
    """
    if not path.is_file():
        beside = sorted(str(p) for p in path.parent.glob("*.yml")) if path.parent.is_dir() else []
        near = f"; files there: {', '.join(beside)}" if beside else ""
        raise FileNotFoundError(f"{role}: no file {path}{near}")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{role}: {path} is not valid YAML: {error}") from error
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{role}: {path} holds no options, but {type(tree).__name__}")
    return tree or {}


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of dotted option name and value; empty blocks give nothing."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flatten(value, f"{name}.")
        elif value is not None or prefix:
            yield name, value


def set_value(cfg: CfgNode, name: str, value: Any, source: str) -> None:
    """Put one value into the tree, converted to the type of the default; raises ConfigError."""
    *parents, leaf = name.split(".")
    node = cfg
    for parent in parents:
        node = node[parent]
    default = node[leaf]
    value = translate_value(name, literal(value, default), default)
    try:
        node[leaf] = coerce(value, default)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(
            f"{name}: {value!r} (from {source}) should be {_KINDS[type(default)]}, like the "
            f"default {lookup(default_cfg(), name)!r}"
        ) from None


def literal(value: Any, default: Any) -> Any:
    """Read a string as the Python literal it spells, unless the option is a plain string."""
    if not isinstance(value, str) or (isinstance(default, str) and value[:1] not in "'\"("):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def coerce(value: Any, default: Any) -> Any:
    """`value` as the type of `default`; raises TypeError, ValueError or OverflowError if unfit."""
    if isinstance(default, bool):
        if value in (0, 1) and not isinstance(value, str | float):
            return bool(value)
        raise TypeError
    if isinstance(default, list | tuple):
        if not isinstance(value, list | tuple):
            raise TypeError
        like = default[0] if default else ""
        return type(default)(coerce(item, like) for item in value)
    if isinstance(default, str):
        if not isinstance(value, bool | int | float | str):
            raise TypeError
        return str(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError
    if not math.isfinite(value) or (isinstance(default, int) and value != int(value)):
        raise ValueError
    return type(default)(value)


def unknown_option_message(key: str, known: frozenset[str], source: str) -> str:
    """What to say of a mistyped option: the nearest names, or those with the same last word."""
    leaf = key.rsplit(".", 1)[-1].upper()
    near = difflib.get_close_matches(key.upper(), known, n=1, cutoff=0.75)
    near += [name for name in sorted(known) if name.rsplit(".", 1)[-1] == leaf]
    if not near:
        leaves = {name.rsplit(".", 1)[-1]: name for name in sorted(known)}
        near = [leaves[word] for word in difflib.get_close_matches(leaf, leaves, n=2, cutoff=0.6)]
    hint = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
    return f"unknown option {key} (from {source}){hint}"
