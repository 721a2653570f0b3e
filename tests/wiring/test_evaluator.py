"""From TEST to the evaluator: its protocol, number format and batches, and the scores."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datasets.records import DataSplits
from processor.evaluation.build import build_evaluator
from processor.evaluation.protocol import Protocol
from processor.evaluation.target import Target
from processor.metrics.k_reciprocal import Reranking
from processor.metrics.reranking import rerank_blocks
from processor.metrics.working_memory import WorkingMemory

CPU = torch.device("cpu")
RERANKING = {
    "TEST.RE_RANKING": True,
    "TEST.RE_RANKING_K1": 7,
    "TEST.RE_RANKING_K2": 3,
    "TEST.RE_RANKING_LAMBDA": 0.6,
}


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {}),
        ({"TEST.FEAT_NORM": False}, {"normalize": False}),
        ({"TEST.IGNORE_SAME_CAMERA": False}, {"ignore_same_camera": False}),
        ({"TEST.CHUNK_MB": 77}, {"memory": WorkingMemory(77, CPU)}),
        ({"TEST.MULTI_QUERY": True}, {"multi_query": True}),
        (RERANKING, {"rerank": Reranking(7, 3, 0.6)}),
        ({**RERANKING, "TEST.RE_RANKING": False}, {"rerank": None}),
    ],
)
def test_every_field_of_the_protocol(configure, options, changes):
    default = {"normalize": True, "ignore_same_camera": True, "memory": WorkingMemory(512, CPU)}
    evaluator = build_evaluator(configure(options), [], CPU)
    assert evaluator.protocol == Protocol(**{**default, **changes})


@pytest.mark.parametrize(
    ("mode", "dtype"), [("off", None), ("bf16", torch.bfloat16), ("auto", "either")]
)
def test_number_format_is_that_of_evaluation(configure, mode, dtype):
    """Not that of training."""
    training = "off" if mode == "bf16" else "bf16"
    cfg = configure({"TEST.AMP": mode, "SOLVER.AMP": training})
    precision = build_evaluator(cfg, [], CPU).precision
    assert precision.device == CPU
    assert precision.dtype in ((None, torch.bfloat16) if dtype == "either" else (dtype,))


def test_batches(configure, data):
    cfg = configure({"TEST.IMS_PER_BATCH": 11})
    loader = build_evaluator(cfg, [], CPU).loader(data.samples[:25])
    assert [len(batch) for batch in loader] == [11, 11, 3]
    assert next(iter(loader)).labels.tolist() == [sample.pid for sample in data.samples[:11]]


# ------------------------------------------------------------------------------------------ scores


class Thumbnail(nn.Module):
    """A model whose descriptor is a small, blurred copy of the image."""

    def embed(self, images, camids=None, viewids=None):
        del camids, viewids
        return F.adaptive_avg_pool2d(images, (2, 1)).flatten(1) * images[:, :1].mean((2, 3)).exp()


@pytest.fixture
def target(data):
    """Two images of each identity against the other two."""
    query = [sample for i, sample in enumerate(data.samples) if i % 4 < 2]
    gallery = [sample for i, sample in enumerate(data.samples) if i % 4 >= 2]
    return Target("images", [DataSplits("images", [], query, gallery)])


@pytest.fixture
def mean_precision_of(configure, target):
    def compute(*options):
        return build_evaluator(configure(*options), [target], CPU)(Thumbnail()).average()["mAP"]

    return compute


def features_slowly(configure, samples, *, normalize):
    loader = build_evaluator(configure(), [], CPU).loader(samples)
    rows = torch.cat([Thumbnail().embed(batch.images) for batch in loader])
    return F.normalize(rows) if normalize else rows


def mean_precision_slowly(distances, query, gallery, *, junk):
    """mAP by sorting every row."""
    precisions = []
    for row, (pid, camid) in zip(distances, query, strict=True):
        hits, found, rank = 0, [], 0
        for place in np.argsort(row, kind="stable"):
            if junk and gallery[place] == (pid, camid):
                continue
            rank += 1
            if gallery[place][0] == pid:
                hits += 1
                found.append(hits / rank)
        if found:
            precisions.append(np.mean(found))
    return np.mean(precisions)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("junk", [True, False])
@pytest.mark.parametrize("multi", [True, False])
@pytest.mark.parametrize("rerank", [True, False])
def test_scores(configure, target, mean_precision_of, normalize, junk, multi, rerank):
    options = {
        "TEST.FEAT_NORM": normalize,
        "TEST.IGNORE_SAME_CAMERA": junk,
        "TEST.MULTI_QUERY": multi,
    }
    (split,) = target.splits
    query, gallery = (
        features_slowly(configure, samples, normalize=normalize)
        for samples in (split.query, split.gallery)
    )
    query_ids, gallery_ids = (
        [(sample.pid, sample.camid) for sample in samples]
        for samples in (split.query, split.gallery)
    )
    if multi:
        groups = sorted(set(query_ids))
        query = torch.stack([query[[x == ids for x in query_ids]].mean(0) for ids in groups])
        query = F.normalize(query) if normalize else query
        query_ids = groups
    distances = (query[:, None] - gallery[None]).square().sum(2).numpy()
    if rerank:
        options |= RERANKING
        blocks = rerank_blocks(query, gallery, Reranking(7, 3, 0.6), WorkingMemory(512, CPU))
        distances = np.concatenate([b.values.numpy() for b in blocks(iter([slice(0, len(query))]))])
    expected = mean_precision_slowly(distances, query_ids, gallery_ids, junk=junk)
    assert mean_precision_of(options) == pytest.approx(expected, abs=1e-6)


def test_every_constant_of_the_reranking_changes_the_scores(mean_precision_of):
    changed = [
        {},
        {"TEST.RE_RANKING_K1": 3},
        {"TEST.RE_RANKING_K2": 1},
        {"TEST.RE_RANKING_LAMBDA": 0.05},
    ]
    scores = [mean_precision_of(RERANKING, more) for more in changed]
    assert len(set(scores)) == len(scores)
