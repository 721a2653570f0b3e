import pytest
import torch

from processor.metrics.working_memory import WorkingMemory


def test_chunks_cover_the_rows_within_the_memory():
    slices = list(WorkingMemory(1).chunks(10, bytes_per_row=2**18))
    assert slices == [slice(0, 4), slice(4, 8), slice(8, 10)]


def test_a_row_larger_than_the_memory_gets_its_own_chunk():
    assert list(WorkingMemory(1).chunks(2, 2**30)) == [slice(0, 1), slice(1, 2)]


def test_size_must_be_positive():
    with pytest.raises(ValueError, match="chunk_mb"):
        WorkingMemory(0)


def test_blocks_on_a_cpu_fit_its_caches_and_never_exceed_the_memory():
    cuda = torch.device("cuda")
    assert WorkingMemory(512).block_mb(1000) == 32
    assert WorkingMemory(512).block_mb(2**20) == 192  # rows of 1 MiB
    assert WorkingMemory(100).block_mb(2**20) == 100
    assert WorkingMemory(7).block_mb(1000) == 7
    assert WorkingMemory(512, cuda).block_mb(1000) == 512
    assert list(WorkingMemory(512).blocks(300, 2**20)) == [slice(0, 192), slice(192, 300)]
    assert list(WorkingMemory(512, cuda).blocks(300, 2**20)) == [slice(0, 300)]
