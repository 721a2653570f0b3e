"""Workers whose batches do not fit the shared memory are not started."""

import pytest
from torch.utils.data import DataLoader

from config import load_cfg
from datasets.images import workers
from datasets.images.build import build_loading
from datasets.images.dataset import Loading, ordered_loader
from datasets.images.workers import LONGEST_WAIT, fit_workers, prepare_worker
from processor.runtime.shortages import explain_system_error

MB = 2**20


@pytest.mark.parametrize(
    ("free", "processes", "expected"),
    [
        (None, 1, 4),
        (500 * MB, 1, 4),
        (499 * MB, 1, 3),
        (64 * MB, 1, 0),
        (200 * MB, 1, 1),
        (600 * MB, 2, 2),
        (0, 1, 0),
    ],
)
def test_workers_have_room_for_two_batches_each(free, processes, expected, caplog):
    assert fit_workers(4, 50 * MB, free, processes) == expected
    assert bool(caplog.records) == (expected < 4)


def test_warning_names_both_sizes_and_the_remedy(caplog):
    fit_workers(4, 50 * MB, 64 * MB)
    assert "4 workers need 500 MB of shared memory and /dev/shm has 64 MB free" in caplog.text
    assert "--shm-size" in caplog.text


@pytest.mark.parametrize(("free", "expected"), [(64 * MB, 0), (8 * MB, 0), (64 * 2**30, 1)])
def test_loading_counts_the_largest_batch_of_the_configuration(monkeypatch, free, expected):
    monkeypatch.setattr(workers, "free_shared_memory", lambda: free)
    monkeypatch.setattr(workers, "limit_workers", lambda *_: 1)
    opts = ["INPUT.SIZE_TRAIN", "[256, 128]", "INPUT.SIZE_TEST", "[256, 128]"]
    assert build_loading(load_cfg(None, opts)).num_workers == expected


def test_smaller_batches_fit_where_larger_ones_do_not(monkeypatch):
    monkeypatch.setattr(workers, "free_shared_memory", lambda: 64 * MB)
    monkeypatch.setattr(workers, "limit_workers", lambda *_: 1)
    opts = ["INPUT.SIZE_TRAIN", "[256, 128]", "INPUT.SIZE_TEST", "[256, 128]"]
    opts += ["TEST.IMS_PER_BATCH", "32", "SOLVER.STAGE2.IMS_PER_BATCH", "32"]
    assert build_loading(load_cfg(None, opts)).num_workers == 1


def test_no_wait_for_a_worker_is_endless():
    assert ordered_loader([], 4, Loading(2)).timeout == LONGEST_WAIT
    assert ordered_loader([], 4, Loading(0)).timeout == 0


class Unsendable:
    """A batch that the system refuses to hand over."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("unable to write to file </torch_1>: No space left on device (28)"), 28),
        (OSError(24, "Too many open files"), 24),
        (RuntimeError("something else"), 28),
    ],
)
def test_worker_that_cannot_hand_over_a_batch_ends_with_the_reason(error, status):
    loader = DataLoader(
        [0, 1, 2],
        collate_fn=lambda _: Unsendable(error),
        num_workers=1,
        worker_init_fn=prepare_worker,
        timeout=LONGEST_WAIT,
    )
    with pytest.raises(RuntimeError, match="exited unexpectedly") as lost:
        list(loader)
    assert f"exit code {status}" in str(lost.value.__cause__)
    assert explain_system_error(lost.value).startswith("a worker process found too ")
