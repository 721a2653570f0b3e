"""From DSGL to the losses and the memory of training without labels."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from loss import (
    ClusteredBatch,
    ClusterMemory,
    DSGLLosses,
    InstanceBank,
    relative_entropy_loss,
)
from loss.build import build_cluster_memory, build_dsgl_losses

C, D, N, B = 120, 8, 480, 8
DSGL = {"DSGL.ENABLED": True}


def unit(*shape, seed):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def labels_of_the_bank():
    """Twelve clusters; each has three irrelevant labels."""
    labels = torch.arange(N) % 12
    labels[:80:10] = torch.tensor([0, 0, 1, 1, 5, 5, 9, 9])
    first = (labels + 1 + torch.arange(N) // 12 % 3) % 12
    return labels, torch.stack([first, (first + 1) % 12], 1)


@pytest.fixture
def features():
    return unit(B, D, seed=1)


@pytest.fixture
def batch():
    """Eight images of four clusters, two irrelevant labels each."""
    labels = torch.tensor([0, 0, 1, 1, 5, 5, 9, 9])
    return ClusteredBatch(torch.arange(0, 80, 10), labels, torch.tensor([[2, 3], [3, 4]] * 4))


@pytest.fixture
def bank():
    """480 images; each cluster of the batch has images of all irrelevant labels."""
    return InstanceBank(unit(N, D, seed=2), *labels_of_the_bank())


@pytest.fixture
def value_of(configure, features, batch, bank):
    """`value_of({"KEY": value})` -> {name: value} of the batch's losses."""

    def compute(*options):
        cfg = configure(DSGL, *options)
        losses, memory = build_dsgl_losses(cfg), build_cluster_memory(cfg, unit(C, D, seed=3))
        found = losses(features, unit(B, D, seed=4), batch, memory, bank)
        return {name: value.item() for name, value in found.items()}

    return compute


def approx(value):
    return pytest.approx(value, rel=1e-4)


# ----------------------------------------------------------------------------------------- losses

EVERY = {
    "DSGL.W_DIS": 0.7,
    "DSGL.W_KL": 1.9,
    "DSGL.TEMPERATURE": 0.11,
    "DSGL.TAU_DIS": 0.35,
    "DSGL.TAU_KL_POS": 0.65,
    "DSGL.TAU_KL_NEG": 0.23,
    "DSGL.KL_DETACH": True,
    "DSGL.FAITHFUL": True,
}


def test_every_field_of_the_losses(configure):
    found = build_dsgl_losses(configure(DSGL, EVERY))
    expected = DSGLLosses(
        disentangled_weight=0.7,
        entropy_weight=1.9,
        temperature=0.11,
        mix=0.35,
        positive_mix=0.65,
        negative_mix=0.23,
        detach=True,
        faithful=True,
    )
    assert found == expected
    default = build_dsgl_losses(configure(DSGL))
    unchanged = [x for x in fields(found) if getattr(found, x.name) == getattr(default, x.name)]
    assert not unchanged


@pytest.mark.parametrize("memory", ["CM", "CMhard", "DLhybrid_v2"])
def test_other_memories_learn_from_their_own_loss_alone(configure, memory):
    losses = build_dsgl_losses(configure(DSGL, EVERY, {"DSGL.MEMORY": memory}))
    assert (losses.disentangled_weight, losses.entropy_weight) == (0, 0)


def test_weights_are_proportional(value_of):
    once = value_of()
    assert value_of({"DSGL.W_DIS": 3})["disentangled"] == approx(3 * once["disentangled"])
    assert value_of({"DSGL.W_KL": 0.5})["relative_entropy"] == approx(once["relative_entropy"] / 2)
    assert list(value_of({"DSGL.W_DIS": 0})) == ["memory", "relative_entropy"]
    assert list(value_of({"DSGL.W_KL": 0})) == ["memory", "disentangled"]


def prototypes_slowly(batch, bank_rows, labels, irrelevant, prototypes):
    """Per image: mean positive over both orders, per order the positive and the negatives."""
    result = []
    for label, wanted in zip(batch.labels.tolist(), batch.irrelevant.tolist(), strict=True):
        orders = []
        for a, shared in enumerate(wanted):
            same = [i for i in range(N) if labels[i] == label and irrelevant[i, a] != shared]
            positive = bank_rows[same].mean(0) if same else prototypes[label]
            negatives = {}
            for cluster in range(12):
                mine = [i for i in range(N) if labels[i] == cluster and irrelevant[i, a] == shared]
                if mine and cluster != label:
                    negatives[cluster] = bank_rows[mine].mean(0)
            orders.append((positive, negatives, shared))
        result.append(orders)
    return result


