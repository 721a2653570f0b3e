"""The stages of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from torch import Tensor
from yacs.config import CfgNode

from config.samplers import sampler_kind
from datasets.images.training_images import TrainingImages
from datasets.samplers import RandomIdentitySampler
from datasets.samplers.build import build_random_sampler
from datasets.samplers.planner import EpochPlanner
from datasets.sources import TrainingSet
from loss import (
    WeightedLoss,
    build_cluster_memory,
    build_dsgl_losses,
    build_image_losses,
)
from model import CLIPReID, ReIDModel, UnsupervisedReID
from processor.features import extract_features
from processor.runtime.precision import Precision
from processor.runtime.signals import StopRequest
from processor.training.averaging import AveragedWeights
from processor.training.dsgl_stage import Clustering, DSGLStage
from processor.training.identity_graph import (
    GraphSampler,
    IdentityGraph,
    ImageFeaturesOfIdentities,
)
from processor.training.image_stage import (
    ImageStage,
    ImagesToLosses,
    PriorStage,
    all_text_features,
    freeze_text_side,
)
from processor.training.prompt_stage import PromptStage
from processor.training.pseudo_labels import (
    ClusterOptions,
    PseudoLabels,
    find_clusters,
    make_pseudo_labels,
    restore_pseudo_labels,
)
from processor.training.stage import Optimization, PlannedStage, StageTiming
from solver.build import (
    build_image_optimizer,
    build_image_schedule,
    build_loss_optimizer,
    build_prompt_optimizer,
    build_prompt_schedule,
    build_unsupervised_schedule,
)


def build_stages(
    cfg: CfgNode,
    model: ReIDModel,
    images: TrainingImages,
    sampler: EpochPlanner,
    precision: Precision,
    stop: StopRequest,
) -> list[PlannedStage]:
    """The stages of a run, in order.

    Stage 0, if requested, trains the image encoder without text, stage 1 the prompts, stage 2 the
    image encoder. A baseline (MODEL.TEXT_TOWER False) has no stage 1, learned prompts
    (SOLVER.STAGE1.WEIGHT) replace stages 0 and 1, and DSGL has a stage of its own.
    """
    size, k = cfg.SOLVER.STAGE2.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    shape = f"{size // k} x {k} images" if sampler_kind(cfg).p_x_k else f"{size} images"
    if isinstance(model, UnsupervisedReID):
        title = f"whole encoder, batches of clusters ({shape})"
        return [
            PlannedStage(
                "dsgl",
                title,
                lambda: build_dsgl_stage(cfg, model, images, sampler, precision, stop),
            )
        ]
    assert isinstance(model, CLIPReID)
    stages = []
    if cfg.SOLVER.STAGE0.MAX_EPOCHS and not cfg.SOLVER.STAGE1.WEIGHT:
        title = f"image encoder without text, random batches ({shape})"
        stages.append(PlannedStage(0, title, lambda: build_prior_stage(cfg, model, images)))
    if cfg.MODEL.TEXT_TOWER and not cfg.SOLVER.STAGE1.WEIGHT:
        title = f"prompts of {images.data.num_classes:,} identities, encoders frozen"
        stages.append(
            PlannedStage(1, title, lambda: build_prompt_stage(cfg, model, images, precision, stop))
        )
    title = f"image encoder, {cfg.DATALOADER.SAMPLER} batches ({shape})"
    stages.append(
        PlannedStage(2, title, lambda: build_image_stage(cfg, model, images, sampler, precision))
    )
    return stages


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
        Optimization(
            [optimizer],
            build_prompt_schedule(cfg, optimizer),
            StageTiming(stage.MAX_EPOCHS, stage.LOG_PERIOD, stage.CHECKPOINT_PERIOD),
        ),
        stage.IMS_PER_BATCH,
    )


PRIOR_SEED = 2**32  # added to the run's seed, so that stage 2 does not repeat stage 0's batches


def build_prior_stage(cfg: CfgNode, model: CLIPReID, images: TrainingImages) -> PriorStage:
    """Stage 0; its batches are random, and others than those of stage 2."""
    freeze_text_side(model)
    seed = cfg.SOLVER.SEED + PRIOR_SEED
    losses = _losses(cfg, model, images.data, with_text=False)
    stage = cfg.SOLVER.STAGE2
    timing = StageTiming(cfg.SOLVER.STAGE0.MAX_EPOCHS, stage.LOG_PERIOD, stage.CHECKPOINT_PERIOD)
    return PriorStage(
        ImagesToLosses(model, losses),
        replace(images, seed=seed).augmented(build_random_sampler(cfg, images.data, seed)),
        images.data,
        _optimization(cfg, model, losses, timing, hands_on=cfg.SOLVER.STAGE0.SHARE_OPTIMIZER),
    )


def build_image_stage(
    cfg: CfgNode,
    model: CLIPReID,
    images: TrainingImages,
    sampler: EpochPlanner,
    precision: Precision,
) -> ImageStage:
    """Stage 2; encodes the prompts of all identities."""
    freeze_text_side(model)
    losses = _losses(cfg, model, images.data, with_text=cfg.MODEL.TEXT_TOWER)
    text_features = all_text_features(model) if cfg.MODEL.TEXT_TOWER else None
    identity_features = build_identity_features(cfg, model, images, text_features, precision)
    prior = cfg.SOLVER.STAGE0
    shared = prior.SHARE_OPTIMIZER and prior.MAX_EPOCHS > 0 and not cfg.SOLVER.STAGE1.WEIGHT
    return ImageStage(
        ImagesToLosses(model, losses, text_features),
        images.augmented(sampler),
        images.data,
        _optimization(
            cfg,
            model,
            losses,
            _stage2_timing(cfg),
            takes_on=shared,
            epochs_before=prior.MAX_EPOCHS if shared else 0,
            averaged=_averaged(cfg, model),
        ),
        build_identity_graph(cfg, images.data, sampler, identity_features),
    )


def build_dsgl_stage(
    cfg: CfgNode,
    model: UnsupervisedReID,
    images: TrainingImages,
    sampler: EpochPlanner,
    precision: Precision,
    stop: StopRequest,
) -> DSGLStage:
    """The one stage of training without labels."""
    options = cfg.DSGL
    make_memory = partial(build_cluster_memory, cfg)

    def make(release: Callable[[], None]) -> PseudoLabels:
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
            *(options.EPS, options.MIN_SAMPLES, options.K1, options.K2, options.ORDERS),
            cfg.TEST.CHUNK_MB,
        )
        found = find_clusters(table, clustering)
        release()
        labels = images.data.labels
        return make_pseudo_labels(table, found, labels, options.ORDERS, make_memory)

    optimizer = build_image_optimizer(cfg, model)
    return DSGLStage(
        model,
        images.augmented(sampler),
        images.data.samples,
        Clustering(
            make,
            partial(restore_pseudo_labels, make_memory=make_memory, device=precision.device),
            options.RECLUSTER_EVERY,
        ),
        build_dsgl_losses(cfg),
        Optimization(
            [optimizer],
            build_unsupervised_schedule(cfg, optimizer),
            _stage2_timing(cfg),
            averaged=_averaged(cfg, model),
        ),
    )


def _losses(
    cfg: CfgNode, model: CLIPReID, data: TrainingSet, *, with_text: bool
) -> dict[str, WeightedLoss]:
    """The losses of stage 0 or stage 2; their own parameters are on the model's device."""
    encoder = model.image_encoder
    sizes = (data.num_classes, encoder.width)
    losses = build_image_losses(cfg, *sizes, with_text=with_text, joint_width=encoder.joint_width)
    for loss in losses.values():
        if loss.module is not None:
            loss.module.to(next(model.parameters()).device)
    return losses


