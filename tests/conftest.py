"""Fixtures shared by all tests: arrays made by the original code and a tiny CLIP."""

import processor.tools.environment  # isort: skip  # noqa: F401 - before torch starts its threads

import copy
import gc
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from config import dump_cfg, load_cfg, plugins
from config.samplers import SAMPLERS
from datasets.registry import BENCHMARKS
from loss.extra import EXTRA_LOSSES
from model import build_model
from model.encoders import clip as clip_module
from model.encoders.clip import build_clip
from model.encoders.registry import ENCODERS
from processor.checkpoints.save import save_checkpoint

# A busy machine is not a failure.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

GOLDEN_FOLDER = Path(__file__).parent / "golden"

TINY_CLIP = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 3, "width": 128, "patch_size": 16},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 128,
        "heads": 2,
        "layers": 2,
    },
}


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory):
    """Tests neither read the user's environment nor write outside their own folder.

    REID_CACHE is a folder of the session, REID_DATA is not set, torch uses at most two threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, 2))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("REID_CACHE", str(tmp_path_factory.mktemp("cache")))
        monkeypatch.delenv("REID_DATA", raising=False)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def own_plugins(monkeypatch):
    """What a test registers is unknown to the next test."""
    monkeypatch.setattr(plugins, "_REGISTERED", [])
    tables = (ENCODERS, BENCHMARKS, SAMPLERS, EXTRA_LOSSES, plugins._IMPORTED)
    before = [dict(table) for table in tables]
    yield
    for table, rows in zip(tables, before, strict=True):
        for name in table.keys() - rows.keys():
            del table[name]


def pytest_collection_finish():
    """Modules and tests live to the end, so that no collection of garbage looks through them.

    Commands that fail in this process collect garbage, which otherwise takes most of their time.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Log lines with the names of files that are not UTF-8 cannot be sent between processes."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report


class StopAfter:
    """A stop request that comes before batch number `count` + 1 of those it sees."""

    signal = signal.SIGTERM

    def __init__(self, count):
        self.left = count

    @property
    def requested(self):
        self.left -= 1
        return self.left < 0


@pytest.fixture(scope="session")
def stop_after():
    return StopAfter


@pytest.fixture(scope="session")
def golden():
    """`golden("losses")` -> {name: array} of `tests/golden/losses.npz`, read once."""
    files = {}

    def load(name):
        if name not in files:
            with np.load(GOLDEN_FOLDER / f"{name}.npz", allow_pickle=False) as file:
                files[name] = {key: file[key] for key in file.files}
        return files[name]

    return load


@pytest.fixture(scope="session")
def golden_json():
    """`golden_json("tokenizer")` -> content of `tests/golden/tokenizer.json`."""

    def load(name):
        return json.loads((GOLDEN_FOLDER / f"{name}.json").read_text(encoding="utf-8"))

    return load


