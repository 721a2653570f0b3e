"""Cross-entropy with label smoothing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loss import identity_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_equals_the_original(golden, smoothing):
    arrays = golden("losses")
    logits = torch.from_numpy(arrays["ls/logits"]).requires_grad_()
    loss = identity_loss([logits], torch.from_numpy(arrays["labels"]), smoothing)
    loss.backward()
    assert loss.item() == pytest.approx(arrays[f"ls/eps{smoothing}/loss"].item(), abs=1e-5)
    expected = torch.from_numpy(arrays[f"ls/eps{smoothing}/grad"])
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=1e-5)


def test_equals_the_originals_second_implementation(golden):
    arrays = golden("losses")
    logits = torch.from_numpy(arrays["ls/logits"]).requires_grad_()
    loss = identity_loss([logits], torch.from_numpy(arrays["labels"]))
    loss.backward()
    assert loss.item() == pytest.approx(arrays["lsce/loss"].item(), abs=1e-5)
    expected = torch.from_numpy(arrays["lsce/grad"])
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=1e-5)


@given(st.integers(0, 1000), st.integers(1, 4), st.sampled_from([0.0, 0.1, 0.5]))
def test_equals_a_loop_over_images(seed, heads, smoothing):
    generator = torch.Generator().manual_seed(seed)
    logits = [torch.randn(5, 7, generator=generator) for _ in range(heads)]
    labels = torch.randint(7, (5,), generator=generator)
    expected = 0.0
    for head in logits:
        for row, label in zip(head, labels, strict=True):
            target = torch.full((7,), smoothing / 7)
            target[label] += 1 - smoothing
            expected -= (target * (row - row.logsumexp(0))).sum().item() / 5
    assert identity_loss(logits, labels, smoothing).item() == pytest.approx(expected, abs=1e-5)


def test_half_precision_logits_give_a_float32_loss():
    logits = torch.randn(4, 6).bfloat16()
    loss = identity_loss([logits, logits], torch.tensor([0, 1, 2, 3]))
    assert loss.dtype == torch.float32
    single = identity_loss([logits.float()], torch.tensor([0, 1, 2, 3]))
    torch.testing.assert_close(loss, 2 * single)
