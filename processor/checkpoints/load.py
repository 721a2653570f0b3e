"""Rebuild a model from a checkpoint alone."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field

import torch
from yacs.config import CfgNode

from config import ConfigError, load_cfg
from config.load import flatten, load_cfg_text
from datasets.registry import locate, prompt_noun
from datasets.sources import TrainingSet
from model import CLIPReID, LoadReport, ReIDModel, build_reid_model
from model.encoders.clip import architecture_text
from model.weights.load import load_state
from model.weights.read import WeightsFile, read_weights_file
from model.weights.translate import infer_options
from processor.checkpoints.save import Meta

logger = logging.getLogger(__name__)

# Options that the weights depend on: the file's own values win over a config file's.
ARCHITECTURE = (
    "MODEL.NAME",
    "MODEL.LAST_STRIDE",
    "MODEL.NECK",
    "MODEL.TEXT_TOWER",
    "MODEL.PROMPT",
    "MODEL.STRIDE_SIZE",
    "MODEL.SIE_CAMERA",
    "MODEL.SIE_VIEW",
    "MODEL.SIE_COE",
    "DSGL.ENABLED",
    "DSGL.POOLING",
    "DSGL.EMBED_DIM",
    "INPUT.SIZE_TRAIN",
    "INPUT.SIZE_TEST",
    "INPUT.TEST_INTERPOLATION",
    "INPUT.NORMALIZATION",
    "INPUT.PIXEL_MEAN",
    "INPUT.PIXEL_STD",
)
# Those of them that features do not depend on.
_WITHOUT_EFFECT_ON_FEATURES = ("MODEL.TEXT_TOWER", "MODEL.PROMPT", "INPUT.SIZE_TRAIN")
_WEIGHTS_WITHOUT_EFFECT = ("text_encoder.", "prompt_learner.", "classifier")

VERI_VIEWPOINTS = 8  # the only benchmark with viewpoints


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model from a file, on the CPU.

    Attributes:
        model: with the file's weights.
        cfg: the configuration it was rebuilt with.
        cameras: per source it was trained on, the rows of its cameras in the camera table.
        use_all: it was trained on the sources' query and gallery images as well.
        meta: what a checkpoint of it carries beside weights and configuration.
        before_prompts: the file is of stage 0, in which prompts are not learned yet.
    """

    model: ReIDModel
    cfg: CfgNode
    cameras: dict[str, range]
    use_all: bool = False
    meta: Meta = field(default_factory=dict)
    before_prompts: bool = False

    def has_prompts_of(self, data: TrainingSet) -> bool:
        """Whether the model has learned prompts of these identities, under their labels."""
        return (
            isinstance(self.model, CLIPReID)
            and self.model.prompt_learner is not None
            and not self.before_prompts
            and tuple(self.cameras) == data.names
            and self.model.num_classes == data.num_classes
        )


def open_model(
    path: str, config_file: str | None = None, opts: list[str] | None = None
) -> LoadedModel:
    """Build the model that a checkpoint holds; CLIP's own weights are not needed.

    The architecture comes from `opts`, else from the checkpoint, else from its shapes; everything
    else from `opts`, else the config file, else the checkpoint.

    Args:
        path: a checkpoint of this project or of CLIP-ReID.
        config_file: a YAML file, or None.
        opts: overrides `KEY VALUE ...`.

    Raises:
        ConfigError: no path.
        FileNotFoundError, ValueError: see `read_weights_file` and `load_weights`.
    """
    if not path:
        raise ConfigError("TEST.WEIGHT: name the checkpoint to evaluate, e.g. TEST.WEIGHT last.pth")
    opts = list(opts or [])
    file = read_weights_file(path)
    cfg = _configuration(file, config_file, opts)
    sizes = _sizes(file, cfg)
    model = build_reid_model(cfg, *sizes, prompt_noun(cfg.DATASETS.NAMES))
    report = load_state(model, file.state, path)
    logger.info("%s: %s", path, report)
    _check_side_information(model, report, file, path)
    _check_neck(report, path)
    named = config_file is not None or "DATASETS.NAMES" in opts[::2]
    cameras = _cameras(file, cfg, sizes[1], named=named)
    use_all, early = bool(file.meta.get("use_all", False)), file.meta.get("stage") == 0
    meta = file.meta or describe_model(cfg, sizes, cameras)
    return LoadedModel(model, cfg, cameras, use_all, meta, before_prompts=early)


def _check_side_information(
    model: ReIDModel, report: LoadReport, file: WeightsFile, path: str
) -> None:
    if "cv_embed" in report.missing:
        raise ConfigError(
            f"MODEL.SIE_CAMERA, MODEL.SIE_VIEW: {path} has no side information; leave them out"
        )
    if "cv_embed" in report.skipped:
        raise ConfigError(
            f"MODEL.SIE_CAMERA, MODEL.SIE_VIEW: they ask for {len(model.state_dict()['cv_embed'])} "
            f"rows of side information, {path} has {len(file.state['cv_embed'])}"
        )


def _check_neck(report: LoadReport, path: str) -> None:
    """What was trained around the neck is the model's; raises ConfigError."""
    if "bottleneck.weight" in report.skipped:
        raise ConfigError(
            f"DSGL.ENABLED: {path} was trained the other way, with identity labels or without; "
            "leave this option out"
        )
    parts = [
        key
        for key in (*report.missing, *report.unexpected)
        if key.startswith(("pooling.", "embedding."))
    ]
    if parts and "bottleneck.weight" in report.loaded:
        raise ConfigError(
            f"DSGL.POOLING, DSGL.EMBED_DIM: only one of the model and {path} has "
            f"{', '.join(parts)}; leave these options out"
        )


