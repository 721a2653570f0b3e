"""Output about a checkpoint has a place."""

from pathlib import Path

import pytest

from processor.checkpoints.place import output_folder


@pytest.mark.parametrize(
    ("checkpoint", "folder"),
    [
        ("runs/demo/last.pth", "runs/demo"),
        ("last.pth", "."),
        ("hf://user/model", "runs/model"),
        ("hf://user/model@refs/pr/1", "runs/model"),
        ("elsewhere/model.onnx", "runs/model"),
        ("elsewhere/model.xml", "runs/model"),
    ],
)
def test_output_goes_next_to_checkpoints_and_else_below_runs(checkpoint, folder):
    assert output_folder(checkpoint) == Path(folder)
