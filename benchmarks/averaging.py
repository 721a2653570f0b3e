"""What averaging the weights (SOLVER.EMA) adds to a training step: benchmarks/averaging.py.

Random weights, random pixels, float32. The step and the update of the average alternate in one
process; the share is of medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import load_cfg
from loss.build import build_image_losses
from model import build_model
from processor.runtime.device import choose_device, describe_device
from processor.runtime.precision import Precision
from processor.training.averaging import AveragedWeights
from processor.training.image_stage import ImagesToLosses, freeze_text_side
from solver.build import build_image_optimizer

NUM_CLASSES = 100
RECIPES = (("configs/demo/vit_tiny.yml", 64), ("configs/person/vit_clipreid.yml", 16))
RANDOM = ["MODEL.PRETRAIN_CHOICE", "none", "MODEL.PRETRAIN_PATH", ""]
RANDOM += ["DATALOADER.SAMPLER", "softmax_triplet"]


def measure(recipe: str, batch: int, device: torch.device, repeats: int) -> tuple[float, float]:
    """Median seconds of a step of stage 2 and of an update of the average."""
    cfg = load_cfg(recipe, RANDOM)
    model = build_model(cfg, NUM_CLASSES, 1, 1).to(device).train()
    freeze_text_side(model)
    encoder = model.image_encoder
    losses = build_image_losses(
        cfg, NUM_CLASSES, encoder.width, with_text=True, joint_width=encoder.joint_width
    )
    texts = torch.randn(NUM_CLASSES, encoder.joint_width, device=device)
    images_to_losses = ImagesToLosses(model, losses, texts)
    optimizer = build_image_optimizer(cfg, model)
    precision = Precision(None, device)
    average = AveragedWeights(model, 0.99)
    images = torch.randn(batch, 3, *cfg.INPUT.SIZE_TRAIN, device=device)
    labels = torch.arange(batch // 4, device=device).repeat_interleave(4)

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    steps, updates = [], []
    for _ in range(repeats + 1):  # the first is not counted
        started = clock()
        parts, _ = images_to_losses(images, None, None, labels, None)
        precision.step(torch.stack(list(parts.values())).sum(), [optimizer])
        between = clock()
        average.update()
        steps.append(between - started)
        updates.append(clock() - between)
    return statistics.median(steps[1:]), statistics.median(updates[1:])


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    device = choose_device("auto")
    print(f"{describe_device(device)}, torch {torch.__version__}\n")
    print("| recipe | batch | step s | average s | share |")
    print("|---|---|---|---|---|")
    for recipe, batch in RECIPES:
        step, update = measure(recipe, batch, device, arguments.repeats)
        print(f"| {recipe} | {batch} | {step:.3f} | {update:.4f} | {update / step:.2%} |")


if __name__ == "__main__":
    main()
