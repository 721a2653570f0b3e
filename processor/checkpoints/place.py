"""Where output about a checkpoint goes; free of torch, which takes seconds to import."""

from __future__ import annotations

from pathlib import Path

NETWORK_FILES = (".onnx", ".xml")


def output_folder(checkpoint: str) -> Path:
    """The folder of a checkpoint or the exported one.

    For `hf://user/model` and for network files, which lie in folders of other programs, it is
    `runs/model` here.
    """
    if checkpoint.startswith("hf://"):
        return Path("runs", checkpoint.partition("@")[0].rpartition("/")[2])
    path = Path(checkpoint)
    if path.suffix in NETWORK_FILES:
        return Path("runs", path.stem)
    return path if path.is_dir() else path.parent
