"""From a configuration or a checkpoint to an evaluator and its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from yacs.config import CfgNode

from config import ConfigError
from datasets.checks.fingerprint import TEST, fingerprint
from datasets.images.build import build_evaluation_loader
from datasets.records import DataSplits
from datasets.registry import BENCHMARKS, locate, num_splits, read_dataset
from model.embedder import Embedder
from processor.checkpoints.cameras import cameras_of, check_camera_names
from processor.checkpoints.load import LoadedModel, open_model
from processor.evaluation.evaluator import Evaluator
from processor.evaluation.protocol import Protocol
from processor.evaluation.target import Target
from processor.metrics.k_reciprocal import Reranking
from processor.metrics.working_memory import WorkingMemory
from processor.runtime import distributed
from processor.runtime.device import choose_device
from processor.runtime.precision import Precision
from processor.runtime.signals import StopRequest
from processor.runtime.wrapping import compile_encoder


@dataclass(frozen=True, slots=True)
class OpenEvaluation:
    """A model and the evaluator of its targets.

    Attributes:
        model: on the device of MODEL.DEVICE, compiled if MODEL.COMPILE.
        loaded: the contents of the checkpoint; its model is the same object.
        evaluator: of the targets.
    """

    model: Embedder
    loaded: LoadedModel
    evaluator: Evaluator


def open_evaluation(checkpoint: str, opts: Sequence[str], data: Sequence[str]) -> OpenEvaluation:
    """Open a checkpoint and the test splits of data sets, and check that they can be evaluated.

    Args:
        checkpoint: a file of this project or of CLIP-ReID.
        opts: overrides `KEY VALUE ...`.
        data: names or folders; default: DATASETS.TARGETS, or else DATASETS.NAMES.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_model`, `read_dataset` and
            `Evaluator.check`.
    """
    named = ["DATASETS.TARGETS", repr(tuple(data))] if data else []
    opened = prepare_evaluation(open_model(checkpoint, None, [*opts, *named]))
    opened.evaluator.check()
    return opened


def prepare_evaluation(loaded: LoadedModel, targets: list[Target] | None = None) -> OpenEvaluation:
    """Move a model to its device and build the evaluator of its targets, without checking them.

    Args:
        loaded: a checkpoint.
        targets: default: those of the configuration.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `build_targets`; a data set of a plug-in
            that PLUGINS does not name.
    """
    cfg = loaded.cfg
    device = choose_device(cfg.MODEL.DEVICE, cfg.MODEL.DEVICE_ID)
    if targets is None:
        _check_data_sets(loaded)
        targets = build_targets(cfg, loaded.cameras)
    if cfg.MODEL.SIE_CAMERA:
        _check_cameras(loaded, targets)
    model = loaded.model.to(device)
    if cfg.MODEL.COMPILE:
        compile_encoder(loaded.network())
    return OpenEvaluation(model, loaded, build_evaluator(cfg, targets, device))


def _check_cameras(loaded: LoadedModel, targets: Sequence[Target]) -> None:
    """Raise ConfigError if a target's cameras are not those that the model knows by these rows."""
    names = loaded.camera_names
    for target in targets:
        if names and target.cameras is not None:
            images = [x for split in target.splits for x in (*split.query, *split.gallery)]
            check_camera_names(images, target.cameras, names)


def _check_data_sets(loaded: LoadedModel) -> None:
    """Raise ConfigError if an unknown data set may be that of a plug-in not imported."""
    data = loaded.cfg.DATASETS
    for name in data.TARGETS or data.NAMES:
        is_known = name in BENCHMARKS or locate(name, data.ROOT_DIR)[1] is not None
        if loaded.missing_plugins and not is_known:
            raise ConfigError(
                f"DATASETS.TARGETS: {name!r} is neither a known data set nor a folder or CSV file "
                f"below {data.ROOT_DIR!r}; if a plug-in registers it, {loaded.missing_plugins}"
            )


def build_targets(
    cfg: CfgNode, cameras: dict[str, range], sources: Sequence[DataSplits] = ()
) -> list[Target]:
    """Read the data sets to evaluate on: DATASETS.TARGETS, or else the sources' own test splits.

    Args:
        cfg: for its DATASETS.
        cameras: per source of the model, its rows in the model's camera table.
        sources: split 0 of the data sets in DATASETS.NAMES, if they have been read already.

    Raises:
        ConfigError: two targets have one name, which results could not tell apart, or a target has
            the name of a source but is another data set.
    """
    root = cfg.DATASETS.ROOT_DIR
    trained = [locate(name, root) for name in cfg.DATASETS.NAMES]
    read = dict(zip(trained, sources, strict=False))
    targets = []
    for name in cfg.DATASETS.TARGETS or cfg.DATASETS.NAMES:
        rows = cameras_of(cfg, name, cameras)
        place = locate(name, root)
        untrained = rows is None and place not in trained
        first = read.get(place) or read_dataset(name, root, tested_only=untrained)
        splits = [first, *(read_dataset(name, root, i) for i in range(1, num_splits(name)))]
        target = splits[0].name
        targets.append(Target(target, splits, rows, fingerprint(splits, TEST)))
    names = [target.name for target in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"DATASETS.TARGETS: several data sets are called {', '.join(twice)}; results are named "
            "after the folder or file, rename one"
        )
    return targets


def build_evaluator(
    cfg: CfgNode, targets: list[Target], device: torch.device, stop: StopRequest | None = None
) -> Evaluator:
    """An evaluator with protocol and number format of TEST.*."""
    test = cfg.TEST
    precision = Precision.of(test.AMP, device, "TEST.AMP")
    constants = (test.RE_RANKING_K1, test.RE_RANKING_K2, test.RE_RANKING_LAMBDA)
    protocol = Protocol(
        normalize=test.FEAT_NORM,
        ignore_same_camera=test.IGNORE_SAME_CAMERA,
        memory=WorkingMemory(test.CHUNK_MB, device),
        rerank=Reranking(*constants) if test.RE_RANKING else None,
        multi_query=test.MULTI_QUERY,
    )
    loader = partial(
        build_evaluation_loader,
        cfg,
        processes=distributed.local_size(),
        pin_memory=precision.on_cuda,
    )
    return Evaluator(targets, protocol, loader, precision, stop)
