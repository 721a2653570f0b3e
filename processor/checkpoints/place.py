"""Where output about a checkpoint goes; free of torch, which takes seconds to import."""

from __future__ import annotations

from pathlib import Path


def output_folder(checkpoint: str) -> Path:
    """The folder of a checkpoint or the exported one, or `runs/model` here for `hf://user/model`."""
    if checkpoint.startswith("hf://"):
        return Path("runs", checkpoint.partition("@")[0].rpartition("/")[2])
    path = Path(checkpoint)
    return path if path.is_dir() else path.parent
