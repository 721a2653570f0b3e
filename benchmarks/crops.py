"""Features of a frame's boxes, against the model alone: python benchmarks/crops.py."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import dump_cfg, load_cfg
from datasets.images.crops import crop_boxes
from model import build_model
from processor.checkpoints.meta import ModelSizes, describe_model
from processor.checkpoints.save import save_checkpoint
from processor.extractor import Extractor

FRAME, BOX, SIZE = (1080, 1920), (200, 80), (256, 128)  # height, width


def build_extractor() -> Extractor:
    """The demo's model with random weights, for images of 256x128 pixels."""
    size = str(list(SIZE))
    opts = ["INPUT.SIZE_TRAIN", size, "INPUT.SIZE_TEST", size]
    cfg = load_cfg("configs/demo/vit_tiny.yml", opts)
    sizes = ModelSizes(1, 1, 1)
    model = build_model(cfg, sizes.num_classes, sizes.num_cameras, sizes.num_views)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.pth"
        save_checkpoint(path, model, dump_cfg(cfg), describe_model(cfg, sizes, {}))
        return Extractor(path, "cpu", channels="bgr")


def draw_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """(N, 4) boxes of about 80 x 200 pixels, inside the frame."""
    height, width = (side * rng.uniform(0.9, 1.1, count) for side in BOX)
    left, top = rng.uniform(0, FRAME[1] - width), rng.uniform(0, FRAME[0] - height)
    return np.stack([left, top, left + width, top + height], 1)


def times_ms(actions: Sequence[Callable[[], object]], repeats: int) -> np.ndarray:
    """(repeats, actions) times in milliseconds of actions that take turns."""
    times = np.empty((repeats, len(actions)))
    for row in times:
        for number, action in enumerate(actions):
            started = time.perf_counter()
            action()
            row[number] = 1000 * (time.perf_counter() - started)
    return times


def main() -> None:
    """Print the medians of the whole call, of the model, and of the resizes alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    extractor = build_extractor()
    frame = rng.integers(0, 256, (*FRAME, 3), dtype=np.uint8)
    boxes = draw_boxes(arguments.boxes, rng)
    crops = crop_boxes(frame, boxes)
    images = [Image.fromarray(np.ascontiguousarray(crop[:, :, ::-1])) for crop in crops]
    ready = torch.randn(len(images), 3, *SIZE)
    unknown = torch.full((len(images),), -1)

    @torch.no_grad()
    def run_model() -> torch.Tensor:
        return extractor.model.embed(ready, unknown, unknown)

    def resize() -> list[Image.Image]:
        return [image.resize(SIZE[::-1], Image.Resampling.BILINEAR) for image in images]

    print(f"{len(boxes)} boxes of a {FRAME[1]} x {FRAME[0]} frame, inputs of {SIZE[0]}x{SIZE[1]}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        same = torch.equal(extractor.crops(frame, boxes), extractor(crops))
        if not same or not torch.equal(extractor.crops(frame, boxes), extractor(images)):
            sys.exit("the features of the boxes are not those of the same images")
        actions = [lambda: extractor.crops(frame, boxes), run_model, resize]
        times = times_ms(actions, arguments.repeats)
        whole, model, resizes = np.median(times, 0)
        beside = np.median(times[:, 0] - times[:, 1])
        print(
            f"{threads} threads: crops {whole:.1f} ms, model {model:.1f} ms, "
            f"beside the model {beside:.1f} ms (one thread resizes in {resizes:.1f} ms)"
        )


if __name__ == "__main__":
    main()
