"""An ONNX file computes the model's features, for any number of images."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg
from config.packages import MissingPackageError
from datasets.images.build import build_evaluation_transform, build_level_normalization
from model import build_model
from model.network_files.embedder import NetworkFile
from processor.checkpoints import export
from processor.checkpoints.export import ImageTower, smallest_cosine, write_onnx

SIZE = ["INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"]
SIDE = ["MODEL.SIE_CAMERA", "True", "MODEL.SIE_VIEW", "True"]
RANDOM = ["MODEL.PRETRAIN_CHOICE", "none"]


@pytest.fixture
def build(tiny_clip_json, tiny_resnet_json):
    """`build("vit", "KEY", "VALUE", ...)` -> configuration and a random model for 64x32 pixels.

    One training pass moves its batch norms away from the identity.
    """

    def make(kind, *opts):
        names = {"vit": tiny_clip_json, "resnet": tiny_resnet_json}
        baseline = ["MODEL.NAME", names[kind], "MODEL.TEXT_TOWER", "False"]
        cfg = load_cfg(None, [*baseline, *RANDOM, *SIZE, *opts])
        torch.manual_seed(0)
        model = build_model(cfg, 10, 6, 3)
        with torch.no_grad():
            model(torch.randn(16, 3, 64, 32))
        return cfg, model.eval()

    return make


def expected_features(tower, images):
    with torch.no_grad():
        return tower(images)


@pytest.mark.parametrize(
    ("kind", "opts"),
    [
        ("vit", ["TEST.NECK_FEAT", "before", "MODEL.STRIDE_SIZE", "[12, 12]"]),
        ("vit", ["TEST.NECK_FEAT", "after", *SIDE]),
        ("resnet", ["TEST.NECK_FEAT", "after"]),
    ],
)
def test_features_equal_the_models_for_any_batch_size(build, tmp_path, kind, opts):
    _, model = build(kind, *opts)
    tower = ImageTower(model)
    write_onnx(tmp_path / "model.onnx", tower, torch.randn(2, 3, 64, 32), {})
    file = NetworkFile(tmp_path / "model.onnx")
    images = torch.randn(7, 3, 64, 32)
    expected = expected_features(tower, images)
    for count in (1, 2, 7):
        found = file.embed(images[:count])
        assert found.shape == (count, model.embed(images[:1]).shape[1])
        torch.testing.assert_close(found, expected[:count], atol=1e-4, rtol=1e-4)


def test_all_images_get_the_mean_side_information(build):
    _, model = build("vit", "TEST.NECK_FEAT", "before", *SIDE)
    images = torch.randn(3, 3, 64, 32)
    row = model.side_information.coefficient * model.cv_embed.mean(0)
    features = model.image_encoder(images, row.expand(3, -1))
    expected = torch.cat([features.final, features.projected], dim=1)
    torch.testing.assert_close(ImageTower(model)(images), expected, atol=1e-5, rtol=1e-5)


def test_unit_length_option_normalizes_features(build, tmp_path):
    _, model = build("vit")
    images = torch.randn(3, 3, 64, 32)
    write_onnx(tmp_path / "model.onnx", ImageTower(model, unit_length=True), images, {})
    found = NetworkFile(tmp_path / "model.onnx").embed(images)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3), atol=1e-5, rtol=0)
    plain = expected_features(ImageTower(model), images)
    torch.testing.assert_close(found, plain / plain.norm(dim=1, keepdim=True), atol=1e-5, rtol=0)


@pytest.mark.parametrize("normalization", ["fixed", "instance"])
def test_built_in_preprocessing_equals_the_evaluations(build, tmp_path, normalization):
    cfg, model = build("vit", "INPUT.NORMALIZATION", normalization)
    levels = np.random.default_rng(0).integers(0, 256, (3, 64, 32, 3), dtype=np.uint8)
    levels[0] //= 8  # a dark image
    transform = build_evaluation_transform(cfg)
    normalized = torch.stack([transform(Image.fromarray(image)) for image in levels])
    tower = ImageTower(model, build_level_normalization(cfg, torch.device("cpu")))
    images = torch.from_numpy(levels)
    write_onnx(tmp_path / "model.onnx", tower, images, {})
    expected = expected_features(ImageTower(model), normalized)
    file = NetworkFile(tmp_path / "model.onnx")
    for count in (1, 3):
        found = file.embed(images[:count].permute(0, 3, 1, 2).float())
        torch.testing.assert_close(found, expected[:count], atol=1e-4, rtol=1e-4)


def test_file_carries_its_description(build, tmp_path):
    description = {
        "image_size": [64, 32],
        "interpolation": "bilinear",
        "normalization": "fixed",
        "mean": [0.5, 0.25, 0.1],
        "std": [0.5, 0.5, 0.5],
        "dimension": 96,
        "neck_feature": "after",
        "unit_length": False,
        "input": 'RGB, "é"',
    }
    _, model = build("vit")
    write_onnx(tmp_path / "a" / "b.onnx", ImageTower(model), torch.randn(2, 3, 64, 32), description)
    assert NetworkFile(tmp_path / "a" / "b.onnx").description == description
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.onnx"]


def test_writing_is_silent_and_restores_the_attention_path(build, tmp_path):
    _, model = build("vit", *SIDE)
    assert torch.backends.mha.get_fastpath_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_onnx(tmp_path / "model.onnx", ImageTower(model), torch.randn(2, 3, 64, 32), {})
    assert torch.backends.mha.get_fastpath_enabled()


def test_failed_write_leaves_no_file(build, tmp_path, monkeypatch):
    def fail(_tower, _images, path, **_options):
        Path(path).write_text("half of it")
        raise RuntimeError("an operator is missing")

    monkeypatch.setattr(export.torch.onnx, "export", fail)
    _, model = build("vit")
    with pytest.raises(RuntimeError, match="an operator is missing"):
        write_onnx(tmp_path / "model.onnx", ImageTower(model), torch.randn(2, 3, 64, 32), {})
    assert list(tmp_path.iterdir()) == []


def test_file_that_fails_its_check_is_discarded(build, tmp_path):
    def refuse(path):
        assert NetworkFile(path).description["dimension"] == 2
        raise ValueError("not the model's")

    _, model = build("vit")
    example, path = torch.randn(2, 3, 64, 32), tmp_path / "model.onnx"
    facts = ("image_size", "interpolation", "normalization", "mean", "std", "neck_feature")
    description = dict.fromkeys(facts, "x")
    write_onnx(path, ImageTower(model), example, {**description, "dimension": 1})
    with pytest.raises(ValueError, match="not the model's"):
        write_onnx(path, ImageTower(model), example, {**description, "dimension": 2}, refuse)
    assert NetworkFile(path).description["dimension"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_missing_package_names_a_complete_remedy(build, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    _, model = build("vit")
    complete = r"package onnx is not installed; .*needs onnx and onnxruntime: pip .*\[export\]'$"
    with pytest.raises(MissingPackageError, match=complete):
        write_onnx(tmp_path / "model.onnx", ImageTower(model), torch.randn(2, 3, 64, 32), {})


def test_smallest_cosine_belongs_to_the_worst_image():
    same = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    turned = torch.tensor([[3.0, 4.0]])  # cosine 3/5 to (1, 0)
    batches = [(same, same), (torch.tensor([[1.0, 0.0]]), turned)]
    assert smallest_cosine(lambda images: images, batches) == pytest.approx(0.6)
    assert smallest_cosine(lambda images: images, batches[:1]) == pytest.approx(1)
    broken = (torch.tensor([[float("nan"), 1.0]]), turned)
    assert np.isnan(smallest_cosine(lambda images: images, [*batches, broken]))
