"""What only a GPU can show: formats, waiting, and files that go from device to device."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from config import load_cfg
from loss import ClusteredBatch, ClusterMemory, DSGLLosses, InstanceBank, irrelevant_labels
from loss.build import build_image_losses
from model import build_model
from processor.clustering import jaccard_distance
from processor.evaluation import rerank
from processor.extractor import Extractor
from processor.runtime.precision import Precision
from processor.training.image_stage import ImagesToLosses, freeze_text_side
from solver.build import build_image_optimizer

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@contextmanager
def waiting_is_an_error():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (64, 32, 3), np.uint8) for _ in range(12)]


def test_float32_features_are_those_of_the_cpu(straight, images):
    checkpoint = straight / "last.pth"
    here, there = (Extractor(checkpoint, device)(images) for device in ("cpu", DEVICE))
    torch.testing.assert_close(there, here, rtol=0, atol=1e-5)


def test_float32_features_of_a_resnet_are_those_of_the_cpu():
    """Convolutions must not be computed in TF32, which is off by 1e-3."""
    cfg = load_cfg(None, ["MODEL.NAME", "RN50", "MODEL.PRETRAIN_CHOICE", "none"])
    torch.manual_seed(0)
    model = build_model(cfg, 3, 1, 1).eval()
    pixels = torch.randn(2, 3, *cfg.INPUT.SIZE_TRAIN)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(model.embed(pixels))
        device = torch.device(DEVICE)
        model.to(device)
        with Precision(None, device).autocast():
            found = torch.nn.functional.normalize(model.embed(pixels.to(device)))
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("amp", ["fp16", "bf16", "off"])
@pytest.mark.parametrize("cache", ["device", "none"])
def test_training_in_every_format(train_in, tmp_path, amp, cache):
    options = ["MODEL.DEVICE", DEVICE, "SOLVER.AMP", amp, "INPUT.CACHE", cache]
    report = train_in(tmp_path, *options, "DATALOADER.SAMPLER", "dfgs_text")
    assert 0.1 < report.average()["mAP"] <= 1
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in lines)


def test_run_goes_from_gpu_to_cpu_and_back(train_in, tmp_path):
    options = ["SOLVER.RESUME", "auto", "SOLVER.STAGE2.MAX_EPOCHS"]
    for epochs, device in (("1", DEVICE), ("2", "cpu"), ("3", DEVICE)):
        train_in(tmp_path, "MODEL.DEVICE", device, *options, epochs)
        saved = torch.load(tmp_path / "last.pth", weights_only=True)  # without map_location
        assert {x.device.type for x in saved["model"].values()} == {"cpu"}
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(x["stage"], x["epoch"]) for x in lines] == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]


def test_step_of_the_image_stage_does_not_wait_for_the_gpu(base_opts):
    cfg = load_cfg(None, base_opts)
    device = torch.device(DEVICE)
    model = build_model(cfg, 8, 3, 1).to(device).train()
    freeze_text_side(model)
    encoder = model.image_encoder
    losses = build_image_losses(
        cfg, 8, encoder.width, with_text=True, joint_width=encoder.joint_width
    )
    texts = torch.randn(8, encoder.joint_width, device=device)
    to_losses = ImagesToLosses(model, losses, texts)
    optimizer = build_image_optimizer(cfg, model)
    precision = Precision(torch.bfloat16, device)
    pixels = torch.randn(32, 3, 64, 32, device=device)
    labels = torch.arange(8, device=device).repeat_interleave(4)

    def step():
        with precision.autocast():
            parts, _ = to_losses(pixels, None, None, labels, None)
        precision.step(torch.stack(list(parts.values())).sum(), [optimizer])

    step()
    with waiting_is_an_error():
        step()


def test_dsgl_losses_do_not_wait_for_the_gpu():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(400, 16, generator=generator)
    rows = torch.nn.functional.normalize(rows).to(DEVICE)
    labels = torch.arange(400) % 40
    memory = ClusterMemory(rows[:40]).to(DEVICE)
    irrelevant = irrelevant_labels(rows, memory.mean, labels, 2).cpu()
    bank = InstanceBank(rows, labels, irrelevant)
    losses = DSGLLosses()
    places = torch.randperm(400, generator=generator)[:64]
    batch = ClusteredBatch(places, labels[places], irrelevant[places])

    def step():
        features, positives = rows[:64].clone().requires_grad_(), rows[64:128]
        parts = losses(features, positives, batch, memory, bank)
        torch.stack(list(parts.values())).sum().backward()
        losses.update(features, batch, memory, bank)
        return features.grad

    step()
    with waiting_is_an_error():
        gradient = step()
    assert gradient.abs().max() > 0


def test_reranking_and_jaccard_distances_are_those_of_the_cpu():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, 32, generator=generator)
    rows = centres.repeat(10, 1) + 0.6 * torch.randn(400, 32, generator=generator)
    rows /= rows.norm(dim=1, keepdim=True)
    on_gpu = rows.to(DEVICE)
    expected = rerank(rows[:90], rows[90:], 20, 6)
    torch.testing.assert_close(
        rerank(on_gpu[:90], on_gpu[90:], 20, 6).cpu(), expected, rtol=0, atol=1e-5
    )
    one, other = (jaccard_distance(x, 20, 6, max_distance=0.9) for x in (rows, on_gpu))
    assert abs(one.nnz - other.nnz) <= 2  # at the largest distance, rounding decides
    assert abs(one - other).max() < 0.91
    shared = one.multiply(other > 0) - other.multiply(one > 0)
    assert abs(shared).max() < 1e-5


def test_images_on_a_gpu_can_be_extracted_by_workers(straight, images):
    extractor = Extractor(straight / "last.pth", DEVICE, batch_size=4, num_workers=2)
    tensors = [torch.from_numpy(image).permute(2, 0, 1).to(DEVICE) for image in images]
    torch.testing.assert_close(extractor(tensors), extractor(images), rtol=0, atol=1e-5)
