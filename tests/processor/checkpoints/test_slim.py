"""Slim checkpoints and published folders are baselines with equal features."""

import json

import pytest
import safetensors.torch
import torch
import yaml
from huggingface_hub import constants

from config import dump_cfg, load_cfg
from model import build_model
from processor.checkpoints.description import describe_features
from processor.checkpoints.load import open_model
from processor.checkpoints.save import save_checkpoint
from processor.checkpoints.slim import open_slim, save_folder, save_slim

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


# ------------------------------------------------------------------------------ published folders


@pytest.fixture
def published(saved, tmp_path):
    """The folder of `saved`."""
    opts = ["DATASETS.ROOT_DIR", "/home/someone/data", "OUTPUT_DIR", "/home/someone/runs"]
    slim = open_slim(str(saved[2]), None, [*opts, "MODEL.DEVICE", "cpu"])
    save_folder(tmp_path / "published", slim, "# a card\n")
    return tmp_path / "published"


def test_published_features_are_bit_identical(saved, published, images):
    _, model, path = saved
    loaded, origin = open_model(str(published)), open_model(str(path))
    assert torch.equal(embed(loaded.model, images), embed(model, images))
    assert describe_features(loaded) == describe_features(origin)
    assert loaded.cameras == origin.cameras
    assert loaded.use_all
    again = open_model(str(published / "model.safetensors"))
    assert torch.equal(embed(again.model, images), embed(model, images))


def test_published_model_without_labels_has_the_same_features(
    unsupervised, assert_same_unit_features, tmp_path
):
    save_folder(tmp_path / "published", open_slim(unsupervised[0]), "# a card\n")
    assert_same_unit_features(open_model(str(tmp_path / "published")))


def test_published_folder_names_no_place_of_its_origin(saved, published, tiny_opts):
    texts = [path.read_bytes() for path in published.iterdir()]
    assert sorted(path.name for path in published.iterdir()) == [
        *("README.md", "config.yml", "model.safetensors")
    ]
    for place in ("/home/someone", tiny_opts[1], str(saved[2])):
        assert not any(place.encode() in text for text in texts)
    config = yaml.safe_load((published / "config.yml").read_text(encoding="utf-8"))
    assert (config["DATASETS"]["NAMES"], config["MODEL"]["DEVICE"]) == (["one"], "auto")


def test_model_on_the_hub_is_opened_from_the_cache(saved, published, images, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--user--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("ab" * 20, encoding="utf-8")
    (repository / "snapshots").mkdir()
    published.rename(repository / "snapshots" / ("ab" * 20))
    loaded = open_model("hf://user/model")
    assert torch.equal(embed(loaded.model, images), embed(saved[1], images))


def test_folder_with_files_is_not_written_to(saved, published):
    before = {path: path.read_bytes() for path in published.iterdir()}
    with pytest.raises(ValueError, match=r"--output: .*published is not empty"):
        save_folder(published, open_slim(str(saved[2])), "# another card\n")
    assert {path: path.read_bytes() for path in published.iterdir()} == before


def test_missing_configuration_is_named(published):
    (published / "config.yml").unlink()
    with pytest.raises(FileNotFoundError, match=r"configuration is missing: no file .*config\.yml"):
        open_model(str(published))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"num_classes": 10**12}, "num_classes is 1000000000000, expected 0 to 10,000,000"),
        ({"num_cameras": -1}, "num_cameras is -1"),
        ({"num_views": "1"}, "num_views is '1'"),
        ({"cameras": "{}[0]"}, "cameras is"),
        ({"cameras": '{"one": [2, 7]}'}, "cameras is .* not rows of a table"),
        ({"cameras": None}, "cameras is None"),
        ({"architecture": '{"text_cfg": {"hf_model_name": "a/b"}}'}, "names a model to download"),
    ],
)
def test_facts_of_a_file_are_checked_before_use(published, facts, message):
    path = published / "model.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata()
    header["meta"] = json.dumps({**json.loads(header["meta"]), **facts})
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, header)
    with pytest.raises(ValueError, match=message):
        open_model(str(published))
