"""Training and evaluation images of a configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch.utils.data import DataLoader
from torchvision.transforms import Compose, InterpolationMode, Normalize
from yacs.config import CfgNode

from config.errors import ConfigError
from config.samplers import sampler_kind
from datasets.images.cache import (
    IMAGES_PER_READ,
    ImageCache,
    ImageStore,
    read_images,
    to_levels,
)
from datasets.images.dataset import (
    ImageDataset,
    Loading,
    Transform,
    ordered_loader,
)
from datasets.images.device_augmentation import (
    BatchAugmentation,
    LevelNormalization,
    normalize_fixed,
    normalize_instances,
)
from datasets.images.placement import (
    FreeMemory,
    Need,
    choose_place,
    gigabytes,
    keep_plain,
    measure_memory,
)
from datasets.images.training_images import ProcessShare, TrainingImages, TrainingTransforms
from datasets.images.transforms import (
    TRAINING_INTERPOLATION,
    Augmentation,
    Normalization,
    augmenting_transform,
    evaluation_transform,
    normalize_instance,
    plain_transform,
    resize,
    reverse_channels,
    train_transform,
)
from datasets.images.workers import choose_workers
from datasets.records import Sample
from datasets.samplers.build import needs_partners
from datasets.sources import TrainingSet

FLOAT_BYTES = 4
_ALONE = ProcessShare()


def build_training_images(
    cfg: CfgNode,
    data: TrainingSet,
    device: torch.device,
    check: Callable[[], None] = lambda: None,
    *,
    free: FreeMemory | None = None,
    share: ProcessShare = _ALONE,
) -> TrainingImages:
    """The training images, where INPUT.CACHE keeps them; none is read yet.

    Args:
        cfg: INPUT, DATALOADER, TEST.IMS_PER_BATCH, SOLVER.SEED and the stages' lengths count.
        data: samples and labels.
        device: the model's.
        check: called repeatedly while images are read into memory; may raise to stop.
        free: memory for this process; None = measure it.
        share: this process's share of the work.

    Raises:
        ConfigError: the images do not fit in the place that INPUT.CACHE names.
    """
    store = _image_store(cfg, data, device, partial(_read_images, cfg, data, check, share), free)
    return TrainingImages(
        data,
        store,
        _training_transforms(cfg, store),
        build_loading(cfg, share.processes, pin_memory=device.type == "cuda"),
        share.of_batch,
        cfg.SOLVER.SEED,
        cfg.TEST.IMS_PER_BATCH,
        cfg.INPUT.ON_BAD_IMAGE == "skip",
    )


def build_evaluation_loader(
    cfg: CfgNode, samples: Sequence[Sample], *, processes: int = 1, pin_memory: bool = False
) -> DataLoader[Any]:
    """`Batch`es of images in order with the evaluation transform; labels are the pids.

    Args:
        cfg: INPUT, DATALOADER and TEST.IMS_PER_BATCH count.
        samples: the images.
        processes: processes on this machine, which share its cores.
        pin_memory: return batches in page-locked memory.
    """
    dataset = ImageDataset(
        samples,
        [sample.pid for sample in samples],
        build_evaluation_transform(cfg),
        skip_bad_images=cfg.INPUT.ON_BAD_IMAGE == "skip",
    )
    loading = build_loading(cfg, processes, pin_memory=pin_memory)
    return ordered_loader(dataset, cfg.TEST.IMS_PER_BATCH, loading)


def build_loading(cfg: CfgNode, processes: int = 1, *, pin_memory: bool = False) -> Loading:
    """DATALOADER.NUM_WORKERS worker processes: at most one per core, as shared memory allows."""
    views = 2 if cfg.DSGL.ENABLED else 1  # an image and its partner
    images = max(cfg.TEST.IMS_PER_BATCH, views * cfg.SOLVER.STAGE2.IMS_PER_BATCH)
    batch_bytes = images * FLOAT_BYTES * 3 * math.prod(cfg.INPUT.SIZE_TRAIN)
    workers = choose_workers(cfg.DATALOADER.NUM_WORKERS, batch_bytes, processes)
    return Loading(workers, pin_memory)


def build_evaluation_transform(cfg: CfgNode, *, resized: bool = False) -> Transform:
    """The transform without augmentation: resize, unless already `resized`, and normalize."""
    normalize = _normalization(cfg)
    if resized:
        return plain_transform(normalize)
    interpolation = InterpolationMode(cfg.INPUT.TEST_INTERPOLATION)
    return evaluation_transform(tuple(cfg.INPUT.SIZE_TEST), normalize, interpolation)


def build_level_transform(cfg: CfgNode) -> Transform:
    """The first half of `build_evaluation_transform`: PIL image -> resized (H, W, 3) uint8.

    `build_level_normalization` is the second half, for a whole batch. With a fixed mean and
    deviation, both together give the same bits on a CPU.
    """
    interpolation = InterpolationMode(cfg.INPUT.TEST_INTERPOLATION)
    return Compose([resize(tuple(cfg.INPUT.SIZE_TEST), interpolation), to_levels])


def build_level_normalization(cfg: CfgNode, device: torch.device) -> LevelNormalization:
    """INPUT.CHANNELS and INPUT.NORMALIZATION for whole batches, on the device.

    The function takes (B, H, W, 3) uint8 RGB and returns (B, 3, H, W).
    """
    normalize = _level_normalization(cfg, device)
    if cfg.INPUT.CHANNELS == "rgb":
        return normalize
    return lambda levels: normalize(levels.flip(-1))


def _level_normalization(cfg: CfgNode, device: torch.device) -> LevelNormalization:
    if cfg.INPUT.NORMALIZATION == "instance":
        return normalize_instances
    mean, std = (
        torch.tensor(values, device=device).view(3, 1, 1)
        for values in (cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD)
    )
    return partial(normalize_fixed, mean=mean, std=std)


def _normalization(cfg: CfgNode) -> Normalization:
    normalize: Normalization = normalize_instance
    if cfg.INPUT.NORMALIZATION != "instance":
        normalize = cast(Normalization, Normalize(cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
    return normalize if cfg.INPUT.CHANNELS == "rgb" else Compose([reverse_channels, normalize])


def _training_transforms(cfg: CfgNode, store: ImageStore) -> TrainingTransforms:
    size = tuple(cfg.INPUT.SIZE_TRAIN)
    augmentation = Augmentation(
        flip=cfg.INPUT.PROB,
        padding=cfg.INPUT.PADDING,
        erasing=cfg.INPUT.RE_PROB,
        erased_area=tuple(cfg.INPUT.RE_AREA),
        erased_fill=tuple(cfg.INPUT.PIXEL_MEAN) if cfg.INPUT.RE_FILL == "mean" else None,
        grayscale=cfg.INPUT.GRAYSCALE_PROB,
        jitter=cfg.INPUT.JITTER_PROB,
        jitter_strength=tuple(cfg.INPUT.JITTER),
        augmix=cfg.INPUT.AUGMIX_PROB,
        augmix_severity=cfg.INPUT.AUGMIX_SEVERITY,
        augmix_depth=cfg.INPUT.AUGMIX_DEPTH,
        augmix_alpha=cfg.INPUT.AUGMIX_ALPHA,
        augmix_colours=cfg.INPUT.AUGMIX_COLOURS,
    )
    make_transform = train_transform if store.place == "none" else augmenting_transform
    augment_batch = None
    if store.place == "device":
        normalize = build_level_normalization(cfg, store.device)
        augment_batch = BatchAugmentation(size, augmentation, normalize, store.device)
    return TrainingTransforms(
        augment=make_transform(size, _normalization(cfg), augmentation),
        augment_batch=augment_batch,
        plain=build_evaluation_transform(cfg, resized=store.evaluation is not None),
    )


def _image_store(
    cfg: CfgNode,
    data: TrainingSet,
    device: torch.device,
    read: Callable[[InterpolationMode, torch.device], ImageCache],
    free: FreeMemory | None,
) -> ImageStore:
    free = measure_memory(device) if free is None else free
    evaluation = InterpolationMode(cfg.INPUT.TEST_INTERPOLATION)
    need = Need(
        len(data.samples),
        3 * math.prod(cfg.INPUT.SIZE_TRAIN),
        augmented_reads=_augmented_reads(cfg, data),
        plain_reads=_plain_reads(cfg, data),
        one_cache=evaluation == TRAINING_INTERPOLATION,
        colours=bool(cfg.INPUT.GRAYSCALE_PROB or cfg.INPUT.JITTER_PROB or cfg.INPUT.AUGMIX_PROB),
    )
    try:
        place, reason = choose_place(cfg.INPUT.CACHE, need, free)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    where = {"none": "read from files", "ram": "kept in RAM", "device": f"kept on {device}"}
    return ImageStore(
        read,
        place,
        device,
        TRAINING_INTERPOLATION,
        evaluation if keep_plain(place, need, free) else None,
        f"training images ({gigabytes(need.size)}): {where[place]}; {reason}",
    )


def _augmented_reads(cfg: CfgNode, data: TrainingSet) -> float:
    """Number of times that every image is augmented."""
    if cfg.DSGL.ENABLED and cfg.DSGL.ITERS:
        views = 2 if needs_partners(cfg) else 1
        images = views * cfg.DSGL.ITERS * cfg.SOLVER.STAGE2.IMS_PER_BATCH
        return cfg.SOLVER.STAGE2.MAX_EPOCHS * images / len(data.samples)
    prior = 0 if cfg.SOLVER.STAGE1.WEIGHT else cfg.SOLVER.STAGE0.MAX_EPOCHS
    return prior + cfg.SOLVER.STAGE2.MAX_EPOCHS


def _plain_reads(cfg: CfgNode, data: TrainingSet) -> float:
    """Number of times that every image is read plainly: by stage 1, for graphs and clusters."""
    if cfg.DSGL.ENABLED:
        return math.ceil(cfg.SOLVER.STAGE2.MAX_EPOCHS / cfg.DSGL.RECLUSTER_EVERY)
    options = cfg.DATALOADER.DFGS
    reads = 1.0 if cfg.MODEL.TEXT_TOWER and not cfg.SOLVER.STAGE1.WEIGHT else 0.0
    if sampler_kind(cfg).graph in ("image", "both"):
        graphs = math.ceil(cfg.SOLVER.STAGE2.MAX_EPOCHS / options.REFRESH_PERIOD)
        share = data.num_classes * options.IMAGES_PER_ID / len(data.samples)
        reads += graphs * min(share, 1)
    return reads


def _read_images(
    cfg: CfgNode,
    data: TrainingSet,
    check: Callable[[], None],
    share: ProcessShare,
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
    batch_bytes = IMAGES_PER_READ * 3 * math.prod(size)
    workers = choose_workers(cfg.DATALOADER.NUM_WORKERS, batch_bytes, share.processes)
    return read_images(dataset, size, device, num_workers=workers, check=check)
