"""Files written by `run.py export` score like the checkpoint."""

import json
import sys

import pytest
import torch

from config import load_cfg
from datasets.synthetic.render import draw_people
from model.network_files.embedder import NetworkFile
from processor.checkpoints.load import open_model
from processor.evaluation.build import build_evaluator, build_targets
from processor.tools import export

pytestmark = pytest.mark.slow


@pytest.fixture
def run_export(script, straight):
    """`run_export("--onnx", file, ...)` on the last checkpoint of the run `straight`."""
    return lambda *arguments: script("run.py", "export", straight / "last.pth", *arguments)


def test_onnx_file_scores_like_the_checkpoint(run_export, straight, tmp_path):
    finished = run_export("--onnx", tmp_path / "model.onnx")
    assert finished.status == 0, finished.output
    assert "compared with the model on 10 images: cosine 1.000000 or more" in finished.output
    loaded = open_model(str(straight / "last.pth"))
    evaluator = build_evaluator(
        loaded.cfg,
        build_targets(loaded.cfg, {}),
        torch.device("cpu"),
    )
    (expected,), (found,) = (
        evaluator(model).targets for model in (loaded.model, NetworkFile(tmp_path / "model.onnx"))
    )
    assert found.splits[0].mAP == pytest.approx(expected.splits[0].mAP, abs=1e-4)
    assert 0.1 < expected.splits[0].mAP < 1


def test_slim_checkpoint_scores_like_the_checkpoint(run_export, script, straight, tmp_path):
    assert run_export("--slim", tmp_path / "slim.pth").status == 0
    finished = script("test_clipreid.py", "TEST.WEIGHT", tmp_path / "slim.pth")
    assert finished.status == 0, finished.output
    results = [
        json.loads((folder / "results.json").read_text(encoding="utf-8"))["average"]
        for folder in (straight, tmp_path)
    ]
    assert results[0] == results[1]
    sizes = [path.stat().st_size for path in (tmp_path / "slim.pth", straight / "last.pth")]
    assert sizes[0] < 0.5 * sizes[1]


def test_published_folder_scores_like_the_checkpoint(run_export, script, straight, tmp_path):
    folder = tmp_path / "published"
    finished = run_export("--safetensors", "--output", folder)
    assert finished.status == 0, finished.output
    assert "published, " in finished.output
    assert "with its evaluation" in finished.unwrapped
    root = load_cfg(str(straight / "config.yml")).DATASETS.ROOT_DIR
    finished = script("test_clipreid.py", "TEST.WEIGHT", folder, "DATASETS.ROOT_DIR", root)
    assert finished.status == 0, finished.output
    results = [
        json.loads((place / "results.json").read_text(encoding="utf-8"))["average"]
        for place in (straight, folder)
    ]
    assert results[0] == results[1]
    assert f"| {100 * results[0]['mAP']:.1f} |" in (folder / "README.md").read_text("utf-8")


def test_changed_options_take_the_evaluation_off_the_card(run_export, tmp_path):
    finished = run_export("--safetensors", "--output", tmp_path / "a", "TEST.NECK_FEAT", "after")
    assert "without an evaluation" in finished.unwrapped
    assert "Not evaluated" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")


def test_onnx_file_describes_its_input_and_output(run_export, tmp_path):
    """With preprocessing and normalization inside, compared on given images."""
    (tmp_path / "images").mkdir()
    for number, image in enumerate(draw_people(3)):
        image.save(tmp_path / "images" / f"{number}.png")
    arguments = ["--onnx", tmp_path / "model.onnx", "--preprocess", "--normalize"]
    finished = run_export(*arguments, "--images", tmp_path / "images", "TEST.NECK_FEAT", "after")
    assert finished.status == 0, finished.output
    assert "compared with the model on 5 images" in finished.output
    file = NetworkFile(tmp_path / "model.onnx")
    assert {**file.description, "architecture": ""} == {
        "architecture": "",
        "checkpoint": "last.pth",
        "input": "RGB, uint8 (B, H, W, 3)",
        "channels": "rgb",
        "image_size": [64, 32],
        "interpolation": "bilinear",
        "normalization": "fixed",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "dimension": 96,
        "neck_feature": "after",
        "unit_length": True,
        "side_information": "none",
    }
    assert file.embed(torch.zeros(4, 3, 64, 32)).shape == (4, 96)


@pytest.mark.parametrize("cosine", [0.99, float("nan")])
def test_onnx_file_with_other_features_is_not_written(run_export, tmp_path, monkeypatch, cosine):
    monkeypatch.setattr(export, "smallest_cosine", lambda *_: cosine)
    finished = run_export("--onnx", tmp_path / "model.onnx")
    assert finished.status == 1
    assert f"differ from the model's: cosine {cosine:.6f}, required 0.9999" in finished.output
    assert list(tmp_path.iterdir()) == []
    assert run_export("--onnx", tmp_path / "model.onnx", "--no-check").status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_onnx_file_is_written_unchecked_without_onnxruntime(run_export, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    finished = run_export("--onnx", tmp_path / "model.onnx")
    assert finished.status == 0
    assert "was not compared with the model: the package onnxruntime is not" in finished.output
    assert "pip install onnxruntime" in finished.output
    assert (tmp_path / "model.onnx").is_file()


def test_errors_are_one_line(run_export, script, straight, tmp_path):
    for finished, message in (
        (
            run_export(),
            "give --onnx FILE, --int8 FILE, --openvino FILE, --slim FILE or --safetensors",
        ),
        (run_export("--slim", tmp_path / "a", "--output", tmp_path), "only with --safetensors"),
        (run_export("--onnx", tmp_path / "a.onnx", "--half"), "--half: only with --slim FILE"),
        (run_export("--slim", tmp_path / "a.pth", "--normalize"), "only with --onnx"),
        (run_export("--slim", straight / "last.pth"), "is the checkpoint itself"),
        (run_export("--onnx", tmp_path / "a.onnx", "--images", tmp_path), "no images in"),
        (script("run.py", "export", tmp_path / "no.pth", "--slim", tmp_path / "a"), "no.pth"),
    ):
        assert finished.status == 1
        assert message in finished.output.splitlines()[-1], finished.output
    assert list(tmp_path.iterdir()) == []
