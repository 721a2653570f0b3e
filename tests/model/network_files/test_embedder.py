"""Network files: layouts, fixed batches, outputs, and what is refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from config.packages import MissingPackageError
from model.network_files.embedder import NetworkFile
from model.network_files.runtimes import is_network_file


def images(count, size=(8, 4)):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0)) * 255


ROOT = Path(__file__).parents[3]
WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 10  # of `write_network`


FACTS = ("interpolation", "normalization", "mean", "std", "dimension", "neck_feature")


def by_hand(batch):
    return batch.mean((2, 3)) @ torch.from_numpy(WEIGHTS).T


@pytest.mark.parametrize("batch", ["batch", 1, 3])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_rows_are_equal_for_free_and_fixed_batches(write_network, batch, count):
    network = NetworkFile(write_network(batch=batch))
    found = network.embed(images(count), torch.zeros(count), None)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, by_hand(images(count)), atol=1e-4, rtol=1e-4)
    assert network.image_size == (8, 4)


def test_channels_last_and_levels(write_network):
    network = NetworkFile(write_network(layout="NHWC", dtype=TensorProto.UINT8))
    assert network.takes_levels
    assert network.image_size == (8, 4)
    expected = by_hand(images(2).round())
    torch.testing.assert_close(network.embed(images(2)), expected, atol=1e-4, rtol=1e-4)
    assert not NetworkFile(write_network()).takes_levels


def test_free_image_size(write_network):
    network = NetworkFile(write_network(size=("height", "width")))
    assert network.image_size is None
    assert network.embed(images(2, (5, 9))).shape == (2, 4)


def test_one_of_several_outputs_is_named(write_network):
    path = write_network(outputs=("features", "hidden"))
    for name, width in (("features", 4), ("hidden", 3)):
        assert NetworkFile(path, name).embed(images(2)).shape == (2, width)
    with pytest.raises(ValueError, match=r"TEST\.OUTPUT: .*several outputs; .*features .*hidden"):
        NetworkFile(path)
    with pytest.raises(ValueError, match=r"TEST\.OUTPUT: .*no output 'logits'; .*features"):
        NetworkFile(path, "logits")


def test_output_without_a_row_per_image_is_refused(write_network):
    path = write_network()
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("Transpose", ["features"], ["turned"]))
    del model.graph.output[:]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("turned", TensorProto.FLOAT, [4, "batch"])
    )
    onnx.save(model, path)
    with pytest.raises(ValueError, match=r"output turned has shape \(4, 2\) for 2 images"):
        NetworkFile(path).embed(images(2))


def test_other_inputs_are_refused(write_network):
    with pytest.raises(ValueError, match="expected one input of images"):
        NetworkFile(two_inputs(write_network()))


def two_inputs(path):
    model = onnx.load(path)
    model.graph.input.append(onnx.helper.make_tensor_value_info("ids", TensorProto.FLOAT, [1]))
    onnx.save(model, path)
    return path


def test_damaged_and_missing_files_are_named(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"bad\.onnx cannot be read as a network"):
        NetworkFile(tmp_path / "bad.onnx")
    with pytest.raises(FileNotFoundError, match=r"TEST\.WEIGHT: no file .*absent\.onnx"):
        NetworkFile(tmp_path / "absent.onnx")
    (tmp_path / "net.xml").touch()
    with pytest.raises(FileNotFoundError, match=r"TEST\.WEIGHT: no file .*net\.bin"):
        NetworkFile(tmp_path / "net.xml")


@pytest.mark.parametrize(("package", "ending"), [("onnxruntime", "onnx"), ("openvino", "xml")])
def test_missing_package_names_the_remedy(package, ending, tmp_path, monkeypatch):
    for name in ("a.onnx", "a.xml", "a.bin"):
        (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=f"{package} is not .*: pip install {package}$"):
        NetworkFile(tmp_path / f"a.{ending}")


def test_digest_tells_other_weights_apart(write_network):
    path = write_network()
    before = NetworkFile(path).digest()
    assert NetworkFile(path).digest() == before
    path.with_suffix(".bin").write_bytes(b"of another file")
    assert NetworkFile(path).digest() == before
    beside = path.with_suffix(".onnx.data")
    for content in (b"1", b"2"):
        beside.write_bytes(content)
        assert NetworkFile(path).digest() not in {before, b""}
        before = NetworkFile(path).digest()


def test_description_holds_what_this_project_wrote(write_network):
    path = write_network()
    model = onnx.load(path)
    own = dict.fromkeys(FACTS, '"x"') | {"image_size": "[8, 4]"}
    onnx.helper.set_model_props(model, own)
    onnx.save(model, path)
    assert NetworkFile(path).description["image_size"] == [8, 4]
    onnx.helper.set_model_props(model, {"image_size": "[8, 4]", "channels": "3"})
    onnx.save(model, path)
    assert NetworkFile(path).description == {}  # another program's


def test_names_of_network_files():
    assert is_network_file("a/b.onnx")
    assert is_network_file("b.xml")
    assert not is_network_file("last.pth")


OPENVINO = """
import sys
from pathlib import Path
import numpy as np
import openvino
import torch
from model.network_files.embedder import NetworkFile

for source in map(Path, sys.argv[1:]):
    path = source.with_suffix(".xml")
    openvino.save_model(openvino.convert_model(source), path, compress_to_fp16=False)
    images = torch.rand(7, 3, 8, 4) * 255
    network = NetworkFile(path)
    assert network.image_size == (8, 4), network.image_size
    found = network.embed(images).numpy()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", exact)
    rows = [compiled(image[None].numpy())[0] for image in images]
    assert np.allclose(found, np.concatenate(rows), atol=1e-4), source
    means = images.mean((2, 3)).numpy()
    weights = np.arange(12, dtype=np.float32).reshape(4, 3) / 10
    assert np.allclose(found, means @ weights.T, atol=1e-3), source
print("equal")
"""


def test_numbers_equal_openvino_called_by_hand(write_network):
    """In a process of its own, as OpenVINO starts threads that outlive its networks."""
    pytest.importorskip("openvino")
    files = [write_network(f"{batch}.onnx", batch=batch) for batch in ("batch", 1)]
    finished = subprocess.run(
        [sys.executable, "-c", OPENVINO, *map(str, files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert finished.stdout == "equal\n", finished.stderr
