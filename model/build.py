"""Models as a configuration describes them."""

from __future__ import annotations

import logging
from pathlib import Path

from yacs.config import CfgNode

from config.free_options import free_options
from config.load import load_cfg_text
from model.clip_reid import CLIPReID, SideInformation, TextSide
from model.encoders.clip_text import TextTower
from model.encoders.image_encoder import ImageEncoder
from model.encoders.kind import Backbone, EncoderOptions
from model.encoders.registry import find_encoder_kind
from model.pooling import build_pooling
from model.prompt import PromptLearner, tokenize_prompt
from model.reid_model import ReIDModel
from model.text import TextEncoder
from model.unsupervised import UnsupervisedReID
from model.weights.load import load_pretrained
from model.weights.read import WeightsFile, read_weights_file
from model.weights.translate import text_state

logger = logging.getLogger(__name__)

# CLIP-ReID's vehicle data sets, for callers that have only a configuration. The program passes the
# noun of its data sets' records instead.
CLIP_REID_VEHICLES = ("veri", "VehicleID", "VehicleID_1600", "VehicleID_2400")


def build_reid_model(
    cfg: CfgNode, num_classes: int, num_cameras: int, num_views: int, noun: str = ""
) -> ReIDModel:
    """`build_unsupervised_model` if DSGL.ENABLED, else `build_model`."""
    if cfg.DSGL.ENABLED:
        return build_unsupervised_model(cfg)
    return build_model(cfg, num_classes, num_cameras, num_views, noun)


def build_model(
    cfg: CfgNode, num_classes: int, num_cameras: int, num_views: int, noun: str = ""
) -> CLIPReID:
    """CLIP-ReID's model or its baseline, with the weights of MODEL.PRETRAIN_*.

    Args:
        cfg: MODEL, INPUT.SIZE_TRAIN, TEST.NECK_FEAT and, for the noun, DATASETS.NAMES count.
        num_classes: training identities C.
        num_cameras: cameras of the training images; rows of the side-information table.
        num_views: viewpoints of the training images, likewise.
        noun: word for an identity, if MODEL.PROMPT is empty; empty = by DATASETS.NAMES.

    Raises:
        FileNotFoundError: the pre-trained weights are neither cached, downloadable nor given.
        ValueError: options or weights that do not fit the architecture.
    """
    weights = find_weights(cfg)
    backbone = build_backbone(cfg)
    encoder = backbone.image_encoder
    text = None
    if cfg.MODEL.TEXT_TOWER:
        text = build_text_side(cfg, backbone, num_classes, prompt_noun(cfg, noun))
    model = CLIPReID(
        encoder,
        num_classes,
        neck=cfg.MODEL.NECK,
        neck_feature=cfg.TEST.NECK_FEAT,
        side_information=build_side_information(cfg, encoder, num_cameras, num_views),
        text=text,
    )
    fill(cfg, model, weights)
    return model


def build_unsupervised_model(cfg: CfgNode) -> UnsupervisedReID:
    """DSGL's model, with the weights of MODEL.PRETRAIN_*; raises as `build_model`."""
    weights = find_weights(cfg)
    encoder = build_backbone(cfg).image_encoder
    options = cfg.DSGL
    pooling = None if options.POOLING == "clip" else build_pooling(options.POOLING)
    if options.FREEZE_PATCH_CONV:
        freeze_patch_convolution(encoder)
    model = UnsupervisedReID(encoder, pooling, embed_dim=options.EMBED_DIM, dropout=options.DROPOUT)
    fill(cfg, model, weights)
    return model


def find_weights(cfg: CfgNode) -> str | Path | None:
    """The file of pre-trained weights that MODEL.PRETRAIN_* name; None = random weights.

    Raises:
        FileNotFoundError: the weights are neither cached, downloadable nor given.
        ValueError: unknown MODEL.NAME.
    """
    kind = find_encoder_kind(cfg.MODEL.NAME)
    if cfg.MODEL.PRETRAIN_CHOICE == "none":
        return None
    return cfg.MODEL.PRETRAIN_PATH or kind.find_weights(cfg.MODEL.NAME, cfg.MODEL.PRETRAIN_TAG)


def fill(cfg: CfgNode, model: ReIDModel, weights: str | Path | None) -> None:
    """Load pre-trained weights, if any, and log which parts they fill; raises as `load_weights`."""
    if weights is not None:
        file = read_weights_file(weights, "MODEL.PRETRAIN_PATH")
        report = load_pretrained(model, file, weights)
        logger.info("pre-trained weights from %s: %s", weights, report.summary())
        warn_of_other_normalization(cfg, file)


