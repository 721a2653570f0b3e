"""The complete loss of the image stage, and the options that change it."""

from functools import partial

import pytest
import torch

from config import load_cfg
from loss import (
    CenterLoss,
    LossInputs,
    WeightedLoss,
    build_image_losses,
    compute_losses,
    image_to_text_logits,
    triplet_loss,
)
from loss.image_stage import center_loss, i2t_loss, id_loss, triplet_losses

NAMES = ("last", "final", "projected")


def weighted(weights, smoothing=0.1, margin=0.3, features=NAMES):
    """The losses of the original with weights of (id, triplet, i2t)."""
    return {
        "id": WeightedLoss(weights[0], partial(id_loss, smoothing=smoothing)),
        "triplet": WeightedLoss(
            weights[1], partial(triplet_losses, features=features, margin=margin)
        ),
        "i2t": WeightedLoss(weights[2], partial(i2t_loss, smoothing=smoothing)),
    }


VIT = (0.25, 1.0, 1.0)
TAGS = {
    "vit_default": {"weights": VIT},
    "ls_off": {"weights": VIT, "smoothing": 0.0},
    "soft_margin": {"weights": VIT, "margin": None},
    "weights": {"weights": (0.7, 0.3, 2.0)},
}
INPUTS = ("score0", "score1", "feat0", "feat1", "feat2", "logits")


@pytest.fixture
def inputs(golden):
    arrays = golden("losses")
    return {name: torch.from_numpy(arrays[f"st2/{name}"]).requires_grad_() for name in INPUTS}


@pytest.fixture
def labels(golden):
    return torch.from_numpy(golden("losses")["labels"])


def batch_of(inputs, labels):
    features = {name: inputs[f"feat{i}"] for i, name in enumerate(NAMES)}
    return LossInputs([inputs["score0"], inputs["score1"]], features, labels, inputs["logits"])


