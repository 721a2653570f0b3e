"""The model of a configuration."""

from __future__ import annotations

import logging
from pathlib import Path

from open_clip.model import CLIP
from yacs.config import CfgNode

from config.checks import IMAGENET_MODELS
from model.clip_reid import CLIPReID, SideInformation
from model.encoders.clip import build_clip, clip_architecture, find_clip_weights
from model.encoders.clip_resnet import ResNetEncoder
from model.encoders.clip_vit import ViTEncoder, build_image_encoder
from model.encoders.imagenet_resnet import ImageNetResNet, build_resnet, find_imagenet_weights
from model.pooling import build_pooling
from model.prompt import PromptLearner, tokenize_prompt
from model.reid_model import ReIDModel
from model.text import TextEncoder
from model.unsupervised import UnsupervisedReID
from model.weights.load import load_weights

logger = logging.getLogger(__name__)

# CLIP-ReID's vehicle data sets, for callers that have only a configuration. The program passes the
# noun of its data sets' records instead.
CLIP_REID_VEHICLES = ("veri", "VehicleID", "VehicleID_1600", "VehicleID_2400")


def build_reid_model(
    cfg: CfgNode, num_classes: int, num_cameras: int, num_views: int, noun: str = ""
) -> ReIDModel:
    """The model of the training that DSGL.ENABLED says; arguments and errors as `build_model`."""
    if cfg.DSGL.ENABLED:
        return build_unsupervised_model(cfg)
    return build_model(cfg, num_classes, num_cameras, num_views, noun)


def build_model(
    cfg: CfgNode, num_classes: int, num_cameras: int, num_views: int, noun: str = ""
) -> CLIPReID:
    """The model that a configuration describes, with CLIP's weights unless told otherwise.

    Args:
        cfg: MODEL, INPUT.SIZE_TRAIN, TEST.NECK_FEAT and, for the noun, DATASETS.NAMES count.
        num_classes: training identities C.
        num_cameras: cameras of the training images; rows of the side-information table.
        num_views: viewpoints of the training images, likewise.
        noun: what the images show, if MODEL.PROMPT is empty; empty = by DATASETS.NAMES.

    Raises:
        FileNotFoundError: CLIP's weights are neither cached, downloadable nor given.
        ValueError: options that do not fit the architecture, or weights that do not.
    """
    weights = find_weights(cfg)
    clip = build_clip(cfg.MODEL.NAME)
    encoder = build_clip_encoder(cfg, clip)
    prompts = text = None
    if cfg.MODEL.TEXT_TOWER:
        tokens = tokenize_prompt(prompt_noun(cfg, noun), clip.context_length)
        logger.info("prompt: %s", tokens.sentence)
        prompts = PromptLearner(tokens, clip.token_embedding, num_classes)
        text = TextEncoder(clip)
    model = CLIPReID(
        encoder,
        num_classes,
        neck=cfg.MODEL.NECK,
        neck_feature=cfg.TEST.NECK_FEAT,
        side_information=build_side_information(cfg, encoder, num_cameras, num_views),
        prompt_learner=prompts,
        text_encoder=text,
    )
    fill(model, weights)
    return model


def build_unsupervised_model(cfg: CfgNode) -> UnsupervisedReID:
    """The model that a configuration with DSGL describes, with pre-trained weights likewise.

    Raises:
        FileNotFoundError: the pre-trained weights are neither cached, downloadable nor given.
        ValueError: options that do not fit the architecture, or weights that do not.
    """
    weights = find_weights(cfg)
    encoder: ViTEncoder | ResNetEncoder | ImageNetResNet
    if cfg.MODEL.NAME in IMAGENET_MODELS:
        encoder = build_resnet(cfg.MODEL.NAME, cfg.MODEL.LAST_STRIDE)
    else:
        encoder = build_clip_encoder(cfg, build_clip(cfg.MODEL.NAME))
    options = cfg.DSGL
    pooling = None if options.POOLING == "clip" else build_pooling(options.POOLING)
    if options.FREEZE_PATCH_CONV and isinstance(encoder, ViTEncoder):
        encoder.conv1.requires_grad_(requires_grad=False)
    model = UnsupervisedReID(encoder, pooling, embed_dim=options.EMBED_DIM, dropout=options.DROPOUT)
    fill(model, weights)
    return model


def find_weights(cfg: CfgNode) -> str | Path | None:
    """The pre-trained weights that MODEL.PRETRAIN_* ask for; None = random weights.

    Raises:
        FileNotFoundError: they are neither cached, downloadable nor given.
        ValueError: no such architecture.
    """
    name = cfg.MODEL.NAME
    if name not in IMAGENET_MODELS:
        clip_architecture(name)
    if cfg.MODEL.PRETRAIN_CHOICE == "none":
        return None
    if cfg.MODEL.PRETRAIN_PATH:
        return cfg.MODEL.PRETRAIN_PATH
    return find_imagenet_weights(name) if name in IMAGENET_MODELS else find_clip_weights(name)


def fill(model: ReIDModel, weights: str | Path | None) -> None:
    """Load pre-trained weights, if any; raises as `load_weights`."""
    if weights is not None:
        report = load_weights(model, weights, "MODEL.PRETRAIN_PATH")
        logger.info("pre-trained weights from %s: %s", weights, report)


def build_clip_encoder(cfg: CfgNode, clip: CLIP) -> ViTEncoder | ResNetEncoder:
    """CLIP's image tower for INPUT.SIZE_TRAIN; raises ValueError for options that do not fit it."""
    height, width = cfg.INPUT.SIZE_TRAIN
    encoder = build_image_encoder(
        clip.visual, (height, width), tuple(cfg.MODEL.STRIDE_SIZE), cfg.MODEL.LAST_STRIDE
    )
    if isinstance(encoder, ViTEncoder):
        encoder.grad_checkpointing = cfg.MODEL.GRAD_CHECKPOINTING
    return encoder


def build_side_information(
    cfg: CfgNode, encoder: object, num_cameras: int, num_views: int
) -> SideInformation:
    """The side-information table that MODEL.SIE_* ask for; a ResNet has none."""
    if not isinstance(encoder, ViTEncoder):
        if cfg.MODEL.SIE_CAMERA or cfg.MODEL.SIE_VIEW:
            logger.warning("MODEL.SIE_CAMERA, MODEL.SIE_VIEW: a ResNet takes no side information")
        return SideInformation()
    return SideInformation(
        num_cameras if cfg.MODEL.SIE_CAMERA else 0,
        num_views if cfg.MODEL.SIE_VIEW else 0,
        cfg.MODEL.SIE_COE,
    )


def prompt_noun(cfg: CfgNode, noun: str = "") -> str:
    """MODEL.PROMPT, else `noun`, else "vehicle" if CLIP-ReID says so, else "person"."""
    if cfg.MODEL.PROMPT or noun:
        return cfg.MODEL.PROMPT or noun
    vehicles = all(name in CLIP_REID_VEHICLES for name in cfg.DATASETS.NAMES)
    return "vehicle" if vehicles else "person"
