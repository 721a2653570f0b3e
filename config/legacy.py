"""Spellings of original CLIP-ReID files, translated to the one tree of options."""

from __future__ import annotations

from typing import Any

# Options that CLIP-ReID declares and never reads (or reads without effect). They stay loadable;
# setting one is answered with a warning that names it.
NO_EFFECT: frozenset[str] = frozenset(
    [
        "MODEL.COS_LAYER",
        "MODEL.DIST_TRAIN",
        "MODEL.TRANSFORMER_TYPE",
        "MODEL.DROP_PATH",
        "MODEL.DROP_OUT",
        "MODEL.ATT_DROP_RATE",
        "SOLVER.STAGE1.WEIGHT_DECAY_BIAS",
        "SOLVER.STAGE1.WARMUP_FACTOR",
        "SOLVER.STAGE1.WARMUP_ITERS",
        "SOLVER.STAGE1.WARMUP_METHOD",
        "SOLVER.STAGE1.COSINE_MARGIN",
        "SOLVER.STAGE1.COSINE_SCALE",
        "SOLVER.STAGE1.EVAL_PERIOD",
        "SOLVER.STAGE2.WARMUP_EPOCHS",
        "SOLVER.STAGE2.WARMUP_LR_INIT",
        "SOLVER.STAGE2.LR_MIN",
        "SOLVER.STAGE2.COSINE_MARGIN",
        "SOLVER.STAGE2.COSINE_SCALE",
        "TEST.DIST_MAT",
        "TEST.EVAL",
    ]
)

_WORDS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}

_VALUES: dict[str, dict[str, str]] = {
    "MODEL.PRETRAIN_CHOICE": {"imagenet": "clip", "self": "clip"},
}


# YAML reads `off` and `no` as false where they are words of an option.
_FALSE = {"SOLVER.AMP": "off", "MODEL.NECK": "no"}


def translate_key(key: str, known: frozenset[str]) -> str:
    """The present name of an option: flat `SOLVER.X` of the baseline files and a bare `SAMPLER`."""
    if key in known:
        return key
    if key == "SAMPLER":
        return "DATALOADER.SAMPLER"
    head, _, rest = key.partition(".")
    if head == "SOLVER" and f"SOLVER.STAGE2.{rest}" in known:
        return f"SOLVER.STAGE2.{rest}"
    return key


def translate_model_name(name: str, *, unsupervised: bool) -> str:
    """CLIP-ReID's default `resnet50` is CLIP's RN50; for DSGL the name means ImageNet's."""
    return "RN50" if name == "resnet50" and not unsupervised else name


def translate_value(key: str, value: Any, default: Any) -> Any:
    """The present form of a value: words for booleans, a bare string for a tuple, new words."""
    if isinstance(default, bool) and isinstance(value, str):
        return _WORDS.get(value.strip().lower(), value)
    if key in ("DATASETS.NAMES", "DATASETS.TARGETS") and isinstance(value, str | int):
        text = str(value)
        if text.startswith("(") and text.endswith(")"):
            text = text[1:-1]
        return tuple(name.strip() for name in text.split(",") if name.strip())
    if value is False:
        return _FALSE.get(key, value)
    if isinstance(value, str):
        return _VALUES.get(key, {}).get(value, value)
    return value
