"""Workers whose batches do not fit the shared memory are not started."""

import pytest

from config import load_cfg
from datasets.images import build
from datasets.images.build import build_loading
from datasets.images.dataset import Loading, ordered_loader
from datasets.images.shared_memory import LONGEST_WAIT, fit_workers

MB = 2**20


@pytest.mark.parametrize(
    ("free", "processes", "expected"),
    [
        (None, 1, 4),
        (400 * MB, 1, 4),
        (399 * MB, 1, 3),
        (64 * MB, 1, 0),
        (100 * MB, 1, 1),
        (400 * MB, 2, 2),
        (0, 1, 0),
    ],
)
def test_workers_have_room_for_two_batches_each(free, processes, expected, caplog):
    assert fit_workers(4, 50 * MB, free, processes) == expected
    assert bool(caplog.records) == (expected < 4)


def test_warning_names_both_sizes_and_the_remedy(caplog):
    fit_workers(4, 50 * MB, 64 * MB)
    assert "4 workers need 400 MB of shared memory and /dev/shm has 64 MB free" in caplog.text
    assert "--shm-size" in caplog.text


@pytest.mark.parametrize(("free", "workers"), [(64 * MB, 0), (8 * MB, 0), (64 * 2**30, 1)])
def test_loading_counts_the_largest_batch_of_the_configuration(monkeypatch, free, workers):
    monkeypatch.setattr(build, "free_shared_memory", lambda: free)
    monkeypatch.setattr(build, "limit_workers", lambda *_: 1)
    opts = ["INPUT.SIZE_TRAIN", "[256, 128]", "INPUT.SIZE_TEST", "[256, 128]"]
    assert build_loading(load_cfg(None, opts)).num_workers == workers


def test_smaller_batches_fit_where_larger_ones_do_not(monkeypatch):
    monkeypatch.setattr(build, "free_shared_memory", lambda: 64 * MB)
    monkeypatch.setattr(build, "limit_workers", lambda *_: 1)
    opts = ["TEST.IMS_PER_BATCH", "32", "SOLVER.STAGE2.IMS_PER_BATCH", "32"]
    assert build_loading(load_cfg(None, opts)).num_workers == 1


def test_no_wait_for_a_worker_is_endless():
    assert ordered_loader([], 4, Loading(2)).timeout == LONGEST_WAIT
    assert ordered_loader([], 4, Loading(0)).timeout == 0