def _optimization(
    cfg: CfgNode,
    model: CLIPReID,
    losses: Mapping[str, WeightedLoss],
    timing: StageTiming,
    *,
    hands_on: bool = False,
    takes_on: bool = False,
    epochs_before: int = 0,
    averaged: AveragedWeights | None = None,
) -> Optimization:
    """How stage 0 and stage 2 update the model and the losses' own parameters."""
    optimizers = [build_image_optimizer(cfg, model)]
    optimizers += [
        build_loss_optimizer(cfg, loss.module, loss.weight)
        for loss in losses.values()
        if loss.module is not None and any(True for _ in loss.module.parameters())
    ]
    schedule = build_image_schedule(cfg, optimizers[0], epochs_before)
    return Optimization(optimizers, schedule, timing, hands_on, takes_on, averaged)


def _averaged(cfg: CfgNode, model: ReIDModel) -> AveragedWeights | None:
    """The average of the weights that the last stage trains, if SOLVER.EMA asks for it."""
    return AveragedWeights(model, cfg.SOLVER.EMA) if cfg.SOLVER.EMA else None


def _stage2_timing(cfg: CfgNode) -> StageTiming:
    stage = cfg.SOLVER.STAGE2
    return StageTiming(
        stage.MAX_EPOCHS, stage.LOG_PERIOD, stage.CHECKPOINT_PERIOD, stage.EVAL_PERIOD
    )


def build_identity_features(
    cfg: CfgNode,
    model: CLIPReID,
    images: TrainingImages,
    text_features: Tensor | None,
    precision: Precision,
) -> Callable[[int], list[Tensor]]:
    """Epoch -> (I, D) features for the sampler's graph: of texts, of images, or both."""
    kind = sampler_kind(cfg).graph
    texts = [] if text_features is None or kind == "image" else [text_features]
    if texts and kind == "text":
        return lambda _: texts
    of_images = ImageFeaturesOfIdentities(
        model,
        images.data.labels,
        images.plain,
        precision,
        cfg.DATALOADER.DFGS.IMAGES_PER_ID,
        cfg.SOLVER.SEED,
    )
    return lambda epoch: [*texts, of_images(epoch)]


def build_identity_graph(
    cfg: CfgNode,
    data: TrainingSet,
    sampler: EpochPlanner,
    features: Callable[[int], Sequence[Tensor]],
) -> IdentityGraph | None:
    """The graph of the sampler's identities; None if the sampler needs no graph.

    Args:
        cfg: DATALOADER and SOLVER.SEED count.
        data: the training images.
        sampler: plans the batches.
        features: of `build_identity_features`.
    """
    kind = sampler_kind(cfg)
    if kind.graph is None:
        return None
    options = cfg.DATALOADER.DFGS
    planner = cast(GraphSampler, sampler)
    return IdentityGraph(
        planner,
        features,
        num_neighbours=planner.num_pids - 1 if kind.full_rows else options.NUM_NEIGHBOURS,
        skip=options.SKIP,
        mutual=options.MUTUAL,
        normalize=options.NORMALIZE,
        period=None if kind.graph == "text" else options.REFRESH_PERIOD,
        random_sampler=RandomIdentitySampler(
            data.labels, planner.num_pids, planner.num_instances, cfg.SOLVER.SEED
        ),
        labels=data.labels,
    )
