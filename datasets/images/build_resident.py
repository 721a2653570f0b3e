"""Where the training images of a configuration stay, and how they get there."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torchvision.transforms import Compose, InterpolationMode
from yacs.config import CfgNode

from config.errors import ConfigError
from datasets.images.build import needs_partners
from datasets.images.cache import ImageCache, ResidentImages, read_images, to_levels
from datasets.images.dataset import ImageDataset, num_workers
from datasets.images.placement import (
    RAM_SHARE,
    FreeMemory,
    Need,
    choose_place,
    gigabytes,
    measure_memory,
)
from datasets.images.transforms import TRAINING_INTERPOLATION, resize
from datasets.sources import TrainingSet


def build_resident_images(
    cfg: CfgNode,
    data: TrainingSet,
    device: torch.device,
    check: Callable[[], None] = lambda: None,
    *,
    free: FreeMemory | None = None,
    processes: int = 1,
) -> ResidentImages:
    """Where INPUT.CACHE keeps the training images; none is read yet.

    Args:
        cfg: INPUT, DATALOADER, and the lengths of the stages count.
        data: the training images.
        device: the model's.
        check: called now and then while images are read; may raise to stop.
        free: memory for this process; measured unless given.
        processes: processes on this machine, which share its cores.

    Raises:
        ConfigError: the images do not fit where they are wanted.
    """
    free = measure_memory(device) if free is None else free
    evaluation = InterpolationMode(cfg.INPUT.TEST_INTERPOLATION)
    shared = evaluation == TRAINING_INTERPOLATION
    evaluation_reads = _evaluation_reads(cfg, data)
    need = Need(
        len(data.samples),
        3 * math.prod(cfg.INPUT.SIZE_TRAIN),
        _training_reads(cfg, data) + (evaluation_reads if shared else 0),
        colours=bool(cfg.INPUT.GRAYSCALE_PROB or cfg.INPUT.JITTER_PROB or cfg.INPUT.AUGMIX_PROB),
    )
    try:
        place, reason = choose_place(cfg.INPUT.CACHE, need, free)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    # Images without augmentation stay in RAM too where they are read again, or are the same ones.
    pays = evaluation_reads > (0 if shared else 1)
    copies = len({evaluation, TRAINING_INTERPOLATION}) if place == "ram" else 1
    fits = copies * need.size <= RAM_SHARE * free.ram or (shared and place == "ram")
    where = {"none": "read from files", "ram": "kept in RAM", "device": f"kept on {device}"}
    return ResidentImages(
        partial(_read_images, cfg, data, check, processes),
        place,
        device,
        TRAINING_INTERPOLATION,
        evaluation if place != "none" and pays and fits else None,
        f"training images ({gigabytes(need.size)}): {where[place]}; {reason}",
    )


def _training_reads(cfg: CfgNode, data: TrainingSet) -> float:
    """Times that the images are augmented."""
    if cfg.DSGL.ENABLED and cfg.DSGL.ITERS:
        views = 2 if needs_partners(cfg) else 1
        images = views * cfg.DSGL.ITERS * cfg.SOLVER.STAGE2.IMS_PER_BATCH
        return cfg.SOLVER.STAGE2.MAX_EPOCHS * images / len(data.samples)
    prior = 0 if cfg.SOLVER.STAGE1.WEIGHT else cfg.SOLVER.STAGE0.MAX_EPOCHS
    return prior + cfg.SOLVER.STAGE2.MAX_EPOCHS


def _evaluation_reads(cfg: CfgNode, data: TrainingSet) -> float:
    """Times that all images are read without augmentation: by stage 1, for graphs and clusters."""
    if cfg.DSGL.ENABLED:
        return math.ceil(cfg.SOLVER.STAGE2.MAX_EPOCHS / cfg.DSGL.RECLUSTER_EVERY)
    options = cfg.DATALOADER.DFGS
    reads = 1.0 if cfg.MODEL.TEXT_TOWER and not cfg.SOLVER.STAGE1.WEIGHT else 0.0
    if cfg.DATALOADER.SAMPLER.endswith("_image"):
        graphs = math.ceil(cfg.SOLVER.STAGE2.MAX_EPOCHS / options.REFRESH_PERIOD)
        share = data.num_classes * options.IMAGES_PER_ID / len(data.samples)
        reads += graphs * min(share, 1)
    return reads


def _read_images(
    cfg: CfgNode,
    data: TrainingSet,
    check: Callable[[], None],
    processes: int,
    interpolation: InterpolationMode,
    device: torch.device,
) -> ImageCache:
    """All training images, from their files."""
    size = tuple(cfg.INPUT.SIZE_TRAIN)
    dataset = ImageDataset(
        data.samples,
        data.labels,
        Compose([resize(size, interpolation), to_levels]),
        skip_bad_images=cfg.INPUT.ON_BAD_IMAGE == "skip",
    )
    workers = num_workers(cfg.DATALOADER.NUM_WORKERS, processes)
    return read_images(dataset, size, device, num_workers=workers, check=check)
