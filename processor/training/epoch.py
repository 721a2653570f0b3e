"""The one training loop: an epoch of any stage."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from processor.runtime import distributed
from processor.runtime.precision import Precision
from processor.runtime.progress import Progress
from processor.runtime.seeding import restore_random_state
from processor.runtime.signals import StopRequest
from processor.training.non_finite import NonFiniteLossError
from processor.training.stage import Stage, StepResult

logger = logging.getLogger(__name__)

AGREE_PERIOD = 10  # batches between two exchanges of stop requests among processes


@dataclass
class EpochMeters:
    """Sums over the batches of an epoch, kept on the device until they are read.

    Attributes:
        sums: sum of every loss and average, weighted by the images of the batch.
        loss_names: the sums that are losses.
        images: images seen so far.
        iteration: batches done.
        seconds: time spent on them.
        bad_images: number of broken files skipped.
        bad_paths: the broken files that this process has met since it started.
    """

    sums: dict[str, Tensor] = field(default_factory=dict)
    loss_names: list[str] = field(default_factory=list)
    images: int = 0
    iteration: int = 0
    seconds: float = 0.0
    bad_images: int = 0
    bad_paths: list[str] = field(default_factory=list)

    def add(self, result: StepResult) -> None:
        """Count one batch; no synchronization with the device."""
        self.loss_names = list(result.losses)
        for name, value in {**result.losses, **result.averages}.items():
            weighted = value.detach() * result.num_images
            self.sums[name] = self.sums[name] + weighted if name in self.sums else weighted
        self.images += result.num_images

    def means(self) -> dict[str, float]:
        """Averages per image, read from the device."""
        return {name: value.item() / max(self.images, 1) for name, value in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint in the middle of an epoch."""
        return {
            "sums": {name: value.item() for name, value in self.sums.items()},
            "loss_names": self.loss_names,
            "images": self.images,
            "iteration": self.iteration,
            "seconds": self.seconds,
            "bad_images": self.bad_images,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device) -> EpochMeters:
        """Meters that continue from `state_dict`."""
        sums = {name: torch.tensor(value, device=device) for name, value in state["sums"].items()}
        return cls(**{**state, "sums": sums})


def train_epoch(
    stage: Stage,
    epoch: int,
    meters: EpochMeters,
    precision: Precision,
    stop: StopRequest,
    random_numbers: dict[str, Any] | None = None,
) -> bool:
    """Train on the epoch's batches from `meters.iteration` on, accumulating into `meters`.

    Losses are read from the device every `log_period` iterations only.

    Args:
        stage: batches, losses, optimizers.
        epoch: counted from 1.
        meters: empty, or those of the batches already done.
        precision: device and number format.
        stop: checked before every batch.
        random_numbers: generator states, when resuming inside an epoch.

    Returns:
        False if a stop was requested before the last batch.

    Raises:
        NonFiniteLossError: names epoch, iteration and images.
        ValueError: no batch had enough readable images.
    """
    batches = stage.start_epoch(epoch, meters.iteration)
    if random_numbers is not None:
        restore_random_state(random_numbers)
    total = meters.iteration + len(batches)
    watch = _LossWatch(stage, epoch, precision.device)
    started = time.perf_counter() - meters.seconds
    if _agree_to_stop(stop):
        return False
    title = f"stage {stage.name} epoch {epoch}/{stage.optimization.timing.num_epochs}"
    progress = Progress(batches, title)
    for batch in progress:
        meters.iteration += 1
        _count_bad_images(batch, meters)
        _train_step(stage, batch, meters, precision, watch)
        if meters.iteration % stage.optimization.timing.log_period == 0:
            watch.check()  # waits for the device, so that the measured time is right
            meters.seconds = time.perf_counter() - started
            progress.note = _log_progress(stage, epoch, meters, total)
        if meters.iteration < total and _agree_to_stop(stop, meters.iteration):
            watch.check()
            meters.seconds = time.perf_counter() - started
            return False
    watch.check()
    meters.seconds = time.perf_counter() - started
    if not meters.images:
        raise ValueError(
            f"stage {stage.name}, epoch {epoch}: no batch with enough readable images to train on"
        )
    return True


def _train_step(
    stage: Stage, batch: Any, meters: EpochMeters, precision: Precision, watch: _LossWatch
) -> None:
    """Minimize the losses of one batch; nothing happens if it has too few images."""
    with precision.autocast():
        result = stage.compute_losses(batch)
    if result is None:
        return
    loss = torch.stack(list(result.losses.values())).sum()
    watch.note(loss, batch, meters.iteration)
    precision.step(loss, stage.optimization.optimizers)
    stage.after_step(precision.step_happened)
    if stage.optimization.averaged is not None:
        stage.optimization.averaged.update()
    meters.add(result)


def _count_bad_images(batch: Any, meters: EpochMeters) -> None:
    bad = getattr(batch, "bad_images", ())
    for path in bad:
        logger.warning("skipped the broken image %s", path)
    meters.bad_images += len(bad)
    meters.bad_paths += bad


def _agree_to_stop(stop: StopRequest, iteration: int = 0) -> bool:
    """Whether to stop before waiting for the next batch.

    Several processes must stop after the same batch, so they exchange their requests periodically.
    """
    if distributed.size() == 1:
        return stop.requested
    return iteration % AGREE_PERIOD == 0 and stop.agree()


class _LossWatch:
    """Finds the first non-finite loss; on a GPU it reads losses only in `check`."""

    def __init__(self, stage: Stage, epoch: int, device: torch.device) -> None:
        self.stage = stage
        self.epoch = epoch
        self.immediate = device.type == "cpu"
        self.pending: list[tuple[int, Tensor, list[str]]] = []

    def note(self, loss: Tensor, batch: Any, iteration: int) -> None:
        """Record a loss; on a CPU, check it before the optimizer step."""
        self.pending.append((iteration, loss.detach(), self.stage.image_paths(batch)))
        if self.immediate:
            self.check()

    def check(self) -> None:
        """Raise NonFiniteLossError for the first bad loss recorded since the last check."""
        pending, self.pending = self.pending, []
        if not pending:
            return
        finite = torch.stack([loss for _, loss, _ in pending]).isfinite().tolist()
        for (iteration, loss, paths), good in zip(pending, finite, strict=True):
            if not good:
                paths = [path for part in distributed.collect(paths) for path in part]
                shown = ", ".join(paths[:4]) + (", ..." if len(paths) > 4 else "")
                raise NonFiniteLossError(
                    f"stage {self.stage.name}, epoch {self.epoch}, iteration {iteration}: the loss "
                    f"is {loss.item()} on {len(paths)} images ({shown}); lower the learning rate "
                    "or set SOLVER.AMP off",
                    paths,
                )


def _log_progress(stage: Stage, epoch: int, meters: EpochMeters, total: int) -> str:
    """Log the means so far to the file; returns loss and speed as short text."""
    means = meters.means()
    speed = meters.images / max(meters.seconds, 1e-9)
    logger.debug(
        "stage %s epoch %d/%d [%d/%d] %s lr %.3g, %.3g images/s",
        stage.name,
        epoch,
        stage.optimization.timing.num_epochs,
        meters.iteration,
        total,
        " ".join(f"{name} {value:.3f}" for name, value in means.items()),
        stage.optimization.optimizers[0].param_groups[0]["lr"],
        speed,
    )
    loss = sum(means[name] for name in meters.loss_names)
    return f"loss {loss:.2f}, {speed:,.0f} images/s"
