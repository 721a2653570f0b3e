"""Parts of a run that depend on the configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from torch import Tensor
from torch.optim import Optimizer
from yacs.config import CfgNode

from config.samplers import sampler_kind
from datasets.images.training_images import TrainingImages
from datasets.samplers import RandomIdentitySampler
from datasets.samplers.build import build_random_sampler
from datasets.samplers.planner import EpochPlanner
from datasets.sources import TrainingSet
from loss import (
    ImageStageLosses,
    build_cluster_memory,
    build_image_losses,
    build_unsupervised_losses,
)
from model import CLIPReID, UnsupervisedReID
from processor.features import extract_features
from processor.runtime.precision import Precision
from processor.runtime.signals import StopRequest
from processor.training.dsgl_stage import Clustering, UnsupervisedStage
from processor.training.identity_graph import (
    GraphPlan,
    IdentityGraph,
    ImageFeaturesOfIdentities,
)
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
    images: TrainingImages,
    precision: Precision,
    stop: StopRequest,
) -> PromptStage:
    """Stage 1; extracts the image features it is trained on."""
    model.eval()
    table = extract_features(
        lambda batch: model.encode_image(batch.images).projected,
        images.plain,
        len(images.data.samples),
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
        images.data.samples,
        images.data.labels,
        optimizer,
        build_prompt_schedule(cfg, optimizer),
        stage.IMS_PER_BATCH,
        StageTiming(stage.MAX_EPOCHS, stage.LOG_PERIOD, stage.CHECKPOINT_PERIOD),
    )


def build_prior_stage(
    cfg: CfgNode,
    model: CLIPReID,
    images: TrainingImages,
    precision: Precision,
) -> PriorStage:
    """Stage 0; its batches are random."""
    freeze_text_side(model)
    losses, optimizers = _losses_and_optimizers(cfg, model, images.data, precision)
    stage = cfg.SOLVER.STAGE2
    return PriorStage(
        model,
        images.augmented(build_random_sampler(cfg, images.data)),
        images.data,
        None,
        losses,
        optimizers,
        build_image_schedule(cfg, optimizers[0]),
        StageTiming(cfg.SOLVER.STAGE0.MAX_EPOCHS, stage.LOG_PERIOD, stage.CHECKPOINT_PERIOD),
    )


def build_image_stage(
    cfg: CfgNode,
    model: CLIPReID,
    images: TrainingImages,
    plan: EpochPlanner,
    precision: Precision,
) -> ImageStage:
    """Stage 2; encodes the prompts of all identities."""
    freeze_text_side(model)
    losses, optimizers = _losses_and_optimizers(cfg, model, images.data, precision)
    text_features = all_text_features(model) if cfg.MODEL.TEXT_TOWER else None
    identity_features = build_identity_features(cfg, model, images, text_features, precision)
    stage = cfg.SOLVER.STAGE2
    return ImageStage(
        model,
        images.augmented(plan),
        images.data,
        text_features,
        losses,
        optimizers,
        build_image_schedule(cfg, optimizers[0]),
        StageTiming(stage.MAX_EPOCHS, stage.LOG_PERIOD, stage.CHECKPOINT_PERIOD, stage.EVAL_PERIOD),
        build_identity_graph(cfg, images.data, plan, identity_features),
    )


def build_unsupervised_stage(
    cfg: CfgNode,
    model: UnsupervisedReID,
    images: TrainingImages,
    plan: EpochPlanner,
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
            images.plain,
            len(images.data.samples),
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
        return make_pseudo_labels(table, images.data.labels, clustering, make_memory)

    optimizer = build_image_optimizer(cfg, model)
    stage = cfg.SOLVER.STAGE2
    return UnsupervisedStage(
        model,
        images.augmented(plan),
        images.data.samples,
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
    images: TrainingImages,
    text_features: Tensor | None,
    precision: Precision,
) -> Callable[[int], Tensor]:
    """Epoch -> (I, D) features for the sampler's graph: of texts or of images."""
    if text_features is not None and sampler_kind(cfg).graph == "text":
        return lambda _: text_features
    return ImageFeaturesOfIdentities(
        model,
        images.data.labels,
        images.plain,
        precision,
        cfg.DATALOADER.DFGS.IMAGES_PER_ID,
        cfg.SOLVER.SEED,
    )


def build_identity_graph(
    cfg: CfgNode, data: TrainingSet, plan: EpochPlanner, features: Callable[[int], Tensor]
) -> IdentityGraph | None:
    """Keeps the sampler's graph up to date; None if the sampler needs no graph.

    Args:
        cfg: DATALOADER and SOLVER.SEED count.
        data: the training images.
        plan: the sampler.
        features: of `build_identity_features`.
    """
    kind = sampler_kind(cfg)
    if kind.graph is None:
        return None
    options = cfg.DATALOADER.DFGS
    sampler = cast(GraphPlan, plan)
    return IdentityGraph(
        sampler,
        features,
        num_neighbours=sampler.num_pids - 1 if kind.full_rows else options.NUM_NEIGHBOURS,
        num_hits=options.NUM_NEIGHBOURS,
        skip=options.SKIP,
        mutual=options.MUTUAL,
        normalize=options.NORMALIZE,
        period=None if kind.graph == "text" else options.REFRESH_PERIOD,
        random_plan=RandomIdentitySampler(
            data.labels, sampler.num_pids, sampler.num_instances, cfg.SOLVER.SEED
        ),
        labels=data.labels,
    )
