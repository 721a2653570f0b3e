"""Free memory, the estimates, and the refusal of evaluations that cannot fit."""

import pytest
import torch

from processor.evaluation import evaluate_features
from processor.metrics import memory_limits as estimates
from processor.metrics import products
from processor.metrics.k_reciprocal import Reranking
from processor.metrics.memory_limits import (
    check_evaluation,
    check_ranking,
    features_bytes,
    ranking_bytes,
    refuse_beyond,
    rerank_memory,
)
from processor.metrics.working_memory import WorkingMemory
from processor.runtime import device
from processor.runtime.device import available_bytes

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def reading(monkeypatch):
    """`reading(cpu=..., cuda=...)` sets the free bytes."""

    def fake(**by_device):
        monkeypatch.setattr(estimates, "available_bytes", lambda device: by_device.get(device.type))

    return fake


@pytest.mark.parametrize(("free", "expected"), [(300, 300), (0, None)])
def test_free_main_memory_is_the_machines(monkeypatch, free, expected):
    monkeypatch.setattr(device, "free_ram", lambda: free)
    assert available_bytes(CPU) == expected


def test_free_cuda_memory_includes_the_unused_reserve(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 200)
    assert available_bytes(CUDA) == 1300


def test_free_memory_of_other_devices_is_unknown():
    assert available_bytes(torch.device("mps")) is None


def test_refusal_names_needed_and_available_memory():
    text = r"^sorting needs about 3\.0 GB, have 2\.0 GB; do less$"
    with pytest.raises(MemoryError, match=text):
        refuse_beyond(2_000_000_000, 3_000_000_000, "sorting", "do less")


@pytest.mark.parametrize("available", [None, 3_000_000_000])
def test_enough_or_unknown_memory_passes(available):
    refuse_beyond(available, 3_000_000_000, "sorting", "do less")


def test_features_take_four_bytes_per_number():
    assert features_bytes(94_000, 1280) == 94_000 * 1280 * 4


def test_ranking_needs_one_block_instead_of_the_matrix(monkeypatch):
    """Per distance 4 bytes, 4 for its cell and, with oneDNN, twice 4 for its product."""
    monkeypatch.setattr(products, "_has_onednn", lambda device: device.type == "cpu")
    overhead = estimates.OVERHEAD
    assert ranking_bytes(10, 1000, WorkingMemory(512, CUDA)) == 10 * 1000 * 8 + overhead
    assert ranking_bytes(11_659, 82_161, WorkingMemory(512, CUDA)) == 512 * 2**20 + overhead
    assert ranking_bytes(11_659, 82_161, WorkingMemory(512, CPU)) == 192 * 82_161 * 16 + overhead
    assert ranking_bytes(11_659, 82_161, WorkingMemory(7, CPU)) == 7 * 2**20 + overhead
    assert (
        ranking_bytes(5, 10_000_000, WorkingMemory(1, CPU)) == 10_000_000 * 16 + overhead
    )  # a row at least


def test_reranking_estimate_grows_with_matrix_and_neighbourhood():
    blocks = rerank_memory(11_659, 82_161, 512, 50, 15, whole=False)
    assert rerank_memory(11_659, 82_161, 512, 50, 15) == blocks + 4 * 11_659 * 82_161
    assert blocks < 4e9
    assert rerank_memory(11_659, 82_161, 512, 100, 15, whole=False) > 1.5 * blocks


@pytest.mark.parametrize(
    ("device", "also", "remedy"),
    [
        (CPU, 0, r"lower TEST\.CHUNK_MB or evaluate on a machine with more memory"),
        (CPU, 10**9, "evaluate on a machine with more memory"),
        (CUDA, 0, r"lower TEST\.CHUNK_MB or set MODEL\.DEVICE cpu"),
        (CUDA, 10**9, r"set MODEL\.DEVICE cpu"),
    ],
)
def test_refusal_suggests_only_remedies_that_help(reading, device, also, remedy):
    """Smaller blocks do not help if the features alone are too large."""
    reading(cpu=10**8, cuda=10**8)
    with pytest.raises(
        MemoryError, match=rf"^evaluation \({device}\) needs .*, have 0\.1 GB; {remedy}$"
    ):
        check_ranking(12_000, 82_000, WorkingMemory(512, device), also=also)


