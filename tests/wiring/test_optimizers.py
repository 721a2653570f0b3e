"""From SOLVER and DSGL.STEP_SIZE to optimizers, learning rates and the length of the stages."""

import math

import pytest
import torch

from loss import CenterLoss
from processor.training.build import build_image_stage, build_prior_stage
from processor.training.image_stage import freeze_text_side
from processor.training.stage import StageTiming
from solver.build import (
    build_image_optimizer,
    build_image_schedule,
    build_loss_optimizer,
    build_prompt_optimizer,
    build_prompt_schedule,
    build_unsupervised_schedule,
)

CLASSES = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}
STAGE1 = {
    "SOLVER.STAGE1.MAX_EPOCHS": 20,
    "SOLVER.STAGE1.BASE_LR": 0.5,
    "SOLVER.STAGE1.MOMENTUM": 0.65,
    "SOLVER.STAGE1.WEIGHT_DECAY": 0.07,
    "SOLVER.STAGE1.WARMUP_EPOCHS": 4,
    "SOLVER.STAGE1.WARMUP_LR_INIT": 0.1,
    "SOLVER.STAGE1.LR_MIN": 0.02,
}
STAGE2 = {
    "SOLVER.STAGE2.MAX_EPOCHS": 23,
    "SOLVER.STAGE2.BASE_LR": 0.25,
    "SOLVER.STAGE2.BIAS_LR_FACTOR": 3.0,
    "SOLVER.STAGE2.MOMENTUM": 0.45,
    "SOLVER.STAGE2.WEIGHT_DECAY": 0.03,
    "SOLVER.STAGE2.WEIGHT_DECAY_BIAS": 0.002,
    "SOLVER.STAGE2.CENTER_LR": 0.75,
    "SOLVER.STAGE2.CENTER_LOSS_WEIGHT": 0.25,
    "SOLVER.STAGE2.STEPS": (9, 15),
    "SOLVER.STAGE2.GAMMA": 0.5,
    "SOLVER.STAGE2.WARMUP_FACTOR": 0.2,
    "SOLVER.STAGE2.WARMUP_ITERS": 5,
    "SOLVER.STAGE2.CHECKPOINT_PERIOD": 7,
    "SOLVER.STAGE2.LOG_PERIOD": 11,
    "SOLVER.STAGE2.EVAL_PERIOD": 3,
}


class Plan:
    """No batches at all."""

    pairs = False

    def set_epoch(self, epoch):
        self.epoch = epoch


def rates_of(schedule, optimizer, epochs):
    rates = []
    for epoch in range(1, epochs + 1):
        schedule.step(epoch)
        rates.append([group["lr"] for group in optimizer.param_groups])
    return rates


# ------------------------------------------------------------------------------------ prompt stage


@pytest.mark.parametrize("name", CLASSES)
def test_optimizer_of_the_prompts(configure, name):
    context = torch.nn.Parameter(torch.zeros(2))
    cfg = configure(STAGE1, {"SOLVER.STAGE1.OPTIMIZER_NAME": name})
    optimizer = build_prompt_optimizer(cfg, context)
    assert type(optimizer) is CLASSES[name]
    (group,) = optimizer.param_groups
    assert [id(parameter) for parameter in group["params"]] == [id(context)]
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.07)
    if name == "SGD":
        assert group["momentum"] == 0.65


def cosine_slowly(epoch, *, base, least, length, warmup, start):
    if epoch < warmup:
        return start + epoch * (base - start) / warmup
    if epoch >= length:
        return least
    return least + 0.5 * (base - least) * (1 + math.cos(math.pi * epoch / length))


def test_rate_of_the_prompts_warms_up_and_follows_a_cosine(configure):
    cfg = configure(STAGE1)
    optimizer = build_prompt_optimizer(cfg, torch.nn.Parameter(torch.zeros(2)))
    rates = rates_of(build_prompt_schedule(cfg, optimizer), optimizer, 20)
    options = {"base": 0.5, "least": 0.02, "length": 20, "warmup": 4, "start": 0.1}
    expected = [[cosine_slowly(epoch, **options)] for epoch in range(1, 21)]
    assert rates == [pytest.approx(rate) for rate in expected]