def describe_model(
    cfg: CfgNode, sizes: tuple[int, int, int], cameras: dict[str, range], *, use_all: bool = False
) -> Meta:
    """What a checkpoint carries beside weights and configuration.

    Args:
        cfg: MODEL.NAME counts.
        sizes: training identities, cameras, viewpoints.
        cameras: per source, the rows of its cameras in the camera table.
        use_all: the sources' query and gallery images are trained on as well.
    """
    num_classes, num_cameras, num_views = sizes
    return {
        "architecture": architecture_text(cfg.MODEL.NAME),
        "num_classes": 0 if cfg.DSGL.ENABLED else num_classes,
        "num_cameras": num_cameras,
        "num_views": num_views,
        "use_all": use_all,
        "cameras": json.dumps({name: [rows.start, rows.stop] for name, rows in cameras.items()}),
        "torch": str(torch.__version__),
    }


def describe_features(loaded: LoadedModel) -> dict[str, str]:
    """What a model's features depend on besides the images: they compare only where this is equal.

    Returns:
        A SHA-256 of the weights, under "weights", and options by name. Text encoder, prompts and
        classifiers do not count.
    """
    digest = hashlib.sha256()
    for name, values in sorted(loaded.model.state_dict().items()):
        if not name.startswith(_WEIGHTS_WITHOUT_EFFECT):
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    options = dict(flatten(loaded.cfg))
    options["MODEL.NAME"] = architecture_text(loaded.cfg.MODEL.NAME) or loaded.cfg.MODEL.NAME
    keys = [key for key in ARCHITECTURE if key not in _WITHOUT_EFFECT_ON_FEATURES]
    return {
        "weights": digest.hexdigest(),
        **{key: str(options[key]) for key in [*keys, "TEST.NECK_FEAT"]},
    }


def _configuration(file: WeightsFile, config_file: str | None, opts: list[str]) -> CfgNode:
    no_download = ["MODEL.PRETRAIN_CHOICE", "none"]
    text = str(file.meta.get("architecture", ""))
    own_name = ["MODEL.NAME", text] if text else []  # the JSON file may be gone
    if config_file is None:
        if file.config:
            return load_cfg_text(file.config, [*own_name, *opts, *no_download])
        cfg = load_cfg(None, [*infer_options(file.state), *opts, *no_download])
        logger.info("no configuration in the file: %s, from its shapes", cfg.MODEL.NAME)
        if cfg.MODEL.SIE_CAMERA or cfg.MODEL.SIE_VIEW:
            logger.warning(
                "the file does not say MODEL.SIE_COE (%s is taken; the published recipe has 1.0) "
                "nor whether its side information is of cameras or viewpoints",
                cfg.MODEL.SIE_COE,
            )
        return cfg
    if not file.config:
        return load_cfg(config_file, [*opts, *no_download])
    saved = dict(flatten(load_cfg_text(file.config, own_name)))
    own = [*own_name, "DSGL.ENABLED", str(saved["DSGL.ENABLED"])]  # which names there are
    given = dict(flatten(load_cfg(config_file, [*own, *opts], quiet=True)))
    saved["MODEL.NAME"] = text or saved["MODEL.NAME"]
    given["MODEL.NAME"] = architecture_text(given["MODEL.NAME"]) or given["MODEL.NAME"]
    typed = set(opts[::2])
    kept: list[str] = []
    for key in ARCHITECTURE:
        if saved[key] != given[key] and key not in typed:
            logger.warning("%s: %s, as the checkpoint says, not %s", key, saved[key], given[key])
            kept += [key, str(saved[key])]
    return load_cfg(config_file, [*own, *opts, *kept, *no_download])


def _sizes(file: WeightsFile, cfg: CfgNode) -> tuple[int, int, int]:
    """Classes, cameras and viewpoints of the model in the file; raises ConfigError."""
    if file.meta:
        keys = ("num_classes", "num_cameras", "num_views")
        num_classes, num_cameras, num_views = (int(file.meta[key]) for key in keys)
        return num_classes, num_cameras, num_views
    classes = file.state.get("classifier.weight")
    num_classes = 1 if classes is None else len(classes)
    rows = len(file.state["cv_embed"]) if "cv_embed" in file.state else 1
    if cfg.MODEL.SIE_CAMERA and cfg.MODEL.SIE_VIEW:
        if rows % VERI_VIEWPOINTS:
            raise ConfigError(
                f"MODEL.SIE_CAMERA, MODEL.SIE_VIEW: {rows} rows of side information are no pairs "
                f"of cameras with VeRi-776's {VERI_VIEWPOINTS} viewpoints; set one of them only"
            )
        return num_classes, rows // VERI_VIEWPOINTS, VERI_VIEWPOINTS
    return (num_classes, 1, rows) if cfg.MODEL.SIE_VIEW else (num_classes, rows, 1)


def _cameras(file: WeightsFile, cfg: CfgNode, num_cameras: int, *, named: bool) -> dict[str, range]:
    """Rows of the sources' cameras; for an original file, of the one source that is named."""
    if file.meta:
        saved = json.loads(str(file.meta["cameras"]))
        return {name: range(*ends) for name, ends in saved.items()}
    if named and len(cfg.DATASETS.NAMES) == 1:
        return {cfg.DATASETS.NAMES[0]: range(num_cameras)}
    if "cv_embed" in file.state:
        logger.warning(
            "the file does not say which data set it was trained on: its cameras' mean embedding "
            "is used; name the data set with DATASETS.NAMES"
        )
    return {}


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
