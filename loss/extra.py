"""Losses that MODEL.EXTRA_LOSSES adds to the image stage: built-in ones and those of plug-ins."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from config.errors import ConfigError
from config.plugins import register
from loss.contrastive import supervised_contrastive_loss
from loss.image_stage import LossInputs, WeightedLoss

FEATURES = ("last", "final", "projected", "all")
# Keys of metrics.jsonl and of a checkpoint's training state.
_RESERVED = (
    *("id", "triplet", "i2t", "center", "loss", "accuracy", "lr", "stage", "epoch", "graph"),
    *("images", "seconds", "images_per_second", "bad_images", "without_negatives"),
    *(
        "batches",
        "restarts",
        "hits",
        "hits_first",
        "hits_middle",
        "hits_last",
        "random_hits",
        "plan_seconds",
        "graph_seconds",
    ),
    *("identity_coverage", "image_coverage", "dropped_images", "repeated_images"),
    *("domains", "domains_per_batch", "longest_stretch", "mAP", "mINP", "rank1", "rank5", "rank10"),
)


@dataclass(frozen=True, slots=True)
class LossOptions:
    """What a factory of losses is called with.

    Attributes:
        num_classes: C, training identities; labels are 0..C-1.
        width: D of the final feature.
        joint_width: E of the projected feature.
        user: options below USER.
    """

    num_classes: int
    width: int
    joint_width: int
    user: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExtraLoss:
    """A registered loss.

    Attributes:
        loss: what was registered.
        features: what the loss is called with; see `register_loss`.
        factory: `loss` makes the loss from `LossOptions`.
    """

    loss: Callable[..., Any]
    features: str = "final"
    factory: bool = False


EXTRA_LOSSES = {"supcon": ExtraLoss(supervised_contrastive_loss, features="projected")}


def register_loss(
    name: str, loss: Any = None, *, features: str = "final", factory: bool = False
) -> Any:
    """Register a loss for MODEL.EXTRA_LOSSES; without `loss`, the decorator of a function.

    The loss is called as `loss(features, labels)` and returns a scalar. Features and labels are
    those of the global batch, (B, D) float32 and (B,) in 0..C-1. Parameters of an `nn.Module` are
    trained like class centers, and checkpoints to resume from hold its state. A registered module
    is copied for every stage; a factory makes a new one, from random numbers of SOLVER.SEED.

    Args:
        name: in MODEL.EXTRA_LOSSES and in the log.
        loss: a function or a module.
        features: "last", "final" or "projected", before the BNNecks; "all" = the loss is called
            with one `LossInputs` instead.
        factory: `loss` is called once with `LossOptions` and returns the loss.

    Raises:
        ValueError: the name is taken, or unknown features.
    """
    if features not in FEATURES:
        raise ValueError(f"loss {name!r}: features {features!r}; known: {', '.join(FEATURES)}")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][\w.-]*", name):
        raise ValueError(f"loss {name!r}: expected a name of letters, digits, '_', '.' and '-'")
    if name in _RESERVED:
        raise ValueError(f"loss {name!r}: the log uses this name; choose another one")

    def add(loss: Any) -> Any:
        if not callable(loss):
            raise ValueError(f"loss {name!r}: {loss!r} cannot be called")
        register(EXTRA_LOSSES, name, ExtraLoss(loss, features, factory))
        return loss

    return add if loss is None else add(loss)


def find_extra_loss(name: str) -> ExtraLoss:
    """The loss of a name in MODEL.EXTRA_LOSSES.

    Raises:
        ConfigError: nothing is registered under this name.
    """
    if name not in EXTRA_LOSSES:
        raise ConfigError(
            f"MODEL.EXTRA_LOSSES: unknown loss {name!r}; known: {', '.join(EXTRA_LOSSES)}; "
            "PLUGINS names files that register others"
        )
    return EXTRA_LOSSES[name]


def make_extra_loss(name: str, weight: float, options: LossOptions) -> WeightedLoss:
    """A loss of MODEL.EXTRA_LOSSES; raises ConfigError as `find_extra_loss`."""
    extra = find_extra_loss(name)
    loss = extra.loss(options) if extra.factory else extra.loss
    module = None
    if isinstance(loss, nn.Module):
        loss = module = loss if extra.factory else copy.deepcopy(loss)
    function = partial(_compute, name=name, loss=loss, features=extra.features)
    return WeightedLoss(weight, function, module)


def _compute(batch: LossInputs, *, name: str, loss: Callable[..., Any], features: str) -> Tensor:
    """The loss of a batch in float32; raises ValueError if it is not a scalar."""
    with torch.autocast(batch.labels.device.type, enabled=False):
        if features == "all":
            value = loss(_in_float32(batch))
        else:
            value = loss(batch.features[features].float(), batch.labels)
    if not isinstance(value, Tensor) or value.ndim:
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"
        raise ValueError(f"MODEL.EXTRA_LOSSES: {name} returned {found}, not a scalar tensor")
    return value.float()


def _in_float32(batch: LossInputs) -> LossInputs:
    i2t_logits = None if batch.i2t_logits is None else batch.i2t_logits.float()
    features = {name: x.float() for name, x in batch.features.items()}
    return LossInputs([x.float() for x in batch.logits], features, batch.labels, i2t_logits)