@pytest.fixture(scope="session")
def tiny_clip_json(tmp_path_factory):
    """Path of the open_clip model config of the tiny ViT CLIP."""
    path = tmp_path_factory.mktemp("tiny_clip") / "tiny_vit.json"
    path.write_text(json.dumps(TINY_CLIP), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def tiny_resnet_json(tmp_path_factory):
    """Path of the open_clip model config of a tiny ResNet CLIP; without golden weights."""
    vision = {"image_size": 224, "layers": [1, 2, 1, 2], "width": 8}
    path = tmp_path_factory.mktemp("tiny_resnet") / "tiny_resnet.json"
    path.write_text(json.dumps(TINY_CLIP | {"vision_cfg": vision}), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def tiny_clip_state(golden):
    """Weights of the tiny ViT CLIP under OpenAI's names; read-only."""
    return {key: torch.from_numpy(array) for key, array in golden("tiny_vit_clip").items()}


@pytest.fixture(scope="session")
def tiny_clip_file(tmp_path_factory, tiny_clip_state):
    """Path of the tiny ViT CLIP's weights as an OpenAI-style state dict."""
    path = tmp_path_factory.mktemp("tiny_weights") / "tiny_vit.pt"
    torch.save(tiny_clip_state, path)
    return str(path)


@pytest.fixture(scope="session")
def tiny_opts(tiny_clip_json, tiny_clip_file):
    """Overrides that describe the tiny ReID model of the golden arrays."""
    return [
        *("MODEL.NAME", tiny_clip_json, "MODEL.PRETRAIN_PATH", tiny_clip_file),
        *("INPUT.SIZE_TRAIN", "[256, 128]", "INPUT.SIZE_TEST", "[256, 128]"),
        *("INPUT.PIXEL_MEAN", "[0.5, 0.5, 0.5]", "INPUT.PIXEL_STD", "[0.5, 0.5, 0.5]"),
        *("TEST.NECK_FEAT", "before"),
    ]


@pytest.fixture(scope="session")
def built_tiny_reid(tiny_opts, golden):
    """The model behind `tiny_reid`, built once; read-only."""
    reid = build_model(load_cfg(None, tiny_opts), num_classes=10, num_cameras=6, num_views=3)
    extras = {
        key.removeprefix("extra/"): torch.from_numpy(array)
        for key, array in golden("tiny_vit_io").items()
        if key.startswith("extra/")
    }
    assert not reid.load_state_dict(extras, strict=False).unexpected_keys
    return reid.eval()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory, tiny_opts, built_tiny_reid):
    """Path of a checkpoint of `tiny_reid`."""
    path = tmp_path_factory.mktemp("tiny_checkpoint") / "last.pth"
    meta = {"num_classes": 10, "num_cameras": 6, "num_views": 3, "cameras": "{}"}
    save_checkpoint(path, built_tiny_reid, dump_cfg(load_cfg(None, tiny_opts)), meta)
    return str(path)


@pytest.fixture
def tiny_reid(built_tiny_reid):
    """The ReID model of the golden arrays in eval mode: 10 classes, 256x128; a copy per test."""
    return copy.deepcopy(built_tiny_reid)


FULL_MODELS = {
    "ViT-B-16_stride16": ["MODEL.NAME", "ViT-B-16"],
    "ViT-B-16_stride16_sie_cam6": ["MODEL.NAME", "ViT-B-16", "MODEL.SIE_CAMERA", "True"],
    "ViT-B-16_stride12_sie_cam6": [
        *("MODEL.NAME", "ViT-B-16", "MODEL.SIE_CAMERA", "True"),
        *("MODEL.STRIDE_SIZE", "[12, 12]"),
    ],
    "RN50_default": ["MODEL.NAME", "RN50"],
    "ViT-B-16_baseline": ["MODEL.NAME", "ViT-B-16", "MODEL.TEXT_TOWER", "False"],
    "RN50_baseline": ["MODEL.NAME", "RN50", "MODEL.TEXT_TOWER", "False"],
}


@pytest.fixture(scope="session")
def full_model():
    """`full_model("RN50_default")` -> a full-size model, built once; read-only.

    751 classes, 6 cameras, 256x128. CLIP's own tensors have shapes but no storage (device "meta").
    """
    models = {}

    def build_clip_without_storage(name, tag):
        with torch.device("meta"):
            return build_clip(name, tag)

    def build(variant):
        if variant not in models:
            opts = ["INPUT.SIZE_TRAIN", "[256, 128]", "INPUT.SIZE_TEST", "[256, 128]"]
            cfg = load_cfg(None, [*opts, "MODEL.PRETRAIN_CHOICE", "none", *FULL_MODELS[variant]])
            with pytest.MonkeyPatch.context() as monkeypatch:
                monkeypatch.setattr(clip_module, "build_clip", build_clip_without_storage)
                models[variant] = build_model(cfg, num_classes=751, num_cameras=6, num_views=1)
        return models[variant]

    return build
