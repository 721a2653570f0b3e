"""Draw the first batches of random P x K, DFGS and GS sampling side by side."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from config import load_cfg, require_labels, with_options
from config.samplers import sampler_kind
from datasets.checks.outputs import refuse_inside_data
from datasets.images.build import build_training_images
from datasets.samplers import nearest_identities
from datasets.samplers.build import build_train_sampler
from datasets.samplers.neighbours import NUM_HITS, mean_hits
from datasets.sources import TrainingSet, join_sources
from model import CLIPReID
from processor.checkpoints.load import open_model
from processor.checkpoints.place import output_folder
from processor.checkpoints.resume import build_starting_model, find_starting_point
from processor.pictures.batches import SampledBatch, draw_batches
from processor.runtime.device import choose_device
from processor.runtime.files import atomic_file
from processor.runtime.outputs import check_output_file
from processor.runtime.precision import Precision
from processor.training.build import build_identity_features, build_identity_graph
from processor.training.image_stage import all_text_features
from processor.training.plan import build_sources

logger = logging.getLogger(__name__)

P_X_K = ["DATALOADER.SAMPLER", "softmax_triplet"]  # passes all checks; each sampler sets its own


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and the images that it trains on.

    Attributes:
        name: of the checkpoint or configuration, for the title.
        model: on the CPU.
        cfg: its configuration.
        data: its training images.
        has_prompts: whether it has learned prompts of these images' identities.
    """

    name: str
    model: CLIPReID
    cfg: CfgNode
    data: TrainingSet
    has_prompts: bool


def run(arguments: argparse.Namespace) -> None:
    """Plan an epoch with every sampler and draw the first batches.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_model`, `build_train_sampler`; no
            learned prompts for --features text.
    """
    checkpoint, opts = arguments.checkpoint, arguments.opts
    if checkpoint is None and arguments.config_file is None:
        raise ValueError("batches: name a CHECKPOINT, or a YAML file with --config_file")
    folder = output_folder(checkpoint) if checkpoint else _run_folder(arguments.config_file, opts)
    path = arguments.output or folder / "batches.png"
    check_output_file(path, "--output")
    if checkpoint is not None:
        subject = open_checkpoint(checkpoint, arguments.config_file, opts)
    else:
        subject = open_configuration(arguments.config_file, opts)
    cfg, data = subject.cfg, subject.data
    refuse_inside_data(path, "--output", cfg.DATASETS.NAMES, cfg.DATASETS.ROOT_DIR)
    kind = arguments.features or ("text" if subject.has_prompts else "image")
    if kind == "text" and not subject.has_prompts:
        raise ValueError(f"--features text: {subject.name} has no learned prompts; use image")
    model = subject.model.to(choose_device(cfg.MODEL.DEVICE, cfg.MODEL.DEVICE_ID))
    features = extract_identity_features(cfg, model, data, kind, arguments.epoch)
    columns = min(NUM_HITS, len(features) - 1)
    nearest = nearest_identities(features, columns).tolist()
    batches = sample_batches(cfg, data, features, nearest, arguments.epoch)
    for batch in batches:
        logger.info(
            "%s: hits %.2f of %d, mean distance to the nearest identity in the batch %.4g",
            batch.sampler,
            batch.hits,
            columns,
            batch.mean_distance,
        )
    what = "learned prompts" if kind == "text" else "image features"
    title = (
        f"Which identities share a batch? {subject.name}, epoch {arguments.epoch}, first batch; "
        f"identities compared by {what}"
    )
    with atomic_file(path) as partial:
        draw_batches(batches, data, nearest, title, arguments.identities).save(partial)
    logger.info("written: %s", path)


def _run_folder(config_file: str, opts: list[str]) -> Path:
    return Path(load_cfg(config_file, [*opts, *P_X_K], quiet=True).OUTPUT_DIR)


def open_checkpoint(path: str, config_file: str | None, opts: list[str]) -> Subject:
    """The model of a checkpoint and its training images."""
    loaded = open_model(path, config_file, [*opts, *P_X_K])
    model = loaded.network()
    if not isinstance(model, CLIPReID):
        raise ValueError(f"{path}: trained without labels; these samplers need labels")
    data = join_sources(build_sources(loaded.cfg), use_all=loaded.use_all)
    has_prompts = loaded.has_prompts_of(data)
    if not has_prompts:
        logger.info("%s has no learned prompts of %s", path, ", ".join(data.names))
    return Subject(Path(path).name, model, loaded.cfg, data, has_prompts)


