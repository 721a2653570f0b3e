"""Slim checkpoints: only the weights that retrieval needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from config import dump_cfg
from model.weights.read import read_weights_file
from processor.checkpoints.load import open_model
from processor.checkpoints.save import save_checkpoint

# Training options that need text, at values that are valid for a baseline.
_BASELINE = (
    *("MODEL.TEXT_TOWER", "False"),
    *("DATALOADER.SAMPLER", "softmax", "MODEL.ID_LOSS_WEIGHT", "1.0"),
)


def save_slim(
    path: Path,
    checkpoint: str,
    config_file: str | None = None,
    opts: Sequence[str] = (),
    *,
    half: bool = False,
) -> None:
    """Write a checkpoint's model as a baseline: without prompts, text encoder, optimizer states.

    `embed` returns the same bits. The names of the training identities, who may be people, are left
    out. The configuration becomes a baseline's; the one the model was
    trained with is kept as `trained_with` in the file's meta.

    Args:
        path: the file to write.
        checkpoint: a checkpoint of this project or of CLIP-ReID.
        config_file: as for `open_model`.
        opts: as for `open_model`.
        half: store float16; features then differ in the fourth digit.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_model`.
    """
    trained_with = read_weights_file(checkpoint).config
    loaded = open_model(checkpoint, config_file, [*opts, *_BASELINE])
    model = loaded.model.half() if half else loaded.model
    meta = {"trained_with": trained_with, **loaded.meta}  # a slim file's own entry wins
    meta.pop("names", None)
    save_checkpoint(path, model, dump_cfg(loaded.cfg), meta)
