"""A training stage small enough to compute by hand."""

import pytest
import torch
from torch import nn

from datasets.records import Batch
from processor.runtime.precision import Precision
from processor.training.stage import Optimization, StageTiming, StepResult
from solver.schedule import WarmupMultiStep


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """On shared cores, a second thread makes a tiny model a hundred times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class ToyModel(nn.Module):
    """One weight w; the loss of a batch is the mean of (w - x)^2."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class ToyStage:
    """Batches of numbers, by SGD with momentum towards their mean; `bad` holds a batch's number.

    The batch with that number has an infinite loss. Noise from torch's generator makes the epochs
    depend on its state.
    """

    def __init__(self, name=2, model=None, sizes=(4, 4, 2), timing=None, bad=None, noise=0.0):
        self.name = name
        self.model = model or ToyModel()
        self.sizes = sizes
        self.bad = bad
        self.noise = noise
        group = {"name": "weights", "params": list(self.model.parameters()), "lr": 0.1}
        optimizer = torch.optim.SGD([group], lr=0.1, momentum=0.9)
        schedule = WarmupMultiStep(
            optimizer,
            milestones=[3],
            gamma=0.1,
            warmup_epochs=0,
            warmup_factor=1.0,
            method="linear",
        )
        self.optimization = Optimization([optimizer], schedule, timing or StageTiming(3, 2, 2, 1))
        self.extra = 0
        self.seen = []
        self.after_steps = []

    def start_epoch(self, epoch, first_batch):
        self.epoch = epoch
        batches, start = [], 0
        for number, size in enumerate(self.sizes):
            indices = torch.arange(start, start + size)
            bad_images = (f"broken{number}.jpg",) if size < 2 else ()
            images = (indices + epoch).float()
            ids = torch.zeros(size, dtype=torch.long)
            batches.append(Batch(images, ids, ids, ids, indices, bad_images))
            start += size
        return batches[first_batch:]

    def compute_losses(self, batch):
        if len(batch) < 2:
            return None
        start = batch.indices[0].item()
        self.seen.append((self.epoch, start))
        target = batch.images + self.noise * torch.randn(len(batch))
        error = (self.model.weight - target).square().mean()
        if self.bad is not None and start == sum(self.sizes[: self.bad]):
            error = error * torch.tensor(float("nan"))
        self.extra += 1
        self.before = self.model.weight.item()
        losses = {"half": 0.5 * error, "rest": 0.5 * error}
        return StepResult(losses, len(batch), {"accuracy": error * 0 + 0.5})

    def after_step(self, happened):
        self.after_steps.append((happened(), self.model.weight.item() != self.before))

    def image_paths(self, batch):
        return [f"image{i}.jpg" for i in batch.indices.tolist()]

    def extra_state(self):
        return {"extra": self.extra}

    def load_extra_state(self, state):
        self.extra = state["extra"]

    def epoch_statistics(self):
        return {"batches": float(len(self.sizes))}


@pytest.fixture
def toy_stage():
    """`toy_stage(sizes=(4, 4, 2), ...)` -> a ToyStage."""
    return ToyStage


@pytest.fixture
def float32():
    """No autocast, on the CPU."""
    return Precision(None, torch.device("cpu"))
