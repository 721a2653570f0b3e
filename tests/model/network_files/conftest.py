"""Small networks in ONNX files."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


@pytest.fixture
def write_network(tmp_path):
    """`write_network(batch=1, ...)` -> an ONNX file: (B, 3) channel means @ WEIGHTS -> (B, 4)."""

    def write(
        name="net.onnx",
        *,
        batch="batch",
        size=(8, 4),
        layout="NCHW",
        dtype=TensorProto.FLOAT,
        outputs=("features",),
    ):
        height, width = size
        shape = [batch, 3, height, width] if layout == "NCHW" else [batch, height, width, 3]
        axes = [2, 3] if layout == "NCHW" else [1, 2]
        nodes = [
            helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["float"], ["means"], axes=axes, keepdims=0),
            helper.make_node("Gemm", ["means", "weights"], [outputs[0]], transB=1),
            *[helper.make_node("Relu", ["means"], [other]) for other in outputs[1:]],
        ]
        widths = [4, *[3] * (len(outputs) - 1)]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("images", dtype, shape)],
            [
                helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, count])
                for output, count in zip(outputs, widths, strict=True)
            ],
            [numpy_helper.from_array(WEIGHTS, "weights")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return write
