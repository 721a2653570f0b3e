"""The losses of training without labels together: the original's passes, weights, updates."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from loss import (
    ClusteredBatch,
    ClusterMemory,
    DSGLLosses,
    InstanceBank,
    disentangled_loss,
    relative_entropy_loss,
)


@pytest.fixture
def original(golden):
    """The arrays of `disentangle_loss` as tensors."""
    arrays = golden("disentangle_loss")
    return SimpleNamespace(**{name: torch.from_numpy(np.array(arrays[name])) for name in arrays})


@pytest.fixture
def bank(original):
    return InstanceBank(original.ins_memory, original.labels, original.irre_labels)


@pytest.fixture
def memory(original):
    return ClusterMemory(original.clu_memory)


@pytest.fixture
def batch(original):
    return ClusteredBatch(original.indexes, original.targets, original.irre_targets)


def test_published_form_is_the_mean_of_the_originals_passes(original, memory, bank, batch):
    losses = DSGLLosses(entropy_weight=0, faithful=True)
    features = original.inputs.clone().requires_grad_()
    found = losses(features, None, batch, memory, bank)["disentangled"]
    expected = ((original.loss_pass0 + original.loss_pass1) / 2).float()
    torch.testing.assert_close(found, expected.reshape(()), atol=2e-5, rtol=0)
    (gradient,) = torch.autograd.grad(found, features)
    both = (original.grad_pass0 + original.grad_pass1) / 2
    torch.testing.assert_close(gradient, both, atol=2e-5, rtol=0)
    torch.testing.assert_close(bank.features, original.ins_memory_after, atol=0, rtol=0)


def test_default_is_one_pass_over_all_orders_and_leaves_the_bank(original, memory, bank, batch):
    found = DSGLLosses()(original.inputs, original.inputs.flip(0), batch, memory, bank)
    parts = (original.targets, original.irre_targets, bank, memory.mean)
    assert found["memory"] == memory(original.inputs, original.targets)
    assert found["disentangled"] == disentangled_loss(original.inputs, *parts)
    flipped = original.inputs.flip(0)
    assert found["relative_entropy"] == relative_entropy_loss(original.inputs, flipped, *parts)
    assert torch.equal(bank.features, original.ins_memory)


def test_weights_multiply_and_zero_leaves_out(original, memory, bank, batch):
    pairs = original.inputs.flip(0)
    once = DSGLLosses()(original.inputs, pairs, batch, memory, bank)
    weighted = DSGLLosses(disentangled_weight=3.0, entropy_weight=0.5)
    found = weighted(original.inputs, pairs, batch, memory, bank)
    assert found["memory"] == once["memory"]
    assert found["disentangled"] == 3 * once["disentangled"]
    assert found["relative_entropy"] == once["relative_entropy"] / 2
    none = DSGLLosses(disentangled_weight=0, entropy_weight=0)
    assert not none.need_pairs
    assert list(none(original.inputs, None, batch, memory, bank)) == ["memory"]


def test_constants_reach_the_losses(original, memory, bank, batch):
    pairs = original.inputs.flip(0)
    losses = DSGLLosses(temperature=0.1, mix=0.3, positive_mix=0.6, negative_mix=0.2, detach=True)
    found = losses(original.inputs, pairs, batch, memory, bank)
    parts = (original.targets, original.irre_targets, bank, memory.mean)
    assert found["disentangled"] == disentangled_loss(original.inputs, *parts, 0.1, 0.3)
    expected = relative_entropy_loss(original.inputs, pairs, *parts, 0.1, 0.6, 0.2, detach=True)
    assert found["relative_entropy"] == expected


@pytest.mark.parametrize("faithful", [False, True])
def test_update_moves_the_memory_and_puts_each_feature_into_the_bank_once(
    original, memory, bank, batch, faithful
):
    losses = DSGLLosses(faithful=faithful)
    pairs = original.inputs.flip(0)
    expected = ClusterMemory(original.clu_memory)
    expected.update(original.inputs, original.targets)
    losses(original.inputs, pairs, batch, memory, bank)
    assert torch.equal(memory.mean, ClusterMemory(original.clu_memory).mean)
    losses.update(original.inputs, batch, memory, bank)
    assert torch.equal(memory.prototypes, expected.prototypes)
    assert torch.equal(bank.features, original.ins_memory_after)


def test_bank_is_restored_to_the_last_bit(original, bank):
    bank.update(original.indexes, original.inputs)
    state = bank.state_dict()
    other = InstanceBank(original.ins_memory, original.labels, original.irre_labels)
    other.load_state_dict(state)
    for column in (0, 1):
        one, two = (
            x.positives(original.targets, original.irre_targets[:, column], column)
            for x in (bank, other)
        )
        assert torch.equal(one[0], two[0])
        one, two = (
            x.negatives(original.targets, original.irre_targets[:, column], column)
            for x in (bank, other)
        )
        assert torch.equal(one.means, two.means)