def test_unknown_memory_refuses_nothing(reading):
    reading()
    check_ranking(10**6, 10**6, WorkingMemory(512), also=10**15)


def test_evaluate_features_refuses_too_large_rankings(reading):
    reading(cpu=10**6)
    ids = [0] * 4, [0] * 9, [0] * 4, [1] * 9
    with pytest.raises(MemoryError, match=r"evaluation \(cpu\) needs about 0\.1 GB, have 0\.0 GB"):
        evaluate_features(torch.rand(4, 3), torch.rand(9, 3), *ids)
    reading(cpu=10**9)
    assert evaluate_features(torch.rand(4, 3), torch.rand(9, 3), *ids).mAP == 1


def check(sizes=((1000, 9000),), num_images=10_000, device=CPU, rerank=None, copies=1):
    memory = WorkingMemory(64, device)
    check_evaluation("market1501", sizes, num_images, 25_000, memory, rerank, copies=copies)


def test_features_of_a_data_set_must_fit(reading):
    """10,000 x 25,000 float32 are 1 GB, a block 64 MiB."""
    reading(cpu=1_200_000_000)
    check()
    reading(cpu=1_080_000_000)
    with pytest.raises(
        MemoryError,
        match=r"^evaluation on market1501 \(cpu\) needs about 1\.1 GB, have 1\.1 GB; low",
    ):
        check()


def test_copies_of_several_processes_count(reading):
    reading(cpu=3_200_000_000)
    check(copies=3)
    with pytest.raises(MemoryError, match=r"needs about 3\.3 GB, have 3\.2 GB"):
        check(copies=3.2)


def test_splits_that_share_images_need_a_second_copy(reading):
    """Their rows are copied out of the table of all images."""
    reading(cpu=1_900_000_000)
    check(sizes=[(1000, 9000)])
    with pytest.raises(MemoryError, match=r"needs about 2\.1 GB, have 1\.9 GB; evaluate on"):
        check(sizes=[(1000, 9000)], num_images=9_500)
    with pytest.raises(MemoryError, match=r"needs about 2\.1 GB"):
        check(sizes=[(500, 4000), (1000, 9000)], num_images=10_001)


def test_reranking_on_a_gpu_needs_its_memory(reading):
    """With the features there, and 12 bytes for an entry that takes 8 in main memory."""
    rerank = Reranking(50, 15, 0.3)
    on_cpu = rerank_memory(1000, 9000, 25_000, 50, 15, whole=False)
    on_gpu = rerank_memory(1000, 9000, 25_000, 50, 15, whole=False, place=CUDA)
    assert on_gpu - on_cpu == 4 * 10_000 * (2 * 102 + 2 * 51 * 15)
    features = features_bytes(10_000, 25_000)
    reading(cuda=on_gpu + features, cpu=1)
    check(device=CUDA, rerank=rerank)
    reading(cuda=on_gpu + features - 1, cpu=10**12)
    text = r"^re-ranking market1501 needs .* set TEST\.RE_RANKING False or MODEL\.DEVICE cpu"
    with pytest.raises(MemoryError, match=text):
        check(device=CUDA, rerank=rerank)


def test_reranking_on_other_devices_needs_main_memory(reading):
    """MPS has no float64, in which weights are summed."""
    rerank = Reranking(50, 15, 0.3)
    needed = rerank_memory(1000, 9000, 25_000, 50, 15, whole=False)
    text = r"^re-ranking market1501 needs .* set TEST\.RE_RANKING False"
    reading(cpu=needed + 10)
    check(device=torch.device("mps"), rerank=rerank)
    reading(cpu=needed - 10)
    with pytest.raises(MemoryError, match=text):
        check(device=torch.device("mps"), rerank=rerank)
    reading(cpu=needed + 10)  # without the features
    with pytest.raises(MemoryError, match=text):
        check(device=CPU, rerank=rerank)
    reading(cpu=needed + features_bytes(10_000, 25_000))
    check(device=CPU, rerank=rerank)
