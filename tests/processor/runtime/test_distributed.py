"""Three processes give the numbers of one; a single process exchanges nothing.

The three run once; many tests inspect their results.
"""

import os
import time
from datetime import timedelta
from itertools import chain

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn

from datasets.records import Batch
from datasets.samplers import EpochBatches, RandomIdentitySampler, ShuffledSampler
from processor.features import extract_features
from processor.runtime import distributed, gathering
from processor.runtime.device import choose_device
from processor.runtime.precision import Precision
from processor.runtime.signals import Interrupted, StopRequest

NUM_PROCESSES = 3
CPU = torch.device("cpu")
LABELS = [label for label in range(8) for _ in range(5)]


# -------------------------------------------------------------------------- work of every process


class Net(nn.Module):
    """An encoder whose features are gathered before the batch norm, as those of the model are."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.encoder = nn.Sequential(nn.Linear(6, 5), nn.Tanh())
        self.norm = nn.BatchNorm1d(5)
        self.head = nn.Linear(5, 4)

    def forward(self, images, gather):
        features = gather(self.encoder(images))
        return features, self.head(self.norm(features))


def loss_of(features, logits, labels):
    """Depends on all pairs of images, and on the batch's statistics."""
    pairs = torch.cdist(features + 0.1, features).square().mean()
    return nn.functional.cross_entropy(logits, labels) + pairs


def images_and_labels(count):
    images = torch.randn(count, 6, generator=torch.Generator().manual_seed(count))
    return images, torch.arange(count) % 4


def gradients(net):
    return {name: parameter.grad for name, parameter in net.named_parameters()}


def train_step(count, stand_in=False):
    """Loss, gradients and running mean of one step over `count` images."""
    images, labels = images_and_labels(count)
    own = distributed.share(count)
    sizes = [len(part) for part in distributed.shares(count)]
    images, labels = images[own.start : own.stop], labels[own.start : own.stop]
    if stand_in and not len(images):
        images = torch.ones(2, 6)
    net = Net()
    wrapped = gathering.average_gradients(net) if distributed.size() > 1 else net
    features, logits = wrapped(images, lambda rows: gathering.gather(rows, sizes))
    loss = loss_of(features, logits, gathering.gather(labels, sizes))
    loss.backward()
    return {"loss": loss.detach(), "mean": net.norm.running_mean, **gradients(net)}


def table_of(count, bad=(), stop=None):
    """Features of `count` images in batches of two, those with a number in `bad` broken."""

    def loader(own):
        for start in range(own.start, own.stop, 2):
            numbers = range(start, min(start + 2, own.stop))
            good = torch.tensor([i for i in numbers if i not in bad], dtype=torch.long)
            images = good[:, None, None, None].expand(-1, 3, 2, 2).float()
            if not len(good):
                images = torch.empty(0)
            paths = tuple(f"{i}.jpg" for i in numbers if i in bad)
            yield Batch(images, good, good, good, good - own.start, paths)

    def encode(batch):
        return batch.images.mean((2, 3)) + torch.tensor([0.0, 100.0, 200.0])

    table = extract_features(
        encode, loader, count, Precision(None, CPU), title="gallery", stop=stop
    )
    return {"features": table.features, "indices": table.indices, "bad": table.bad_images}


def error_of(action):
    try:
        action()
    except (Exception, Interrupted) as error:
        return type(error).__name__, str(error)
    return None


def stopped_extraction():
    """Only the last process is asked to stop."""
    stop = StopRequest()
    stop.requested = distributed.rank() == NUM_PROCESSES - 1
    return error_of(lambda: table_of(7, stop=stop))


def batches_of(plan, epoch, first_batch=0):
    batches = EpochBatches(plan, 3, distributed.share)
    batches.set_epoch(epoch, first_batch)
    return [[tuple(key) for key in batch] for batch in batches]


def all_batches():
    """Keys of P x K batches and of shuffled ones whose last batch is smaller than the processes."""
    return {
        "P x K": batches_of(RandomIdentitySampler(LABELS, 6, 2, 1), 2),
        "resumed": batches_of(RandomIdentitySampler(LABELS, 6, 2, 1), 2, first_batch=1),
        "shuffled": batches_of(ShuffledSampler(len(LABELS), 38, 1), 1),
    }


def come_in_turn(folder):
    with distributed.first_process_first():
        seen = sorted(path.name for path in folder.glob("process*"))
        if distributed.is_first():
            time.sleep(0.3)
        (folder / f"process{distributed.rank()}").touch()
    return seen


