"""Options of plug-ins, `USER.*`: any name, any YAML value."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode

from config.errors import ConfigError

BLOCK = "USER"


def is_free(name: str) -> bool:
    """Whether an option belongs to plug-ins."""
    return name.startswith(f"{BLOCK}.")


def set_free_option(cfg: CfgNode, name: str, value: Any, source: str) -> None:
    """Set one option below USER.

    Args:
        cfg: changed in place.
        name: e.g. `USER.MARGIN`; blocks on the way are made.
        value: of a YAML file.
        source: where it was written, for the error.

    Raises:
        ConfigError: a value that a checkpoint cannot hold, such as a date.
    """
    if not _is_plain(value):
        raise ConfigError(
            f"{name}: {value!r} (from {source}) is of type {type(value).__name__}; give a number, "
            "text (in quotes), True, False, null, a list or a block"
        )
    if isinstance(value, dict):
        for key, part in value.items():
            set_free_option(cfg, f"{name}.{key}", part, source)
        return
    *blocks, leaf = name.split(".")
    node = cfg
    for block in blocks:
        if not isinstance(node.get(block), CfgNode):
            node[block] = CfgNode()
        node = node[block]
    node[leaf] = value


def _is_plain(value: Any) -> bool:
    """Whether a value consists of numbers, text, lists and blocks."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, str | int | float | None)


def free_options(cfg: CfgNode) -> dict[str, Any]:
    """The options below USER as dictionaries; a block of options is one of them."""
    return _plain(cfg[BLOCK])


def _plain(node: CfgNode) -> dict[str, Any]:
    return {key: _plain(x) if isinstance(x, CfgNode) else x for key, x in node.items()}
