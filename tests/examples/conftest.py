"""A tiny model with random weights, and a drawn video of two figures that pass each other."""

import json

import numpy as np
import pytest
import torch

from config import dump_cfg, load_cfg
from model import build_model
from processor.checkpoints.save import save_checkpoint

SIZES = {"num_classes": 1, "num_cameras": 1, "num_views": 1}
HEIGHT, WIDTH = 220, 200  # of a frame
FIGURES = ((200, 30, 30), (30, 60, 200))  # blue, green, red


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, tiny_clip_json):
    opts = ["MODEL.NAME", tiny_clip_json, "MODEL.PRETRAIN_CHOICE", "none"]
    size = ["INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"]
    cfg = load_cfg(None, [*opts, *size, "MODEL.TEXT_TOWER", "False"])
    torch.manual_seed(0)
    model = build_model(cfg, *SIZES.values())
    path = tmp_path_factory.mktemp("checkpoint") / "last.pth"
    save_checkpoint(path, model, dump_cfg(cfg), {**SIZES, "cameras": json.dumps({})})
    return str(path)


@pytest.fixture(scope="session")
def video():
    """Twelve BGR frames and their boxes (2, 4): the first figure goes right, the second left."""
    found = []
    for step in range(12):
        frame = np.full((HEIGHT, WIDTH, 3), 100, dtype=np.uint8)
        boxes = []
        places = ((20 + 8 * step, 10), (120 - 8 * step, 120))
        for colour, (left, top) in zip(FIGURES, places, strict=True):
            frame[top : top + 80, left : left + 40] = colour
            frame[top + 40 : top + 80, left : left + 40] //= 2
            boxes.append([left, top, left + 40, top + 80])
        found.append((frame, np.array(boxes, dtype=np.float32)))
    return found


@pytest.fixture
def follow(video):
    """`follow(update)` -> per figure, the numbers of its tracks in the second half of the video.

    `update(frame, boxes)` returns (box number, track) pairs; every other frame swaps the boxes.
    """

    def run(update):
        tracks = [set(), set()]
        for step, (frame, boxes) in enumerate(video):
            order = [1, 0] if step % 2 else [0, 1]
            for number, track in update(frame, boxes[order]):
                if step >= 6:
                    tracks[order[int(number)]].add(int(track))
        return tracks

    return run
