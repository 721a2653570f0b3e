"""Data sets, samplers and loaders of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch.utils.data import DataLoader
from torchvision.transforms import InterpolationMode, Normalize
from yacs.config import CfgNode

from datasets.images.cache import CachedPictures, ResidentImages
from datasets.images.dataset import (
    ImageDataset,
    Transform,
    collate,
    num_workers,
    ordered_loader,
    outlive_sigterm,
)
from datasets.images.device_augmentation import (
    BatchAugmentation,
    LevelNormalization,
    normalize_fixed,
    normalize_instances,
)
from datasets.images.device_batches import ResidentBatches
from datasets.images.transforms import (
    Augmentation,
    Normalization,
    augmenting_transform,
    evaluation_transform,
    normalize_instance,
    plain_transform,
    train_transform,
)
from datasets.records import DataSplits, Sample
from datasets.registry import read_dataset
from datasets.samplers import (
    ClusterSampler,
    DepthFirstGraphSampler,
    EpochBatches,
    GraphSampler,
    RandomIdentitySampler,
    ShuffledSampler,
    WalkOptions,
)
from datasets.samplers.chunks import check_batch_shape
from datasets.samplers.clusters import paired_share
from datasets.samplers.epoch_batches import BatchPlan
from datasets.sources import TrainingSet


def build_sources(cfg: CfgNode) -> list[DataSplits]:
    """The data sets named in DATASETS.NAMES; raises as `read_dataset`."""
    return [read_dataset(name, cfg.DATASETS.ROOT_DIR) for name in cfg.DATASETS.NAMES]


def build_train_sampler(cfg: CfgNode, data: TrainingSet, processes: int = 1) -> BatchPlan:
    """The sampler that DATALOADER.SAMPLER names; it plans global batches.

    Raises:
        ValueError: it cannot fill a batch, or batches do not divide among the processes.
    """
    if cfg.DSGL.ENABLED:
        return build_cluster_sampler(cfg, data, processes)
    num_instances = cfg.DATALOADER.NUM_INSTANCE
    if cfg.DATALOADER.SAMPLER != "softmax":
        check_batch_shape(
            data.num_classes,
            cfg.SOLVER.STAGE2.IMS_PER_BATCH // num_instances,
            num_instances,
            processes,
        )
    num_pids = cfg.SOLVER.STAGE2.IMS_PER_BATCH // num_instances
    seed = cfg.SOLVER.SEED
    if cfg.DATALOADER.SAMPLER.startswith("dfgs"):
        options = cfg.DATALOADER.DFGS
        walk = WalkOptions(
            shuffle_rows=options.SHUFFLE,
            greedy=options.WALK == "greedy",
            max_visits=options.MAX_VISITS,
            domains=data.domains if options.ROTATE_DOMAINS else None,
        )
        return DepthFirstGraphSampler(
            data.labels, data.camids, num_pids, num_instances, seed, options=walk
        )
    if cfg.DATALOADER.SAMPLER.startswith("gs"):
        return GraphSampler(data.labels, num_pids, num_instances, seed)
    return build_random_sampler(cfg, data)


def build_cluster_sampler(cfg: CfgNode, data: TrainingSet, processes: int = 1) -> ClusterSampler:
    """Batches of clusters x images, with a partner for every image where the losses need one.

    Raises:
        ValueError: fewer images in a batch than processes.
    """
    batch_size = cfg.SOLVER.STAGE2.IMS_PER_BATCH
    if batch_size < processes:
        raise ValueError(
            f"SOLVER.STAGE2.IMS_PER_BATCH: {batch_size} images are too few for {processes} "
            "processes"
        )
    return ClusterSampler(
        data.camids,
        batch_size,
        None if cfg.DATALOADER.SAMPLER == "softmax" else cfg.DATALOADER.NUM_INSTANCE,
        cfg.DSGL.ITERS,
        cfg.SOLVER.SEED,
        camera_aware=cfg.DSGL.CAMERA_AWARE,
        pairs=needs_partners(cfg),
    )


def needs_partners(cfg: CfgNode) -> bool:
    """Whether training without labels loads a second image of the cluster for every image."""
    return cfg.DSGL.MEMORY == "DLhybrid" and cfg.DSGL.W_KL > 0


def build_random_sampler(cfg: CfgNode, data: TrainingSet) -> BatchPlan:
    """Batches by chance: shuffled for the sampler softmax, else P random identities x K images."""
    batch_size, num_instances = cfg.SOLVER.STAGE2.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    if cfg.DATALOADER.SAMPLER == "softmax":
        return ShuffledSampler(len(data.labels), batch_size, cfg.SOLVER.SEED)
    num_pids = batch_size // num_instances
    return RandomIdentitySampler(data.labels, num_pids, num_instances, cfg.SOLVER.SEED)


def build_train_loader(
    cfg: CfgNode,
    training_set: TrainingSet,
    plan: BatchPlan,
    resident: ResidentImages | None = None,
    *,
    share: Callable[[int], Sequence[int]] = range,
    processes: int = 1,
    pin_memory: bool = False,
) -> DataLoader[Any] | ResidentBatches:
    """Augmented `Batch`es of the image stage; its `batch_sampler` is an `EpochBatches`.

    Args:
        cfg: INPUT, DATALOADER, SOLVER.SEED count.
        training_set: the images.
        plan: decides the global batches.
        resident: where images are kept; None = they are read from files.
        share: length of a global batch -> this process's part of it.
        processes: processes on this machine, which share its cores.
        pin_memory: batches come in page-locked memory, unless they are on the device.

    Raises:
        BadImageError: images are read into memory, and one is broken that should not be skipped.
    """
    size, augmentation = tuple(cfg.INPUT.SIZE_TRAIN), _augmentation(cfg)
    cache = None if resident is None else resident.for_training()
    make_transform = train_transform if cache is None else augmenting_transform
    dataset = ImageDataset(
        training_set.samples,
        training_set.labels,
        make_transform(size, _normalization(cfg), augmentation),
        pictures=None if cache is None else cache.picture,
        skip_bad_images=cfg.INPUT.ON_BAD_IMAGE == "skip",
    )
    if isinstance(plan, ClusterSampler) and plan.pairs:
        share = paired_share(share)
    batches = EpochBatches(plan, cfg.SOLVER.SEED, share)
    if cache is not None and resident is not None and resident.place == "device":
        normalize = build_level_normalization(cfg, resident.device)
        augment = BatchAugmentation(size, augmentation, normalize, resident.device)
        return ResidentBatches(dataset, cache, batches, augment)
    workers = num_workers(cfg.DATALOADER.NUM_WORKERS, processes)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=outlive_sigterm,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
    )


def build_evaluation_loader(
    cfg: CfgNode,
    samples: Sequence[Sample],
    labels: Sequence[int] | None = None,
    *,
    pictures: CachedPictures | None = None,
    processes: int = 1,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """`Batch`es in order with the evaluation transform.

    Args:
        cfg: INPUT, DATALOADER and TEST.IMS_PER_BATCH count.
        samples: the images.
        labels: of the images; their pids unless given.
        pictures: the images, resized; None = they are read from files.
        processes: processes on this machine, which share its cores.
        pin_memory: batches come in page-locked memory.
    """
    dataset = ImageDataset(
        samples,
        [sample.pid for sample in samples] if labels is None else labels,
        build_evaluation_transform(cfg, resized=pictures is not None),
        pictures=pictures,
        skip_bad_images=cfg.INPUT.ON_BAD_IMAGE == "skip",
    )
    return ordered_loader(
        dataset,
        cfg.TEST.IMS_PER_BATCH,
        cfg.DATALOADER.NUM_WORKERS,
        processes=processes,
        pin_memory=pin_memory,
    )


def build_evaluation_transform(cfg: CfgNode, *, resized: bool = False) -> Transform:
    """What evaluation does to an image: resize, unless it is `resized` already, and normalize."""
    normalize = _normalization(cfg)
    if resized:
        return plain_transform(normalize)
    interpolation = InterpolationMode(cfg.INPUT.TEST_INTERPOLATION)
    return evaluation_transform(tuple(cfg.INPUT.SIZE_TEST), normalize, interpolation)


def build_plain_loader(
    cfg: CfgNode,
    data: TrainingSet,
    resident: ResidentImages,
    positions: Sequence[int],
    *,
    processes: int = 1,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """`Batch`es of some training images in order with the evaluation transform.

    Args:
        cfg: as for `build_evaluation_loader`.
        data: the training images.
        resident: where they are kept.
        positions: which images; indices of the batches count from the first of them.
        processes: processes on this machine, which share its cores.
        pin_memory: batches come in page-locked memory.
    """
    cache = resident.for_evaluation()
    return build_evaluation_loader(
        cfg,
        [data.samples[i] for i in positions],
        [data.labels[i] for i in positions],
        pictures=None if cache is None else CachedPictures(cache, positions),
        processes=processes,
        pin_memory=pin_memory,
    )


def build_level_normalization(cfg: CfgNode, device: torch.device) -> LevelNormalization:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) as INPUT.NORMALIZATION says, on the device."""
    if cfg.INPUT.NORMALIZATION == "instance":
        return normalize_instances
    mean, std = (
        torch.tensor(values, device=device).view(3, 1, 1)
        for values in (cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD)
    )
    return partial(normalize_fixed, mean=mean, std=std)


def _augmentation(cfg: CfgNode) -> Augmentation:
    return Augmentation(
        flip=cfg.INPUT.PROB,
        padding=cfg.INPUT.PADDING,
        erasing=cfg.INPUT.RE_PROB,
        grayscale=cfg.INPUT.GRAYSCALE_PROB,
        jitter=cfg.INPUT.JITTER_PROB,
        jitter_strength=tuple(cfg.INPUT.JITTER),
        augmix=cfg.INPUT.AUGMIX_PROB,
    )


def _normalization(cfg: CfgNode) -> Normalization:
    if cfg.INPUT.NORMALIZATION == "instance":
        return normalize_instance
    return cast(Normalization, Normalize(cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
