"""Smaller and faster forms of an ONNX file: 8-bit integers, OpenVINO."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from config.packages import import_optional
from model.network_files.runtimes import SECTION
from processor.checkpoints.export import INPUT, NEEDS, REMEDY

# Where a network computes; between them it stays in float32, which costs little and keeps accuracy.
QUANTIZED = ("MatMul", "Gemm", "Conv")


def quantize_onnx(source: Path, target: Path, batches: Iterable[np.ndarray]) -> None:
    """Static quantization by onnxruntime: matrix products and convolutions in 8-bit integers.

    Weights are quantized per output channel, activations by the smallest and largest value that
    they take on the given images. Products of two activations, as in attention, stay in float32.

    Args:
        source: an ONNX file of `write_onnx`.
        target: the new file.
        batches: images in the file's input format, for the ranges of activations.

    Raises:
        MissingPackageError: onnx or onnxruntime.
    """
    onnx = import_optional("onnx", NEEDS, REMEDY)
    quantization = import_optional("onnxruntime.quantization", NEEDS, REMEDY)
    prepare = import_optional("onnxruntime.quantization.shape_inference", NEEDS, REMEDY)
    remaining = iter(batches)

    class Images(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(remaining, None)
            return None if batch is None else {INPUT: batch}

    root = logging.getLogger()
    level = root.level
    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        try:
            root.setLevel(logging.ERROR)  # it advises to prepare the file, which the next line does
            prepare.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(target),
                Images(),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                op_types_to_quantize=list(QUANTIZED),
                extra_options={"MatMulConstBOnly": True},
            )
        finally:
            root.setLevel(level)
    network = onnx.load(str(target))
    stored = {entry.key: entry.value for entry in onnx.load(str(source)).metadata_props}
    onnx.helper.set_model_props(network, stored)
    onnx.save(network, str(target))


def convert_to_openvino(source: Path, target: Path, description: Mapping[str, Any]) -> None:
    """An ONNX file as OpenVINO's `.xml` and, beside it, `.bin`, weights in float16.

    Raises:
        MissingPackageError: openvino.
    """
    openvino = import_optional("openvino", "OpenVINO files need it", "pip install openvino")
    network = openvino.convert_model(str(source))
    for key, value in description.items():
        network.set_rt_info(json.dumps(value), [SECTION, key])
    openvino.save_model(network, str(target), compress_to_fp16=True)