# ------------------------------------------------------------------------------------- image stage


def named_groups(model, optimizer):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        group["name"]: ({names[id(p)] for p in group["params"]}, group)
        for group in optimizer.param_groups
    }


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("large", [False, True])
def test_optimizer_of_the_images(configure, model_of, name, large):
    more = {"SOLVER.STAGE2.OPTIMIZER_NAME": name, "SOLVER.STAGE2.LARGE_FC_LR": large}
    cfg = configure(STAGE2, more)
    model = model_of(cfg)
    freeze_text_side(model)
    optimizer = build_image_optimizer(cfg, model)
    assert type(optimizer) is CLASSES[name]
    trained = {key for key, p in model.named_parameters() if p.requires_grad}
    biases = {key for key in trained if "bias" in key}
    classifiers = {"classifier.weight", "classifier_proj.weight"}
    expected = {
        "weights": (trained - biases, 0.25, 0.03),
        "biases": (biases, 0.75, 0.002),
    }
    if large:
        expected["weights"] = (trained - biases - classifiers, 0.25, 0.03)
        expected["classifiers"] = (classifiers, 0.5, 0.03)
    groups = named_groups(model, optimizer)
    assert {
        key: (members, group["lr"], group["weight_decay"])
        for key, (members, group) in groups.items()
    } == expected
    if name == "SGD":
        assert {group["momentum"] for group in optimizer.param_groups} == {0.45}


def factors_slowly(steps, method="linear", epochs=23):
    """Warm-up over five epochs from a fifth of the rate, then half of it from every step on."""
    factors = []
    for epoch in range(1, epochs + 1):
        factor = 1.0
        if epoch < 5:
            factor = 0.2 + 0.8 * epoch / 5 if method == "linear" else 0.2
        factors.append(factor * 0.5 ** sum(epoch >= step for step in steps))
    return factors


@pytest.mark.parametrize("method", ["linear", "constant"])
def test_rates_of_the_images_warm_up_and_drop_at_the_steps(configure, model_of, method):
    cfg = configure(STAGE2, {"SOLVER.STAGE2.WARMUP_METHOD": method})
    optimizer = build_image_optimizer(cfg, model_of(cfg))
    rates = rates_of(build_image_schedule(cfg, optimizer), optimizer, 23)
    expected = [[0.25 * factor, 0.75 * factor] for factor in factors_slowly((9, 15), method)]
    assert rates == [pytest.approx(rate) for rate in expected]


@pytest.mark.parametrize(("period", "steps"), [(0, (9, 15)), (6, (7, 13, 19)), (10, (11, 21))])
def test_rates_without_labels_drop_periodically(configure, model_of, period, steps):
    cfg = configure(STAGE2, {"DSGL.ENABLED": True, "DSGL.STEP_SIZE": period})
    optimizer = build_image_optimizer(cfg, model_of(cfg))
    rates = rates_of(build_unsupervised_schedule(cfg, optimizer), optimizer, 23)
    expected = [[0.25 * factor, 0.75 * factor] for factor in factors_slowly(steps)]
    assert rates == [pytest.approx(rate) for rate in expected]


def test_rate_of_the_centers_does_not_depend_on_the_weight_of_their_loss(configure):
    """One step moves a center by the rate times the gradient of the loss without its weight."""
    cfg = configure(STAGE2)
    centers = CenterLoss(3, 2)
    optimizer = build_loss_optimizer(cfg, centers, 0.25)
    before, features = centers.centers.detach().clone(), torch.ones(1, 2)
    (0.25 * centers(features, torch.tensor([1]))).backward()
    optimizer.step()
    moved = centers.centers.detach()[1] - before[1]
    torch.testing.assert_close(moved, 0.75 * 2 * (features[0] - before[1]))
    assert torch.equal(centers.centers[0], before[0])


