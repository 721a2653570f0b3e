"""Network files of other programs: every command that needs features, one line for the others."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from clipreid import Extractor, Gallery
from datasets import read_dataset
from processor.checkpoints.description import describe_features
from processor.checkpoints.load import open_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LEVELS = (
    *("INPUT.CHANNELS", "bgr", "INPUT.PIXEL_MEAN", "[0, 0, 0]"),
    *("INPUT.PIXEL_STD", "[0.00392157, 0.00392157, 0.00392157]"),
)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network of another program: 8 x 4 means of BGR levels, one image of 64 x 32 at a time."""
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(3 * 32, 16)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mixing"], ["reid"]),
    ]
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 32])],
        [helper.make_tensor_value_info("reid", TensorProto.FLOAT, [1, 16])],
        [numpy_helper.from_array(mixing, "mixing")],
    )
    path = tmp_path_factory.mktemp("other") / "other.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path, mixing


@pytest.fixture
def data(people):
    return ("DATASETS.ROOT_DIR", people.parent, "DATASETS.TARGETS", people.name)


def by_hand(paths, mixing):
    """Pillow's bilinear resize, BGR, 0..255."""
    rows = []
    for path in paths:
        image = Image.open(path).convert("RGB").resize((32, 64), Image.Resampling.BILINEAR)
        levels = np.asarray(image, dtype=np.float32)[:, :, ::-1]
        means = levels.reshape(8, 8, 4, 8, 3).mean((1, 3)).transpose(2, 0, 1)
        rows.append(means.reshape(-1) @ mixing)
    return np.stack(rows)


def test_extractor_gives_the_networks_numbers(network, people):
    path, mixing = network
    paths = [sample.path for sample in read_dataset(people.name, people.parent).query]
    options = dict(zip(LEVELS[::2], LEVELS[1::2], strict=True))
    extractor = Extractor(path, normalize=False, batch_size=5, opts=options)
    found = extractor(paths).numpy()
    assert extractor.dim == 16
    np.testing.assert_allclose(found, by_hand(paths, mixing), atol=2e-2, rtol=1e-4)
    other = Extractor(path, normalize=False, opts={**options, "INPUT.CHANNELS": "rgb"})(paths)
    assert np.abs(other.numpy() - found).max() > 1


def test_evaluation_scores_the_networks_numbers(network, data, script, tmp_path):
    path, _ = network
    arguments = ("TEST.WEIGHT", path, *data, *LEVELS, "OUTPUT_DIR", tmp_path)
    finished = script("test_clipreid.py", *arguments, "INPUT.SIZE_TEST", "[64, 32]")
    assert finished.status == 0, finished.output
    assert (
        "does not describe its preprocessing; used: INPUT.SIZE_TEST [64, 32]" in finished.unwrapped
    )
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["average"]["mAP"] > 0.2
    assert results["checkpoint"] == str(path)
    reranked = script("test_clipreid.py", *arguments, "TEST.RE_RANKING", "True")
    assert reranked.status == 0, reranked.output


def test_without_an_output_folder_results_go_below_runs(
    network, data, script, tmp_path, monkeypatch
):
    path, _ = network
    monkeypatch.chdir(tmp_path)
    finished = script("test_clipreid.py", "TEST.WEIGHT", path, *data, *LEVELS)
    assert finished.status == 0, finished.output
    assert (tmp_path / "runs" / "other" / "results.json").is_file()
    assert [x.name for x in path.parent.iterdir()] == ["other.onnx"]


