"""The program's table of contents: what a training run and an evaluation do, in order."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from config import ConfigError, load_cfg
from datasets.build import build_sources
from datasets.fingerprint import fingerprint
from datasets.sources import TrainingSet, join_sources
from model import CLIPReID, build_model
from model.clip import architecture_text
from model.weights import WeightsFile, load_state, read_weights_file
from processor.build import (
    build_evaluator,
    build_image_stage,
    build_precision,
    build_prompt_stage,
    build_targets,
)
from processor.evaluation.report import EvaluationReport, format_table
from processor.model_file import open_model
from processor.runtime.device import choose_device, describe_device
from processor.runtime.run_folder import RunFolder, log_to, write_json
from processor.runtime.seeding import seed_everything, use_deterministic_kernels
from processor.runtime.signals import StopRequest
from processor.training import Meta, Training

logger = logging.getLogger(__name__)


def train(cfg: CfgNode) -> EvaluationReport:
    """Train as the configuration says, evaluate, and write everything into OUTPUT_DIR.

    Stage 1 learns the prompts, stage 2 the image encoder; a baseline (MODEL.TEXT_TOWER False) has
    stage 2 only.

    Returns:
        The last epoch's evaluation.

    Raises:
        ConfigError, FileNotFoundError, ValueError: something in the configuration, the data or the
            weights that cannot work; says what to change.
        Interrupted: SIGTERM; `last.pth` holds the state.
    """
    output = Path(cfg.OUTPUT_DIR or "runs/unnamed")
    checkpoint = _find_checkpoint(cfg, output)
    prompts = None
    if cfg.SOLVER.STAGE1.WEIGHT and checkpoint is None:
        prompts = read_weights_file(cfg.SOLVER.STAGE1.WEIGHT)  # before it may be set aside
    folder = RunFolder(output, resume=_is_in(checkpoint, output))
    log_to(folder.path / "log.txt")
    device = choose_device(cfg.MODEL.DEVICE, cfg.MODEL.DEVICE_ID)
    precision = build_precision(cfg, device)
    if cfg.SOLVER.DETERMINISTIC:
        use_deterministic_kernels()
    logger.info("device %s, autocast %s", describe_device(device), precision.dtype or "off")

    sources = build_sources(cfg)
    data = join_sources(sources)
    offsets = dict(zip(data.names, data.camera_offsets, strict=True))
    targets = build_targets(cfg, offsets, sources)
    folder.write_record(
        cfg,
        {
            "seed": cfg.SOLVER.SEED,
            "device": describe_device(device),
            "data": [fingerprint(source) for source in sources],
            "targets": [fingerprint(target.splits[0]) for target in targets],
        },
    )

    with StopRequest() as stop:
        evaluator = build_evaluator(cfg, targets, precision, stop)
        evaluator.check()
        seed_everything(cfg.SOLVER.SEED)
        resume = read_weights_file(checkpoint) if checkpoint is not None else None
        if checkpoint is not None and resume is not None:
            model = _resumed_model(cfg, data, resume, checkpoint)
        elif prompts is not None:
            model = _model_with_prompts(cfg, data, prompts)
        else:
            model = build_model(cfg, data.num_classes, data.num_cameras, data.num_views)
        model = model.to(device)
        before = folder.path / "results_before_training.json"
        if cfg.TEST.BEFORE_TRAINING and resume is None:
            logger.info("evaluation before training")
            write_json(before, evaluator(model).as_dict())
        training = Training(
            cfg=cfg,
            model=model,
            folder=folder,
            precision=precision,
            stop=stop,
            meta=_meta(cfg, data, offsets),
            seed=cfg.SOLVER.SEED,
            evaluate=lambda: evaluator(model),
        )
        state = resume.training if resume is not None else {}
        if cfg.MODEL.TEXT_TOWER and not cfg.SOLVER.STAGE1.WEIGHT and state.get("stage", 1) == 1:
            stage1 = build_prompt_stage(cfg, model, data, precision, stop)
            training.run(stage1, state or None)
            del stage1
        seed_everything(cfg.SOLVER.SEED, "stage 2")  # centers are drawn, resumed or not
        stage2 = build_image_stage(cfg, model, data)
        training.run(stage2, state if state.get("stage") == 2 else None)
        report = training.report or evaluator(model)
    _write_results(folder.path, report)
    logger.info("results\n%s", _closing_table(report, before))
    folder.close()
    return report


def evaluate(config_file: str | None, opts: list[str]) -> EvaluationReport:
    """Evaluate a checkpoint on DATASETS.TARGETS, or on the test splits of DATASETS.NAMES.

    Args:
        config_file: a YAML file; None takes the configuration from the checkpoint.
        opts: overrides `KEY VALUE ...`; here or in the file, TEST.WEIGHT names the checkpoint.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_model` and `read_dataset`.
    """
    weight = _find_weight(config_file, opts)
    loaded = open_model(weight, config_file, opts)
    cfg = loaded.cfg
    output = Path(cfg.OUTPUT_DIR or Path(weight).parent)
    log_to(output / "test_log.txt")
    device = choose_device(cfg.MODEL.DEVICE, cfg.MODEL.DEVICE_ID)
    precision = build_precision(cfg, device)
    targets = build_targets(cfg, loaded.camera_offsets)
    with StopRequest() as stop:
        evaluator = build_evaluator(cfg, targets, precision, stop)
        evaluator.check()
        report = evaluator(loaded.model.to(device))
    _write_results(output, report, weight=weight)
    logger.info("results\n%s", format_table([(Path(weight).name, report.as_dict())]))
    return report


def _find_checkpoint(cfg: CfgNode, output: Path) -> Path | None:
    """The checkpoint that SOLVER.RESUME asks to go on from; raises FileNotFoundError."""
    wanted = cfg.SOLVER.RESUME
    if not wanted:
        return None
    if wanted == "auto":
        return output / "last.pth" if (output / "last.pth").is_file() else None
    path = Path(wanted)
    path = path / "last.pth" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"SOLVER.RESUME: no file {path}")
    return path


def _find_weight(config_file: str | None, opts: list[str]) -> str:
    """TEST.WEIGHT; without a file, other options need to fit the checkpoint, not the defaults."""
    typed = dict(zip(opts[::2], opts[1::2], strict=False))
    if config_file is None and "TEST.WEIGHT" in typed:
        return typed["TEST.WEIGHT"]
    return load_cfg(config_file, opts).TEST.WEIGHT


def _resumed_model(cfg: CfgNode, data: TrainingSet, file: WeightsFile, path: Path) -> CLIPReID:
    """The model of a `last.pth`, which must be of this very run; raises ConfigError."""
    if not file.training:
        raise ConfigError(
            f"SOLVER.RESUME: {path} holds weights only; resume from a last.pth, or start stage 2 "
            "from it with SOLVER.STAGE1.WEIGHT"
        )
    model = _build_without_clip(cfg, data)
    report = load_state(model, file.state, str(path))
    if report.skipped or report.missing or report.unexpected or report.reshaped:
        raise ConfigError(f"SOLVER.RESUME: {path} is of another run: {report}")
    logger.info("resumed: stage %(stage)s, epoch %(epoch)s", file.training)
    return model


def _model_with_prompts(cfg: CfgNode, data: TrainingSet, file: WeightsFile) -> CLIPReID:
    """The model of a stage-1 checkpoint with prompts of these identities; raises ConfigError."""
    path = cfg.SOLVER.STAGE1.WEIGHT
    model = _build_without_clip(cfg, data)
    report = load_state(model, file.state, path)
    logger.info("%s: %s", path, report)
    if "prompt_learner.cls_ctx" not in report.loaded:
        raise ConfigError(
            f"SOLVER.STAGE1.WEIGHT: {path} has no prompts of these {data.num_classes} "
            "identities; train stage 1 on this data"
        )
    return model


def _build_without_clip(cfg: CfgNode, data: TrainingSet) -> CLIPReID:
    """A model whose weights come from a checkpoint; CLIP's own need not be there."""
    bare = cfg.clone()
    bare.defrost()
    bare.MODEL.PRETRAIN_CHOICE = "none"
    return build_model(bare, data.num_classes, data.num_cameras, data.num_views)


def _meta(cfg: CfgNode, data: TrainingSet, offsets: dict[str, int]) -> Meta:
    return {
        "architecture": architecture_text(cfg.MODEL.NAME),
        "num_classes": data.num_classes,
        "num_cameras": data.num_cameras,
        "num_views": data.num_views,
        "camera_offsets": json.dumps(offsets),
        "torch": str(torch.__version__),
    }


def _write_results(folder: Path, report: EvaluationReport, weight: str = "") -> None:
    """Write results.json; results of another evaluation that lie there are renamed first."""
    path = folder / "results.json"
    if weight and path.is_file():
        number = 1
        while (folder / f"results_{number}.json").exists():
            number += 1
        path.replace(folder / f"results_{number}.json")
    extra: dict[str, Any] = {"checkpoint": weight} if weight else {"checkpoint": "last"}
    write_json(path, {**report.as_dict(), **extra})


def _closing_table(report: EvaluationReport, before: Path) -> str:
    """The trained model's results, below the untrained one's when they are on the same targets."""
    rows = [("trained", report.as_dict())]
    if before.is_file():
        untrained = json.loads(before.read_text(encoding="utf-8"))
        if list(untrained["targets"]) == [target.name for target in report.targets]:
            rows.insert(0, ("untrained", untrained))
    return format_table(rows)


def _is_in(file: Path | None, folder: Path) -> bool:
    return file is not None and file.resolve().parent == folder.resolve()