def first_one_fails():
    """Whether this process entered the block, and its error."""
    inside = []

    def action():
        with distributed.first_process_first():
            inside.append(True)
            if distributed.is_first():
                raise ValueError("nothing to find")

    return inside, error_of(action)


UNEVEN = [4, 1, 3]


def exchanges(folder):
    """The results of this process, by name."""
    rank = distributed.rank()
    rows = torch.arange(4.0 * rank).reshape(2 * rank, 2) + 100 * rank
    every = gathering.all_sizes(rows)
    nothing = torch.empty(0, 2)
    return {
        "place": (
            *(rank, distributed.size(), distributed.is_first()),
            *(distributed.local_rank(), distributed.local_size()),
        ),
        "shares": {count: distributed.shares(count) for count in range(8)},
        "share": {count: distributed.share(count) for count in range(8)},
        "broadcast": distributed.broadcast({"from": rank}),
        "collected": distributed.collect(f"from {rank}"),
        "sizes": every,
        "rows": gathering.gather(rows, every),
        "whole numbers": gathering.gather(torch.full((rank + 1,), rank), [1, 2, 3]),
        "uneven": gathering.gather(torch.full((len(UNEVEN) * 2, 1), rank), UNEVEN),
        "copies": gathering.copies_in_memory(torch.device("cpu")),
        "copies on a GPU": gathering.copies_in_memory(torch.device("cuda")),
        "no rows": gathering.gather(nothing, gathering.all_sizes(nothing)),
        "step of 7": train_step(7),
        "step of 2": train_step(2),
        "step of 2 with a stand-in": train_step(2, stand_in=True),
        "7 images": table_of(7),
        "2 images": table_of(2),
        "broken images": table_of(7, bad=(0, 3, 6)),
        "a part of broken images": table_of(7, bad=(0, 1)),
        "broken images only": error_of(lambda: table_of(4, bad=range(4))),
        "stopped": stopped_extraction(),
        "batches": all_batches(),
        "turns": come_in_turn(folder),
        "first one fails": first_one_fails(),
    }


