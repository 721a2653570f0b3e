"""Rebuild a model from its checkpoint alone."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field

from torch import Tensor
from yacs.config import CfgNode

from config import ConfigError, Overrides, list_overrides
from datasets.registry import prompt_noun
from datasets.sources import TrainingSet
from model import CLIPReID, LoadReport, ReIDModel, build_reid_model
from model.embedder import Embedder
from model.encoders.registry import is_known
from model.network_files.embedder import NetworkFile
from model.network_files.runtimes import is_network_file
from model.weights.load import load_state
from model.weights.read import WeightsFile, read_weights_file
from processor.checkpoints.cameras import read_cameras
from processor.checkpoints.configuration import choose_configuration
from processor.checkpoints.consistency import check_consistency
from processor.checkpoints.meta import check_meta, describe_model, read_sizes
from processor.checkpoints.network_file import (
    configure_network_file,
    needs_a_checkpoint,
    output_of,
)
from processor.checkpoints.plugins import explain_missing_plugins, warn_of_changed_plugins
from processor.checkpoints.save import Meta

logger = logging.getLogger(__name__)

_SIZES = {"MODEL.STRIDE_SIZE", "INPUT.SIZE_TRAIN", "INPUT.SIZE_TEST"}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model from a file, on the CPU.

    Attributes:
        model: with the file's weights; a `ReIDModel` unless the file is another program's.
        cfg: the configuration it was rebuilt with.
        cameras: per training source, the rows of its cameras in the camera table.
        use_all: whether it was trained on the sources' query and gallery images as well.
        meta: facts for its checkpoints; see `describe_training`.
        before_prompts: whether the file is from stage 0, before prompts are learned.
        missing_plugins: how to name the plug-ins of its run that are not imported; "" = none.
    """

    model: Embedder
    cfg: CfgNode
    cameras: dict[str, range]
    use_all: bool = False
    meta: Meta = field(default_factory=dict)
    before_prompts: bool = False
    missing_plugins: str = ""

    @property
    def identity_names(self) -> list[str]:
        """The identity behind every label; empty if the file does not tell."""
        return self._names("names")

    @property
    def camera_names(self) -> list[str]:
        """The camera behind every row of the camera table; empty if the file does not tell."""
        return self._names("camera_names")

    def _names(self, key: str) -> list[str]:
        names: list[str] = json.loads(str(self.meta.get(key, "[]")))
        return names

    def network(self) -> ReIDModel:
        """The model as a network of this project.

        Raises:
            ConfigError: it is a network file of another program.
        """
        if isinstance(self.model, NetworkFile):
            raise ConfigError(needs_a_checkpoint(self.model.path))
        assert isinstance(self.model, ReIDModel)
        return self.model

    def has_prompts_of(self, data: TrainingSet) -> bool:
        """Whether the model has learned prompts for these identities, under their labels."""
        return (
            isinstance(self.model, CLIPReID)
            and self.model.prompt_learner is not None
            and not self.before_prompts
            and tuple(self.cameras) == data.names
            and self.model.num_classes == data.num_classes
        )


