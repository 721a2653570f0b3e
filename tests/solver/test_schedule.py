"""Learning-rate schedules equal the original's and resume exactly."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from config import load_cfg
from solver.build import (
    build_image_schedule,
    build_prompt_schedule,
    build_unsupervised_schedule,
)
from solver.schedule import WarmupMultiStep, warmup_multistep_factor


def optimizer_with(*rates):
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.Adam(groups)


def rates_of(schedule, optimizer, epochs):
    rates = []
    for epoch in epochs:
        schedule.step(epoch)
        rates.append([group["lr"] for group in optimizer.param_groups])
    return np.array(rates)


def prompt_schedule(params, optimizer):
    base, epochs, minimum, start, warmup = params
    optimizer.param_groups[0]["lr"] = float(base)
    opts = ["SOLVER.STAGE1.BASE_LR", base, "SOLVER.STAGE1.MAX_EPOCHS", epochs]
    opts += ["SOLVER.STAGE1.LR_MIN", minimum, "SOLVER.STAGE1.WARMUP_LR_INIT", start]
    opts += ["SOLVER.STAGE1.WARMUP_EPOCHS", warmup]
    return build_prompt_schedule(load_cfg(None, [str(word) for word in opts]), optimizer)


def image_schedule(params, optimizer):
    gamma, factor, warmup, epochs, *milestones = params
    opts = ["SOLVER.STAGE2.GAMMA", gamma, "SOLVER.STAGE2.WARMUP_FACTOR", factor]
    opts += ["SOLVER.STAGE2.WARMUP_ITERS", warmup, "SOLVER.STAGE2.MAX_EPOCHS", epochs]
    opts += ["SOLVER.STAGE2.STEPS", json.dumps([int(epoch) for epoch in milestones])]
    return build_image_schedule(load_cfg(None, [str(word) for word in opts]), optimizer)


@pytest.mark.parametrize("kind", ["vit", "cnn"])
def test_prompt_stage_equals_the_original_even_past_its_end(golden, kind):
    arrays = golden("schedules")
    params = arrays[f"stage1_cosine/{kind}/params"].tolist()
    optimizer = optimizer_with(params[0])
    schedule = prompt_schedule(params, optimizer)
    first = arrays[f"stage1_cosine/{kind}/lr_after_construction"]
    np.testing.assert_allclose(optimizer.param_groups[0]["lr"], first, rtol=0, atol=1e-12)
    rates = rates_of(schedule, optimizer, range(1, int(params[1]) + 6))[:, 0]
    expected = arrays[f"stage1_cosine/{kind}/lr_epoch1_to_MAXplus5"]
    np.testing.assert_allclose(rates, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["vit", "cnn"])
def test_image_stage_equals_the_original(golden, kind):
    arrays = golden("schedules")
    base, bias_factor, *params = arrays[f"stage2_multistep/{kind}/params"].tolist()
    optimizer = optimizer_with(base, base * bias_factor)
    schedule = image_schedule(params, optimizer)
    rates = rates_of(schedule, optimizer, range(1, int(params[3]) + 1))
    expected = arrays[f"stage2_multistep/{kind}/lr_epoch1_to_MAX"]
    np.testing.assert_allclose(rates, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        rates[:, 0], arrays[f"baseline_multistep/{kind}/lr_epoch1_to_MAX"], rtol=0, atol=1e-12
    )
    before_the_first = rates_of(schedule, optimizer, [0])[0]
    np.testing.assert_allclose(
        before_the_first,
        arrays[f"stage2_multistep/{kind}/lr_after_construction"],
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("constant_warmup", ((5, 9), 0.5, 4, 0.3, "constant")),
        ("defaults", ((600, 700), 0.1, 500, 1 / 3, "linear")),
    ],
)
def test_warmup_methods_equal_the_original(golden, case, options):
    milestones, gamma, epochs, factor, method = options
    rates = [
        warmup_multistep_factor(
            epoch,
            milestones=milestones,
            gamma=gamma,
            warmup_epochs=epochs,
            warmup_factor=factor,
            method=method,
        )
        for epoch in range(15)
    ]
    expected = golden("schedules")[f"multistep_extra/{case}/lr_epoch0_to_14"]
    np.testing.assert_allclose(rates, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("file", "epoch", "weights", "biases"),
    [
        ("person/vit_clipreid", 1, 9.5e-7, 1.9e-6),
        ("person/vit_clipreid", 10, 5e-6, 1e-5),
        ("person/vit_clipreid", 29, 5e-6, 1e-5),
        ("person/vit_clipreid", 30, 5e-7, 1e-6),
        ("person/vit_clipreid", 60, 5e-8, 1e-7),
        ("person/cnn_base", 2, 7.28e-5, 1.456e-4),
        ("person/cnn_base", 39, 3.5e-4, 7e-4),
        ("person/cnn_base", 40, 3.5e-5, 7e-5),
        ("person/cnn_base", 70, 3.5e-6, 7e-6),
    ],
)
def test_image_stage_has_the_published_rates(request, file, epoch, weights, biases):
    cfg = load_cfg(request.config.rootpath / "configs" / f"{file}.yml")
    base = cfg.SOLVER.STAGE2.BASE_LR
    optimizer = optimizer_with(base, base * cfg.SOLVER.STAGE2.BIAS_LR_FACTOR)
    rates = rates_of(build_image_schedule(cfg, optimizer), optimizer, [epoch])[0]
    np.testing.assert_allclose(rates, [weights, biases], rtol=1e-9)


@pytest.mark.parametrize("method", ["linear", "constant"])
def test_zero_warmup_epochs_start_at_the_base_rate(method):
    optimizer = optimizer_with(1.0)
    schedule = WarmupMultiStep(
        optimizer, milestones=(), gamma=0.1, warmup_epochs=0, warmup_factor=0.1, method=method
    )
    assert rates_of(schedule, optimizer, [1, 2, 500])[:, 0].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("stage", ["prompt", "image"])
def test_resumed_schedule_gives_equal_rates(stage):
    opts = ["SOLVER.STAGE2.WARMUP_ITERS", "4", "SOLVER.STAGE2.STEPS", "(6, 9)"]
    opts += ["SOLVER.STAGE1.MAX_EPOCHS", "12", "SOLVER.STAGE1.WARMUP_LR_INIT", "1e-5"]
    cfg = load_cfg(None, opts)
    build = build_prompt_schedule if stage == "prompt" else build_image_schedule
    through = optimizer_with(3e-4, 6e-4)
    expected = rates_of(build(cfg, through), through, range(1, 13))
    for epoch in range(1, 13):
        stopped = optimizer_with(3e-4, 6e-4)
        rates_of(build(cfg, stopped), stopped, range(1, epoch))
        resumed = optimizer_with(3e-4, 6e-4)
        schedule = build(cfg, resumed)
        resumed.load_state_dict(stopped.state_dict())
        found = rates_of(schedule, resumed, range(epoch, 13))
        np.testing.assert_array_equal(found, expected[epoch - 1 :])


@pytest.mark.parametrize("stage", ["prompt", "image"])
def test_schedule_may_be_built_after_the_optimizer_is_restored(stage):
    cfg = load_cfg(None, ["SOLVER.STAGE1.WARMUP_LR_INIT", "1e-5"])
    build = build_prompt_schedule if stage == "prompt" else build_image_schedule
    through = optimizer_with(3e-4)
    expected = rates_of(build(cfg, through), through, [1, 2, 3, 50])
    stopped = optimizer_with(3e-4)
    rates_of(build(cfg, stopped), stopped, [1, 2])
    resumed = optimizer_with(3e-4)
    resumed.load_state_dict(stopped.state_dict())
    found = rates_of(build(cfg, resumed), resumed, [3, 50])
    np.testing.assert_array_equal(found, expected[2:])


@pytest.mark.parametrize(
    ("step_size", "steps", "reduced"),
    [("25", "(40, 70)", [26, 51]), ("0", "(30, 50)", [30, 50]), ("60", "(40, 70)", [])],
)
def test_dsgl_rate_steps_by_period_or_at_the_image_stages_steps(step_size, steps, reduced):
    """Published with period 25: 3.5e-4, 3.5e-5, 3.5e-6 at epochs counted from 0, here from 1."""
    optimizer = optimizer_with(3.5e-4)
    opts = ["DSGL.STEP_SIZE", step_size, "SOLVER.STAGE2.STEPS", steps]
    opts += ["SOLVER.STAGE2.WARMUP_ITERS", "0", "SOLVER.STAGE2.MAX_EPOCHS", "60"]
    schedule = build_unsupervised_schedule(load_cfg(None, opts), optimizer)
    rates = rates_of(schedule, optimizer, range(1, 61))[:, 0]
    expected = [3.5e-4 * 0.1 ** sum(first <= epoch for first in reduced) for epoch in range(1, 61)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
