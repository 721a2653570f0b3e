"""A checkpoint's model on its device, beside the data sets it is looked at on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model import ReIDModel
from processor.build import build_evaluator, build_precision, build_targets
from processor.evaluation.evaluator import Evaluator, Target
from processor.model_file import LoadedModel, open_model
from processor.runtime.compilation import compile_encoder
from processor.runtime.device import choose_device


@dataclass(frozen=True, slots=True)
class OpenEvaluation:
    """What an evaluation needs.

    Attributes:
        model: on the device of MODEL.DEVICE, compiled where MODEL.COMPILE says so.
        loaded: what the checkpoint says besides; its model is the same object.
        evaluator: of the targets; they have not been checked.
    """

    model: ReIDModel
    loaded: LoadedModel
    evaluator: Evaluator


def open_evaluation(checkpoint: str, opts: Sequence[str], data: Sequence[str]) -> OpenEvaluation:
    """Open a checkpoint and the test splits of data sets.

    Args:
        checkpoint: a file of this project or of CLIP-ReID.
        opts: overrides `KEY VALUE ...`.
        data: names or folders; none = DATASETS.TARGETS or else DATASETS.NAMES, as in evaluation.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_model`, `read_dataset` and
            `Evaluator.check`.
    """
    named = ["DATASETS.TARGETS", repr(tuple(data))] if data else []
    opened = prepare_evaluation(open_model(checkpoint, None, [*opts, *named]))
    opened.evaluator.check()
    return opened


def prepare_evaluation(loaded: LoadedModel, targets: list[Target] | None = None) -> OpenEvaluation:
    """The model, moved to its device, and the targets, read as the configuration says if not given.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `build_targets`.
    """
    cfg = loaded.cfg
    device = choose_device(cfg.MODEL.DEVICE, cfg.MODEL.DEVICE_ID)
    precision = build_precision(cfg, device)
    if targets is None:
        targets = build_targets(cfg, loaded.cameras)
    model = loaded.model.to(device)
    if cfg.MODEL.COMPILE:
        compile_encoder(model)
    return OpenEvaluation(model, loaded, build_evaluator(cfg, targets, precision))
