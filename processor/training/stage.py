"""What a training stage is to the loop that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from solver.schedule import Schedule


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a batch costs, and what is worth logging of it; all on the device.

    Attributes:
        losses: weighted, by name; their sum is minimized.
        averages: numbers to average over the epoch, such as the accuracy.
        num_images: images of the global batch.
    """

    losses: dict[str, Tensor]
    num_images: int
    averages: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageTiming:
    """How long a stage is and when it reports.

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


class Stage(Protocol):
    """One stage of training: its batches, its losses, its optimizers.

    Attributes:
        name: 0, 1, 2 or "dsgl", as in metrics.jsonl.
        optimizers: stepped after every batch; the first one's "weights" rate is logged.
        schedule: sets the rates of an epoch.
        timing: epochs and periods.
    """

    name: int | str
    optimizers: list[Optimizer]
    schedule: Schedule
    timing: StageTiming

    def start_epoch(self, epoch: int, first_batch: int) -> BatchSource:
        """The epoch's batches from `first_batch` on; sets the model's mode."""

    def losses(self, batch: Any) -> StepResult | None:
        """What this batch costs, computed under autocast; None = too few images to learn from.

        With several processes, the batch is this one's part, and the result that of the global one.
        """

    def after_step(self, happened: Callable[[], bool]) -> None:
        """What follows the optimizers' step on the batch of the last `losses`.

        Args:
            happened: tells whether it took place, as fp16 gradients that overflow are left out;
                can wait for the device.
        """

    def image_paths(self, batch: Any) -> list[str]:
        """The batch's files, to name them when something is wrong."""

    def extra_state(self) -> dict[str, Any]:
        """What a checkpoint must hold beside model and optimizers."""

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Put `extra_state` back."""

    def epoch_statistics(self) -> dict[str, float]:
        """Numbers about the epoch's batches for the log, e.g. the sampler's coverage."""


class BatchSource(Sized, Protocol):
    """Batches of an epoch; each has a length, the number of its images."""

    def __iter__(self) -> Any: ...