def warn_of_other_normalization(cfg: CfgNode, file: WeightsFile) -> None:
    """Warn if a checkpoint of this project was trained on images normalized differently."""
    if file.config:
        trained = load_cfg_text(file.config, ["MODEL.NAME", cfg.MODEL.NAME]).INPUT
        for key in ("NORMALIZATION", "CHANNELS", "PIXEL_MEAN", "PIXEL_STD"):
            if trained[key] != cfg.INPUT[key]:
                logger.warning(
                    "INPUT.%s: %s here, but the pre-trained weights were trained with %s",
                    key,
                    cfg.INPUT[key],
                    trained[key],
                )


def build_backbone(cfg: CfgNode) -> Backbone:
    """The encoder of MODEL.NAME for INPUT.SIZE_TRAIN; raises ValueError if they do not fit."""
    height, width = cfg.INPUT.SIZE_TRAIN
    rows, columns = cfg.MODEL.STRIDE_SIZE
    options = EncoderOptions(
        image_size=(height, width),
        stride=(rows, columns),
        last_stride=cfg.MODEL.LAST_STRIDE,
        grad_checkpointing=cfg.MODEL.GRAD_CHECKPOINTING,
        tag=cfg.MODEL.PRETRAIN_TAG,
        user=free_options(cfg),
    )
    return find_encoder_kind(cfg.MODEL.NAME).build(cfg.MODEL.NAME, options)


def build_text_side(cfg: CfgNode, backbone: Backbone, num_classes: int, noun: str) -> TextSide:
    """Prompts about a noun, or in a sentence, and the backbone's text tower.

    Raises:
        ValueError: the backbone has no text tower, or the prompt does not fit it.
    """
    text = require_text(cfg, backbone)
    tokens = tokenize_prompt(noun, text.context_length)
    logger.debug("prompt: %s", tokens.sentence)
    prompts = PromptLearner(tokens, text.module.token_embedding, num_classes)
    return TextSide(prompts, TextEncoder(text))


def require_text(cfg: CfgNode, backbone: Backbone) -> TextTower:
    """The backbone's text tower; raises ValueError if prompts cannot be learned with it."""
    if backbone.text is None:
        raise ValueError(
            f"MODEL.NAME: {cfg.MODEL.NAME} cannot learn prompts: {backbone.without_text}; "
            "train its image side alone: python train.py (MODEL.TEXT_TOWER False)"
        )
    return backbone.text


def build_pretrained_text(cfg: CfgNode) -> TextTower:
    """The text tower of MODEL.NAME with the weights of MODEL.PRETRAIN_*, in evaluation mode.

    Raises:
        FileNotFoundError: the pre-trained weights are neither cached, downloadable nor given.
        ValueError: an encoder without text, or a file without the parts of a text tower.
    """
    path = find_weights(cfg)
    text = require_text(cfg, build_backbone(cfg))
    if path is None:
        raise ValueError(f"MODEL.PRETRAIN_CHOICE: none leaves {cfg.MODEL.NAME} without its texts")
    state = text_state(read_weights_file(path, "MODEL.PRETRAIN_PATH").state)
    wanted = {name: tensor.shape for name, tensor in text.parameters_by_name().items()}
    lacking = [x for x, shape in wanted.items() if x not in state or state[x].shape != shape]
    if lacking:
        raise ValueError(
            f"MODEL.PRETRAIN_PATH: {path} lacks {', '.join(lacking[:3])} of the text tower of "
            f"{cfg.MODEL.NAME}"
        )
    text.load({name: state[name].float() for name in wanted})
    text.module.eval()
    return text


def build_side_information(
    cfg: CfgNode, encoder: ImageEncoder, num_cameras: int, num_views: int
) -> SideInformation:
    """The side-information table of MODEL.SIE_*; empty for encoders that do not take it."""
    if not encoder.takes_side_information:
        if cfg.MODEL.SIE_CAMERA or cfg.MODEL.SIE_VIEW:
            logger.warning(
                "MODEL.SIE_CAMERA, MODEL.SIE_VIEW: %s takes no side information, ignored",
                cfg.MODEL.NAME,
            )
        return SideInformation()
    return SideInformation(
        num_cameras if cfg.MODEL.SIE_CAMERA else 0,
        num_views if cfg.MODEL.SIE_VIEW else 0,
        cfg.MODEL.SIE_COE,
    )


def freeze_patch_convolution(encoder: ImageEncoder) -> None:
    """Exclude a ViT's patch convolution from training."""
    convolution = encoder.patch_convolution()
    if convolution is None:
        logger.warning("DSGL.FREEZE_PATCH_CONV: ignored, the encoder has no patch convolution")
    else:
        convolution.requires_grad_(requires_grad=False)


def prompt_noun(cfg: CfgNode, noun: str = "") -> str:
    """MODEL.PROMPT, else `noun`, else "vehicle" for CLIP-ReID's vehicle data sets or "person"."""
    if cfg.MODEL.PROMPT or noun:
        return cfg.MODEL.PROMPT or noun
    vehicles = all(name in CLIP_REID_VEHICLES for name in cfg.DATASETS.NAMES)
    return "vehicle" if vehicles else "person"
