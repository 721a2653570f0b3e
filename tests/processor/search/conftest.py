"""A small model and images for it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from config import dump_cfg, load_cfg
from datasets.image_lists import read_image_lists
from model import build_model
from processor.checkpoints.save import save_checkpoint
from processor.extractor import Extractor
from processor.search.images import join_lists

SIZES = {"num_classes": 3, "num_cameras": 5, "num_views": 1}


@pytest.fixture(scope="package")
def extractor(tmp_path_factory, tiny_opts):
    """A model trained on two cameras of `shop` and three of market1501."""
    opts = [
        *(*tiny_opts, "INPUT.SIZE_TRAIN", "[32, 16]", "INPUT.SIZE_TEST", "[32, 16]"),
        *("MODEL.SIE_CAMERA", "True", "DATASETS.NAMES", "('shop', 'market1501')"),
    ]
    cfg = load_cfg(None, opts)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "last.pth"
    meta = {**SIZES, "cameras": json.dumps({"shop": [0, 2], "market1501": [2, 5]})}
    save_checkpoint(path, build_model(cfg, *SIZES.values()), dump_cfg(cfg), meta)
    return Extractor(path, "cpu", batch_size=4)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Eighteen images."""
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(18):
        pixels = rng.integers(0, 256, (6, 3, 3), np.uint8)
        Image.fromarray(pixels).resize((16, 32)).save(path / f"{number:02d}.png")
    return path


@pytest.fixture(scope="session")
def images_of():
    """`images_of(extractor, *places)`: the images of some places."""

    def read(extractor, *places):
        return join_lists(extractor, read_image_lists([str(place) for place in places], ""))

    return read
