"""Checkpoints of fast-reid and torchreid are evaluated with a recipe of their architecture."""

import json

import pytest
import timm
import torch

from config import load_cfg
from processor.checkpoints.load import open_model

pytestmark = pytest.mark.slow

RECIPE = "configs/person/resnet50_bot.yml"
OPTIONS = (
    *("MODEL.NAME", "timm/resnet18", "MODEL.LAST_STRIDE", "2"),
    *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=0).eval()


@pytest.fixture(params=["fast-reid", "torchreid"])
def weights(request, network, tmp_path):
    """A file of 751 identities, with its project's names."""
    state, path = network.state_dict(), tmp_path / "theirs.pth"
    if request.param == "fast-reid":
        named = {f"backbone.{key}": tensor for key, tensor in state.items()}
        neck = torch.nn.BatchNorm1d(512).state_dict()
        named |= {f"heads.bottleneck.0.{key}": tensor for key, tensor in neck.items()}
        torch.save({"model": {**named, "heads.weight": torch.rand(751, 512)}}, path)
    else:
        named = {f"module.{key}": tensor for key, tensor in state.items()}
        named["module.classifier.weight"] = torch.rand(751, 512)
        torch.save({"state_dict": named, "epoch": 60}, path)
    return path


def test_file_is_evaluated(weights, network, people, script, tmp_path):
    data = ("DATASETS.ROOT_DIR", people.parent, "DATASETS.TARGETS", people.name)
    arguments = ("--config_file", RECIPE, *OPTIONS, "TEST.WEIGHT", weights, *data)
    finished = script("test_clipreid.py", *arguments, "OUTPUT_DIR", tmp_path / "out")
    assert finished.status == 0, finished.output
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert 0.1 < results["average"]["mAP"] < 1
    images = torch.randn(2, 3, 64, 32)
    model = open_model(str(weights), RECIPE, list(OPTIONS)).model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model.embed(images), network(images))


def test_file_starts_a_baseline(weights, people, script, tmp_path):
    data = ("DATASETS.ROOT_DIR", people.parent, "DATASETS.NAMES", people.name)
    short = ("SOLVER.STAGE2.MAX_EPOCHS", "1", "SOLVER.STAGE2.IMS_PER_BATCH", "16")
    start = ("MODEL.PRETRAIN_PATH", weights, "DATALOADER.NUM_WORKERS", "0")
    arguments = ("--config_file", RECIPE, *OPTIONS, *start, *data, *short)
    finished = script("train.py", *arguments, "OUTPUT_DIR", tmp_path / "run")
    assert finished.status == 0, finished.output
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert "theirs.pth: loaded " in log
    assert load_cfg(str(tmp_path / "run" / "config.yml")).MODEL.NAME == "timm/resnet18"
