"""Evaluations hold no copy of the features and no (Q, G) matrix.

Every case runs in its own process and measures how far the peak rises above the memory before.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SCRIPT = """
import sys
from pathlib import Path
import torch
from torch import nn
from datasets.records import Batch, DataSplits, Sample
from processor.evaluation.evaluator import Evaluator
from processor.evaluation.protocol import Protocol
from processor.evaluation.target import Target
from processor.metrics.k_reciprocal import Reranking
from processor.metrics.working_memory import WorkingMemory
from processor.runtime.precision import Precision

class Ready(nn.Module):
    def embed(self, images, camids, viewids):
        return images

class Loader:
    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for rows in torch.arange(len(self.dataset)).split(100):
            yield Batch(torch.randn(len(rows), DIM, generator=generator), rows, rows, rows, rows)

def evaluator(num_query, num_gallery):
    samples = [Sample(str(i), i % 500, i % 7) for i in range(num_query + num_gallery)]
    splits = DataSplits("drawn", [], samples[:num_query], samples[num_query:])
    protocol = Protocol(memory=WorkingMemory(16), rerank=RERANK)
    return Evaluator([Target("drawn", [splits])], protocol, Loader, Precision(None, CPU))

def status_kb(entry):
    return int(Path("/proc/self/status").read_text().split(entry)[1].split()[0])

CPU = torch.device("cpu")
NUM_QUERY, NUM_GALLERY, DIM = map(int, sys.argv[1:4])
RERANK = Reranking(6, 2, 0.3) if "rerank" in sys.argv else None
torch.set_num_threads(1)
evaluator(200, 2000)(Ready())  # loads libraries
task = evaluator(NUM_QUERY, NUM_GALLERY)
before = status_kb("VmRSS:")
task(Ready())
print((status_kb("VmHWM:") - before) / 1024 - (NUM_QUERY + NUM_GALLERY) * DIM * 4 / 2**20)
"""


def extra_mb(*arguments):
    """Peak of an evaluation of Q x G x D above one copy of the features, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def test_evaluation_holds_the_features_once():
    """They take 86 MiB, the matrix would take 153, a chunk may take 16."""
    assert extra_mb(2_000, 20_000, 1_024) < 60


def test_reranking_holds_no_query_gallery_matrix():
    """The matrix would take 114 MiB."""
    assert extra_mb(2_000, 15_000, 16, "rerank") < 70