def open_configuration(config_file: str, opts: list[str]) -> Subject:
    """The model that a training run would start from, and its training images."""
    cfg = require_labels(load_cfg(config_file, [*opts, *P_X_K]))
    data = join_sources(build_sources(cfg), use_all=cfg.DATASETS.USE_ALL)
    start = find_starting_point(cfg, Path(cfg.OUTPUT_DIR))
    model = build_starting_model(cfg, data, start)
    assert isinstance(model, CLIPReID)  # as it is trained with labels
    has_prompts = model.prompt_learner is not None and start.file is not None
    return Subject(Path(config_file).name, model, cfg, data, has_prompts)


SAMPLERS = {"random P x K": "softmax_triplet", "DFGS": "dfgs_text", "GS": "gs_text"}


def extract_identity_features(
    cfg: CfgNode, model: CLIPReID, data: TrainingSet, kind: str, epoch: int
) -> Tensor:
    """Features to compare identities by in an epoch: (I, D), of length 1 with DFGS.NORMALIZE.

    Args:
        cfg: DATALOADER and, for images, INPUT and SOLVER count.
        model: on its device.
        data: the training images; for "text", those that the prompts were learned on.
        kind: text or image.
        epoch: for "image", decides which images stand for their identities.
    """
    device = next(model.parameters()).device
    sampler = {"DATALOADER.SAMPLER": f"dfgs_{kind}", "DATALOADER.DFGS.FEATURES": ""}
    own = with_options(cfg, {**sampler, "INPUT.CACHE": "none"})
    (features,) = build_identity_features(
        own,
        model,
        build_training_images(own, data, device),
        all_text_features(model) if kind == "text" else None,
        Precision.of(own.SOLVER.AMP, device),
    )(epoch)
    return F.normalize(features) if cfg.DATALOADER.DFGS.NORMALIZE else features


def sample_batches(
    cfg: CfgNode,
    data: TrainingSet,
    features: Tensor,
    nearest: Sequence[Sequence[int]],
    epoch: int,
) -> list[SampledBatch]:
    """First batches of random P x K, DFGS and GS, as training would draw them over these features.

    Args:
        cfg: DATALOADER, SOLVER.STAGE2.IMS_PER_BATCH and SOLVER.SEED count.
        data: the training images.
        features: of `extract_identity_features`.
        nearest: labels that count as hits, per label.
        epoch: counted from 1.

    Raises:
        ValueError: the identities do not fill a batch.
    """
    sampled = []
    for name, sampler in SAMPLERS.items():
        own = with_options(cfg, {"DATALOADER.SAMPLER": sampler})
        if sampler_kind(own).full_rows:  # which mutual neighbours cannot give
            own = with_options(own, {"DATALOADER.DFGS.MUTUAL": False})
        plan = build_train_sampler(own, data)
        graph = build_identity_graph(own, data, plan, lambda _: [features])
        if graph is not None:
            graph.refresh(epoch)
        plan.set_epoch(epoch)
        batches = list(plan)
        labels = [
            [data.labels[i] for i in batch[:: cfg.DATALOADER.NUM_INSTANCE]] for batch in batches
        ]
        distances = [nearest_in_batch(features, batch) for batch in labels]
        sampled.append(
            SampledBatch(
                name,
                batches[0],
                labels[0],
                distances[0].tolist(),
                float(torch.cat(distances).mean()),
                mean_hits(labels, nearest),
            )
        )
    return sampled


def nearest_in_batch(features: Tensor, labels: Sequence[int]) -> Tensor:
    """Euclidean distance (P,) from every identity of a batch to the nearest other one in it.

    Args:
        features: (I, D), one row per label.
        labels: (P,), two or more.
    """
    rows = features[list(labels)].double()  # rows that are nearly equal stay apart
    distances = torch.cdist(rows, rows)
    return distances.fill_diagonal_(torch.inf).amin(1)