@pytest.mark.parametrize("tag", TAGS)
def test_sum_and_gradients_equal_the_original(golden, inputs, labels, tag):
    arrays = golden("losses")
    for tensor in inputs.values():
        tensor.grad = None
    loss = sum(compute_losses(weighted(**TAGS[tag]), batch_of(inputs, labels)).values())
    loss.backward()
    assert loss.item() == pytest.approx(arrays[f"st2/{tag}/loss"].item(), abs=1e-5)
    for name, tensor in inputs.items():
        expected = torch.from_numpy(arrays[f"st2/{tag}/g_{name}"])
        torch.testing.assert_close(tensor.grad, expected, rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize("tag", TAGS)
def test_sum_without_text_equals_the_original(golden, inputs, labels, tag):
    arrays = golden("losses")
    losses = weighted(**TAGS[tag])
    del losses["i2t"]
    loss = sum(compute_losses(losses, batch_of(inputs, labels)).values())
    assert loss.item() == pytest.approx(arrays[f"st2/{tag}/loss_no_i2t"].item(), abs=1e-5)


@pytest.mark.parametrize("tag", TAGS)
def test_one_classifier_and_one_feature_equal_the_original(golden, inputs, labels, tag):
    expected = golden("losses")[f"st2/{tag}/loss_tensor_inputs"].item()
    losses = weighted(**TAGS[tag], features=("last",))
    del losses["i2t"]
    batch = LossInputs([inputs["score0"]], {"last": inputs["feat0"]}, labels)
    assert sum(compute_losses(losses, batch).values()).item() == pytest.approx(expected, abs=1e-5)


def test_image_to_text_loss_without_prompts_is_refused(inputs, labels):
    batch = LossInputs([inputs["score0"]], {"last": inputs["feat0"]}, labels)
    with pytest.raises(ValueError, match="needs the text features of all identities"):
        compute_losses(weighted(VIT, features=("last",)), batch)


def test_shuffled_batches_equal_the_original(golden, inputs, labels):
    cfg = load_cfg(None, ["MODEL.IF_LABELSMOOTH", "off", "DATALOADER.SAMPLER", "softmax"])
    losses = build_image_losses(
        cfg, num_classes=20, feature_width=40, with_text=False, joint_width=16
    )
    batch = LossInputs([inputs["score0"]], {"last": inputs["feat0"]}, labels)
    found = compute_losses(losses, batch)
    assert set(found) == {"id"}
    expected = golden("losses")["st2/softmax_sampler/loss"].item()
    assert found["id"].item() == pytest.approx(expected, abs=1e-5)


def test_every_loss_is_float32_under_autocast(inputs, labels):
    halves = {name: tensor.detach().bfloat16() for name, tensor in inputs.items()}
    wide = {name: tensor.float() for name, tensor in halves.items()}
    losses = weighted((1.0, 1.0, 1.0))
    losses["center"] = WeightedLoss(0.1, partial(center_loss, centers=CenterLoss(20, 40)))

    def named(tensors):
        return compute_losses(losses, batch_of(tensors, labels))

    expected = named(wide)
    assert set(expected) == {"id", "triplet", "i2t", "center"}
    for context in (torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode()):
        with context:
            found = named(halves)
        for name, loss in found.items():
            assert loss.dtype == torch.float32, name
            assert loss.item() == expected[name].item(), name


def test_image_to_text_logits_are_float32_products():
    images, texts = torch.randn(3, 8).bfloat16(), torch.randn(5, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = image_to_text_logits(images, texts)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, images.float() @ texts.float().T)


def test_center_loss_equals_the_original(golden, labels):
    arrays = golden("losses")
    loss = CenterLoss(20, 64)
    with torch.no_grad():
        loss.centers.copy_(torch.from_numpy(arrays["center/centers"]))
    features = torch.from_numpy(arrays["center/x"]).requires_grad_()
    value = loss(features, labels)
    value.backward()
    assert value.item() == pytest.approx(arrays["center/loss"].item(), rel=1e-5)
    for gradient, name in ((features.grad, "g_x"), (loss.centers.grad, "g_c")):
        expected = torch.from_numpy(arrays[f"center/{name}"])
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


# from the configuration

P_X_K = ["DATALOADER.SAMPLER", "softmax_triplet"]


def build(*opts, with_text=True):
    cfg = load_cfg(None, [*P_X_K, *opts])
    return build_image_losses(
        cfg, num_classes=20, feature_width=40, with_text=with_text, joint_width=16
    )


def test_default_losses():
    losses = build()
    assert {name: loss.weight for name, loss in losses.items()} == {
        "id": 1.0,
        "triplet": 1.0,
        "i2t": 1.0,
    }
    assert losses["id"].function.keywords == {"smoothing": 0.1}
    assert losses["triplet"].function.keywords == {"features": NAMES, "margin": 0.3}
    assert losses["i2t"].function.keywords == {"smoothing": 0.1}
    assert all(loss.module is None for loss in losses.values())


@pytest.mark.parametrize(
    ("opts", "name", "weight"),
    [
        (["MODEL.ID_LOSS_WEIGHT", "0.25"], "id", 0.25),
        (["MODEL.ID_LOSS_WEIGHT", "0"], "id", None),
        (["MODEL.TRIPLET_LOSS_WEIGHT", "0.5"], "triplet", 0.5),
        (["MODEL.I2T_LOSS_WEIGHT", "2"], "i2t", 2.0),
        (["MODEL.METRIC_LOSS_TYPE", "none"], "triplet", None),
        (["MODEL.METRIC_LOSS_TYPE", "center"], "triplet", None),
        (["DATALOADER.SAMPLER", "softmax"], "triplet", None),
        (["MODEL.METRIC_LOSS_TYPE", "triplet_center"], "triplet", 1.0),
        (["MODEL.METRIC_LOSS_TYPE", "triplet_center"], "center", 5e-4),
        (["MODEL.METRIC_LOSS_TYPE", "center"], "center", 5e-4),
        (["MODEL.IF_WITH_CENTER", "yes"], "center", 5e-4),
        (["MODEL.IF_WITH_CENTER", "no"], "center", None),
    ],
)
def test_option_sets_the_weight(opts, name, weight):
    losses = build(*opts)
    assert (losses[name].weight if name in losses else None) == weight


@pytest.mark.parametrize(
    ("opts", "name", "keyword", "value"),
    [
        (["MODEL.IF_LABELSMOOTH", "off"], "id", "smoothing", 0.0),
        (["MODEL.IF_LABELSMOOTH", "off"], "i2t", "smoothing", 0.0),
        (["SOLVER.MARGIN", "0.7"], "triplet", "margin", 0.7),
        (["MODEL.NO_MARGIN", "True"], "triplet", "margin", None),
        (["MODEL.TRIPLET_FEATURES", "('final',)"], "triplet", "features", ("final",)),
    ],
)
def test_option_sets_the_argument(opts, name, keyword, value):
    assert build(*opts)[name].function.keywords[keyword] == value


def test_without_text_features_no_image_to_text_loss():
    assert "i2t" not in build(with_text=False)


def test_centers_have_the_width_of_the_feature(labels):
    losses = build("MODEL.IF_WITH_CENTER", "yes", "SOLVER.STAGE2.CENTER_LOSS_WEIGHT", "0.5")
    centers = losses["center"].module.centers
    assert centers.shape == (20, 40)
    widths = zip(NAMES, (40, 40, 24), strict=True)
    features = {name: torch.randn(16, width) for name, width in widths}
    batch = LossInputs([torch.randn(16, 20)] * 2, features, labels, torch.randn(16, 20))
    expected = 0.5 * (features["final"] - centers[labels]).square().sum(1).mean()
    torch.testing.assert_close(compute_losses(losses, batch)["center"], expected)


def test_recipe_of_clip_dfgs_by_its_formula(inputs, labels):
    """CE(projected @ T^T) + 2 (Tri_soft(final) + Tri_soft(projected)), without identity loss."""
    opts = ["MODEL.ID_LOSS_WEIGHT", "0", "MODEL.TRIPLET_LOSS_WEIGHT", "2", "MODEL.NO_MARGIN"]
    losses = build(*opts, "True", "MODEL.TRIPLET_FEATURES", "('final', 'projected')")
    found = compute_losses(losses, batch_of(inputs, labels))
    assert set(found) == {"triplet", "i2t"}
    soft = [triplet_loss(inputs[name], labels, None) for name in ("feat1", "feat2")]
    assert found["triplet"].item() == pytest.approx(2 * sum(soft).item(), rel=1e-6)
    i2t = torch.nn.functional.cross_entropy(inputs["logits"], labels, label_smoothing=0.1)
    assert found["i2t"].item() == pytest.approx(i2t.item(), rel=1e-5)