@pytest.mark.parametrize(("temperature", "tau"), [(0.05, 0.5), (0.2, 0.5), (0.05, 0.15)])
def test_disentangled_loss_follows_its_formula(value_of, features, batch, temperature, tau):
    found = value_of({"DSGL.TEMPERATURE": temperature, "DSGL.TAU_DIS": tau})["disentangled"]
    prototypes = unit(C, D, seed=3)
    rows, labels, irrelevant = unit(N, D, seed=2), *labels_of_the_bank()
    guides = prototypes_slowly(batch, rows, labels, irrelevant, prototypes)
    total = 0.0
    for f, label, orders in zip(features, batch.labels.tolist(), guides, strict=True):
        mean = (orders[0][0] + orders[1][0]) / 2
        own = f @ F.normalize((1 - tau) * prototypes[label] + tau * mean, dim=0)
        logits = (f @ prototypes.T).tolist()
        logits[label] = own.item()
        terms = [math.exp(x / temperature) for x in logits]
        for _, negatives, shared in orders:
            pushed = [F.normalize(n, dim=0) for n in negatives.values()] or [prototypes[shared]]
            terms += [tau / 2 * math.exp((f @ n).item() / temperature) for n in pushed]
        total += math.log(sum(terms)) - own.item() / temperature
    assert found == approx(total / B)


@pytest.mark.parametrize(
    ("temperature", "pull", "push"), [(0.05, 0.8, 0.1), (0.3, 0.8, 0.1), (0.05, 0.3, 0.45)]
)
def test_relative_entropy_follows_its_formula(value_of, features, batch, temperature, pull, push):
    options = {"DSGL.TAU_KL_POS": pull, "DSGL.TAU_KL_NEG": push, "DSGL.TEMPERATURE": temperature}
    found = value_of(options)["relative_entropy"]
    prototypes, partners = unit(C, D, seed=3), unit(B, D, seed=4)
    rows, labels, irrelevant = unit(N, D, seed=2), *labels_of_the_bank()
    guides = prototypes_slowly(batch, rows, labels, irrelevant, prototypes)
    total = 0.0
    for i, orders in enumerate(guides):
        label = batch.labels[i].item()
        q = (partners[i] @ prototypes.T / temperature).log_softmax(0)
        for positive, negatives, _ in orders:
            guided = prototypes.clone()
            guided[label] = F.normalize((1 - pull) * prototypes[label] + pull * positive, dim=0)
            for cluster, negative in negatives.items():
                moved = (1 - push) * prototypes[cluster] + push * negative
                guided[cluster] = F.normalize(moved, dim=0)
            p = (features[i] @ guided.T / temperature).log_softmax(0)
            total += (p.exp() * (p - q)).sum().item() / 2
    assert found == approx(total / B)


@pytest.mark.parametrize("detach", [True, False])
def test_detached_guidance_has_no_gradient(configure, features, batch, bank, detach):
    cfg = configure(DSGL, {"DSGL.KL_DETACH": detach})
    losses, memory = build_dsgl_losses(cfg), build_cluster_memory(cfg, unit(C, D, seed=3))
    features.requires_grad_()
    partners = unit(B, D, seed=4).requires_grad_()
    entropy = losses(features, partners, batch, memory, bank)["relative_entropy"]
    mine, theirs = torch.autograd.grad(entropy, (features, partners), allow_unused=True)
    assert theirs.abs().sum() > 0
    assert (mine is None or not mine.any()) == detach


def test_published_form_updates_the_bank_between_its_passes(configure, features, batch, bank):
    for faithful in (False, True):
        cfg = configure(DSGL, {"DSGL.FAITHFUL": faithful})
        losses, memory = build_dsgl_losses(cfg), build_cluster_memory(cfg, unit(C, D, seed=3))
        before = bank.features.clone()
        losses(features, unit(B, D, seed=4), batch, memory, bank)
        assert torch.equal(before, bank.features) != faithful


def test_published_form_of_the_relative_entropy(configure, features, batch, bank):
    """After the passes of the disentangled loss, which move the bank."""
    cfg = configure(DSGL, EVERY)
    losses, memory = build_dsgl_losses(cfg), build_cluster_memory(cfg, unit(C, D, seed=3))
    again = InstanceBank(bank.features.clone(), *labels_of_the_bank())
    partners = unit(B, D, seed=4)
    found = losses(features, partners, batch, memory, bank)["relative_entropy"]
    for _ in range(2):
        again.update(batch.indices, features)
    given = (features, partners, batch.labels, batch.irrelevant, again, memory.mean)
    expected, other = (
        relative_entropy_loss(*given, 0.11, 0.65, 0.23, faithful=faithful, detach=True)
        for faithful in (True, False)
    )
    assert found == approx(1.9 * expected.item())
    assert abs(expected - other) > 1e-4


