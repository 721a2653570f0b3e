"""All epochs of a stage: train, save, evaluate, log; resuming where a run stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from config.errors import ConfigError
from model import ReIDModel
from processor.checkpoints.save import Meta, save_checkpoint
from processor.results.report import EvaluationReport, log_results
from processor.runtime import distributed
from processor.runtime.files import write_json
from processor.runtime.precision import Precision
from processor.runtime.run_folder import RunFolder
from processor.runtime.seeding import random_state, seed_everything
from processor.runtime.signals import Interrupted, StopRequest
from processor.training.averaging import AveragedWeights
from processor.training.console import EpochTable, scores_line
from processor.training.epoch import EpochMeters, train_epoch
from processor.training.non_finite import NonFiniteLossError
from processor.training.saving import SavingTimes
from processor.training.stage import WITHOUT_NEGATIVES, PlannedStage, Stage

logger = logging.getLogger(__name__)


@dataclass
class Trainer:
    """Trains one stage after the other; holds the parts of a run that all stages share.

    Attributes:
        model: the network.
        folder: OUTPUT_DIR.
        precision: device and number format.
        stop: a request to save and stop.
        model_name: MODEL.NAME, in the names of kept checkpoints.
        config_text: the configuration as YAML, saved with every checkpoint.
        meta: facts about the model, saved with every checkpoint.
        seed: with stage and epoch, seeds every epoch.
        evaluate: scores the model on the targets; None = there are none.
        report: the latest evaluation.
        image_hashes: `describe_images` of the training images, saved to resume on the same ones.
    """

    model: ReIDModel
    folder: RunFolder
    precision: Precision
    stop: StopRequest
    model_name: str
    config_text: str
    meta: Meta
    seed: int
    evaluate: Callable[[], EvaluationReport] | None
    report: EvaluationReport | None = None
    image_hashes: Tensor | None = None
    _handed_on: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _averaged: AveragedWeights | None = field(default=None, init=False, repr=False)
    _times: SavingTimes = field(default_factory=SavingTimes, init=False, repr=False)
    _table: EpochTable = field(default_factory=lambda: EpochTable(0), init=False, repr=False)

    def evaluate_before_training(self) -> None:
        """Score the model as it is, for comparison at the end."""
        if self.evaluate is None:
            return
        report = self.evaluate()
        logger.info("before   %s", scores_line(report))
        log_results(report, logging.DEBUG)
        if distributed.is_first():
            write_json(self.folder.before_training, report.as_dict())

    def run_stages(self, stages: Sequence[PlannedStage], state: dict[str, Any]) -> None:
        """Run the stages, or the remaining ones of a stopped run.

        Args:
            stages: all stages of the run, in order.
            state: the "training" part of the stopped run's `last.pth`; empty for a new run.

        Raises:
            ConfigError: the run stopped in another stage.
            Interrupted, NonFiniteLossError: as in `run`.
        """
        names = [stage.name for stage in stages]
        reached = state.get("stage", names[0])
        if reached not in names:
            raise ConfigError(
                f"SOLVER.RESUME: the run stopped in stage {reached}; these options have only the "
                f"stages {', '.join(map(str, names))}"
            )
        self._handed_on = state.get("handed_on", {})
        for planned in stages[names.index(reached) :]:
            seed_everything(self.seed, f"stage {planned.name}")  # for the class centers
            stage = planned.build()
            epochs = stage.optimization.timing.num_epochs
            logger.info("stage %s: %s, %d epochs", planned.name, planned.title, epochs)
            self.run(stage, state if state.get("stage") == planned.name else None)

    def run(self, stage: Stage, resume: dict[str, Any] | None = None) -> None:
        """Train all epochs of a stage, or the remaining ones when it is resumed.

        Args:
            stage: the stage to train.
            resume: the "training" part of a `last.pth` written in this stage.

        Raises:
            Interrupted: a stop was requested; `last.pth` holds the state.
            NonFiniteLossError: the batch's files are in non_finite_batch.json.
        """
        timing = stage.optimization.timing
        self._table = EpochTable(timing.num_epochs)
        self._averaged = stage.optimization.averaged
        first_epoch, meters, random_numbers = 1, EpochMeters(), None
        if resume is None and stage.optimization.takes_on:
            self._take_on(stage)
        if resume is not None:
            self._restore(stage, resume)
            first_epoch = resume["epoch"]
            if resume["finished"]:
                self._close_epoch(stage, first_epoch, resume["record"])
                first_epoch += 1
            else:
                meters = EpochMeters.from_state(resume["meters"], self.precision.device)
                meters.bad_images *= distributed.is_first()  # the count of all processes together
                random_numbers = resume["random"]
        for epoch in range(first_epoch, timing.num_epochs + 1):
            seed_everything(self.seed, stage.name, epoch)
            stage.optimization.schedule.step(epoch)
            try:
                finished = train_epoch(
                    stage, epoch, meters, self.precision, self.stop, random_numbers
                )
            except NonFiniteLossError as error:
                if distributed.is_first():
                    write_json(self.folder.path / "non_finite_batch.json", error.paths)
                raise
            _join_bad_images(meters)
            if not finished:
                self._stop(stage, epoch, meters)
            record = _epoch_record(stage, epoch, meters)
            _warn_of_lone_identities(record)
            if timing.is_last(epoch) or timing.is_evaluated(epoch) or self._times.is_due():
                self._save_last(stage, epoch, {"finished": True, "record": record})
            self._close_epoch(stage, epoch, record)
            meters, random_numbers = EpochMeters(), None
        if stage.optimization.hands_on:
            self._handed_on = stage.optimization.optimizers[0].state_dict()

    def _take_on(self, stage: Stage) -> None:
        if not self._handed_on:
            raise ConfigError(
                "SOLVER.STAGE0.SHARE_OPTIMIZER: the run's stage 0 has not kept its optimizer's "
                "state; set it False, or train in another OUTPUT_DIR"
            )
        _load_optimizers(stage.optimization.optimizers[:1], [self._handed_on])
        self._handed_on = {}

    def _stop(self, stage: Stage, epoch: int, meters: EpochMeters) -> None:
        self._save_last(stage, epoch, {"finished": False, "meters": meters.state_dict()})
        logger.info(
            "stopped in stage %s, epoch %d after %d batches",
            stage.name,
            epoch,
            meters.iteration,
        )
        raise Interrupted(self.stop.signal)

    def _restore(self, stage: Stage, state: dict[str, Any]) -> None:
        _load_optimizers(stage.optimization.optimizers, state["optimizers"])
        self.precision.load_state_dict(state["scaler"])
        stage.load_extra_state(state["extra"])
        if self._averaged is not None and state["ema"]:
            self._averaged.load(state["ema"])
        lines = self.folder.read_metrics()
        last = (stage.name, state["epoch"] + bool(state["finished"]))
        self.folder.keep_metrics([line for line in lines if (line["stage"], line["epoch"]) < last])

    def _save_last(self, stage: Stage, epoch: int, progress: dict[str, Any]) -> None:
        started = time.monotonic()
        training = {
            "stage": stage.name,
            "epoch": epoch,
            "optimizers": [optimizer.state_dict() for optimizer in stage.optimization.optimizers],
            "scaler": self.precision.state_dict(),
            "random": random_state(),
            "extra": stage.extra_state(),
            "handed_on": self._handed_on,
            **({} if self.image_hashes is None else {"image_hashes": self.image_hashes}),
            **progress,
        }
        self._save(self.folder.last, self._meta(stage, epoch), training)
        self._times.record(started)

    def _save(self, path: Path, meta: Meta, training: dict[str, Any] | None = None) -> None:
        if distributed.is_first():
            averaged = None if self._averaged is None else self._averaged.weights
            save_checkpoint(path, self.model, self.config_text, meta, training, averaged)

    def _meta(self, stage: Stage, epoch: int) -> Meta:
        return {**self.meta, "stage": stage.name, "epoch": epoch}

    def _close_epoch(self, stage: Stage, epoch: int, record: dict[str, Any]) -> None:
        """Log the epoch, keep checkpoints, evaluate when due; idempotent."""
        lines = self.folder.read_metrics()
        if any((line["stage"], line["epoch"]) == (stage.name, epoch) for line in lines):
            return
        timing = stage.optimization.timing
        self._table.log(record)
        logger.debug("stage %s epoch %d/%d done: %s", stage.name, epoch, timing.num_epochs, record)
        meta = self._meta(stage, epoch)
        if timing.is_kept(epoch):
            self._save(self._kept_file(stage, epoch), meta)
        if self.evaluate is not None and timing.is_evaluated(epoch):
            self.report = self.score(self.evaluate)
            record = {**record, **self.report.scalars()}
            best = max((line.get("mAP", 0.0) for line in lines), default=0.0)
            self._keep_best(self.report, meta, best)
            log_results(self.report, logging.INFO if timing.is_last(epoch) else logging.DEBUG)
        self.folder.add_metrics(record)

    def score(self, evaluate: Callable[[], EvaluationReport]) -> EvaluationReport:
        """Scores of the model, and of its averaged weights if there are some."""
        report = evaluate()
        if self._averaged is None:
            return report
        with self._averaged.in_model():
            return replace(report, ema=evaluate())

    def _keep_best(self, report: EvaluationReport, meta: Meta, best: float) -> None:
        """Log an evaluation and keep the checkpoint if its mAP is above the `best` before."""
        file, score = self.folder.path / "best.pth", report.average()["mAP"]
        is_best = score > best or not file.is_file()
        if is_best:
            self._save(file, {**meta, "mAP": score})
        logger.info("   test  %s%s", scores_line(report), "  best so far" if is_best else "")

    def _kept_file(self, stage: Stage, epoch: int) -> Path:
        name = self.model_name
        name = Path(name).stem if name.endswith(".json") else name
        middle = f"stage{stage.name}_" if stage.name in (0, 1) else ""
        return self.folder.path / f"{name}_{middle}{epoch}.pth"


def _warn_of_lone_identities(record: dict[str, Any]) -> None:
    """Count images whose batch had one identity, e.g. because broken images were skipped."""
    count = round(record.get(WITHOUT_NEGATIVES, 0.0) * record["images"])
    if count:
        logger.warning(
            "stage %s, epoch %d: %d of %d images were in batches of one identity, where the "
            "triplet loss has no negatives and is 0",
            record["stage"],
            record["epoch"],
            count,
            record["images"],
        )


def _join_bad_images(meters: EpochMeters) -> None:
    """Sum the broken images of all processes; the first process has logged its own already."""
    parts = distributed.collect((meters.bad_images, meters.bad_paths))
    for path in [path for _, paths in parts[1:] for path in paths]:
        logger.warning("skipped the broken image %s", path)
    meters.bad_images = sum(count for count, _ in parts)


def _load_optimizers(optimizers: list[Optimizer], states: list[dict[str, Any]]) -> None:
    """Restore optimizer states; raises ConfigError if they belong to other optimizers."""
    try:
        for optimizer, state in zip(optimizers, states, strict=True):
            missing = optimizer.defaults.keys() - state["param_groups"][0].keys()
            if missing:
                raise ValueError(f"{type(optimizer).__name__} needs {', '.join(sorted(missing))}")
            # Rates and decays come from the configuration, which may have changed, and so does
            # what decides on which device the state is kept.
            pairs = zip(state["param_groups"], optimizer.param_groups, strict=True)
            groups = [{**own, "params": saved["params"]} for saved, own in pairs]
            optimizer.load_state_dict({**state, "param_groups": groups})
    except ValueError as error:
        raise ConfigError(
            "SOLVER.RESUME: the checkpoint was trained with other optimizers or losses; resume "
            f"with the options in the config.yml of its run ({error})"
        ) from error


def _epoch_record(stage: Stage, epoch: int, meters: EpochMeters) -> dict[str, Any]:
    """The epoch's line in metrics.jsonl, before any evaluation."""
    means = meters.means()
    return {
        "stage": stage.name,
        "epoch": epoch,
        "loss": sum(means[name] for name in meters.loss_names),
        **means,
        "lr": stage.optimization.optimizers[0].param_groups[0]["lr"],
        "images_per_second": meters.images / max(meters.seconds, 1e-9),
        "seconds": meters.seconds,
        "images": meters.images,
        "bad_images": meters.bad_images,
        **stage.epoch_statistics(),
    }
