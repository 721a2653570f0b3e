"""Where output about a checkpoint goes; free of torch, which takes seconds to import."""

from __future__ import annotations

from pathlib import Path


def output_folder(checkpoint: str) -> Path:
    """The folder of a checkpoint, or `runs/model` here for `hf://user/model@revision`."""
    if checkpoint.startswith("hf://"):
        return Path("runs", checkpoint.partition("@")[0].rpartition("/")[2])
    return Path(checkpoint).parent
