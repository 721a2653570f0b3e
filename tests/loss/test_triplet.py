"""Batch-hard triplet loss."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from loss import triplet_loss
from loss.triplet import euclidean_distances

# tag of the golden arrays: margin, hard factor, features normalized first
TAGS = {
    "m0.3": (0.3, 0.0, False),
    "soft": (None, 0.0, False),
    "m0.3_norm": (0.3, 0.0, True),
    "soft_norm": (None, 0.0, True),
    "m0.3_hard0.2": (0.3, 0.2, False),
    "m3.0": (3.0, 0.0, False),
}


def loop_loss(features, labels, margin, hard_factor=0.0):
    """The definition, anchor by anchor in float64."""
    points = features.double().numpy()
    total = 0.0
    for i, label in enumerate(labels.tolist()):
        distances = np.sqrt(np.maximum(((points[i] - points) ** 2).sum(1), 1e-12))
        same = labels.numpy() == label
        if same.all():
            continue
        gap = distances[same].max() * (1 + hard_factor)
        gap -= distances[~same].min() * (1 - hard_factor)
        total += np.log1p(np.exp(gap)) if margin is None else max(gap + margin, 0.0)
    return total / len(labels)


@pytest.mark.parametrize("tag", TAGS)
def test_equals_the_original(golden, tag):
    arrays = golden("losses")
    margin, hard_factor, normalized = TAGS[tag]
    features = torch.from_numpy(arrays["tri/feat"]).requires_grad_()
    compared = F.normalize(features) if normalized else features
    loss = triplet_loss(compared, torch.from_numpy(arrays["labels"]), margin, hard_factor)
    loss.backward()
    assert loss.item() == pytest.approx(arrays[f"tri/{tag}/loss"].item(), abs=1e-5)
    expected = torch.from_numpy(arrays[f"tri/{tag}/grad"])
    torch.testing.assert_close(features.grad, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("tag", TAGS)
def test_hardest_distances_equal_the_originals(golden, tag):
    arrays = golden("losses")
    _, hard_factor, normalized = TAGS[tag]
    features = torch.from_numpy(arrays["tri/feat"])
    distances = euclidean_distances(F.normalize(features) if normalized else features).numpy()
    same = arrays["labels"][:, None] == arrays["labels"]
    positives = np.where(same, distances, -np.inf)
    negatives = np.where(same, np.inf, distances)
    # The original stores the distances after stretching.
    assert positives.max(1) * (1 + hard_factor) == pytest.approx(arrays[f"tri/{tag}/ap"], abs=1e-5)
    assert negatives.min(1) * (1 - hard_factor) == pytest.approx(arrays[f"tri/{tag}/an"], abs=1e-5)
    if tag == "m0.3":
        np.testing.assert_array_equal(positives.argmax(1), arrays["tri/p_inds"])
        np.testing.assert_array_equal(negatives.argmin(1), arrays["tri/n_inds"])
        rows = np.arange(16)
        distinct = arrays["tri/p_inds"] != rows
        distances, expected = distances[distinct], arrays["tri/dist"][distinct]
        np.testing.assert_allclose(distances[expected > 1e-3], expected[expected > 1e-3], atol=1e-5)


@pytest.mark.parametrize("case", ["tri_dup", "tri_same"])
def test_equal_images(golden, case):
    arrays = golden("losses")
    features = torch.from_numpy(arrays[f"{case}/feat"]).requires_grad_()
    labels = torch.from_numpy(arrays["tri_dup/labels"])
    loss = triplet_loss(features, labels)
    loss.backward()
    assert loss.item() == pytest.approx(arrays[f"{case}/loss"].item(), abs=1e-5)
    assert features.grad.isfinite().all()
    distances = euclidean_distances(features.detach()).numpy()
    same = labels.numpy()[:, None] == labels.numpy()
    hardest = np.where(same, distances, -np.inf).max(1)
    np.testing.assert_allclose(hardest, arrays[f"{case}/ap"], atol=1e-5)
    torch.testing.assert_close(
        features.grad, torch.from_numpy(arrays[f"{case}/grad"]), rtol=0, atol=1e-4
    )


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=14),
    st.sampled_from([None, 0.0, 0.3, 2.0]),
    st.sampled_from([0.0, 0.2]),
    st.integers(0, 1000),
)
def test_equals_the_loop_on_any_labels(labels, margin, hard_factor, seed):
    # Quarters: float32 computes their squares and products without rounding.
    features = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(seed))
    features = (features * 4).round().div(4).requires_grad_()
    labels = torch.tensor(labels)
    loss = triplet_loss(features, labels, margin, hard_factor)
    loss.backward()
    expected = loop_loss(features.detach(), labels, margin, hard_factor)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    assert features.grad.isfinite().all()


def test_single_identity_has_zero_loss():
    features = torch.randn(4, 3, requires_grad=True)
    for margin in (None, 0.3):
        loss = triplet_loss(features, torch.zeros(4, dtype=torch.long), margin)
        loss.backward()
        assert loss.item() == 0
        assert features.grad.abs().max() == 0


def test_matches_a_hand_worked_case():
    features = torch.tensor([[0.0], [1.0], [3.0], [3.5]])
    labels = torch.tensor([0, 0, 1, 1])
    # hardest positive: 1, 1, 0.5, 0.5; hardest negative: 3, 2, 2, 2.5
    assert triplet_loss(features, labels, 1.8).item() == pytest.approx((0 + 0.8 + 0.3 + 0) / 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_distances_are_float32_under_autocast(dtype):
    features = (30 * torch.randn(8, 64)).to(dtype)
    labels = torch.arange(8) // 2
    expected = triplet_loss(features.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = triplet_loss(features, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()