def test_last_epoch_may_begin_a_step_of_dsgl(configure):
    cfg = configure({"DSGL.STEP_SIZE": 4, "SOLVER.STAGE2.MAX_EPOCHS": 5})
    optimizer = torch.optim.Adam([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1.0}])
    assert build_unsupervised_schedule(cfg, optimizer).milestones == [5]


@pytest.mark.parametrize("number", [0, 2])
def test_stages_train_model_and_centers_for_their_epochs(
    configure, model_of, images_of, float32, number
):
    more = {"MODEL.METRIC_LOSS_TYPE": "triplet_center", "SOLVER.STAGE0.MAX_EPOCHS": 6}
    cfg = configure(STAGE2, more)
    model, images = model_of(cfg), images_of(cfg)
    if number:
        stage = build_image_stage(cfg, model, images, Plan(), float32)
    else:
        stage = build_prior_stage(cfg, model, images)
    timing = StageTiming(23, 11, 7, 3) if number else StageTiming(6, 11, 7, None)
    assert stage.optimization.timing == timing
    images_optimizer, centers_optimizer = stage.optimization.optimizers
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.split(".")[0] for name in frozen} >= {"prompt_learner", "text_encoder"}
    members = [names for names, _ in named_groups(model, images_optimizer).values()]
    assert set().union(*members) == trained
    assert stage.losses["center"].weight == 0.25
    (group,) = centers_optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(stage.losses["center"].module.centers)]
    assert group["lr"] == 0.75 / 0.25
    schedule = stage.optimization.schedule
    assert schedule.optimizer is images_optimizer
    rates = rates_of(schedule, images_optimizer, 23)
    expected = [[0.25 * factor, 0.75 * factor] for factor in factors_slowly((9, 15))]
    assert rates == [pytest.approx(rate) for rate in expected]


@pytest.mark.parametrize(
    ("options", "shared", "first"),
    [
        ({}, False, 1),
        ({"SOLVER.STAGE0.SHARE_OPTIMIZER": True}, True, 7),
        ({"SOLVER.STAGE0.SHARE_OPTIMIZER": True, "SOLVER.STAGE1.WEIGHT": "a.pth"}, False, 1),
    ],
)
def test_stage_2_goes_on_from_stage_0_only_if_they_share_the_optimizer(
    configure, model_of, images_of, float32, options, shared, first
):
    cfg = configure(STAGE2, {"SOLVER.STAGE0.MAX_EPOCHS": 6}, options)
    model, images = model_of(cfg), images_of(cfg)
    stage = build_image_stage(cfg, model, images, Plan(), float32)
    assert stage.optimization.takes_on == shared
    assert not stage.optimization.hands_on
    rates = rates_of(stage.optimization.schedule, stage.optimization.optimizers[0], 12)
    factors = factors_slowly((9, 15))[first - 1 : first + 11]
    assert [rate[0] for rate in rates] == pytest.approx([0.25 * factor for factor in factors])
    if not cfg.SOLVER.STAGE1.WEIGHT:
        prior = build_prior_stage(cfg, model, images)
        assert prior.optimization.hands_on == shared
        assert not prior.optimization.takes_on


@pytest.mark.parametrize("decay", [0.25, 0.75])
def test_average_of_the_weights_has_the_decay(configure, model_of, images_of, float32, decay):
    """Of stage 2 only, and none without SOLVER.EMA."""
    cfg = configure(STAGE2, {"SOLVER.STAGE0.MAX_EPOCHS": 1, "SOLVER.EMA": decay})
    model, images = model_of(cfg), images_of(cfg)
    assert build_prior_stage(cfg, model, images).optimization.averaged is None
    averaged = build_image_stage(cfg, model, images, Plan(), float32).optimization.averaged
    weight = model.image_encoder.conv1.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight += 1
    averaged.update()
    found = averaged.weights["image_encoder.conv1.weight"]
    torch.testing.assert_close(found, before + 1 - decay)
    assert not any(name.startswith(("text_encoder", "prompt")) for name in averaged.weights)
    plain = configure(STAGE2)
    stage = build_image_stage(plain, model, images, Plan(), float32)
    assert stage.optimization.averaged is None
