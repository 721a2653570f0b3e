"""Checkpoints of tiny models, with the features they must reproduce."""

import json

import pytest
import torch

from config import dump_cfg, load_cfg
from model import UnsupervisedReID, build_model, build_reid_model
from model.encoders.clip import architecture_text
from processor.checkpoints.save import save_checkpoint

SIZES = {"num_classes": 10, "num_cameras": 6, "num_views": 1}
OVERLAP = ["MODEL.STRIDE_SIZE", "[12, 12]", "MODEL.SIE_CAMERA", "True", "MODEL.SIE_COE", "1.5"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_opts):
    """A stride-12 model with camera embeddings, its file, and features of four images."""
    cfg = load_cfg(None, [*tiny_opts, *OVERLAP])
    torch.manual_seed(0)
    model = build_model(cfg, *SIZES.values()).eval()
    path = tmp_path_factory.mktemp("saved") / "last.pth"
    meta = {**SIZES, "cameras": json.dumps({"one": [2, 4]})}
    save_checkpoint(path, model, dump_cfg(cfg), meta)
    images = torch.randn(4, 3, 256, 128)
    with torch.no_grad():
        features = model.embed(images, torch.tensor([0, 1, 5, -1]))
    return str(path), images, features


@pytest.fixture
def assert_same_features(saved):
    """`assert_same_features(loaded)`: the model computes the features of `saved`."""

    def check(loaded):
        _, images, features = saved
        with torch.no_grad():
            found = loaded.model.eval().embed(images, torch.tensor([0, 1, 5, -1]))
        torch.testing.assert_close(found, features, atol=1e-5, rtol=0)

    return check


@pytest.fixture(scope="module", params=["resnet18", "tiny ViT"])
def unsupervised(request, tmp_path_factory, tiny_clip_json):
    """A checkpoint of DSGL, its options, four images and their features."""
    name = tiny_clip_json if request.param == "tiny ViT" else request.param
    pooling = "clip" if request.param == "tiny ViT" else "avg+max"
    opts = [
        *("DSGL.ENABLED", "True", "MODEL.NAME", name, "MODEL.PRETRAIN_CHOICE", "none"),
        *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
        *("DSGL.POOLING", pooling, "DSGL.EMBED_DIM", "12"),
    ]
    cfg = load_cfg(None, opts)
    torch.manual_seed(0)
    model = build_reid_model(cfg, 0, 3, 1).eval()
    with torch.no_grad():
        model.bottleneck.running_mean.normal_()
    path = tmp_path_factory.mktemp("unsupervised") / "last.pth"
    cameras = json.dumps({"one": [0, 3]})
    meta = {"num_classes": 0, "num_cameras": 3, "num_views": 1, "cameras": cameras}
    meta["architecture"] = architecture_text(name)
    save_checkpoint(path, model, dump_cfg(cfg), meta)
    images = torch.randn(4, 3, 64, 32)
    with torch.no_grad():
        return str(path), opts, images, model.embed(images)


@pytest.fixture
def assert_same_unit_features(unsupervised):
    """`assert_same_unit_features(loaded)`: the model computes the features of `unsupervised`."""

    def check(loaded):
        _, _, images, features = unsupervised
        assert isinstance(loaded.model, UnsupervisedReID)
        with torch.no_grad():
            torch.testing.assert_close(loaded.model.eval().embed(images), features)

    return check
