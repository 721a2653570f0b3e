"""Draw what samplers put into a batch: random P x K, DFGS and GS side by side."""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

from yacs.config import CfgNode

from config import load_cfg, require_labels
from datasets.build import build_sources
from datasets.sources import TrainingSet, join_sources
from model import CLIPReID
from processor.command_line import add_config_file
from processor.model_file import open_model
from processor.pictures.batches import draw_batches
from processor.pictures.plots import sheet_file
from processor.runtime.device import choose_device
from processor.sampled_batches import FEATURES, extract_identity_features, sample_batches
from processor.start import build_starting_model, find_start
from processor.tools.arguments import add_overrides, positive

logger = logging.getLogger(__name__)

DESCRIPTION = "what random, DFGS and GS batches hold, side by side"
P_X_K = ["DATALOADER.SAMPLER", "softmax_triplet"]  # checked as such; each sampler sets its own


@dataclass(frozen=True, slots=True)
class Subject:
    """What batches are drawn for.

    Attributes:
        name: of the checkpoint or configuration, for the title.
        model: on the CPU.
        cfg: its configuration.
        data: its training images.
        has_prompts: there are learned prompts of these images' identities.
    """

    name: str
    model: CLIPReID
    cfg: CfgNode
    data: TrainingSet
    has_prompts: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py batches`."""
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="a trained model, or name --config_file"
    )
    add_config_file(parser)
    parser.add_argument(
        "--features",
        choices=FEATURES,
        help="what identities are compared by (default: their learned prompts, if there are any)",
    )
    parser.add_argument(
        "--epoch", type=positive, default=1, metavar="N", help="its first batch (default: 1)"
    )
    parser.add_argument(
        "--identities", type=positive, default=8, metavar="N", help="shown per batch (default: 8)"
    )
    parser.add_argument(
        "--output",
        type=sheet_file,
        metavar="FILE",
        help="PNG, JPEG or WebP (default: batches.png beside the checkpoint, else in OUTPUT_DIR)",
    )
    add_overrides(parser, "DATALOADER.DFGS.SKIP 2")


def run(arguments: argparse.Namespace) -> None:
    """Plan an epoch with every sampler and draw the first batches.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_model`, `build_train_sampler`; prompts
            asked for that are not there.
    """
    checkpoint, opts = arguments.checkpoint, arguments.opts
    if checkpoint is not None and len(opts) % 2:  # options come in pairs: it is the first of them
        checkpoint, opts = None, [checkpoint, *opts]
    if checkpoint is None and arguments.config_file is None:
        raise ValueError("batches: name a CHECKPOINT, or a YAML file with --config_file")
    if checkpoint is not None:
        subject = open_checkpoint(checkpoint, arguments.config_file, opts)
        beside = Path(checkpoint).parent
    else:
        subject = open_configuration(arguments.config_file, opts)
        beside = Path(subject.cfg.OUTPUT_DIR)
    cfg, data = subject.cfg, subject.data
    kind = arguments.features or ("text" if subject.has_prompts else "image")
    if kind == "text" and not subject.has_prompts:
        raise ValueError(f"--features text: {subject.name} has no learned prompts; take image")
    model = subject.model.to(choose_device(cfg.MODEL.DEVICE, cfg.MODEL.DEVICE_ID))
    features = extract_identity_features(cfg, model, data, kind, arguments.epoch)
    batches = sample_batches(cfg, data, features, arguments.epoch)
    for batch in batches:
        logger.info(
            "%s: hits %.2f of %d, mean distance to the nearest identity in the batch %.4g",
            batch.sampler,
            batch.hits,
            cfg.DATALOADER.DFGS.NUM_NEIGHBOURS,
            batch.mean_distance,
        )
    path = arguments.output or beside / "batches.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    title = (
        f"{subject.name}, epoch {arguments.epoch}, identities compared by {kind} features; "
        f"hits: of the {cfg.DATALOADER.DFGS.NUM_NEIGHBOURS} nearest"
    )
    draw_batches(batches, data, title, arguments.identities).save(path)
    logger.info("written: %s", path)


def open_checkpoint(path: str, config_file: str | None, opts: list[str]) -> Subject:
    """The model of a checkpoint and what it was trained on."""
    loaded = open_model(path, config_file, [*opts, *P_X_K])
    if not isinstance(loaded.model, CLIPReID):
        raise ValueError(f"{path}: these samplers are of models that are trained with labels")
    data = join_sources(build_sources(loaded.cfg), use_all=loaded.use_all)
    has_prompts = loaded.has_prompts_of(data)
    if not has_prompts:
        logger.info("%s has no learned prompts of %s", path, ", ".join(data.names))
    return Subject(Path(path).name, loaded.model, loaded.cfg, data, has_prompts)


def open_configuration(config_file: str, opts: list[str]) -> Subject:
    """The model that a training run would start from, and its training images."""
    cfg = require_labels(load_cfg(config_file, [*opts, *P_X_K]))
    data = join_sources(build_sources(cfg), use_all=cfg.DATASETS.USE_ALL)
    start = find_start(cfg, Path(cfg.OUTPUT_DIR))
    model = build_starting_model(cfg, data, start)
    assert isinstance(model, CLIPReID)  # as it is trained with labels
    has_prompts = model.prompt_learner is not None and start.file is not None
    return Subject(Path(config_file).name, model, cfg, data, has_prompts)
