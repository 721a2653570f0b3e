"""When the graph of identities is built, from which features, and its log."""

import pytest
import torch

from datasets.samplers import DepthFirstGraphSampler, RandomIdentitySampler
from processor.training.identity_graph import IdentityGraph, mean_by_label

LABELS = [label for label in range(12) for _ in range(4)]


class Features:
    """Features that differ from epoch to epoch, and the epochs that requested them."""

    def __init__(self):
        self.epochs = []

    def __call__(self, epoch):
        self.epochs.append(epoch)
        return [torch.randn(12, 2, generator=torch.Generator().manual_seed(epoch))]


def graph_of(features, **options):
    plan = DepthFirstGraphSampler(LABELS, [0] * 48, 4, 2)
    defaults = {"num_neighbours": 3, "skip": 0, "period": None}
    defaults |= {"mutual": False, "normalize": False}
    random_sampler = RandomIdentitySampler(LABELS, 4, 2)
    options = {**defaults, **options}
    return IdentityGraph(plan, features, random_sampler=random_sampler, labels=LABELS, **options)


@pytest.mark.parametrize(
    ("period", "epochs"), [(None, [1]), (1, [1, 2, 3, 4, 5]), (2, [1, 3, 5]), (3, [1, 4])]
)
def test_graph_is_computed_only_when_due(period, epochs):
    features = Features()
    graph = graph_of(features, period=period)
    for epoch in range(1, 6):
        graph.refresh(epoch)
    assert features.epochs == epochs


def test_sampler_walks_over_the_graph():
    graph = graph_of(Features())
    graph.refresh(1)
    stats = {**graph.sampler.stats, **graph.statistics(1)}
    assert stats["hits"] > stats["random_hits"] > 0
    assert stats["graph_seconds"] > 0


def test_resumed_graph_is_the_saved_one():
    graph, other = graph_of(Features(), period=2), graph_of(Features(), period=2)
    graph.refresh(1)
    graph.refresh(2)
    other.load_state_dict(graph.state_dict())
    other.refresh(2)
    assert other.features.epochs == []
    graph.sampler.set_epoch(2)
    other.sampler.set_epoch(2)
    assert list(other.sampler) == list(graph.sampler)


def test_normalized_features_compare_by_direction():
    points = torch.tensor([[1.0, 0.0], [100.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    labels = [0, 0, 1, 1, 2, 2, 3, 3]
    for normalize, nearest in ((False, 2), (True, 1)):
        plan = DepthFirstGraphSampler(labels, [0] * 8, 2, 2)
        random_sampler = RandomIdentitySampler(labels, 2, 2)
        graph = IdentityGraph(
            plan,
            lambda _: [points],
            num_neighbours=1,
            skip=0,
            mutual=False,
            normalize=normalize,
            period=None,
            random_sampler=random_sampler,
            labels=labels,
        )
        graph.refresh(1)
        assert graph.state_dict()["neighbours"][0].tolist() == [nearest]


def test_mean_by_label_averages_each_identity():
    features = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]])
    means = mean_by_label(features, torch.tensor([1, 1, 0]), 2)
    assert means.tolist() == [[5.0, 5.0], [2.0, 1.0]]
    with pytest.raises(ValueError, match="label 2"):
        mean_by_label(features, torch.tensor([1, 1, 0]), 3)
