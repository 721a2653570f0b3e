"""Cluster memories against the original's and against updates written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from loss import ClusterMemory, InstanceBank, disentangled_loss
from loss.dsgl.batch_rows import add_rows, first_of_equal, last_of_equal
from loss.dsgl.cluster_memory import smoothed_loss

C, D = 7, 16


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def batch(size=20, seed=1):
    labels = torch.randint(C, (size,), generator=torch.Generator().manual_seed(seed))
    return unit(size, D, seed=seed), labels


@pytest.fixture
def original(golden):
    """`original(kind)` -> arrays and a memory that holds `memory_before`."""

    def load(kind, **options):
        arrays = golden(f"memory_market_{kind}_smooth0.0_C12")
        rows = torch.from_numpy(arrays["memory_before"])
        memory = ClusterMemory(rows[:12], kind=kind, **options)
        memory.prototypes.copy_(rows.reshape(-1, 12, rows.shape[1]))
        return arrays, memory

    return load


@pytest.mark.parametrize("kind", ["DLhybrid", "CM", "CMhard"])
def test_one_step_equals_the_original(original, kind):
    arrays, memory = original(kind)
    inputs = torch.from_numpy(arrays["inputs"]).requires_grad_()
    labels = torch.from_numpy(arrays["targets"])
    loss = memory(inputs, labels)
    loss.backward()
    assert loss.item() == pytest.approx(arrays["loss"].item(), abs=2e-5)
    np.testing.assert_allclose(inputs.grad, arrays["grad_inputs"], rtol=0, atol=2e-5)
    np.testing.assert_array_equal(
        memory.prototypes.flatten(0, 1), arrays["memory_before"]
    )  # until the step is made
    memory.update(inputs, labels)
    np.testing.assert_allclose(
        memory.prototypes.flatten(0, 1), arrays["memory_after"], rtol=0, atol=2e-5
    )
    assert memory.hard.shape == memory.mean.shape == (12, 32)


def test_starts_from_normalized_centroids(golden):
    arrays = golden("irrelevant_labels")
    memory = ClusterMemory(torch.from_numpy(arrays["centroids_raw"]))
    rows = torch.cat([memory.hard, memory.mean])
    np.testing.assert_allclose(rows, arrays["memory_init"], rtol=0, atol=2e-5)


def written_out(memory, features, labels, kind):
    """Hard and mean rows after one update, cluster by cluster."""
    hard, mean = memory.hard.clone(), memory.mean.clone()

    def moved(row, towards):
        return F.normalize(0.3 * row + 0.7 * towards, dim=0)

    for label in labels.unique().tolist():
        mine = features[labels == label]
        if kind == "CM":
            for feature in mine:
                hard[label] = moved(hard[label], feature)
        else:
            hard[label] = moved(hard[label], mine[(mine @ hard[label]).argmin()])
            mean[label] = moved(mean[label], mine.mean(0))
    return hard, mean if "hybrid" in kind else hard


@pytest.mark.parametrize("kind", ["CM", "CMhard", "DLhybrid", "DLhybrid_v2"])
def test_update_as_written_out(kind):
    memory = ClusterMemory(unit(C, D), momentum=0.3, kind=kind)
    if "hybrid" in kind:
        memory.mean.copy_(unit(C, D, seed=5))
    features, labels = batch()
    hard, mean = written_out(memory, features, labels, kind)
    memory.update(features.requires_grad_(), labels)
    torch.testing.assert_close(memory.hard, hard, rtol=0, atol=1e-6)
    torch.testing.assert_close(memory.mean, mean, rtol=0, atol=1e-6)
    assert not memory.prototypes.requires_grad
    assert list(memory.parameters()) == []


def test_images_of_other_clusters_do_not_move_a_row():
    memory = ClusterMemory(unit(C, D))
    memory.update(unit(4, D, seed=3), torch.tensor([2, 2, 5, 2]))
    untouched = [0, 1, 3, 4, 6]
    torch.testing.assert_close(memory.hard[untouched], unit(C, D)[untouched])
    assert (memory.hard[[2, 5]] != unit(C, D)[[2, 5]]).any(1).all()


def test_loss_is_on_the_chosen_rows():
    features, labels = batch()
    losses = {}
    for on in ("hard", "mean", "both"):
        memory = ClusterMemory(unit(C, D), loss_on=on, hard_weight=0.25)
        memory.mean.copy_(unit(C, D, seed=5))
        losses[on] = memory(features, labels).item()
    for on, seed in (("hard", 0), ("mean", 5)):
        expected = F.cross_entropy(features @ unit(C, D, seed=seed).T / 0.05, labels)
        assert losses[on] == pytest.approx(expected.item(), rel=1e-6)
    expected = 0.25 * losses["hard"] + 0.75 * losses["mean"]
    assert losses["both"] == pytest.approx(expected, rel=1e-6)


def test_second_version_contrasts_disentangled_prototypes():
    features, labels = batch()
    irrelevant = torch.stack([(labels + 1) % C, (labels + 2) % C], dim=1)
    bank = InstanceBank(features, labels, irrelevant)
    memory = ClusterMemory(unit(C, D), kind="DLhybrid_v2", loss_on="mean")
    memory.mean.copy_(unit(C, D, seed=5))
    loss = memory(features, labels, irrelevant, bank)
    expected = disentangled_loss(features, labels, irrelevant, bank, memory.mean, mix=0.2)
    assert loss.item() == pytest.approx(expected.item())
    with pytest.raises(ValueError, match="DLhybrid_v2 needs irrelevant labels"):
        memory(features, labels)


def test_computes_in_float32_under_autocast():
    features, labels = batch()
    memory = ClusterMemory(unit(C, D))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = memory(features, labels)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(memory(features, labels).item(), abs=1e-6)


@pytest.mark.parametrize("num_clusters", [7, 99, 100, 260])
def test_smoothing_as_written_out(num_clusters):
    logits = torch.randn(5, num_clusters, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3, 3, 6, 5])
    targets = 0.9 * F.one_hot(labels, num_clusters).float()
    k = num_clusters // 50
    for b in range(5):
        if k > 1:
            targets[b, logits[b].argsort(descending=True)[:k]] += 0.1 / k
        else:
            targets[b] += 0.1 / num_clusters
    expected = F.cross_entropy(logits, targets)
    assert smoothed_loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_smoothing_is_an_option():
    features, labels = batch()
    memory = ClusterMemory(unit(C, D), smoothing=True)
    expected = F.cross_entropy(features @ unit(C, D).T / 0.05, labels, label_smoothing=0.1)
    assert memory(features, labels).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kind": "CMhybrid"}, r"DSGL\.MEMORY: unknown 'CMhybrid'; known: CM, CMhard"),
        ({"loss_on": "easy"}, r"DSGL\.MEM_LOSS"),
        ({"temperature": 0.0}, r"DSGL\.TEMPERATURE"),
        ({"momentum": 1.5}, r"DSGL\.MOMENTUM"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        ClusterMemory(unit(C, D), **options)


def test_places_of_equal_keys():
    keys = torch.tensor([4, 1, 4, 4, 1, 9])
    assert first_of_equal(keys).tolist() == [0, 1, 0, 0, 1, 5]
    assert last_of_equal(keys).tolist() == [3, 4, 3, 3, 4, 5]
    table = torch.zeros(3, 1)
    add_rows(table, torch.tensor([2, 0, 2]), torch.tensor([[1.0], [2.0], [4.0]]))
    assert table[:, 0].tolist() == [2, 0, 5]
