"""Names of options: known, mistyped or given twice."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from yacs.config import CfgNode

from config.defaults import default_cfg
from config.errors import ConfigError, UnknownOptionError
from config.free_options import is_free
from config.legacy import NO_EFFECT, PRESET, translate_key


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of dotted name and value; an empty dictionary yields nothing."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flatten(value, f"{name}.")
        else:
            yield name, value


def lookup(cfg: CfgNode, name: str) -> Any:
    """The value of a dotted name."""
    node: Any = cfg
    for part in name.split("."):
        node = node[part]
    return node


def with_options(cfg: CfgNode, options: Mapping[str, Any]) -> CfgNode:
    """A frozen copy of the configuration with other values, by dotted name, of the same types."""
    changed = cfg.clone()
    changed.defrost()
    for name, value in options.items():
        block, _, own = name.rpartition(".")
        lookup(changed, block)[own] = value
    changed.freeze()
    return changed


OPTIONS = frozenset(name for name, _ in flatten(default_cfg()))
ACCEPTED = OPTIONS | NO_EFFECT | {PRESET}


def is_block(name: str) -> bool:
    """Whether options exist below a name, as below `SOLVER.STAGE1`."""
    return any(option.startswith(f"{name}.") for option in OPTIONS)


def is_option(key: str) -> bool:
    """Whether a key means an option."""
    return is_free(key) or translate_key(key, ACCEPTED) in ACCEPTED


def find_option(key: str, source: str) -> str:
    """The accepted option that a key means.

    Args:
        key: as written, e.g. `SOLVER.MAX_EPOCHS`.
        source: where it was written, for the error.

    Raises:
        UnknownOptionError: names the nearest options.
    """
    if not is_option(key):
        near = " or ".join(nearest_options(key))
        hint = f"; did you mean {near}?" if near else ""
        raise UnknownOptionError(f"unknown option {key} (from {source}){hint}")
    return translate_key(key, ACCEPTED)


def nearest_options(key: str) -> list[str]:
    """Options with nearly the same name, else with the same or nearly the same last word."""
    leaf = key.rsplit(".", 1)[-1].upper()
    near = difflib.get_close_matches(key.upper(), OPTIONS, n=1, cutoff=0.75)
    near += [name for name in sorted(OPTIONS) if name.rsplit(".", 1)[-1] == leaf]
    if not near:
        leaves = {name.rsplit(".", 1)[-1]: name for name in sorted(OPTIONS)}
        near = [leaves[word] for word in difflib.get_close_matches(leaf, leaves, n=2, cutoff=0.6)]
    return list(dict.fromkeys(near))


def check_unique(pairs: Iterable[tuple[str, Any]], source: str) -> None:
    """Raise ConfigError if an option is given twice: under one name or two, or as a block, too."""
    seen: dict[str, str] = {}
    for key, value in pairs:
        name = translate_key(key, ACCEPTED)
        written = f"{key} {value}"
        for other, earlier in seen.items():
            if f"{other}.".startswith(f"{name}.") or f"{name}.".startswith(f"{other}."):
                raise given_twice(key, earlier, written, source)
        seen[name] = written


def given_twice(key: str, first: str, second: str, source: str) -> ConfigError:
    """The error for two places, as shown, that set one option or block."""
    return ConfigError(
        f"{key} is given twice (from {source}): {first} and {second}; keep one of them"
    )