def work(rank, folder, port):
    """One of the processes, in an environment as torchrun makes it."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
    numbers |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), NUM_PROCESSES)
    os.environ.update({name: str(number) for name, number in numbers.items()})
    # The parent holds the store, as torchrun's agent does. No GPUs: they may be fewer than three.
    os.environ.update(
        MASTER_ADDR="127.0.0.1", TORCHELASTIC_USE_AGENT_STORE="True", CUDA_VISIBLE_DEVICES=""
    )
    torch.set_num_threads(1)
    distributed.TIMEOUT = timedelta(seconds=60)
    with distributed.joined_processes():
        found = exchanges(folder)
    torch.save({**found, "left": dist.is_initialized()}, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """The results of each of the three processes."""
    folder = tmp_path_factory.mktemp("processes")
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    torch.multiprocessing.spawn(work, (folder, store.port), nprocs=NUM_PROCESSES)
    files = [folder / f"{rank}.pt" for rank in range(NUM_PROCESSES)]
    return [torch.load(file, weights_only=False) for file in files]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if torch.is_tensor(value):
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6, msg=name)
        else:
            assert found[name] == value, name


# ------------------------------------------------------------------------------- three processes


def test_every_process_knows_its_rank(three):
    assert [found["place"] for found in three] == [
        (0, 3, True, 0, 3),
        (1, 3, False, 1, 3),
        (2, 3, False, 2, 3),
    ]
    assert not any(found["left"] for found in three)


@pytest.mark.parametrize("count", range(8))
def test_shares_cover_all_items_once_in_order(three, count):
    for rank, found in enumerate(three):
        parts = found["shares"][count]
        assert [i for part in parts for i in part] == list(range(count))
        lengths = [len(part) for part in parts]
        assert max(lengths) - min(lengths) <= 1
        assert found["share"][count] == parts[rank]


def test_values_are_exchanged_among_processes(three):
    for found in three:
        assert found["broadcast"] == {"from": 0}
        assert found["collected"] == ["from 0", "from 1", "from 2"]
        assert found["sizes"] == [0, 2, 4]


def test_gathered_rows_are_those_of_all_processes_by_rank(three):
    one, two = torch.arange(4.0).reshape(2, 2) + 100, torch.arange(8.0).reshape(4, 2) + 200
    for found in three:
        assert torch.equal(found["rows"], torch.cat([one, two]))
        assert found["whole numbers"].tolist() == [0, 1, 1, 2, 2, 2]
        assert found["uneven"].flatten().tolist() == [0, 0, 0, 0, 1, 2, 2, 2]
        assert found["no rows"].shape == (0, 2)


def test_memory_of_gathered_rows(three):
    """All rows and, until they are there, those of the process itself; three on one machine."""
    for found in three:
        assert found["copies"] == pytest.approx(3 * (1 + 1 / 3))
        assert found["copies on a GPU"] == pytest.approx(1 + 1 / 3)


@pytest.mark.parametrize(
    ("step", "count"), [("step of 7", 7), ("step of 2", 2), ("step of 2 with a stand-in", 2)]
)
def test_loss_and_gradients_are_those_of_one_process(three, step, count):
    """2 images leave a process without one."""
    expected = train_step(count)
    assert all(gradient.abs().max() > 1e-3 for gradient in expected.values())
    for found in three:
        assert_same(found[step], expected)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("7 images", (7,)),
        ("2 images", (2,)),
        ("broken images", (7, (0, 3, 6))),
        ("a part of broken images", (7, (0, 1))),
    ],
)
def test_every_process_has_the_whole_feature_table(three, name, arguments):
    expected = table_of(*arguments)
    assert expected["features"][:, 1].tolist() == [i + 100 for i in expected["indices"].tolist()]
    for found in three:
        assert_same(found[name], expected)


def test_unreadable_data_raises_the_same_error_on_every_process(three):
    expected = ("ValueError", "gallery: no image could be read")
    assert [found["broken images only"] for found in three] == [expected] * 3


def test_all_processes_stop_when_one_was_asked_to(three):
    assert [found["stopped"][0] for found in three] == [Interrupted.__name__] * 3


@pytest.mark.parametrize("name", ["P x K", "resumed", "shuffled"])
def test_shares_add_up_to_the_batches_and_seeds_of_one_process(three, name):
    expected = all_batches()[name]
    parts = [found["batches"][name] for found in three]
    assert [list(chain(*own)) for own in zip(*parts, strict=True)] == expected
    last = [len(own[-1]) for own in parts]
    assert last == ([0, 1, 1] if name == "shuffled" else [4, 4, 4])


def test_first_process_goes_first(three):
    assert three[0]["turns"] == []
    assert all("process0" in found["turns"] for found in three[1:])


def test_failure_of_the_first_process_releases_the_others(three):
    assert three[0]["first one fails"] == ([True], ("ValueError", "nothing to find"))
    assert [found["first one fails"] for found in three[1:]] == [([True], None)] * 2


# -------------------------------------------------------------------------------- one process


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}])
def test_single_process_needs_no_process_group(monkeypatch, environment):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    value, rows = object(), torch.ones(2, 3, requires_grad=True)
    with distributed.joined_processes():
        assert not dist.is_initialized()
        assert (distributed.rank(), distributed.size(), distributed.is_first()) == (0, 1, True)
        assert (distributed.local_rank(), distributed.local_size()) == (0, 1)
        assert distributed.shares(5) == [range(5)]
        assert distributed.share(5) == range(5)
        assert distributed.broadcast(value) is value
        assert distributed.collect(value) == [value]
        assert gathering.all_sizes(rows) == [2]
        assert gathering.gather(rows, [2]) is rows
        assert gathering.copies_in_memory(torch.device("cpu")) == 1
        with distributed.first_process_first():
            distributed.wait_for_all()
        started = time.perf_counter()
        distributed.let_first_process_speak()
        assert time.perf_counter() - started < 1
        assert not distributed.is_lost_process(RuntimeError("gloo/transport: closed by peer"))


def test_more_processes_than_gpus_are_refused(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(distributed, "size", lambda: 3)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(ValueError, match=r"torchrun --nproc_per_node: 3 processes .* 2 GPUs"):
        choose_device("auto")
    assert chosen == []
    assert choose_device("cpu") == CPU
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert choose_device("auto") == torch.device("cuda", 1)
    assert choose_device("cuda", "0") == torch.device("cuda", 1)
    assert chosen == [1, 1]


def test_a_process_that_sees_one_gpu_of_its_own_uses_it(monkeypatch):
    """srun --gpus-per-task=1 starts two processes on a machine, each with one visible GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(distributed, "size", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(ValueError, match="2 processes"):
        choose_device("cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert choose_device("cuda") == torch.device("cuda", 0)


def test_lost_process_is_known_by_both_backends(monkeypatch):
    class DistBackendError(RuntimeError):
        pass

    monkeypatch.setattr(distributed, "size", lambda: 2)
    assert distributed.is_lost_process(RuntimeError("gloo/transport: closed by peer"))
    assert distributed.is_lost_process(DistBackendError("NCCL watchdog: remote process exited"))
    assert not distributed.is_lost_process(RuntimeError("shapes differ"))