def test_every_command_that_needs_features(network, people, data, script, tmp_path):
    path, _ = network
    images = people / "query"
    commands = (
        ("extract", path, images, "--output", tmp_path / "f.npz", *LEVELS),
        ("threshold", path, "--output", tmp_path / "t", *data, *LEVELS),
        ("rank-list", path, "--output", tmp_path / "r", *data, *LEVELS),
        ("embedding", path, "--output", tmp_path / "e.png", *data, *LEVELS),
        (
            "search",
            path,
            "--query",
            images,
            "--gallery",
            tmp_path / "f.npz",
            "--output",
            tmp_path / "s",
            *LEVELS,
        ),
        ("enrol", path, images, "--name", "a", "--gallery", tmp_path / "g", *LEVELS),
        (
            "identify",
            path,
            images,
            "--gallery",
            tmp_path / "g",
            "--threshold",
            "1",
            "--output",
            tmp_path / "i.json",
            *LEVELS,
        ),
        (
            "cluster",
            path,
            images,
            "--output",
            tmp_path / "c",
            *LEVELS,
            "DSGL.K1",
            "5",
            "DSGL.K2",
            "2",
        ),
    )
    for command in commands:
        finished = script("run.py", *command)
        assert finished.status == 0, (command[0], finished.output)
    neighbours = json.loads((tmp_path / "s" / "neighbours.json").read_text(encoding="utf-8"))
    first = neighbours["queries"][0]
    assert first["nearest"][0]["distance"] == pytest.approx(0, abs=1e-3)


def test_protocol_is_evaluated_without_training(network, people, data, script, tmp_path):
    path, _ = network
    config = tmp_path / "protocol.yml"
    config.write_text(f"DATASETS: {{NAMES: [{people.name}]}}\n", encoding="utf-8")
    arguments = ("TEST.WEIGHT", path, *data, *LEVELS, "OUTPUT_DIR", tmp_path / "out")
    finished = script(
        "run.py",
        "protocol",
        "--config_file",
        config,
        *arguments,
        "INPUT.SIZE_TRAIN",
        "[64, 32]",
        "INPUT.SIZE_TEST",
        "[64, 32]",
    )
    assert finished.status == 0, finished.output
    assert (tmp_path / "out" / "results.json").is_file()
    assert not (tmp_path / "out" / "last.pth").exists()


def test_gallery_refuses_the_features_of_another_network(network, straight, people, tmp_path):
    path, _ = network
    images = sorted((people / "query").iterdir())[:3]
    options = dict(zip(LEVELS[::2], LEVELS[1::2], strict=True))
    gallery = Gallery(Extractor(path, opts=options))
    gallery.add(images, ["a", "b", "c"])
    gallery.save(tmp_path / "gallery")
    again = Gallery.load(tmp_path / "gallery", Extractor(path, opts=options))
    assert again.identify(images[:1], threshold=1.0) == ["a"]
    with pytest.raises(ValueError, match=r"other\.onnx"):
        Gallery.load(tmp_path / "gallery", Extractor(straight / "last.pth"))


def test_unsupported_options_and_commands_fail_with_one_line(
    network, people, data, script, straight, tmp_path
):
    path, _ = network
    images = people / "query"
    config = ("--config_file", straight / "config.yml", "OUTPUT_DIR", tmp_path / "out")
    pretrained = ("MODEL.PRETRAIN_CHOICE", "clip", "MODEL.PRETRAIN_PATH", path)
    for name, *arguments in (
        ("run.py", "attention", path, images, *LEVELS),
        ("run.py", "batches", path, *data, *LEVELS),
        ("run.py", "export", path, "--onnx", tmp_path / "a.onnx"),
        ("run.py", "export", path, "--slim", tmp_path / "a.pth"),
        ("run.py", "search", path, "--text", "a person", "--gallery", images, *LEVELS),
        ("train_clipreid.py", *config, *pretrained),
        ("train_clipreid.py", *config, "SOLVER.RESUME", path),
    ):
        finished = script(name, *arguments)
        assert finished.status == 1, arguments
        last = finished.unwrapped.splitlines()[-1]
        assert "network file" in last, finished.output
        assert path.name in last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("INPUT.SIZE_TEST", "[128, 64]"), r"INPUT.SIZE_TEST: [128, 64], but "),
        (("TEST.EMA", "True"), "TEST.EMA: "),
        (("MODEL.COMPILE", "True"), "MODEL.COMPILE: "),
        (("TEST.OUTPUT", "logits"), "TEST.OUTPUT: "),
        (("TEST.NECK_FEAT", "after"), "TEST.NECK_FEAT: "),
        (("TEST.AMP", "bf16"), "TEST.AMP: "),
    ],
)
def test_options_that_do_not_fit_are_refused(network, data, script, options, message):
    finished = script("test_clipreid.py", "TEST.WEIGHT", network[0], *data, *LEVELS, *options)
    assert finished.status == 1
    assert message in finished.unwrapped.splitlines()[-1]


