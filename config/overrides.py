"""Overrides `KEY VALUE KEY VALUE ...`, as typed on a command line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from config.errors import ConfigError
from config.extra_losses import OPTION as EXTRA_LOSSES
from config.free_options import is_free
from config.legacy import NAMES
from config.options import check_unique, is_option

Overrides: TypeAlias = Sequence[str] | Mapping[str, Any]
"""`KEY VALUE KEY VALUE ...`, or a dict: flat, `{"SOLVER.SEED": 1}`, or nested as in YAML."""

COMMAND_LINE = "the command line"
_KEY = re.compile(r"OUTPUT_DIR|SAMPLER|PLUGINS|USER(\.[\w-]+)+|[A-Z][A-Z0-9_]*(\.[A-Z][A-Z0-9_]*)+")
_LISTS = (*NAMES, EXTRA_LOSSES)


def is_key(word: str) -> bool:
    """Whether a word looks like an option, such as SOLVER.SEED, and is not a file."""
    return _KEY.fullmatch(word) is not None and not Path(word).exists()


def list_overrides(given: Overrides) -> list[str]:
    """Overrides in either form as `KEY VALUE KEY VALUE ...`, in pairs.

    Raises:
        ConfigError: as `pair_overrides`; a dict that gives an option twice.
    """
    if not isinstance(given, Mapping):
        return [word for pair in pair_overrides([str(word) for word in given]) for word in pair]
    pairs = list(_flatten(given))
    check_unique(pairs, "the overrides")
    return [word for pair in pairs for word in pair]


def _flatten(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in given.items():
        if is_free(str(key)):
            yield str(key), _as_yaml(str(key), value)
        elif isinstance(value, Mapping):
            yield from _flatten({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            yield str(key), _as_text(str(key), value)


def _as_text(key: str, value: Any) -> str:
    """A value of Python as on a command line; raises ConfigError for None."""
    if value is None:
        raise ConfigError(f"{key}: None is not a value; leave the option out")
    if isinstance(value, list | tuple):
        value = [os.fspath(x) if isinstance(x, os.PathLike) else x for x in value]
    return str(value)


def _as_yaml(key: str, value: Any) -> str:
    """A value of Python as YAML, which keeps text apart from numbers; raises ConfigError."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {value!r} is neither a number nor text ({error})") from None


def typed_overrides(words: Sequence[str]) -> list[str]:
    """The overrides that a user typed, in pairs.

    Raises:
        ConfigError: a key without a value, a value without a key, or an option given twice.
    """
    pairs = pair_overrides(words)
    check_unique(pairs, COMMAND_LINE)
    return [word for pair in pairs for word in pair]


def pair_overrides(words: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of key and value; lists such as DATASETS.NAMES take several words.

    Raises:
        ConfigError: a key without a value, or a value without a key.
    """
    pairs: list[tuple[str, str]] = []
    rest = list(words)
    while rest:
        key = rest.pop(0)
        _refuse_files(key)
        if not rest or is_option(rest[0]):
            raise ConfigError(f"overrides come in pairs KEY VALUE; {_explain(key, pairs)}")
        values = [rest.pop(0)]
        while key in _LISTS and rest and not is_key(rest[0]):
            values.append(rest.pop(0))
        pairs.append((key, ",".join(values)))
    return pairs


def _explain(key: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Explain a key that no value follows."""
    if is_key(key) or not pairs:
        return f"{key!r} has no value"
    return f"{key!r} follows {' '.join(pairs[-1])}, where a KEY is expected"


def _refuse_files(word: str) -> None:
    """Raise ConfigError for a file where a key is expected: its flag or option is missing."""
    if word.endswith((".pth", ".pt")):
        raise ConfigError(f"{word} is not an option; to evaluate a checkpoint: TEST.WEIGHT {word}")
    if word.endswith((".yml", ".yaml")) or Path(word).is_file():
        raise ConfigError(f"{word} is not an option; to use a config file: --config_file {word}")