def open_model(path: str, config_file: str | None = None, opts: Overrides = ()) -> LoadedModel:
    """Rebuild the model of a checkpoint, without CLIP's own weights, or open a network file.

    Args:
        path: a checkpoint of this project or of CLIP-ReID, or what else `locate_weights` accepts;
            or an ONNX or OpenVINO file of any program.
        config_file: a YAML file, or None; see `choose_configuration`.
        opts: overrides `KEY VALUE ...`, or a dict.

    Raises:
        ConfigError: no path, options that contradict the checkpoint, or an encoder of a plug-in
            that PLUGINS does not name.
        FileNotFoundError, ValueError: see `read_weights_file`, `check_meta` and `load_weights`;
            `NetworkFile` and `configure_network_file`.
    """
    if not path:
        raise ConfigError("TEST.WEIGHT: name the checkpoint to evaluate, e.g. TEST.WEIGHT last.pth")
    opts = list_overrides(opts or ())
    if is_network_file(path):
        network = NetworkFile(path, output_of(config_file, opts))
        return LoadedModel(network, configure_network_file(network, config_file, opts), {})
    file = read_weights_file(path)
    check_meta(file, path)
    try:
        cfg = choose_configuration(file, config_file, opts)
    except ValueError as error:
        typed = config_file is not None or opts
        if typed and type(error) is not ValueError:  # of an option, which it names
            raise
        raise ValueError(f"{path}: {error}") from error
    missing = explain_missing_plugins(file, cfg)
    if missing and not is_known(cfg.MODEL.NAME):
        raise ConfigError(f"MODEL.NAME: unknown encoder {cfg.MODEL.NAME!r}; {path}: {missing}")
    warn_of_changed_plugins(file, cfg)
    sizes = read_sizes(file, cfg)
    sizes_typed = _SIZES.intersection(opts[::2])
    check_consistency(
        file,
        cfg,
        sizes,
        path,
        own_name="MODEL.NAME" not in opts[::2],
        own_size=config_file is None and not sizes_typed,
    )
    model = build_reid_model(
        cfg,
        sizes.num_classes,
        sizes.num_cameras,
        sizes.num_views,
        prompt_noun(cfg.DATASETS.NAMES),
    )
    report = load_state(model, _chosen_weights(file, cfg, path), path)
    logger.info("%s: %s", path, report)
    _warn_of_changed_encoder(report, path)
    _check_side_information(model, report, file, path)
    _check_neck(report, path)
    named = config_file is not None or "DATASETS.NAMES" in opts[::2]
    cameras = read_cameras(file, cfg, sizes.num_cameras, named=named)
    return LoadedModel(
        model,
        cfg,
        cameras,
        use_all=bool(file.meta.get("use_all", False)),
        meta=file.meta or describe_model(cfg, sizes, cameras),
        before_prompts=file.meta.get("stage") == 0,
        missing_plugins=missing,
    )


def _chosen_weights(file: WeightsFile, cfg: CfgNode, path: str) -> dict[str, Tensor]:
    """The file's weights, or with TEST.EMA their average; raises ConfigError if it has none."""
    if cfg.TEST.EMA and not file.averaged:
        raise ConfigError(
            f"TEST.EMA: {path} has no averaged weights; train with SOLVER.EMA, or leave it out"
        )
    return {**file.state, **file.averaged} if cfg.TEST.EMA else file.state


def _warn_of_changed_encoder(report: LoadReport, path: str) -> None:
    """Warn if a part of the file's image encoder was resized or left out."""
    if report.reshaped:
        logger.warning(
            "%s: position embeddings were resized (%s), so that features differ from those that "
            "were trained; MODEL.STRIDE_SIZE and INPUT.SIZE_TEST should be those of training",
            path,
            ", ".join(report.reshaped),
        )
    left = [key for key in report.unexpected if key.startswith(("image_encoder.", "cv_embed"))]
    if left:
        logger.warning(
            "%s: left out, as the configuration has no place for it: %s; features differ from "
            "those that were trained",
            path,
            ", ".join(left),
        )


def _check_side_information(
    model: ReIDModel, report: LoadReport, file: WeightsFile, path: str
) -> None:
    """Raise ConfigError if MODEL.SIE_* describe another table than the file's."""
    if "cv_embed" in report.missing:
        raise ConfigError(
            f"MODEL.SIE_CAMERA, MODEL.SIE_VIEW: {path} has no side information; leave them out"
        )
    if "cv_embed" in report.skipped:
        raise ConfigError(
            f"MODEL.SIE_CAMERA, MODEL.SIE_VIEW: they require "
            f"{len(model.state_dict()['cv_embed'])} rows of side information, {path} has "
            f"{len(file.state['cv_embed'])}"
        )


def _check_neck(report: LoadReport, path: str) -> None:
    """Raise ConfigError if DSGL.* describe another neck than the file's."""
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
