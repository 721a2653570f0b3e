"""A slim checkpoint is a baseline with equal features."""

import json

import pytest
import torch
import yaml

from config import dump_cfg, load_cfg
from model import build_model
from processor.checkpoints.load import open_model
from processor.checkpoints.save import save_checkpoint
from processor.checkpoints.slim import save_slim

SIZES = {"num_classes": 10, "num_cameras": 6, "num_views": 1}
TRAINING = [  # invalid for a baseline: a sampler and a loss that need text
    *("DATALOADER.SAMPLER", "dfgs_text", "DATALOADER.NUM_INSTANCE", "4"),
    *("MODEL.ID_LOSS_WEIGHT", "0.0", "MODEL.METRIC_LOSS_TYPE", "none"),
    *("MODEL.SIE_CAMERA", "True", "SOLVER.SEED", "7", "SOLVER.AMP", "off"),
]
CAMERAS = torch.tensor([0, 5, -1])


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_opts):
    """Configuration, model and `last.pth` of an unfinished run."""
    cfg = load_cfg(None, [*tiny_opts, *TRAINING])
    torch.manual_seed(0)
    model = build_model(cfg, *SIZES.values()).eval()
    path = tmp_path_factory.mktemp("saved") / "last.pth"
    meta = {**SIZES, "cameras": json.dumps({"one": [2, 4]}), "use_all": True}
    training = {"optimizer": [parameter.detach() for parameter in model.parameters()]}
    save_checkpoint(path, model, dump_cfg(cfg), meta, training)
    return cfg, model, path


@pytest.fixture
def images():
    return torch.randn(3, 3, 256, 128, generator=torch.Generator().manual_seed(1))


def embed(model, images):
    with torch.no_grad():
        return model.eval().embed(images, CAMERAS)


def test_slim_features_are_bit_identical(saved, images, tmp_path):
    _, model, path = saved
    save_slim(tmp_path / "slim.pth", str(path))
    loaded = open_model(str(tmp_path / "slim.pth"))
    assert torch.equal(embed(loaded.model, images), embed(model, images))
    assert loaded.cfg.MODEL.TEXT_TOWER is False
    assert loaded.cfg.SOLVER.SEED == 7
    assert loaded.cfg.SOLVER.AMP == "off"
    assert loaded.cameras == {"one": range(2, 4)}
    assert loaded.use_all


def test_slim_file_holds_the_image_side_alone(saved, tmp_path):
    cfg, model, path = saved
    save_slim(tmp_path / "slim.pth", str(path))
    content = torch.load(tmp_path / "slim.pth", weights_only=True)
    assert set(content) == {"format", "model", "config", "meta"}
    text = ("prompt_learner.", "text_encoder.")
    assert set(content["model"]) == {key for key in model.state_dict() if not key.startswith(text)}
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in content["model"].items())
    assert yaml.safe_load(content["meta"]["trained_with"]) == yaml.safe_load(dump_cfg(cfg))
    held = sum(tensor.nbytes for tensor in content["model"].values())
    assert held < (tmp_path / "slim.pth").stat().st_size < held + 60_000


def test_slimming_twice_keeps_the_origin(saved, images, tmp_path):
    _, model, path = saved
    save_slim(tmp_path / "slim.pth", str(path))
    save_slim(tmp_path / "again.pth", str(tmp_path / "slim.pth"))
    first, second = (
        torch.load(tmp_path / name, weights_only=True) for name in ("slim.pth", "again.pth")
    )
    assert first["meta"] == second["meta"]
    assert first["config"] == second["config"]
    again = open_model(str(tmp_path / "again.pth"))
    assert torch.equal(embed(again.model, images), embed(model, images))


def test_half_precision_halves_the_file(saved, images, tmp_path):
    _, model, path = saved
    save_slim(tmp_path / "slim.pth", str(path))
    save_slim(tmp_path / "half.pth", str(path), half=True)
    sizes = [(tmp_path / name).stat().st_size for name in ("half.pth", "slim.pth")]
    assert 0.5 < sizes[0] / sizes[1] < 0.52
    found = embed(open_model(str(tmp_path / "half.pth")).model, images)
    expected = embed(model, images)
    assert found.dtype == torch.float32
    assert torch.cosine_similarity(found, expected).min() > 0.99999
    assert not torch.equal(found, expected)


def test_original_file_gains_configuration_and_meta(saved, images, tmp_path):
    """CLIP-ReID's files hold parameters only; the slim file stands alone."""
    cfg, model, _ = saved
    torch.save(model.state_dict(), tmp_path / "original.pth")
    (tmp_path / "recipe.yml").write_text(dump_cfg(cfg), encoding="utf-8")
    save_slim(tmp_path / "slim.pth", str(tmp_path / "original.pth"), str(tmp_path / "recipe.yml"))
    loaded = open_model(str(tmp_path / "slim.pth"))
    assert torch.equal(embed(loaded.model, images), embed(model, images))
    assert loaded.cameras == {"market1501": range(6)}
    assert loaded.meta["num_classes"] == 10
    assert loaded.meta["trained_with"] == ""
