"""Parts of a run that depend on the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from config import ConfigError
from datasets.build import (
    build_evaluation_loader,
    build_plain_loader,
    build_random_sampler,
    build_train_loader,
)
from datasets.cache import ResidentImages
from datasets.fingerprint import fingerprint_of_targets
from datasets.records import DataSplits
from datasets.registry import locate, num_splits, read_dataset
from datasets.resident import ResidentBatches
from datasets.samplers import DepthFirstGraphSampler, GraphSampler, RandomIdentitySampler
from datasets.samplers.epoch_batches import BatchPlan
from datasets.sources import TrainingSet
from loss import (
    ImageStageLosses,
    build_cluster_memory,
    build_image_losses,
    build_unsupervised_losses,
)
from model import CLIPReID, UnsupervisedReID
from processor.evaluation.evaluator import Evaluator, Protocol, Target
from processor.features import extract_features
from processor.identity_graph import IdentityGraph, ImageFeaturesOfIdentities
from processor.image_stage import ImageStage, PriorStage, all_text_features, freeze_text_side
from processor.prompt_stage import PromptStage
from processor.pseudo_labels import (
    ClusterOptions,
    PseudoLabels,
    make_pseudo_labels,
    restore_pseudo_labels,
)
from processor.runtime import distributed
from processor.runtime.precision import Precision, choose_precision
from processor.runtime.signals import StopRequest
from processor.stage import StageTiming
from processor.unsupervised_stage import Clustering, UnsupervisedStage
from solver.build import (
    build_center_optimizer,
    build_image_optimizer,
    build_image_schedule,
    build_prompt_optimizer,
    build_prompt_schedule,
    build_unsupervised_schedule,
)


def build_precision(cfg: CfgNode, device: torch.device) -> Precision:
    """Autocast and loss scaling of SOLVER.AMP."""
    return Precision(choose_precision(cfg.SOLVER.AMP, device), device)


def build_targets(
    cfg: CfgNode, cameras: dict[str, range], sources: Sequence[DataSplits] = ()
) -> list[Target]:
    """The data sets to evaluate on: DATASETS.TARGETS, or else the sources' own test splits.

    Args:
        cfg: DATASETS counts.
        cameras: per source of the model, its rows in the model's camera table.
        sources: split 0 of the data sets in DATASETS.NAMES, when they have been read already.

    Raises:
        ConfigError: two targets of one name, which results could not tell apart, or a target that
            has the name of a source and is another data set.
    """
    root = cfg.DATASETS.ROOT_DIR
    trained = [locate(name, root) for name in cfg.DATASETS.NAMES]
    read = dict(zip(trained, sources, strict=False))
    targets = []
    for name in cfg.DATASETS.TARGETS or cfg.DATASETS.NAMES:
        rows = cameras_of(cfg, name, cameras)
        first = read.get(locate(name, root)) or read_dataset(name, root)
        splits = [first, *(read_dataset(name, root, i) for i in range(1, num_splits(name)))]
        target = splits[0].name
        targets.append(Target(target, splits, rows, fingerprint_of_targets(splits)))
    names = [target.name for target in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"DATASETS.TARGETS: several data sets are called {', '.join(twice)}; results go by the "
            "name of the folder or file, rename one"
        )
    return targets


def cameras_of(cfg: CfgNode, name: str, cameras: dict[str, range]) -> range | None:
    """Rows of a data set's cameras in the model's table; None when it was not trained on.

    Args:
        cfg: DATASETS counts.
        name: the data set, as `read_dataset` takes it.
        cameras: per source of the model, its rows in the model's camera table.

    Raises:
        ConfigError: a source has the data set's name but lies elsewhere.
    """
    target, target_path = locate(name, cfg.DATASETS.ROOT_DIR)
    trained = [locate(source, cfg.DATASETS.ROOT_DIR) for source in cfg.DATASETS.NAMES]
    if target in cameras and (target, target_path) not in trained:
        for source, path in trained:
            if source == target:
                places = " and ".join(str(x or "the benchmark") for x in (path, target_path))
                raise ConfigError(
                    f"DATASETS.NAMES, DATASETS.TARGETS: two data sets are called {target}: "
                    f"{places}; cameras and results go by the name of the folder or file, rename "
                    "one"
                )
    return cameras.get(target)


def build_evaluator(
    cfg: CfgNode, targets: list[Target], precision: Precision, stop: StopRequest | None = None
) -> Evaluator:
    """Scoring as TEST.* says."""
    reranking = (cfg.TEST.RE_RANKING_K1, cfg.TEST.RE_RANKING_K2, cfg.TEST.RE_RANKING_LAMBDA)
    protocol = Protocol(
        normalize=cfg.TEST.FEAT_NORM,
        ignore_same_camera=cfg.TEST.IGNORE_SAME_CAMERA,
        chunk_mb=cfg.TEST.CHUNK_MB,
        rerank=reranking if cfg.TEST.RE_RANKING else None,
        multi_query=cfg.TEST.MULTI_QUERY,
    )
    loader = partial(
        build_evaluation_loader,
        cfg,
        processes=distributed.local_size(),
        pin_memory=precision.on_cuda,
    )
    return Evaluator(targets, protocol, loader, precision, stop)


def build_prompt_stage(
    cfg: CfgNode,
    model: CLIPReID,
    data: TrainingSet,
    resident: ResidentImages,
    precision: Precision,
    stop: StopRequest,
) -> PromptStage:
    """Stage 1; extracts the image features it is trained on."""
    model.eval()
    table = extract_features(
        lambda batch: model.encode_image(batch.images).projected,
        _plain_images(cfg, data, resident, precision),
        len(data.samples),
        precision,
        title="image features for the prompts",
        stop=stop,
    )
    prompts, _ = model.text_parts()
    optimizer = build_prompt_optimizer(cfg, prompts.cls_ctx)
    stage = cfg.SOLVER.STAGE1
    return PromptStage(
        model,
        table,
        data.samples,
        data.labels,
        optimizer,
        build_prompt_schedule(cfg, optimizer),
        stage.IMS_PER_BATCH,
        StageTiming(stage.MAX_EPOCHS, stage.LOG_PERIOD, stage.CHECKPOINT_PERIOD),
    )


def build_prior_stage(
    cfg: CfgNode,
    model: CLIPReID,
    data: TrainingSet,
    resident: ResidentImages,
    precision: Precision,
) -> PriorStage:
    """Stage 0; P x K batches of random identities, or shuffled ones for the sampler softmax."""
    freeze_text_side(model)
    losses, optimizers = _losses_and_optimizers(cfg, model, data, precision)
    stage = cfg.SOLVER.STAGE2
    return PriorStage(
        model,
        _training_loader(cfg, data, resident, build_random_sampler(cfg, data), precision),
        data,
        None,
        losses,
        optimizers,
        build_image_schedule(cfg, optimizers[0]),
        StageTiming(cfg.SOLVER.STAGE0.MAX_EPOCHS, stage.LOG_PERIOD, stage.CHECKPOINT_PERIOD),
    )


def build_image_stage(
    cfg: CfgNode,
    model: CLIPReID,
    data: TrainingSet,
    resident: ResidentImages,
    plan: BatchPlan,
    precision: Precision,
) -> ImageStage:
    """Stage 2; encodes the prompts of all identities."""
    freeze_text_side(model)
    losses, optimizers = _losses_and_optimizers(cfg, model, data, precision)
    text_features = all_text_features(model) if cfg.MODEL.TEXT_TOWER else None
    identity_features = build_identity_features(
        cfg, model, data, resident, text_features, precision
    )
    stage = cfg.SOLVER.STAGE2
    return ImageStage(
        model,
        _training_loader(cfg, data, resident, plan, precision),
        data,
        text_features,
        losses,
        optimizers,
        build_image_schedule(cfg, optimizers[0]),
        StageTiming(stage.MAX_EPOCHS, stage.LOG_PERIOD, stage.CHECKPOINT_PERIOD, stage.EVAL_PERIOD),
        build_identity_graph(cfg, data, plan, identity_features),
    )


def build_unsupervised_stage(
    cfg: CfgNode,
    model: UnsupervisedReID,
    data: TrainingSet,
    resident: ResidentImages,
    plan: BatchPlan,
    precision: Precision,
    stop: StopRequest,
) -> UnsupervisedStage:
    """The one stage of training without labels."""
    options = cfg.DSGL
    make_memory = partial(build_cluster_memory, cfg)

    def make() -> PseudoLabels:
        model.eval()
        table = extract_features(
            lambda batch: model.embed(batch.images),
            _plain_images(cfg, data, resident, precision),
            len(data.samples),
            precision,
            title="image features to cluster",
            stop=stop,
        )
        clustering = ClusterOptions(
            options.EPS,
            options.MIN_SAMPLES,
            options.K1,
            options.K2,
            options.ORDERS,
            cfg.TEST.CHUNK_MB,
        )
        return make_pseudo_labels(table, data.labels, clustering, make_memory)

    optimizer = build_image_optimizer(cfg, model)
    stage = cfg.SOLVER.STAGE2
    return UnsupervisedStage(
        model,
        _training_loader(cfg, data, resident, plan, precision),
        data.samples,
        Clustering(
            make,
            partial(restore_pseudo_labels, make_memory=make_memory, device=precision.device),
            options.RECLUSTER_EVERY,
        ),
        build_unsupervised_losses(cfg),
        optimizer,
        build_unsupervised_schedule(cfg, optimizer),
        StageTiming(stage.MAX_EPOCHS, stage.LOG_PERIOD, stage.CHECKPOINT_PERIOD, stage.EVAL_PERIOD),
    )


def _plain_images(
    cfg: CfgNode, data: TrainingSet, resident: ResidentImages, precision: Precision
) -> Callable[[Sequence[int]], DataLoader[Any]]:
    """Makes a loader of some training images, by position, without augmentation."""
    return partial(
        build_plain_loader,
        cfg,
        data,
        resident,
        processes=distributed.local_size(),
        pin_memory=precision.on_cuda,
    )


def _training_loader(
    cfg: CfgNode,
    data: TrainingSet,
    resident: ResidentImages,
    plan: BatchPlan,
    precision: Precision,
) -> DataLoader[Any] | ResidentBatches:
    """This process's parts of the global batches."""
    return build_train_loader(
        cfg,
        data,
        plan,
        resident,
        share=distributed.share,
        processes=distributed.local_size(),
        pin_memory=precision.on_cuda,
    )


