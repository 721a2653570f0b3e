"""Checks of options and of their combinations, before any data or weight is read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from config.errors import ConfigError
from config.extra_losses import extra_losses
from config.options import lookup
from config.ranges import COLOURS, check_ranges
from config.samplers import CLUSTER_SAMPLERS, SAMPLERS, sampler_kind
from config.text import read_text

# Spellings of MODEL.NAME whose options are checked here.
FAMILIES = re.compile(r"RN|resnet|ViT-\w+-\d|\{|.*\.json$", re.DOTALL)

CHOICES: dict[str, tuple[Any, ...]] = {
    "MODEL.DEVICE": ("auto", "cpu", "cuda", "mps"),
    "MODEL.PRETRAIN_CHOICE": ("clip", "none"),
    "MODEL.LAST_STRIDE": (1, 2),
    "MODEL.NECK": ("bnneck", "no"),
    "MODEL.ID_LOSS_TYPE": ("softmax",),
    "MODEL.METRIC_LOSS_TYPE": ("triplet", "center", "triplet_center", "none"),
    "INPUT.CACHE": ("auto", "none", "ram", "device"),
    "INPUT.ON_BAD_IMAGE": ("error", "skip"),
    "INPUT.TEST_INTERPOLATION": ("bilinear", "bicubic"),
    "INPUT.NORMALIZATION": ("fixed", "instance"),
    "INPUT.CHANNELS": ("rgb", "bgr"),
    "DATALOADER.DFGS.WALK": ("depth_first", "balanced", "greedy"),
    "DSGL.POOLING": ("gem", "avg", "max", "avg+max", "clip"),
    "DSGL.MEMORY": ("CM", "CMhard", "DLhybrid", "DLhybrid_v2"),
    "DSGL.MEM_LOSS": ("hard", "mean", "both"),
    "SOLVER.AMP": ("auto", "off", "fp16", "bf16"),
    "INPUT.RE_FILL": ("noise", "mean"),
    "DATALOADER.DFGS.FEATURES": ("", "text", "image", "both"),
    "TEST.AMP": ("auto", "off", "fp16", "bf16"),
    "SOLVER.STAGE1.OPTIMIZER_NAME": ("Adam", "AdamW", "SGD"),
    "SOLVER.STAGE2.OPTIMIZER_NAME": ("Adam", "AdamW", "SGD"),
    "SOLVER.STAGE2.WARMUP_METHOD": ("linear", "constant"),
    "TEST.NECK_FEAT": ("before", "after"),
}

TRIPLET_FEATURES = ("last", "final", "projected")


def check_cfg(cfg: CfgNode, *, batches: bool = True) -> None:
    """Refuse a configuration that cannot work.

    Args:
        cfg: all options.
        batches: check the sampler and what depends on it.

    Raises:
        ConfigError: names the option, its value and what to set instead.
    """
    check_choices(cfg)
    check_ranges(cfg)
    if batches:
        check_sampler(cfg)
    if cfg.DSGL.ENABLED:
        check_dsgl(cfg)
    else:
        check_clip(cfg)
        if batches:
            check_losses(cfg)
            check_batch(cfg)
    check_image_size(cfg)
    check_encoder(cfg)
    check_cache(cfg)
    area = list(cfg.INPUT.RE_AREA)
    if area != sorted(area):
        raise ConfigError(f"INPUT.RE_AREA: {area} should be the smallest and the largest share")
    steps = list(cfg.SOLVER.STAGE2.STEPS)
    if steps != sorted(steps):
        raise ConfigError(f"SOLVER.STAGE2.STEPS: {steps} should be epochs in ascending order")
    if not cfg.DATASETS.NAMES:
        raise ConfigError("DATASETS.NAMES: name at least one data set, e.g. market1501")


def check_choices(cfg: CfgNode) -> None:
    """Options with a fixed set of values have one of them; raises ConfigError."""
    for name, choices in CHOICES.items():
        value = lookup(cfg, name)
        if value not in choices:
            raise ConfigError(f"{name}: {value!r} is not one of {', '.join(map(str, choices))}")


def check_sampler(cfg: CfgNode) -> None:
    """DATALOADER.SAMPLER is registered; raises ConfigError."""
    name = cfg.DATALOADER.SAMPLER
    if name not in SAMPLERS:
        raise ConfigError(
            f"DATALOADER.SAMPLER: {name!r} is not one of {', '.join(SAMPLERS)}; PLUGINS names "
            "files that register others"
        )


def check_clip(cfg: CfgNode) -> None:
    """Prompts are learned with a CLIP; raises ConfigError."""
    if is_imagenet(cfg.MODEL.NAME) and cfg.MODEL.TEXT_TOWER:
        raise ConfigError(
            f"MODEL.NAME: {cfg.MODEL.NAME} has no text encoder to learn prompts with; it is for "
            "the baseline (train.py) and for training without labels (train_dsgl.py). CLIP's "
            "ResNet is RN50"
        )


def check_losses(cfg: CfgNode) -> None:
    """The image stage has a loss; raises ConfigError."""
    features = list(cfg.MODEL.TRIPLET_FEATURES)
    if not features or not set(features) <= set(TRIPLET_FEATURES):
        raise ConfigError(
            f"MODEL.TRIPLET_FEATURES: {features} should be one or more of "
            f"{', '.join(TRIPLET_FEATURES)}; to train without a triplet loss, set "
            "MODEL.METRIC_LOSS_TYPE to none"
        )
    metric = cfg.MODEL.METRIC_LOSS_TYPE
    triplet = "triplet" in metric and sampler_kind(cfg).p_x_k and cfg.MODEL.TRIPLET_LOSS_WEIGHT
    center = "center" in metric or cfg.MODEL.IF_WITH_CENTER
    center = center and cfg.SOLVER.STAGE2.CENTER_LOSS_WEIGHT
    text = cfg.MODEL.TEXT_TOWER and cfg.MODEL.I2T_LOSS_WEIGHT and not cfg.SOLVER.STAGE0.MAX_EPOCHS
    if not (cfg.MODEL.ID_LOSS_WEIGHT or triplet or center or text or extra_losses(cfg)):
        raise ConfigError(
            "MODEL.ID_LOSS_WEIGHT: 0 leaves a stage without text with no loss; raise it, or set "
            "MODEL.METRIC_LOSS_TYPE to triplet and DATALOADER.SAMPLER to softmax_triplet"
        )


def check_batch(cfg: CfgNode) -> None:
    """A P x K batch holds whole identities, at least two; raises ConfigError."""
    kind, name = sampler_kind(cfg), cfg.DATALOADER.SAMPLER
    if not kind.p_x_k:
        return
    if kind.full_rows and cfg.DATALOADER.DFGS.MUTUAL:
        others = [other for other, row in SAMPLERS.items() if row.graph and not row.full_rows]
        raise ConfigError(
            f"DATALOADER.DFGS.MUTUAL: a batch of {name} needs P - 1 neighbours for every identity; "
            f"set it to False, or DATALOADER.SAMPLER to {' or '.join(others)}"
        )
    if kind.graph in ("text", "both") and not cfg.MODEL.TEXT_TOWER:
        others = [other for other, row in SAMPLERS.items() if row.graph == "image"]
        raise ConfigError(
            f"DATALOADER.SAMPLER: {name} needs learned prompts, which a baseline does not have; "
            f"set it to {' or '.join(others)}, and DATALOADER.DFGS.FEATURES to image"
        )
    size, num_instances = cfg.SOLVER.STAGE2.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    if size % num_instances:
        raise ConfigError(
            f"SOLVER.STAGE2.IMS_PER_BATCH: {size} is not divisible by DATALOADER.NUM_INSTANCE "
            f"{num_instances}; a batch holds P identities x {num_instances} images"
        )
    if num_instances < 2 and "triplet" in cfg.MODEL.METRIC_LOSS_TYPE:
        raise ConfigError(
            "DATALOADER.NUM_INSTANCE: 1 image per identity leaves the triplet loss no positives; "
            "raise it, or set MODEL.METRIC_LOSS_TYPE to none"
        )
    if size // num_instances < 2:
        raise ConfigError(
            f"SOLVER.STAGE2.IMS_PER_BATCH: {size} with DATALOADER.NUM_INSTANCE {num_instances} is "
            "one identity per batch; the triplet loss needs two or more"
        )


def require_labels(cfg: CfgNode) -> CfgNode:
    """The configuration itself if it trains with identity labels; else raises ConfigError."""
    if cfg.DSGL.ENABLED:
        raise ConfigError(
            "DSGL.ENABLED: True trains without labels, which needs another script: python "
            "train_dsgl.py --config_file FILE"
        )
    return cfg


def check_dsgl(cfg: CfgNode) -> None:
    """Training without labels: one stage with losses of its own; raises ConfigError."""
    options = cfg.DSGL
    if options.K2 > options.K1:
        raise ConfigError(f"DSGL.K2: {options.K2} should be at most DSGL.K1, {options.K1}")
    if options.POOLING == "clip" and is_imagenet(cfg.MODEL.NAME):
        raise ConfigError(
            f"DSGL.POOLING: clip is for CLIP's encoders; {cfg.MODEL.NAME} takes gem, avg, max or "
            "avg+max"
        )
    if cfg.SOLVER.STAGE0.MAX_EPOCHS or cfg.SOLVER.STAGE1.WEIGHT:
        raise ConfigError("SOLVER.STAGE0, SOLVER.STAGE1: DSGL has one stage, SOLVER.STAGE2's")
    if extra_losses(cfg):
        raise ConfigError("MODEL.EXTRA_LOSSES: DSGL has losses of its own; leave this option out")
    if cfg.MODEL.SIE_CAMERA or cfg.MODEL.SIE_VIEW:
        raise ConfigError("MODEL.SIE_CAMERA, MODEL.SIE_VIEW: DSGL takes no side information")
    check_cluster_batch(cfg)


def check_cluster_batch(cfg: CfgNode) -> None:
    """A batch of DSGL holds whole clusters, at least two; raises ConfigError."""
    size, num_instances = cfg.SOLVER.STAGE2.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    if cfg.DATALOADER.SAMPLER not in CLUSTER_SAMPLERS:
        raise ConfigError(
            f"DATALOADER.SAMPLER: {cfg.DATALOADER.SAMPLER} needs identities; DSGL takes "
            f"{' or '.join(CLUSTER_SAMPLERS)}"
        )
    if sampler_kind(cfg).p_x_k and (size % num_instances or size < 2 * num_instances):
        raise ConfigError(
            f"SOLVER.STAGE2.IMS_PER_BATCH: {size} with DATALOADER.NUM_INSTANCE {num_instances} is "
            "not a whole number of clusters, at least two"
        )


def check_image_size(cfg: CfgNode) -> None:
    """One image size for training and test; raises ConfigError."""
    size = cfg.INPUT.SIZE_TRAIN
    if list(size) != list(cfg.INPUT.SIZE_TEST):
        raise ConfigError(
            f"INPUT.SIZE_TEST: {cfg.INPUT.SIZE_TEST} differs from INPUT.SIZE_TRAIN {size}; the "
            "positional embedding is made for one size"
        )


def check_encoder(cfg: CfgNode) -> None:
    """Image size and stride fit the encoder, as far as its name tells; raises ConfigError."""
    if not FAMILIES.match(cfg.MODEL.NAME) or "timm_model_name" in config_text(cfg.MODEL.NAME):
        return  # unknown here: refused by model.build, or an encoder that checks its own options
    size, stride = cfg.INPUT.SIZE_TRAIN, cfg.MODEL.STRIDE_SIZE
    patch = patch_size(cfg.MODEL.NAME)
    if patch is None and cfg.MODEL.GRAD_CHECKPOINTING:
        raise ConfigError(
            "MODEL.GRAD_CHECKPOINTING: a ResNet's batch norms would count every batch twice; it is "
            "for ViTs only"
        )
    if patch is None:
        if list(stride) != [16, 16]:
            raise ConfigError(f"MODEL.STRIDE_SIZE: {stride}; a ResNet has stride [16, 16]")
        total_stride = 1 if is_imagenet(cfg.MODEL.NAME) else 16 * cfg.MODEL.LAST_STRIDE
        if size[0] % total_stride or size[1] % total_stride:
            raise ConfigError(
                f"INPUT.SIZE_TRAIN: {size}; this ResNet needs multiples of {total_stride}"
            )
        return
    if min(size) < patch:
        raise ConfigError(f"INPUT.SIZE_TRAIN: {size} is smaller than one patch of {patch} pixels")
    if max(stride) > patch:
        raise ConfigError(
            f"MODEL.STRIDE_SIZE: {stride} is larger than the patches of {patch} pixels; pixels "
            f"between them would be lost. Set it to [{patch}, {patch}] or less"
        )


def check_cache(cfg: CfgNode) -> None:
    """Augmentation on the device leaves colours unchanged; raises ConfigError."""
    changed = [name for name in COLOURS if lookup(cfg, name)]
    if cfg.INPUT.CACHE == "device" and changed:
        raise ConfigError(
            f"INPUT.CACHE: device leaves colours unchanged, so {', '.join(changed)} would have no "
            "effect; set INPUT.CACHE to ram, or the probabilities to 0"
        )


def patch_size(name: str) -> int | None:
    """Pixels of a ViT's patch from its name or JSON config; None for a ResNet."""
    text = config_text(name)
    if text:
        try:
            vision = json.loads(text)["vision_cfg"]
            layers, size = vision.get("layers"), vision.get("patch_size", 16)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"MODEL.NAME: {name} is not a JSON model config: {error!r}") from None
        if isinstance(layers, list):
            return None
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"MODEL.NAME: {name}: patch_size is {size!r}, not a whole number")
        return size
    match = re.search(r"ViT-\w+-(\d+)", name)
    return int(match[1]) if match else None


def config_text(name: str) -> str:
    """The JSON model config that MODEL.NAME names or is; "" for other names."""
    if name.endswith(".json") and not name.startswith("{"):
        if not Path(name).is_file():
            raise ConfigError(f"MODEL.NAME: no file {name}")
        return read_text(Path(name))
    return name if name.startswith("{") else ""


def is_imagenet(name: str) -> bool:
    """Whether a name is torchvision's (resnet50, in contrast to CLIP's RN50) or timm's."""
    return name.startswith(("resnet", "timm/"))


def check_pretraining(cfg: CfgNode) -> None:
    """A file of pre-trained weights is also loaded; raises ConfigError."""
    if cfg.MODEL.PRETRAIN_PATH and cfg.MODEL.PRETRAIN_CHOICE == "none":
        raise ConfigError(
            f"MODEL.PRETRAIN_PATH: {cfg.MODEL.PRETRAIN_PATH} would not be loaded, as "
            "MODEL.PRETRAIN_CHOICE is none (random weights); set it to clip, or leave out the path"
        )
