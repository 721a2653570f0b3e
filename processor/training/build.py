"""Parts of a run that depend on the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from datasets.images.build import (
    build_plain_loader,
    build_random_sampler,
    build_train_loader,
)
from datasets.images.cache import ResidentImages
from datasets.images.device_batches import ResidentBatches
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
from processor.features import extract_features
from processor.runtime import distributed
from processor.runtime.precision import Precision
from processor.runtime.signals import StopRequest
from processor.training.dsgl_stage import Clustering, UnsupervisedStage
from processor.training.identity_graph import IdentityGraph, ImageFeaturesOfIdentities
from processor.training.image_stage import (
    ImageStage,
    PriorStage,
    all_text_features,
    freeze_text_side,
)
from processor.training.prompt_stage import PromptStage
from processor.training.pseudo_labels import (
    ClusterOptions,
    PseudoLabels,
    make_pseudo_labels,
    restore_pseudo_labels,
)
from processor.training.stage import StageTiming
from solver.build import (
    build_center_optimizer,
    build_image_optimizer,
    build_image_schedule,
    build_prompt_optimizer,
    build_prompt_schedule,
    build_unsupervised_schedule,
)


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
