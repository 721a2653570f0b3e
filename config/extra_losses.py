"""MODEL.EXTRA_LOSSES: names and weights in turn."""

from __future__ import annotations

import math
from typing import Any

from yacs.config import CfgNode

from config.errors import ConfigError

OPTION = "MODEL.EXTRA_LOSSES"


def read_extra_losses(value: Any, source: str) -> tuple[str | float, ...]:
    """Names and weights in turn, from a list or from text such as `supcon,0.5`.

    Args:
        value: as written.
        source: where it was written, for the error.

    Raises:
        ConfigError: something else, a negative weight, or a name given twice.
    """
    parts = value
    if isinstance(value, str):
        parts = [part.strip() for part in value.strip("()[]").split(",") if part.strip()]
    if not isinstance(parts, list | tuple) or len(parts) % 2:
        raise _not_pairs(value, source)
    names, weights = parts[::2], [_read_weight(weight) for weight in parts[1::2]]
    if None in weights or not all(isinstance(x, str) and _read_weight(x) is None for x in names):
        raise _not_pairs(value, source)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{OPTION}: {', '.join(twice)} is given twice (from {source})")
    return tuple(x for pair in zip(names, weights, strict=True) for x in pair if x is not None)


def extra_losses(cfg: CfgNode) -> dict[str, float]:
    """Weight by name, without losses of weight 0."""
    pairs = cfg.MODEL.EXTRA_LOSSES
    return {name: w for name, w in zip(pairs[::2], pairs[1::2], strict=True) if w}


def _read_weight(value: Any) -> float | None:
    """A finite number of 0 or more; None for anything else."""
    try:
        weight = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return weight if 0 <= weight < math.inf else None


def _not_pairs(value: Any, source: str) -> ConfigError:
    return ConfigError(
        f"{OPTION}: {value!r} (from {source}) should be names and weights (0 or more) in turn, "
        'like ("supcon", 0.5)'
    )
