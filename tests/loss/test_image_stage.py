"""The complete loss of the image stage, and what a configuration makes of it."""

from dataclasses import replace

import pytest
import torch

from config import load_cfg
from loss import (
    CenterLoss,
    ImageStageLosses,
    build_image_losses,
    image_to_text_logits,
    triplet_loss,
)

VIT = {"id_weight": 0.25, "triplet_weight": 1.0, "i2t_weight": 1.0}
TAGS = {
    "vit_default": ImageStageLosses(**VIT),
    "ls_off": ImageStageLosses(**VIT, smoothing=0.0),
    "soft_margin": ImageStageLosses(**VIT, margin=None),
    "weights": ImageStageLosses(id_weight=0.7, triplet_weight=0.3, i2t_weight=2.0),
}
INPUTS = ("score0", "score1", "feat0", "feat1", "feat2", "logits")


@pytest.fixture
def inputs(golden):
    arrays = golden("losses")
    return {name: torch.from_numpy(arrays[f"st2/{name}"]).requires_grad_() for name in INPUTS}


@pytest.fixture
def labels(golden):
    return torch.from_numpy(golden("losses")["labels"])


def total(losses, inputs, labels, i2t_logits):
    logits = [inputs["score0"], inputs["score1"]]
    features = [inputs["feat0"], inputs["feat1"], inputs["feat2"]]
    return sum(losses(logits, features, labels, i2t_logits).values())


@pytest.mark.parametrize("tag", TAGS)
def test_equals_the_original(golden, inputs, labels, tag):
    arrays = golden("losses")
    for tensor in inputs.values():
        tensor.grad = None
    loss = total(TAGS[tag], inputs, labels, inputs["logits"])
    loss.backward()
    assert loss.item() == pytest.approx(arrays[f"st2/{tag}/loss"].item(), abs=1e-5)
    for name, tensor in inputs.items():
        expected = torch.from_numpy(arrays[f"st2/{tag}/g_{name}"])
        torch.testing.assert_close(tensor.grad, expected, rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize("tag", TAGS)
def test_without_text_equals_the_original(golden, inputs, labels, tag):
    arrays = golden("losses")
    loss = total(TAGS[tag], inputs, labels, None)
    assert loss.item() == pytest.approx(arrays[f"st2/{tag}/loss_no_i2t"].item(), abs=1e-5)


@pytest.mark.parametrize("tag", TAGS)
def test_one_classifier_and_one_feature_equal_the_original(golden, inputs, labels, tag):
    expected = golden("losses")[f"st2/{tag}/loss_tensor_inputs"].item()
    one = replace(TAGS[tag], triplet_features=("last",))
    losses = one([inputs["score0"]], [inputs["feat0"]], labels, None)
    assert sum(losses.values()).item() == pytest.approx(expected, abs=1e-5)


def test_shuffled_batches_equal_the_original(golden, inputs, labels):
    cfg = load_cfg(None, ["MODEL.IF_LABELSMOOTH", "off", "DATALOADER.SAMPLER", "softmax"])
    losses = build_image_losses(cfg, num_classes=20, feature_width=40)
    found = losses([inputs["score0"]], [inputs["feat0"]], labels, None)
    assert set(found) == {"id"}
    expected = golden("losses")["st2/softmax_sampler/loss"].item()
    assert found["id"].item() == pytest.approx(expected, abs=1e-5)


def test_every_loss_is_float32_under_autocast(inputs, labels):
    halves = {name: tensor.detach().bfloat16() for name, tensor in inputs.items()}
    wide = {name: tensor.float() for name, tensor in halves.items()}
    losses = ImageStageLosses(center=CenterLoss(20, 40), center_weight=0.1)

    def named(tensors):
        logits = [tensors["score0"], tensors["score1"]]
        features = [tensors["feat0"], tensors["feat1"], tensors["feat2"]]
        return losses(logits, features, labels, tensors["logits"])

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


def build(*opts):
    return build_image_losses(load_cfg(None, [*P_X_K, *opts]), num_classes=20, feature_width=40)


def test_default_losses():
    assert build() == ImageStageLosses(
        id_weight=1.0, triplet_weight=1.0, i2t_weight=1.0, smoothing=0.1, margin=0.3
    )


@pytest.mark.parametrize(
    ("opts", "field", "value"),
    [
        (["MODEL.ID_LOSS_WEIGHT", "0.25"], "id_weight", 0.25),
        (["MODEL.TRIPLET_LOSS_WEIGHT", "0.5"], "triplet_weight", 0.5),
        (["MODEL.I2T_LOSS_WEIGHT", "2"], "i2t_weight", 2.0),
        (["MODEL.IF_LABELSMOOTH", "off"], "smoothing", 0.0),
        (["SOLVER.MARGIN", "0.7"], "margin", 0.7),
        (["MODEL.NO_MARGIN", "True"], "margin", None),
        (["MODEL.TEXT_TOWER", "False"], "i2t_weight", None),
        (["MODEL.METRIC_LOSS_TYPE", "none"], "triplet_weight", None),
        (["MODEL.METRIC_LOSS_TYPE", "center"], "triplet_weight", None),
        (["DATALOADER.SAMPLER", "softmax"], "triplet_weight", None),
        (["MODEL.METRIC_LOSS_TYPE", "triplet_center"], "triplet_weight", 1.0),
        (["MODEL.METRIC_LOSS_TYPE", "triplet_center"], "center_weight", 5e-4),
        (["MODEL.METRIC_LOSS_TYPE", "center"], "center_weight", 5e-4),
        (["MODEL.IF_WITH_CENTER", "yes"], "center_weight", 5e-4),
        (["MODEL.IF_WITH_CENTER", "no"], "center_weight", None),
        (["MODEL.IF_WITH_CENTER", "no"], "center", None),
    ],
)
def test_option(opts, field, value):
    assert getattr(build(*opts), field) == value


def test_centers_have_the_width_of_the_feature(labels):
    losses = build("MODEL.IF_WITH_CENTER", "yes", "SOLVER.STAGE2.CENTER_LOSS_WEIGHT", "0.5")
    assert losses.center.centers.shape == (20, 40)
    features = [torch.randn(16, 40), torch.randn(16, 40), torch.randn(16, 24)]
    found = losses([torch.randn(16, 20)] * 2, features, labels, None)
    expected = 0.5 * (features[1] - losses.center.centers[labels]).square().sum(1).mean()
    torch.testing.assert_close(found["center"], expected)


def test_recipe_of_clip_dfgs_by_its_formula(inputs, labels):
    """CE(projected @ T^T) + 2 (Tri_soft(final) + Tri_soft(projected)), and no identity loss."""
    opts = ["MODEL.ID_LOSS_WEIGHT", "0", "MODEL.TRIPLET_LOSS_WEIGHT", "2", "MODEL.NO_MARGIN"]
    losses = build(*opts, "True", "MODEL.TRIPLET_FEATURES", "('final', 'projected')")
    features = [inputs["feat0"], inputs["feat1"], inputs["feat2"]]
    found = losses([inputs["score0"]], features, labels, inputs["logits"])
    assert set(found) == {"triplet", "i2t"}
    soft = [triplet_loss(x, labels, None) for x in features[1:]]
    assert found["triplet"].item() == pytest.approx(2 * sum(soft).item(), rel=1e-6)
    i2t = torch.nn.functional.cross_entropy(inputs["logits"], labels, label_smoothing=0.1)
    assert found["i2t"].item() == pytest.approx(i2t.item(), rel=1e-5)
