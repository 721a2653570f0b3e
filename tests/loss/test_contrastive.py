"""Supervised contrastive losses between images and prompts, and within a batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loss import contrastive_loss, supervised_contrastive_loss


def loop_loss(anchors, candidates, anchor_labels, candidate_labels):
    """The definition, anchor by anchor in float64."""
    losses = []
    for anchor, label in zip(anchors.double(), anchor_labels.tolist(), strict=True):
        scores = candidates.double() @ anchor
        shares = scores - scores.logsumexp(0)
        positives = shares[candidate_labels == label]
        if len(positives):
            losses.append(-positives.mean().item())
    return sum(losses) / len(losses) if losses else 0.0


def leaf(array):
    return torch.from_numpy(array).clone().requires_grad_()


@pytest.mark.parametrize("case", ["unit", "big"])
def test_both_directions_equal_the_original(golden, case):
    arrays = golden("losses")
    labels = torch.from_numpy(arrays["labels"])
    images, texts = leaf(arrays[f"sup/{case}/im"]), leaf(arrays[f"sup/{case}/tx"])
    i2t = contrastive_loss(images, texts, labels, labels)
    t2i = contrastive_loss(texts, images, labels, labels)
    (i2t + t2i).backward()
    assert i2t.item() == pytest.approx(arrays[f"sup/{case}/i2t"].item(), rel=1e-6, abs=1e-5)
    assert t2i.item() == pytest.approx(arrays[f"sup/{case}/t2i"].item(), rel=1e-6, abs=1e-5)
    for tensor, name in ((images, "g_im"), (texts, "g_tx")):
        expected = torch.from_numpy(arrays[f"sup/{case}/{name}"])
        torch.testing.assert_close(tensor.grad, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", ["unit", "big"])
def test_gradient_of_one_direction_equals_the_original(golden, case):
    arrays = golden("losses")
    labels = torch.from_numpy(arrays["labels"])
    images, texts = leaf(arrays[f"sup/{case}/im"]), leaf(arrays[f"sup/{case}/tx"])
    contrastive_loss(images, texts, labels, labels).backward()
    for tensor, name in ((images, "i2t_only_g_im"), (texts, "i2t_only_g_tx")):
        expected = torch.from_numpy(arrays[f"sup/{case}/{name}"])
        torch.testing.assert_close(tensor.grad, expected, rtol=0, atol=1e-4)


def test_other_candidates_equal_the_original(golden):
    arrays = golden("losses")
    images, texts = leaf(arrays["sup/unit/im"]), leaf(arrays["sup/rect/tx"])
    labels, text_labels = (torch.from_numpy(arrays[key]) for key in ("labels", "sup/rect/tl"))
    loss = contrastive_loss(images, texts, labels, text_labels)
    loss.backward()
    assert loss.item() == pytest.approx(arrays["sup/rect/loss"].item(), abs=1e-5)
    for tensor, name in ((images, "g_im"), (texts, "g_tx")):
        expected = torch.from_numpy(arrays[f"sup/rect/{name}"])
        torch.testing.assert_close(tensor.grad, expected, rtol=0, atol=1e-4)


def test_anchors_without_a_positive_do_not_count(golden):
    assert golden("losses")["sup/no_positive/loss_is_nan"]  # the original divides 0 by 0
    anchors, candidates = torch.randn(3, 5, requires_grad=True), torch.randn(4, 5)
    candidate_labels = torch.tensor([0, 0, 1, 2])
    loss = contrastive_loss(anchors, candidates, torch.tensor([0, 9, 1]), candidate_labels)
    loss.backward()
    with_positive = torch.tensor([0, 2])
    expected = contrastive_loss(
        anchors.detach()[with_positive], candidates, torch.tensor([0, 1]), candidate_labels
    )
    torch.testing.assert_close(loss.detach(), expected)
    assert anchors.grad.isfinite().all()
    assert anchors.grad[1].abs().max() == 0
    assert contrastive_loss(anchors, candidates, torch.tensor([7, 8, 9]), candidate_labels) == 0


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=10),
    st.lists(st.integers(0, 5), min_size=1, max_size=10),
    st.integers(0, 1000),
    st.sampled_from([0.3, 3.0]),
)
def test_equals_the_loop_on_any_labels(anchor_labels, candidate_labels, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    anchors = scale * torch.randn(len(anchor_labels), 6, generator=generator)
    candidates = scale * torch.randn(len(candidate_labels), 6, generator=generator)
    labels = torch.tensor(anchor_labels), torch.tensor(candidate_labels)
    expected = loop_loss(anchors, candidates, *labels)
    found = contrastive_loss(anchors, candidates, *labels).item()
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_under_autocast(dtype):
    anchors, candidates = (3 * torch.randn(6, 64)).to(dtype), (3 * torch.randn(6, 64)).to(dtype)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    expected = contrastive_loss(anchors.float(), candidates.float(), labels, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = contrastive_loss(anchors, candidates, labels, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()


def test_large_scores_stay_finite():
    anchors = 1e4 * torch.eye(4)
    loss = contrastive_loss(anchors, anchors.flip(0), torch.arange(4), torch.arange(4))
    assert loss.item() == pytest.approx(1e8)


def loop_loss_within(features, labels, temperature):
    """The definition within a batch, anchor by anchor in float64."""
    unit = torch.nn.functional.normalize(features.double())
    losses = []
    for i, label in enumerate(labels.tolist()):
        others = torch.arange(len(labels)) != i
        scores = unit[others] @ unit[i] / temperature
        shares = scores - scores.logsumexp(0)
        positives = shares[labels[others] == label]
        if len(positives):
            losses.append(-positives.mean().item())
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 2, 3], [0, 0, 0, 0]])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_loss_within_a_batch_equals_its_definition(labels, temperature):
    features = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor(labels)
    loss = supervised_contrastive_loss(features, labels, temperature)
    expected = loop_loss_within(features.detach(), labels, temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert features.grad.isfinite().all()


def test_loss_within_a_batch_ignores_the_length_of_features():
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    loss = supervised_contrastive_loss(features, labels)
    torch.testing.assert_close(supervised_contrastive_loss(7 * features, labels), loss)