# ----------------------------------------------------------------------------------------- memory


def memory_of(configure, *options):
    return build_cluster_memory(configure(DSGL, *options), 3 * unit(C, D, seed=3))


@pytest.mark.parametrize("kind", ["CM", "CMhard", "DLhybrid", "DLhybrid_v2"])
@pytest.mark.parametrize("on", ["hard", "mean", "both"])
def test_every_field_of_the_memory(configure, kind, on):
    options = {
        "DSGL.MEMORY": kind,
        "DSGL.MEM_LOSS": on,
        "DSGL.TEMPERATURE": 0.3,
        "DSGL.MOMENTUM": 0.6,
        "DSGL.HARD_WEIGHT": 0.2,
        "DSGL.LABEL_SMOOTHING": True,
    }
    found = memory_of(configure, options)
    expected = ClusterMemory(
        3 * unit(C, D, seed=3), 0.3, 0.6, on, kind=kind, hard_weight=0.2, smoothing=True
    )
    attributes = ("temperature", "momentum", "kind", "_hard_share", "_smoothing")
    for name in attributes:
        assert getattr(found, name) == getattr(expected, name)
    assert torch.equal(found.prototypes, expected.prototypes)
    assert found.prototypes.shape == (2 if "hybrid" in kind else 1, C, D)


def moved_apart(memory, features, labels):
    """A memory whose hard and mean rows differ."""
    memory.update(features, labels)
    assert not torch.equal(memory.hard, memory.mean)
    return memory.hard.clone(), memory.mean.clone()


@pytest.mark.parametrize(
    ("options", "share", "temperature"),
    [
        ({}, 1, 0.05),
        ({"DSGL.MEM_LOSS": "mean"}, 0, 0.05),
        ({"DSGL.MEM_LOSS": "both"}, 0.5, 0.05),
        ({"DSGL.MEM_LOSS": "both", "DSGL.HARD_WEIGHT": 0.2}, 0.2, 0.05),
        ({"DSGL.TEMPERATURE": 0.4}, 1, 0.4),
        ({"DSGL.MEM_LOSS": "both", "DSGL.HARD_WEIGHT": 0.9, "DSGL.TEMPERATURE": 0.2}, 0.9, 0.2),
    ],
)
def test_memory_loss_follows_its_formula(configure, features, batch, options, share, temperature):
    memory = memory_of(configure, options)
    hard, mean = moved_apart(memory, unit(B, D, seed=6), batch.labels)
    values = [F.cross_entropy(features @ x.T / temperature, batch.labels) for x in (hard, mean)]
    expected = share * values[0] + (1 - share) * values[1]
    assert memory(features, batch.labels).item() == approx(expected.item())


@pytest.mark.parametrize("smoothing", [True, False])
def test_smoothed_memory_loss_rewards_the_most_probable_clusters(
    configure, features, batch, smoothing
):
    """120 clusters: a tenth of the target goes to the two most probable ones."""
    memory = memory_of(configure, {"DSGL.LABEL_SMOOTHING": smoothing, "DSGL.TEMPERATURE": 0.3})
    shares = (features @ unit(C, D, seed=3).T / 0.3).log_softmax(1)
    own = shares[torch.arange(B), batch.labels]
    best = shares.sort(1, descending=True).values[:, :2].mean(1)
    expected = -(0.9 * own + 0.1 * best).mean() if smoothing else -own.mean()
    assert memory(features, batch.labels).item() == approx(expected.item())


def normalized(row):
    return row / np.linalg.norm(row)


@pytest.mark.parametrize("momentum", [0.1, 0.6])
@pytest.mark.parametrize("kind", ["CM", "CMhard", "DLhybrid", "DLhybrid_v2"])
def test_memory_update_follows_its_formula(configure, features, batch, kind, momentum):
    memory = memory_of(configure, {"DSGL.MEMORY": kind, "DSGL.MOMENTUM": momentum})
    before = unit(C, D, seed=3).double().numpy()
    hard, mean, rows = before.copy(), before.copy(), features.double().numpy()

    def moved(row, towards):
        return normalized(momentum * row + (1 - momentum) * towards)

    for label in set(batch.labels.tolist()):
        mine = rows[[i for i in range(B) if batch.labels[i] == label]]
        for image in mine:
            if kind == "CM":
                hard[label] = moved(hard[label], image)
        if kind != "CM":
            hard[label] = moved(hard[label], mine[(mine @ before[label]).argmin()])
        mean[label] = moved(mean[label], mine.mean(0))
    memory.update(features, batch.labels)
    np.testing.assert_allclose(memory.hard.numpy(), hard, atol=1e-5)
    if "hybrid" in kind:
        np.testing.assert_allclose(memory.mean.numpy(), mean, atol=1e-5)
