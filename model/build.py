"""The model of a configuration."""

from __future__ import annotations

import logging

from yacs.config import CfgNode

from model.clip import build_clip, clip_architecture, find_clip_weights
from model.clip_reid import CLIPReID, SideInformation
from model.prompt import PromptLearner, tokenize_prompt
from model.text import TextEncoder
from model.vision import ViTEncoder, build_image_encoder
from model.weights import load_weights

logger = logging.getLogger(__name__)

VEHICLE_DATASETS = ("veri", "VehicleID", "VehicleID_1600", "VehicleID_2400")


def build_model(cfg: CfgNode, num_classes: int, num_cameras: int, num_views: int) -> CLIPReID:
    """The model that a configuration describes, with CLIP's weights unless told otherwise.

    Args:
        cfg: MODEL, INPUT.SIZE_TRAIN, TEST.NECK_FEAT and, for the noun, DATASETS.NAMES count.
        num_classes: training identities C.
        num_cameras: cameras of the training images; rows of the side-information table.
        num_views: viewpoints of the training images, likewise.

    Raises:
        FileNotFoundError: CLIP's weights are neither cached, downloadable nor given.
        ValueError: options that do not fit the architecture, or weights that do not.
    """
    clip_architecture(cfg.MODEL.NAME)
    weights = None
    if cfg.MODEL.PRETRAIN_CHOICE == "clip":
        weights = cfg.MODEL.PRETRAIN_PATH or find_clip_weights(cfg.MODEL.NAME)
    clip = build_clip(cfg.MODEL.NAME)
    height, width = cfg.INPUT.SIZE_TRAIN
    encoder = build_image_encoder(
        clip.visual, (height, width), tuple(cfg.MODEL.STRIDE_SIZE), cfg.MODEL.LAST_STRIDE
    )
    if isinstance(encoder, ViTEncoder):
        encoder.grad_checkpointing = cfg.MODEL.GRAD_CHECKPOINTING
    prompts = text = None
    if cfg.MODEL.TEXT_TOWER:
        tokens = tokenize_prompt(prompt_noun(cfg), clip.context_length)
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
    if weights is not None:
        report = load_weights(model, weights, "MODEL.PRETRAIN_PATH")
        logger.info("CLIP weights from %s: %s", weights, report)
    return model


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


def prompt_noun(cfg: CfgNode) -> str:
    """MODEL.PROMPT, else "vehicle" when all sources are vehicle data sets, else "person"."""
    if cfg.MODEL.PROMPT:
        return cfg.MODEL.PROMPT
    vehicles = all(name in VEHICLE_DATASETS for name in cfg.DATASETS.NAMES)
    return "vehicle" if vehicles else "person"