def _losses_and_optimizers(
    cfg: CfgNode, model: CLIPReID, data: TrainingSet, precision: Precision
) -> tuple[ImageStageLosses, list[Optimizer]]:
    """What the image encoder is trained with, in stage 0 and in stage 2."""
    losses = build_image_losses(cfg, data.num_classes, model.image_encoder.width)
    optimizers = [build_image_optimizer(cfg, model)]
    if losses.center is not None:
        losses.center.to(precision.device)
        optimizers.append(build_center_optimizer(cfg, losses.center))
    return losses, optimizers


def build_identity_features(
    cfg: CfgNode,
    model: CLIPReID,
    data: TrainingSet,
    resident: ResidentImages,
    text_features: Tensor | None,
    precision: Precision,
) -> Callable[[int], Tensor]:
    """Epoch -> (I, D) features for the graph of a dfgs_* or gs_* sampler, of texts or of images."""
    if text_features is not None and cfg.DATALOADER.SAMPLER.endswith("_text"):
        return lambda _: text_features
    return ImageFeaturesOfIdentities(
        model,
        data.labels,
        _plain_images(cfg, data, resident, precision),
        precision,
        cfg.DATALOADER.DFGS.IMAGES_PER_ID,
        cfg.SOLVER.SEED,
    )


def build_identity_graph(
    cfg: CfgNode, data: TrainingSet, plan: BatchPlan, features: Callable[[int], Tensor]
) -> IdentityGraph | None:
    """What makes the graph of a dfgs_* or gs_* sampler; None for the others.

    Args:
        cfg: DATALOADER and SOLVER.SEED count.
        data: the training images.
        plan: the sampler.
        features: of `build_identity_features`.
    """
    options = cfg.DATALOADER.DFGS
    if not isinstance(plan, DepthFirstGraphSampler | GraphSampler):
        return None
    walk = isinstance(plan, DepthFirstGraphSampler)
    by_text = cfg.DATALOADER.SAMPLER.endswith("_text")
    return IdentityGraph(
        plan,
        features,
        num_neighbours=options.NUM_NEIGHBOURS if walk else plan.num_pids - 1,
        num_hits=options.NUM_NEIGHBOURS,
        skip=options.SKIP,
        mutual=options.MUTUAL,
        normalize=options.NORMALIZE,
        period=None if by_text else options.REFRESH_PERIOD,
        random_plan=RandomIdentitySampler(
            data.labels, plan.num_pids, plan.num_instances, cfg.SOLVER.SEED
        ),
        labels=data.labels,
    )
