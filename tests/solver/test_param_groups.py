"""Parameter groups and optimizers."""

import pytest
import torch
from torch import nn

from config import load_cfg
from loss import CenterLoss
from processor.training.image_stage import freeze_text_side
from solver.build import (
    build_image_optimizer,
    build_loss_optimizer,
    build_prompt_optimizer,
)
from solver.param_groups import image_stage_groups


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 1)
        self.norm = nn.LayerNorm(4)
        self.embedding = nn.Parameter(torch.zeros(3, 4))
        self.bias_table = nn.Linear(4, 2, bias=False)
        self.classifier = nn.Linear(4, 7, bias=False)
        self.classifier_proj = nn.Linear(4, 7, bias=False)
        self.frozen = nn.Linear(4, 4)
        self.frozen.requires_grad_(requires_grad=False)


def names_of(group, model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for parameter in group["params"]]


def groups_of(model, **options):
    groups = image_stage_groups(
        model.named_parameters(),
        base_lr=0.1,
        weight_decay=0.01,
        bias_lr_factor=2.0,
        weight_decay_bias=0.02,
        **options,
    )
    return {group["name"]: group for group in groups}


def test_parameters_with_bias_in_their_name_are_biases():
    model = Parts()
    groups = groups_of(model)
    assert list(groups) == ["weights", "biases"]
    assert names_of(groups["biases"], model) == [
        "attention.in_proj_bias",
        "attention.out_proj.bias",
        "norm.bias",
        "bias_table.weight",
    ]
    assert names_of(groups["weights"], model) == [
        "embedding",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "norm.weight",
        "classifier.weight",
        "classifier_proj.weight",
    ]
    assert (groups["weights"]["lr"], groups["weights"]["weight_decay"]) == (0.1, 0.01)
    assert (groups["biases"]["lr"], groups["biases"]["weight_decay"]) == (0.2, 0.02)


def test_classifiers_learn_at_twice_the_rate():
    model = Parts()
    group = groups_of(model, large_fc_lr=True)["classifiers"]
    assert names_of(group, model) == ["classifier.weight", "classifier_proj.weight"]
    assert (group["lr"], group["weight_decay"]) == (0.2, 0.01)


def test_frozen_parameters_and_empty_groups_are_left_out():
    model = nn.Linear(3, 3)
    model.weight.requires_grad_(requires_grad=False)
    assert list(groups_of(model)) == ["biases"]
    model.requires_grad_(requires_grad=False)
    assert groups_of(model) == {}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Adam", torch.optim.Adam), ("AdamW", torch.optim.AdamW), ("SGD", torch.optim.SGD)],
)
def test_both_stages_build_the_named_optimizer(name, kind):
    opts = []
    for stage in ("STAGE1", "STAGE2"):
        opts += [f"SOLVER.{stage}.OPTIMIZER_NAME", name, f"SOLVER.{stage}.MOMENTUM", "0.8"]
        opts += [f"SOLVER.{stage}.WEIGHT_DECAY", "0.03"]
    cfg = load_cfg(None, opts)
    context = nn.Parameter(torch.zeros(2, 4, 8))
    for optimizer in (build_prompt_optimizer(cfg, context), build_image_optimizer(cfg, Parts())):
        assert type(optimizer) is kind
        group = optimizer.param_groups[0]
        assert (group["lr"], group["weight_decay"]) == (3e-4, 0.03)
        if name == "SGD":
            assert all(group["momentum"] == 0.8 for group in optimizer.param_groups)
        else:
            assert all(group["betas"] == (0.9, 0.999) for group in optimizer.param_groups)
            assert group["eps"] == 1e-8


def test_image_stage_options_set_rates_and_decays():
    opts = ["SOLVER.STAGE2.BASE_LR", "0.5", "SOLVER.STAGE2.BIAS_LR_FACTOR", "3"]
    opts += ["SOLVER.STAGE2.WEIGHT_DECAY_BIAS", "0.04", "SOLVER.STAGE2.LARGE_FC_LR", "True"]
    groups = build_image_optimizer(load_cfg(None, opts), Parts()).param_groups
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in groups] == [
        ("weights", 0.5, 5e-4),
        ("biases", 1.5, 0.04),
        ("classifiers", 1.0, 5e-4),
    ]


def test_centers_learn_independently_of_their_loss_weight():
    opts = ["SOLVER.STAGE2.CENTER_LR", "0.5", "SOLVER.STAGE2.CENTER_LOSS_WEIGHT", "0.01"]
    center = CenterLoss(2, 3)
    before = center.centers.detach().clone()
    optimizer = build_loss_optimizer(load_cfg(None, opts), center, 0.01)
    (0.01 * center(torch.ones(1, 3), torch.tensor([1]))).backward()
    optimizer.step()
    moved = before + 0.5 * 2 * (1 - before)
    torch.testing.assert_close(center.centers[1].detach(), moved[1])
    torch.testing.assert_close(center.centers[0].detach(), before[0])


def test_text_side_and_neck_biases_are_not_trained(tiny_reid):
    freeze_text_side(tiny_reid)
    groups = build_image_optimizer(load_cfg(), tiny_reid).param_groups
    names = [name for group in groups for name in names_of(group, tiny_reid)]
    assert len(names) == len(set(names))
    assert not [n for n in names if n.startswith(("text_encoder.", "prompt_learner."))]
    assert "bottleneck.bias" not in names
    assert "bottleneck_proj.bias" not in names
    assert {"image_encoder.conv1.weight", "image_encoder.positional_embedding"} <= set(names)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "counts"),
    [
        ("ViT-B-16_stride16", (82, 74)),
        ("ViT-B-16_stride16_sie_cam6", (83, 74)),
        ("RN50_default", (119, 59)),
    ],
)
def test_full_size_groups_have_the_originals_counts(full_model, variant, counts):
    model = full_model(variant)
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    freeze_text_side(model)
    opts = ["SOLVER.STAGE2.BASE_LR", "5e-6", "SOLVER.STAGE2.BIAS_LR_FACTOR", "2"]
    groups = build_image_optimizer(load_cfg(None, opts), model).param_groups
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name])
    assert [group["name"] for group in groups] == ["weights", "biases"]
    assert tuple(len(group["params"]) for group in groups) == counts
    assert [group["lr"] for group in groups] == [5e-6, 1e-5]
