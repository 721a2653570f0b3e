"""Number formats: the choice per device, and computations that stay float32."""

from pathlib import Path

import pytest
import torch
from torch import nn

from config import load_cfg
from loss import (
    LossInputs,
    build_image_losses,
    compute_losses,
    contrastive_loss,
    image_to_text_logits,
    triplet_loss,
)
from processor.runtime import precision
from processor.runtime.precision import Precision, choose_precision

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.mark.parametrize(
    ("mode", "device", "expected"),
    [
        ("off", CPU, None),
        ("off", CUDA, None),
        ("bf16", CPU, torch.bfloat16),
        ("bf16", CUDA, torch.bfloat16),
        ("fp16", CUDA, torch.float16),
        ("auto", MPS, None),
    ],
)
def test_precision_follows_mode_and_device(mode, device, expected):
    assert choose_precision(mode, device) == expected


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(
        ValueError, match=r"SOLVER\.AMP: fp16 needs a GPU, .* set auto, bf16 or off"
    ):
        choose_precision("fp16", CPU)
    with pytest.raises(ValueError, match=r"TEST\.AMP: fp16 needs a GPU"):
        choose_precision("fp16", CPU, "TEST.AMP")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t: fpu avx512f avx512_bf16 sse", torch.bfloat16),
        ("flags\t: fpu amx_bf16", torch.bfloat16),
        ("flags\t: fpu avx2 avx512f bf16x", None),
        (None, None),
    ],
)
def test_auto_on_a_cpu_follows_its_bf16_flags(monkeypatch, flags, expected):
    def read_text(_self, **_):
        if flags is None:
            raise FileNotFoundError
        return flags

    monkeypatch.setattr(Path, "read_text", read_text)
    assert choose_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_auto_on_a_gpu_follows_its_compute_capability(monkeypatch, capability, expected):
    monkeypatch.setattr(precision.torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_precision("auto", CUDA) == expected


def test_autocast_computes_in_the_format():
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    with Precision(torch.bfloat16, CPU).autocast():
        assert layer(x).dtype == torch.bfloat16
    with Precision(None, CPU).autocast():
        assert layer(x).dtype == torch.float32


def test_losses_are_float32_under_bf16():
    torch.manual_seed(0)
    labels = torch.tensor([0, 0, 1, 1])
    features = [torch.randn(4, 8).bfloat16() for _ in range(3)]
    logits = [torch.randn(4, 2).bfloat16() for _ in range(2)]
    cfg = load_cfg(None, ["MODEL.IF_WITH_CENTER", "True", "DATALOADER.SAMPLER", "softmax_triplet"])
    losses = build_image_losses(cfg, 2, 8, with_text=True, joint_width=8)
    names = ("last", "final", "projected")
    with Precision(torch.bfloat16, CPU).autocast():
        i2t = image_to_text_logits(features[2], torch.randn(2, 8))
        batch = LossInputs(logits, dict(zip(names, features, strict=True)), labels, i2t)
        named = compute_losses(losses, batch)
        contrast = contrastive_loss(features[0], features[1], labels, labels)
        triplet = triplet_loss(features[0], labels)
    assert set(named) == {"id", "triplet", "i2t", "center"}
    assert i2t.dtype == contrast.dtype == triplet.dtype == torch.float32
    assert {value.dtype for value in named.values()} == {torch.float32}
    wide = {name: feature.float() for name, feature in batch.features.items()}
    wide_batch = LossInputs([logit.float() for logit in logits], wide, labels, i2t)
    same = compute_losses(losses, wide_batch)
    for name, value in named.items():
        assert value.item() == pytest.approx(same[name].item(), abs=1e-6), name


def test_step_steps_every_optimizer_once():
    weights = [nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([2.0]))]
    optimizers = [torch.optim.SGD([w], lr=0.5) for w in weights]
    steps = Precision(None, CPU)
    for _ in range(2):  # gradients of the first step do not stay
        steps.step((weights[0] * weights[1]).sum(), optimizers)
    assert weights[0].item() == pytest.approx(1 - 0.5 * 2 - 0.5 * 1.5)
    assert weights[1].item() == pytest.approx(2 - 0.5 * 1 - 0.5 * 0)


def test_state_is_empty_without_loss_scaling():
    steps = Precision(torch.bfloat16, CPU)
    assert steps.state_dict() == {}
    steps.load_state_dict({"scale": 4.0})  # of a run on another device


def test_overflowing_step_is_skipped():
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    steps = Precision(torch.float16, CPU)
    happened = []
    for factor in (1.0, float("inf"), 2.0):
        steps.step((weight * factor).sum(), [optimizer])
        happened.append(steps.step_happened())
    assert happened == [True, False, True]
    assert weight.item() == pytest.approx(1 - 0.5 - 1)


def test_step_without_loss_scaling_is_never_skipped():
    weight = nn.Parameter(torch.tensor([1.0]))
    steps = Precision(None, CPU)
    steps.step(weight.sum(), [torch.optim.SGD([weight], lr=0.5)])
    assert steps.step_happened()


@pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="PyTorch before 2.9"
)
def test_float32_is_not_replaced_by_tf32_forward_and_backward():
    seen = []

    class Watch(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            del ctx
            seen.append(torch.backends.cudnn.conv.fp32_precision)
            return x * 1

        @staticmethod
        def backward(ctx, gradient):
            del ctx
            seen.append(torch.backends.cudnn.conv.fp32_precision)
            return gradient

    convolutions = torch.backends.cudnn.conv
    before, convolutions.fp32_precision = convolutions.fp32_precision, "tf32"
    try:
        weight = nn.Parameter(torch.tensor([1.0]))
        for dtype, expected in ((None, "ieee"), (torch.bfloat16, "tf32")):
            seen.clear()
            steps = Precision(dtype, CPU)
            with steps.autocast():
                loss = Watch.apply(weight).sum()
            steps.step(loss, [torch.optim.SGD([weight], lr=0.5)])
            assert seen == [expected, expected]
        assert convolutions.fp32_precision == "tf32"
    finally:
        convolutions.fp32_precision = before
