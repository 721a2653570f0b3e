"""A tiny CLIP, a few random images, and configurations of them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg
from datasets.images.build import build_training_images
from datasets.images.placement import FreeMemory
from datasets.records import Sample
from datasets.sources import TrainingSet
from model import build_reid_model
from processor.runtime.precision import Precision

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1}
VIT = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
NUM_IDENTITIES, IMAGES_PER_IDENTITY = 14, 4
PLENTY = FreeMemory(100 * 2**30)
CPU = torch.device("cpu")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """On shared cores, a second thread makes a tiny model a hundred times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def architectures(tmp_path_factory):
    """`architectures["vit"]`, `architectures["resnet"]`: model configs of tiny CLIPs."""
    folder = tmp_path_factory.mktemp("models")
    paths = {}
    for name, vision in (("vit", VIT), ("resnet", RESNET)):
        path = folder / f"{name}.json"
        architecture = {"embed_dim": 32, "quick_gelu": True}
        path.write_text(json.dumps({**architecture, "vision_cfg": vision, "text_cfg": TEXT}))
        paths[name] = str(path)
    return paths


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    """56 images 0.png ... of random pixels, blurred differently, 20 to 90 pixels high and wide."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(NUM_IDENTITIES * IMAGES_PER_IDENTITY):
        height, width = rng.integers(20, 90, 2)
        coarse = rng.integers(0, 256, (4, 2, 3), np.uint8)
        image = Image.fromarray(coarse).resize((int(width), int(height)), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="package")
def data(folder):
    """14 identities of two sources with four images each, three cameras, two viewpoints."""
    numbers = range(NUM_IDENTITIES * IMAGES_PER_IDENTITY)
    samples = [Sample(str(folder / f"{i}.png"), 100 + i // 4, i % 3, i % 2) for i in numbers]
    labels = [i // IMAGES_PER_IDENTITY for i in numbers]
    domains = [int(label >= NUM_IDENTITIES // 2) for label in labels]
    sizes = (NUM_IDENTITIES, 3, 2)
    return TrainingSet(samples, labels, domains, *sizes, ("some", "others"), (0, 3))


@pytest.fixture(scope="package")
def configure(architectures):
    """`configure({"KEY": value})` -> a configuration of the tiny ViT; the last values win."""

    def load(*options):
        base = {
            "MODEL.NAME": architectures["vit"],
            "MODEL.PRETRAIN_CHOICE": "none",
            "MODEL.DEVICE": "cpu",
            "INPUT.SIZE_TRAIN": [64, 32],
            "INPUT.SIZE_TEST": [64, 32],
            "INPUT.CACHE": "none",
            "DATALOADER.NUM_WORKERS": 0,
            "DATALOADER.SAMPLER": "softmax_triplet",
            "DATALOADER.NUM_INSTANCE": 2,
            "SOLVER.STAGE2.IMS_PER_BATCH": 8,
        }
        for more in options:
            base |= more
        return load_cfg(None, {key: value for key, value in base.items() if value is not None})

    return load


@pytest.fixture(scope="package")
def model_of(data):
    """`model_of(cfg)` -> the model of the training images, the same weights at every call."""

    def build(cfg):
        torch.manual_seed(0)
        return build_reid_model(cfg, data.num_classes, data.num_cameras, data.num_views)

    return build


@pytest.fixture(scope="package")
def images_of(data):
    """`images_of(cfg)` -> the `TrainingImages` of `data`."""

    def build(cfg, device=CPU, free=PLENTY):
        return build_training_images(cfg, data, device, free=free)

    return build


@pytest.fixture(scope="package")
def float32():
    """No autocast, on the CPU."""
    return Precision(None, CPU)


class Recorder:
    """A stand-in for a sampler of graphs, which keeps the graphs."""

    def __init__(self, num_pids=4, num_instances=2):
        self.num_pids = num_pids
        self.num_instances = num_instances
        self.graphs = []

    def set_graph(self, neighbours, nearest=None):
        self.graphs.append((neighbours.tolist(), None if nearest is None else nearest.tolist()))


@pytest.fixture
def recorder():
    """A sampler that records the graphs it is given; P = 4, K = 2."""
    return Recorder()
