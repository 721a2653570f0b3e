"""Values of options: text or YAML, converted to the type of the default."""

from __future__ import annotations

import ast
import math
from typing import Any

from yacs.config import CfgNode

from config.defaults import default_cfg
from config.errors import ConfigError
from config.extra_losses import OPTION as EXTRA_LOSSES
from config.extra_losses import read_extra_losses
from config.free_options import is_free, set_free_option
from config.legacy import NAMES, translate_value
from config.options import lookup

_KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
}


WORDS = {"true": "True", "yes": "True", "on": "True"}
WORDS |= {"false": "False", "no": "False", "off": "False"}


def set_value(cfg: CfgNode, name: str, value: Any, source: str) -> None:
    """Set one option.

    Args:
        cfg: changed in place.
        name: of an option.
        value: as written.
        source: where it was written, for the error.

    Raises:
        ConfigError: the value has the wrong type.
    """
    if is_free(name):
        set_free_option(cfg, name, value, source)
        return
    block, _, leaf = name.rpartition(".")
    node = lookup(cfg, block) if block else cfg
    default = node[leaf]
    if isinstance(default, list | tuple) and not default:
        default = lookup(default_cfg(), name)  # its items tell the type
    if name not in NAMES:  # 2024.10 may be the name of a folder
        value = read_literal(value, default)
    value = translate_value(name, value)
    if name == EXTRA_LOSSES:
        node[leaf] = read_extra_losses(value, source)
        return
    try:
        node[leaf] = coerce(value, default)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(
            f"{name}: {value!r} (from {source}) should be {_KINDS[type(default)]}, like the "
            f"default {lookup(default_cfg(), name)!r}"
        ) from None


def read_literal(value: Any, default: Any) -> Any:
    """Read a string as the Python literal it spells, unless the option is a plain string.

    For an option that is True or False, the words of YAML count as well. Of a list, every item is
    read like the first one of the default.
    """
    if isinstance(value, list | tuple):
        like = default[0] if isinstance(default, list | tuple) and default else ""
        return type(value)(read_literal(item, like) for item in value)
    if not isinstance(value, str) or (isinstance(default, str) and value[:1] not in "'\"("):
        return value
    if isinstance(default, bool):
        value = WORDS.get(value.strip().lower(), value)
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
