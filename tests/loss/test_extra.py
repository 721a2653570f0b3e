"""Registered losses: what they are called with, their state, and refusals."""

import pytest
import torch
from torch import nn

from config import ConfigError, load_cfg
from loss import LossInputs, build_image_losses, check_extra_losses, compute_losses, register_loss
from loss.extra import LossOptions, make_extra_loss

OPTIONS = LossOptions(num_classes=5, width=4, joint_width=2, user={"SCALE": 3})
BATCH = LossInputs(
    [torch.ones(3, 5, dtype=torch.bfloat16)],
    {
        "last": torch.full((3, 4), 1.0),
        "final": torch.full((3, 4), 2.0, dtype=torch.bfloat16),
        "projected": torch.full((3, 2), 3.0),
    },
    torch.tensor([0, 0, 1]),
)


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, embeddings, labels):
        return self.scale * embeddings.mean() * len(labels)


def value_of(name):
    return make_extra_loss(name, 1.0, OPTIONS).function(BATCH).item()


@pytest.mark.parametrize(("features", "mean"), [("last", 1), ("final", 2), ("projected", 3)])
def test_loss_gets_the_named_features_and_the_labels(features, mean):
    register_loss("mean", lambda x, labels: x.mean() * len(labels), features=features)
    assert value_of("mean") == 3 * mean


def test_final_features_are_the_default():
    register_loss("mean", lambda x, _: x.mean())
    assert value_of("mean") == 2


def test_decorator_registers_and_returns_the_function():
    @register_loss("decorated", features="last")
    def loss(features, labels):
        return features.sum() + labels.sum()

    assert loss(torch.ones(2), torch.ones(1)).item() == 3
    assert value_of("decorated") == 13


def test_features_all_is_the_whole_record_in_float32():
    seen = []

    @register_loss("everything", features="all")
    def loss(batch):
        seen.append(batch)
        return batch.logits[0].mean()

    assert value_of("everything") == 1
    assert isinstance(seen[0], LossInputs)
    tensors = [*seen[0].logits, *seen[0].features.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    assert seen[0].i2t_logits is None


def test_losses_are_computed_in_float32_under_autocast():
    register_loss("product", lambda x, _: (x @ x.T).sum(), features="final")
    with torch.autocast("cpu", torch.bfloat16):
        value = make_extra_loss("product", 1.0, OPTIONS).function(BATCH)
    assert value.dtype == torch.float32


def test_factory_is_called_with_sizes_and_options():
    seen = []

    @register_loss("made", factory=True)
    def make(options):
        seen.append(options)
        return lambda features, _: features.mean() * options.user["SCALE"]

    assert value_of("made") == 6
    assert seen == [OPTIONS]


def test_registered_module_is_copied_and_its_parameters_are_trained():
    module = Scale()
    register_loss("scale", module)
    one, other = (make_extra_loss("scale", 1.0, OPTIONS) for _ in range(2))
    one.function(BATCH).backward()
    assert one.module.scale.grad.item() == 6
    assert other.module.scale.grad is None
    assert module.scale.grad is None


def test_module_of_a_factory_is_the_one_that_is_trained():
    register_loss("scale", lambda _: Scale(), factory=True)
    made = make_extra_loss("scale", 1.0, OPTIONS)
    made.function(BATCH).backward()
    assert made.module.scale.grad.item() == 6


@pytest.mark.parametrize(
    ("value", "found"), [(torch.ones(1), r"shape \(1,\)"), (0.5, "0.5"), (None, "None")]
)
def test_loss_that_is_not_a_scalar_tensor_is_refused(value, found):
    register_loss("odd", lambda *_: value)
    with pytest.raises(ValueError, match=f"MODEL.EXTRA_LOSSES: odd returned {found}, not a scalar"):
        value_of("odd")


@pytest.mark.parametrize("name", ["id", "triplet", "i2t", "center", "loss", "accuracy", "lr"])
def test_names_of_the_log_are_refused(name):
    with pytest.raises(ValueError, match=f"loss '{name}': the log uses this name"):
        register_loss(name, lambda *_: None)


def test_unknown_features_and_taken_names_are_refused():
    with pytest.raises(ValueError, match="features 'first'; known: last, final, projected, all"):
        register_loss("mine", lambda *_: None, features="first")
    with pytest.raises(ValueError, match="'supcon' is registered already"):
        register_loss("supcon", lambda *_: None)


def test_unknown_loss_is_refused_with_the_known_ones():
    cfg = load_cfg(None, ["MODEL.EXTRA_LOSSES", "mine,1"])
    with pytest.raises(ConfigError, match=r"unknown loss 'mine'; known: supcon; PLUGINS names"):
        check_extra_losses(cfg)


def test_extra_losses_are_weighted_and_stand_beside_the_others():
    register_loss("mean", lambda x, _: x.mean())
    cfg = load_cfg(None, ["MODEL.EXTRA_LOSSES", "mean,0.5,supcon,2"])
    losses = build_image_losses(cfg, 5, 4, with_text=False, joint_width=2)
    assert list(losses) == ["id", "mean", "supcon"]
    values = compute_losses(losses, BATCH)
    assert values["mean"].item() == 1
    assert values["supcon"].item() == pytest.approx(2 * 0.6931472)  # one positive of two equals
