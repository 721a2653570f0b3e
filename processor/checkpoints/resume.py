"""Where a training run starts: pre-trained weights, learned prompts, or a run that stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from torch import Tensor
from yacs.config import CfgNode

from config import ConfigError
from config.load import load_cfg_text
from config.options import flatten, lookup, with_options
from datasets.checks.changes import compare_images, describe_images
from datasets.registry import prompt_noun
from datasets.sources import TrainingSet
from model import ReIDModel, build_reid_model
from model.encoders.registry import find_encoder_kind
from model.weights.load import load_state
from model.weights.read import WeightsFile, read_weights_file
from processor.checkpoints.meta import check_meta
from processor.checkpoints.plugins import warn_of_changed_plugins
from processor.runtime import distributed

logger = logging.getLogger(__name__)

# Options that may differ in a resumed run without a warning.
_FREE = (
    "OUTPUT_DIR",
    "SOLVER.RESUME",
    "SOLVER.RESUME_CHANGED_DATA",
    "MODEL.DEVICE",
    "MODEL.DEVICE_ID",
    "MODEL.PRETRAIN_CHOICE",
    "MODEL.PRETRAIN_PATH",
    "DATALOADER.NUM_WORKERS",
    "DATASETS.ROOT_DIR",
    "PLUGINS",
)
_FREE_ENDINGS = ("_PERIOD",)


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """Where a run starts; without a file, from the pre-trained weights of MODEL.PRETRAIN_*.

    Attributes:
        path: the file, or None.
        file: its content.
        resumed: the file is the `last.pth` of a stopped run; otherwise it holds learned prompts.
    """

    path: Path | None = None
    file: WeightsFile | None = None
    resumed: bool = False

    @property
    def training(self) -> dict[str, Any]:
        """Stage, epoch, states and averaged weights of the stopped run; empty for a new one."""
        if self.file is None or not self.resumed:
            return {}
        return {**self.file.training, "ema": self.file.averaged}

    def weights(self, cfg: CfgNode) -> str:
        """Where the weights come from, for the log."""
        if self.path is not None:
            return f"{'resumed from' if self.resumed else 'prompts of'} {self.path}"
        if cfg.MODEL.PRETRAIN_PATH:
            return f"weights of {cfg.MODEL.PRETRAIN_PATH}"
        return "random weights" if cfg.MODEL.PRETRAIN_CHOICE == "none" else "pretrained weights"

    def continues_in(self, folder: Path) -> bool:
        """Whether the run resumes in the folder it stopped in."""
        return self.resumed and self.path is not None and self.path.parent == folder.resolve()


def find_starting_point(cfg: CfgNode, output: Path) -> StartingPoint:
    """The starting point that SOLVER.RESUME or SOLVER.STAGE1.WEIGHT name.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: the file cannot be resumed, or both options contradict each other.
        ValueError: unknown MODEL.NAME.
    """
    find_encoder_kind(cfg.MODEL.NAME)
    checkpoint = _find_checkpoint(cfg.SOLVER.RESUME, output)
    prompts = cfg.SOLVER.STAGE1.WEIGHT
    if checkpoint is not None:
        file = read_weights_file(checkpoint)
        check_meta(file, str(checkpoint))
        _check_resumable(cfg, file, checkpoint)
        _check_same_tag(cfg, file, f"SOLVER.RESUME: {checkpoint}")
        _report_changed_options(cfg, file.config, _batch_options(file.training))
        warn_of_changed_plugins(file, cfg)
        return StartingPoint(checkpoint.resolve(), file, resumed=True)
    if prompts:
        file = read_weights_file(prompts, "SOLVER.STAGE1.WEIGHT")
        check_meta(file, prompts)
        _check_same_tag(cfg, file, f"SOLVER.STAGE1.WEIGHT: {prompts}")
        return StartingPoint(Path(prompts), file)
    return StartingPoint()


def check_same_images(cfg: CfgNode, data: TrainingSet, start: StartingPoint) -> Tensor | None:
    """Compare the training images with those of the stopped run.

    Args:
        cfg: with SOLVER.RESUME_CHANGED_DATA, changes are a warning.
        data: the training images.
        start: of the run.

    Returns:
        `describe_images` of them, to be kept; None on all processes but the first.

    Raises:
        ConfigError: they have changed; says how many.
    """
    if not distributed.is_first():
        return None
    now = describe_images(data)
    before = start.training.get("image_hashes", now)
    changes = compare_images(before, now)
    if not changes:
        return now
    if cfg.SOLVER.RESUME_CHANGED_DATA:
        logger.warning("the training images have changed since the run stopped: %s", changes)
        return now
    raise ConfigError(
        f"SOLVER.RESUME: the training images are not those of {start.path}: {changes}; restore "
        "them, train in another OUTPUT_DIR, or go on with SOLVER.RESUME_CHANGED_DATA True"
    )


def check_prompt_names(file: WeightsFile, path: Path | None, names: Sequence[str]) -> None:
    """Check that learned prompts are those of these identities, in the order of their labels.

    Raises:
        ConfigError: they are of others; says how many.
    """
    stored = json.loads(file.meta.get("names", "[]"))
    if not stored:
        logger.warning(
            "SOLVER.STAGE1.WEIGHT: %s does not name its identities; its prompts are taken for "
            "those of this data in the order of the labels",
            path,
        )
        return
    differing = sum(a != b for a, b in zip_longest(stored, names))
    if differing:
        example = next((a, b) for a, b in zip_longest(stored, names) if a != b)
        raise ConfigError(
            f"SOLVER.STAGE1.WEIGHT: {path} has prompts of other identities: {differing:,} of "
            f"{len(names):,} differ, e.g. {example[0]} there and {example[1]} here; train stage 1 "
            "on this data"
        )


def build_starting_model(cfg: CfgNode, data: TrainingSet, start: StartingPoint) -> ReIDModel:
    """The model with the weights that the run starts from.

    Raises:
        ConfigError: the file is from another run, or lacks prompts for these identities.
        FileNotFoundError, ValueError: see `build_reid_model`.
    """
    sizes = (data.num_classes, data.num_cameras, data.num_views)
    noun = prompt_noun(cfg.DATASETS.NAMES)
    if start.file is None:
        if cfg.MODEL.PRETRAIN_CHOICE == "none":
            logger.warning("MODEL.PRETRAIN_CHOICE none: the model starts from random weights")
        return build_reid_model(cfg, *sizes, noun)
    bare = with_options(cfg, {"MODEL.PRETRAIN_CHOICE": "none"})  # the file has all weights
    model = build_reid_model(bare, *sizes, noun)
    report = load_state(model, start.file.state, str(start.path))
    if start.resumed:
        if report.skipped or report.missing or report.unexpected or report.reshaped:
            raise ConfigError(f"SOLVER.RESUME: {start.path} is from another run: {report}")
        state = start.training
        progress = "finished" if state["finished"] else "begun"
        logger.info("resumed: stage %s, epoch %s %s", state["stage"], state["epoch"], progress)
        return model
    logger.info("%s: %s", start.path, report)
    if "prompt_learner.cls_ctx" not in report.loaded:
        raise ConfigError(
            f"SOLVER.STAGE1.WEIGHT: {start.path} has no prompts for these {data.num_classes} "
            "identities; train stage 1 on this data"
        )
    check_prompt_names(start.file, start.path, data.identity_names)
    return model


def _find_checkpoint(wanted: str, output: Path) -> Path | None:
    if not wanted:
        return None
    if wanted == "auto":
        return output / "last.pth" if (output / "last.pth").is_file() else None
    path = Path(wanted)
    path = path / "last.pth" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"SOLVER.RESUME: no file {path}")
    return path


def _check_resumable(cfg: CfgNode, file: WeightsFile, checkpoint: Path) -> None:
    """Raise ConfigError if the file cannot be resumed with this configuration."""
    if not file.training:
        raise ConfigError(
            f"SOLVER.RESUME: {checkpoint} holds weights only; resume from a last.pth, or start "
            "stage 2 from it with SOLVER.STAGE1.WEIGHT"
        )
    stage = file.training["stage"]
    if (stage == "dsgl") != cfg.DSGL.ENABLED:
        raise ConfigError(
            f"SOLVER.RESUME: {checkpoint} stopped in stage {stage}, but DSGL.ENABLED is now "
            f"{cfg.DSGL.ENABLED}; restore it, or train in another OUTPUT_DIR"
        )
    name = f"SOLVER.STAGE{2 if stage == 'dsgl' else stage}.MAX_EPOCHS"
    if file.training["epoch"] > lookup(cfg, name):
        raise ConfigError(
            f"{name}: {checkpoint} is in epoch {file.training['epoch']} of this stage; set as many "
            "or more, or train in another OUTPUT_DIR"
        )
    if cfg.SOLVER.STAGE1.WEIGHT and stage != 2:
        raise ConfigError(
            f"SOLVER.STAGE1.WEIGHT: {checkpoint} stopped inside stage {stage}; leave out this "
            f"option to finish stage {stage}, or SOLVER.RESUME to start stage 2 from the prompts"
        )


def _check_same_tag(cfg: CfgNode, file: WeightsFile, origin: str) -> None:
    """Raise ConfigError for a CLIP that may have another GELU, which fits all tensors."""
    if not file.config:
        return
    before = load_cfg_text(file.config, ["MODEL.NAME", cfg.MODEL.NAME]).MODEL.PRETRAIN_TAG
    if before != cfg.MODEL.PRETRAIN_TAG:
        raise ConfigError(
            f"{origin} was trained with MODEL.PRETRAIN_TAG {before!r}, not "
            f"{cfg.MODEL.PRETRAIN_TAG!r}; set it as there"
        )


def _batch_options(training: Mapping[str, Any]) -> Sequence[str]:
    """The options that must stay because the run stopped inside an epoch; none if it did not."""
    if training.get("finished", True):
        return ()
    if training["stage"] == 1:
        return ("SOLVER.STAGE1.IMS_PER_BATCH",)
    names = ("SOLVER.STAGE2.IMS_PER_BATCH", "DATALOADER.SAMPLER", "DATALOADER.NUM_INSTANCE")
    return (*names, "DSGL.ITERS") if training["stage"] == "dsgl" else names


def _report_changed_options(cfg: CfgNode, saved_text: str, unfinished: Sequence[str]) -> None:
    """Warn about options that changed since the run stopped; the new values apply.

    `unfinished` are the options that decide the batches of an epoch that has not ended.
    """
    # Options of the model itself are checked by comparing tensors.
    saved = dict(flatten(load_cfg_text(saved_text, ["MODEL.NAME", cfg.MODEL.NAME])))
    now = dict(flatten(cfg))
    for key in dict.fromkeys([*now, *saved]):  # options below USER can be in one of them
        old, new = saved.get(key), now.get(key)
        if key == "MODEL.PROMPT" and old != new and cfg.MODEL.TEXT_TOWER:
            raise ConfigError(
                f"SOLVER.RESUME: MODEL.PROMPT was {old!r} when the run stopped and is {new!r} now; "
                "its words are part of the trained model: restore it, or train in another "
                "OUTPUT_DIR"
            )
        if old != new and key in unfinished:
            raise ConfigError(
                f"SOLVER.RESUME: {key} was {old!r} when the run stopped inside an epoch and is "
                f"{new!r} now, which makes other batches; restore it until the epoch has ended, or "
                "train in another OUTPUT_DIR"
            )
        if old != new and key not in _FREE and not key.endswith(_FREE_ENDINGS):
            logger.warning("%s changed from %s to %s since the run stopped", key, old, new)
