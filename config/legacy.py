"""Spellings of original CLIP-ReID files and of earlier versions, translated to today's options."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import Any

from config.errors import ConfigError

# Options that CLIP-ReID declares but never uses. Files that set them load, with one warning.
NO_EFFECT: frozenset[str] = frozenset(
    [
        "MODEL.COS_LAYER",
        "MODEL.DIST_TRAIN",
        "MODEL.TRANSFORMER_TYPE",
        "MODEL.DROP_PATH",
        "MODEL.DROP_OUT",
        "MODEL.ATT_DROP_RATE",
        "SOLVER.STAGE1.WEIGHT_DECAY_BIAS",  # prompts have no bias
        "SOLVER.STAGE1.WARMUP_FACTOR",  # see WARMUP_LR_INIT
        "SOLVER.STAGE1.WARMUP_ITERS",  # see WARMUP_EPOCHS
        "SOLVER.STAGE1.WARMUP_METHOD",
        "SOLVER.STAGE1.COSINE_MARGIN",
        "SOLVER.STAGE1.COSINE_SCALE",
        "SOLVER.STAGE1.EVAL_PERIOD",  # prompts do not change the ranking
        "SOLVER.STAGE2.WARMUP_EPOCHS",  # see WARMUP_ITERS
        "SOLVER.STAGE2.WARMUP_LR_INIT",  # see WARMUP_FACTOR
        "SOLVER.STAGE2.LR_MIN",  # see GAMMA
        "SOLVER.STAGE2.COSINE_MARGIN",
        "SOLVER.STAGE2.COSINE_SCALE",
        "TEST.DIST_MAT",
        "TEST.EVAL",
    ]
)

# Removed: it named a release of CLIP-DFGS and set those of its options that were not given.
PRESET = "DATALOADER.DFGS.PRESET"
_FILLED_IN = tuple(
    f"DATALOADER.DFGS.{name}" for name in ("NUM_NEIGHBOURS", "SKIP", "SHUFFLE", "REFRESH_PERIOD")
)

_PRETRAINED = {"imagenet": "clip", "self": "clip"}

# Options whose names may be given as one text, with commas between them.
NAMES = ("DATASETS.NAMES", "DATASETS.TARGETS", "PLUGINS")

_NAME = re.compile(r"""\s*(?:(['"])(.+?)\1\s*(?=,|$)|([^,]+))""")

# As programs give them in a dict.
_FALSE = {"SOLVER.AMP": "off", "TEST.AMP": "off", "MODEL.NECK": "no"}


def translate_key(key: str, known: Collection[str]) -> str:
    """Today's name of an option; CLIP-ReID's baseline files have `SOLVER.X` and bare `SAMPLER`."""
    if key in known:
        return key
    if key == "SAMPLER":
        return "DATALOADER.SAMPLER"
    head, _, rest = key.partition(".")
    if head == "SOLVER" and f"SOLVER.STAGE2.{rest}" in known:
        return f"SOLVER.STAGE2.{rest}"
    return key


def translate_model_name(name: str, *, unsupervised: bool) -> str:
    """CLIP-ReID calls CLIP's RN50 `resnet50`, which for DSGL is ImageNet's ResNet-50."""
    return "RN50" if name == "resnet50" and not unsupervised else name


def translate_value(key: str, value: Any) -> Any:
    """Today's form of a value: bare text for a tuple, renamed choices."""
    if key in NAMES and isinstance(value, str | int):
        return split_names(str(value))
    if str(value) == "False":
        return _FALSE.get(key, value)
    if key == "MODEL.PRETRAIN_CHOICE" and isinstance(value, str):
        return _PRETRAINED.get(value, value)
    return value


def split_names(text: str) -> tuple[str, ...]:
    """The names in a text such as `a,b`, `[a, b]` or `('a', 'b')`.

    A name with a comma, or with brackets around it, stands in quotes: `'a,b',c`.
    """
    text = text.strip()
    if text[:1] + text[-1:] in ("()", "[]"):
        text = text[1:-1]
        try:
            names = ast.literal_eval(f"[{text}]")
        except (ValueError, SyntaxError):
            names = []
        if names and all(isinstance(name, str) for name in names):
            return tuple(names)
    names = [quoted or bare.strip() for _, quoted, bare in _NAME.findall(text)]
    return tuple(filter(None, names))


def check_preset(preset: Any, given: Collection[str]) -> None:
    """Refuse the removed preset, unless every option that it filled in is given.

    Raises:
        ConfigError: names the options to set instead.
    """
    if preset and not set(_FILLED_IN) <= set(given):
        raise ConfigError(
            f"{PRESET} no longer exists; set {', '.join(_FILLED_IN)} to the values of {preset} "
            "in docs/dfgs.md"
        )
