"""Slim checkpoints and folders to publish: only the weights that retrieval needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import safetensors.torch
from yacs.config import CfgNode

from config import dump_cfg, with_options
from config.defaults import default_cfg
from model.encoders.clip import architecture_text
from model.weights.locate import CONFIG, WEIGHTS
from model.weights.read import CHECKPOINT_FORMAT, read_weights_file
from processor.checkpoints.load import LoadedModel, open_model
from processor.checkpoints.meta import NAMES
from processor.checkpoints.save import save_checkpoint
from processor.runtime.files import atomic_file, write_text

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

    `embed` returns the same bits. The configuration becomes a baseline's; the one the model was
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
    loaded = open_slim(checkpoint, config_file, opts)
    model = loaded.model.half() if half else loaded.model
    meta = {"trained_with": trained_with, **loaded.meta}  # a slim file's own entry wins
    save_checkpoint(path, model, dump_cfg(loaded.cfg), meta)


def open_slim(
    checkpoint: str, config_file: str | None = None, opts: Sequence[str] = ()
) -> LoadedModel:
    """A checkpoint's model as a baseline; raises as `open_model`.

    The names of training identities and cameras, which may be of people and places, are left out,
    and the folders of plug-ins.
    """
    loaded = open_model(checkpoint, config_file, [*opts, *_BASELINE])
    loaded.network()  # refuses files of other programs
    meta = {key: value for key, value in loaded.meta.items() if key not in NAMES}
    plugins = json.loads(str(meta.get("plugins", "[]")))
    meta["plugins"] = json.dumps([{**x, "path": Path(x["path"]).name} for x in plugins])
    cfg = with_options(loaded.cfg, {"TEST.EMA": False})  # an average is the weights from here on
    return replace(loaded, cfg=cfg, meta=meta)


def save_folder(folder: Path, slim: LoadedModel, card: str) -> None:
    """Write a folder to publish, which holds no code: weights, configuration, README.md.

    The configuration keeps neither paths nor the device of this machine.

    Args:
        folder: empty or new; the weights are written last.
        slim: see `open_slim`.
        card: the text of README.md.

    Raises:
        ValueError: the folder is not empty.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"--output: {folder} is not empty; name another folder")
    write_text(folder / "README.md", card)
    write_text(folder / CONFIG, dump_cfg(_for_any_machine(slim)))
    meta = {key: value for key, value in slim.meta.items() if key != "trained_with"}
    header = {"format": CHECKPOINT_FORMAT, "meta": json.dumps(meta)}
    state = {name: tensor.contiguous() for name, tensor in slim.model.state_dict().items()}
    with atomic_file(folder / WEIGHTS) as partial:  # save_file lets only the owner read its file
        partial.write_bytes(safetensors.torch.save(state, header))


def _for_any_machine(slim: LoadedModel) -> CfgNode:
    """The configuration with data sets by name, without this machine's paths and device."""
    cfg, default = slim.cfg.clone(), default_cfg()
    cfg.defrost()
    cfg.MODEL.NAME = architecture_text(cfg.MODEL.NAME) or cfg.MODEL.NAME
    cfg.DATASETS.NAMES = tuple(slim.cameras) or default.DATASETS.NAMES
    cfg.DATASETS.TARGETS = default.DATASETS.TARGETS
    cfg.DATASETS.ROOT_DIR = default.DATASETS.ROOT_DIR
    cfg.OUTPUT_DIR, cfg.TEST.WEIGHT = default.OUTPUT_DIR, default.TEST.WEIGHT
    cfg.MODEL.DEVICE, cfg.MODEL.DEVICE_ID = default.MODEL.DEVICE, default.MODEL.DEVICE_ID
    cfg.SOLVER.RESUME = default.SOLVER.RESUME
    cfg.SOLVER.STAGE1.WEIGHT = default.SOLVER.STAGE1.WEIGHT
    cfg.PLUGINS = default.PLUGINS
    return cfg