@pytest.mark.parametrize("flags", [(), ("--preprocess",), ("--preprocess", "--normalize")])
def test_own_export_needs_no_options(straight, people, script, tmp_path, flags):
    """It describes its preprocessing; the checkpoint gives the same features."""
    finished = script(
        "run.py", "export", straight / "last.pth", "--onnx", tmp_path / "own.onnx", *flags
    )
    assert finished.status == 0, finished.output
    paths = [sample.path for sample in read_dataset(people.name, people.parent).query]
    expected = Extractor(straight / "last.pth")(paths)
    found = Extractor(tmp_path / "own.onnx")(paths)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_description_tells_networks_and_options_apart(network):
    path, _ = network
    one = describe_features(open_model(str(path), opts=LEVELS))
    other = describe_features(open_model(str(path), opts=[*LEVELS[2:]]))
    assert one["weights"] == other["weights"]
    assert (one["INPUT.CHANNELS"], other.get("INPUT.CHANNELS")) == ("bgr", None)
    renamed = path.with_name("resnet50.onnx")
    renamed.write_bytes(path.read_bytes())
    assert describe_features(open_model(str(renamed), opts=LEVELS)) == one
    renamed.unlink()


OPENVINO = """
import json, runpy, sys
from pathlib import Path
import numpy as np
import openvino
import torch
from clipreid import Extractor

torch.set_num_threads(1)
path, folder, images, options, commands = json.loads(sys.argv[1])
network = Path(folder) / "other.xml"
openvino.save_model(openvino.convert_model(path), network, compress_to_fp16=False)
extractor = Extractor(network, normalize=False, opts=options)
np.save(Path(folder) / "features.npy", extractor(images).numpy())
for name, *words in commands:
    sys.argv = [name, *(str(network) if word == "NETWORK" else word for word in words)]
    try:
        runpy.run_path(name, run_name="__main__")
    except SystemExit as end:
        print("status", name, end.code or 0)
    else:
        print("status", name, 0)
"""


def test_openvino_file_gives_the_same_through_the_commands(network, people, data, tmp_path):
    """In a process of its own, as OpenVINO starts threads that outlive its networks."""
    pytest.importorskip("openvino")
    path, mixing = network
    paths = [sample.path for sample in read_dataset(people.name, people.parent).query]
    options = dict(zip(LEVELS[::2], LEVELS[1::2], strict=True))
    commands = [
        ["test_clipreid.py", "TEST.WEIGHT", "NETWORK", *data, *LEVELS, "OUTPUT_DIR", tmp_path],
        ["run.py", "threshold", "NETWORK", "--output", tmp_path / "t", *data, *LEVELS],
        ["run.py", "attention", "NETWORK", paths[0], *LEVELS],
    ]
    given = json.dumps([path, tmp_path, paths, options, commands], default=str)
    finished = subprocess.run(
        [sys.executable, "-c", OPENVINO, given], cwd=ROOT, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    statuses = [line for line in finished.stdout.splitlines() if line.startswith("status")]
    assert statuses == ["status test_clipreid.py 0", "status run.py 0", "status run.py 1"]
    np.testing.assert_allclose(
        np.load(tmp_path / "features.npy"), by_hand(paths, mixing), atol=2e-2, rtol=1e-4
    )
    assert json.loads((tmp_path / "results.json").read_text("utf-8"))["average"]["mAP"] > 0.2
