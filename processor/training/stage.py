"""The interface between a training stage and the loop that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from processor.training.averaging import AveragedWeights
from solver.schedule import Schedule

WITHOUT_NEGATIVES = "without_negatives"
"""An average: the share of images in batches of one identity, where a triplet loss is 0."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The losses of a batch and the numbers to log with them, all on the device.

    Attributes:
        losses: weighted, by name; their sum is minimized.
        num_images: images of the global batch.
        averages: numbers to average over the epoch, such as the accuracy.
    """

    losses: dict[str, Tensor]
    num_images: int
    averages: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageTiming:
    """The length of a stage and how often it reports.

    Attributes:
        num_epochs: epochs, counted from 1.
        log_period: iterations between log lines.
        checkpoint_period: epochs between kept checkpoints.
        eval_period: epochs between evaluations; None = never.
    """

    num_epochs: int
    log_period: int
    checkpoint_period: int
    eval_period: int | None = None

    def is_last(self, epoch: int) -> bool:
        """Whether the stage ends with an epoch."""
        return epoch == self.num_epochs

    def is_kept(self, epoch: int) -> bool:
        """Whether an epoch's checkpoint is kept."""
        return self.is_last(epoch) or epoch % self.checkpoint_period == 0

    def is_evaluated(self, epoch: int) -> bool:
        """Whether an evaluation follows an epoch, if there are test images."""
        period = self.eval_period
        return bool(period and (self.is_last(epoch) or epoch % period == 0))


@dataclass(frozen=True, slots=True)
class Optimization:
    """How a stage's parameters are updated, and for how long.

    Attributes:
        optimizers: stepped after every batch; the first one's "weights" rate is logged.
        schedule: sets the first optimizer's rates for an epoch.
        timing: epochs and periods.
        hands_on: a later stage goes on with the first optimizer's state.
        takes_on: the first optimizer starts from the state that an earlier stage handed on.
        averaged: follows the weights; None = no average is kept.
    """

    optimizers: list[Optimizer]
    schedule: Schedule
    timing: StageTiming
    hands_on: bool = False
    takes_on: bool = False
    averaged: AveragedWeights | None = None


class Stage(Protocol):
    """One stage of training: its batches, its losses, its optimizers.

    Attributes:
        name: 0, 1, 2 or "dsgl", as in metrics.jsonl.
        optimization: optimizers, schedule, epochs.
    """

    name: int | str
    optimization: Optimization

    def start_epoch(self, epoch: int, first_batch: int) -> BatchSource:
        """The epoch's batches from `first_batch` on; sets the model's mode."""

    def compute_losses(self, batch: Any) -> StepResult | None:
        """The losses of a batch, computed under autocast; None = too few images to learn from.

        With several processes, the batch is this process's share and the result that of the global
        batch.
        """

    def after_step(self, happened: Callable[[], bool]) -> None:
        """Update state that follows the optimizers' step on the last batch.

        Args:
            happened: tells whether the step took place, as fp16 gradients that overflow skip it;
                may wait for the device.
        """

    def image_paths(self, batch: Any) -> list[str]:
        """The batch's files, to name them in errors."""

    def extra_state(self) -> dict[str, Any]:
        """State that a checkpoint must hold in addition to model and optimizers."""

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore `extra_state`."""

    def epoch_statistics(self) -> dict[str, float]:
        """Numbers about the epoch's batches for the log, e.g. the sampler's coverage."""


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage to run when the stages before it are done.

    Attributes:
        name: of the stage.
        title: one-line description for the terminal.
        build: makes the stage from the model as it is then.
    """

    name: int | str
    title: str
    build: Callable[[], Stage]


class BatchSource(Sized, Protocol):
    """Batches of an epoch; each has a length, the number of its images."""

    def __iter__(self) -> Any: ...
