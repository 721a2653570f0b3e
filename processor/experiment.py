"""The program's table of contents: what a training run and an evaluation do, in order."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from config import ConfigError, dump_cfg, load_cfg
from datasets.checks.fingerprint import fingerprint
from datasets.checks.leakage import check_names, note_same_people
from datasets.images.build import build_training_images
from datasets.images.placement import FreeMemory, measure_memory
from datasets.images.training_images import ProcessShare, TrainingImages
from datasets.samplers.planner import EpochPlanner
from model import CLIPReID, UnsupervisedReID
from processor.checkpoints.load import open_model
from processor.checkpoints.meta import ModelSizes, describe_model
from processor.checkpoints.resume import build_starting_model, find_starting_point
from processor.evaluation.build import build_evaluator, prepare_evaluation
from processor.evaluation.evaluator import Evaluator
from processor.results.files import save_evaluation, save_results
from processor.results.report import EvaluationReport, format_table, log_results
from processor.runtime import distributed
from processor.runtime.device import choose_device, describe_device
from processor.runtime.files import write_json
from processor.runtime.log import log_to
from processor.runtime.precision import Precision
from processor.runtime.run_folder import RunFolder
from processor.runtime.seeding import seed_everything, use_deterministic_kernels
from processor.runtime.signals import StopRequest
from processor.runtime.wrapping import compile_encoder
from processor.training.build import (
    build_dsgl_stage,
    build_image_stage,
    build_prior_stage,
    build_prompt_stage,
)
from processor.training.plan import RunPlan, _add_remarks, plan_run
from processor.training.stage import Stage
from processor.training.trainer import Trainer

logger = logging.getLogger(__name__)

FEW_IDENTITIES = 10


def train(cfg: CfgNode) -> EvaluationReport:
    """Train as the configuration says, evaluate, and write everything into OUTPUT_DIR.

    Stage 0, when there is one, trains the image encoder without text, stage 1 the prompts, stage 2
    the image encoder; a baseline (MODEL.TEXT_TOWER False) has no stage 1, training without labels
    (DSGL.ENABLED) a single stage of its own. Nothing is written or moved before the configuration
    and the data have been found to be usable.

    Returns:
        The last epoch's evaluation.

    Raises:
        ConfigError, FileNotFoundError, ValueError: something in the configuration, the data or the
            weights that cannot work; says what to change.
        Interrupted: SIGTERM; `last.pth` holds the state.
    """
    if cfg.SOLVER.DETERMINISTIC:
        use_deterministic_kernels()
    device = choose_device(cfg.MODEL.DEVICE, cfg.MODEL.DEVICE_ID)
    precision = Precision.of(cfg.SOLVER.AMP, device)
    output = Path(cfg.OUTPUT_DIR or "runs/unnamed")
    start = find_starting_point(cfg, output)
    with distributed.first_process_first():  # it draws or extracts pictures that others find
        plan = plan_run(cfg)
    data = plan.data
    with StopRequest() as stop:
        evaluator = build_evaluator(cfg, plan.targets, precision, stop)
        images = build_training_images(
            cfg,
            data,
            device,
            stop.check,
            free=_free_everywhere(device),
            share=ProcessShare(distributed.share, distributed.local_size()),
        )
        seed_everything(cfg.SOLVER.SEED)
        with distributed.first_process_first():  # it downloads CLIP's weights
            model = build_starting_model(cfg, data, start).to(device)
        if cfg.MODEL.COMPILE:
            compile_encoder(model)
        folder = RunFolder(output, resume=start.continues_in(output))
        _note_start(cfg, plan, folder, precision, images.summary)
        state = start.training
        del start  # the weights are in the model
        if cfg.TEST.BEFORE_TRAINING and not state:
            logger.info("evaluation before training")
            untrained = evaluator(model).as_dict()
            if distributed.is_first():
                write_json(folder.before_training, untrained)
        trainer = Trainer(
            model=model,
            folder=folder,
            precision=precision,
            stop=stop,
            model_name=cfg.MODEL.NAME,
            config_text=dump_cfg(cfg),
            meta=describe_model(
                cfg, ModelSizes.of(data), data.camera_ranges(), use_all=data.use_all
            ),
            seed=cfg.SOLVER.SEED,
            evaluate=lambda: evaluator(model),
        )
        stages = _stages(cfg, images, plan.sampler, trainer)
        _run_stages(stages, trainer, state)
        report = trainer.report or evaluator(model)
    trained_on = {"sources": list(data.names), "use_all": data.use_all}
    if distributed.is_first():
        results = {**report.as_dict(), **_how(cfg, evaluator, "last"), "training": trained_on}
        save_results(folder.path, results)
    logger.info("%s\n%s", _title(cfg), _closing_table(report, folder.before_training))
    folder.close()
    return report


def _free_everywhere(device: torch.device) -> FreeMemory:
    """The memory that every process can have, so that all decide alike."""
    free = distributed.collect(measure_memory(device))
    on_device = [x.device for x in free if x.device is not None]
    ram = min(x.ram for x in free) // distributed.local_size()
    return FreeMemory(ram, min(on_device) if on_device else None)


def _note_start(
    cfg: CfgNode, plan: RunPlan, folder: RunFolder, precision: Precision, images: str
) -> None:
    """Log and record what is trained on what; `images` says where they are kept."""
    data, device = plan.data, precision.device
    log_to(folder.path / "log.txt")
    processes = f"{distributed.size()} processes, " if distributed.size() > 1 else ""
    logger.info(
        "%sdevice %s, autocast %s", processes, describe_device(device), precision.dtype or "off"
    )
    which = "all images of" if data.use_all else "training images of"
    logger.info("training on %s %s", which, ", ".join(data.names))
    if cfg.DSGL.ENABLED:
        logger.info("training on %d images without their identities", len(data.samples))
    else:
        logger.info("training on %d identities", data.num_classes)
        if data.num_classes < FEW_IDENTITIES:
            logger.warning("%d identities are few to learn from", data.num_classes)
    logger.info("writing to %s", folder.path)
    logger.info("%s", images)
    record = {
        "seed": cfg.SOLVER.SEED,
        "device": describe_device(device),
        "processes": distributed.size(),
        "data": [fingerprint(source) for source in plan.sources],
        "use_all": data.use_all,
        "targets": [fingerprint(target.splits[0]) for target in plan.targets],
    }
    folder.write_record(dump_cfg(cfg), record)


def _stages(
    cfg: CfgNode, images: TrainingImages, sampler: EpochPlanner, trainer: Trainer
) -> dict[int | str, Callable[[], Stage]]:
    """What builds the stages of a run, by name and in order."""
    model, precision, stop = trainer.model, trainer.precision, trainer.stop
    if isinstance(model, UnsupervisedReID):
        return {"dsgl": lambda: build_dsgl_stage(cfg, model, images, sampler, precision, stop)}
    assert isinstance(model, CLIPReID)
    if not cfg.MODEL.TEXT_TOWER:
        logger.info("baseline: images only, without prompts and text encoder")
    stages: dict[int | str, Callable[[], Stage]] = {}
    if cfg.SOLVER.STAGE0.MAX_EPOCHS and not cfg.SOLVER.STAGE1.WEIGHT:
        stages[0] = lambda: build_prior_stage(cfg, model, images)
    if cfg.MODEL.TEXT_TOWER and not cfg.SOLVER.STAGE1.WEIGHT:
        stages[1] = lambda: build_prompt_stage(cfg, model, images, precision, stop)
    stages[2] = lambda: build_image_stage(cfg, model, images, sampler, precision)
    return stages


def _run_stages(
    stages: Mapping[int | str, Callable[[], Stage]], trainer: Trainer, state: dict[str, Any]
) -> None:
    """The stages that are left of a run; `state` is that of a stopped run, or empty."""
    names = list(stages)
    reached = state.get("stage", names[0])
    if reached not in names:
        raise ConfigError(
            f"SOLVER.RESUME: the run stopped in stage {reached}; these options have the stages "
            f"{', '.join(map(str, names))} only"
        )
    for name in names[names.index(reached) :]:
        seed_everything(trainer.seed, f"stage {name}")  # centers are drawn, resumed or not
        trainer.run(stages[name](), state if state.get("stage") == name else None)


def evaluate(config_file: str | None, opts: list[str]) -> EvaluationReport:
    """Evaluate a checkpoint on DATASETS.TARGETS, or on the test splits of DATASETS.NAMES.

    Results go to OUTPUT_DIR or, without one on the command line or in the file, beside the
    checkpoint.

    Args:
        config_file: a YAML file; None takes the configuration from the checkpoint.
        opts: overrides `KEY VALUE ...`; here or in the file, TEST.WEIGHT names the checkpoint.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_model` and `read_dataset`.
    """
    typed = dict(zip(opts[::2], opts[1::2], strict=False))
    weight = typed.get("TEST.WEIGHT") or load_cfg(config_file, opts, quiet=True).TEST.WEIGHT
    loaded = open_model(weight, config_file, opts)
    cfg = loaded.cfg
    beside = config_file is None and "OUTPUT_DIR" not in typed
    output = Path(weight).parent if beside else Path(cfg.OUTPUT_DIR)
    log_to(output / "test_log.txt")
    opened = prepare_evaluation(loaded)
    targets = opened.evaluator.targets
    if loaded.use_all:
        check_names(loaded.cameras, [target.name for target in targets])
    notes = note_same_people(loaded.cameras, [target.splits for target in targets])
    evaluator = replace(opened.evaluator, targets=_add_remarks(targets, notes))
    evaluator.check()
    report = evaluator(opened.model)
    log_results(report)
    trained_on = {"sources": list(loaded.cameras), "use_all": loaded.use_all}
    results = {**report.as_dict(), **_how(cfg, evaluator, weight), "training": trained_on}
    table = format_table([(Path(weight).name, report.as_dict())])
    logger.info("%s\n%s", _title(cfg), table)
    if distributed.is_first():
        logger.info("results: %s", save_evaluation(output, results))
    return report


def _how(cfg: CfgNode, evaluator: Evaluator, checkpoint: str) -> dict[str, Any]:
    """What results.json says of the way the scores were made."""
    return {
        "published_protocol": cfg.DATASETS.PROTOCOL,
        "checkpoint": checkpoint,
        "protocol": evaluator.protocol.as_dict(),
        "neck_feature": cfg.TEST.NECK_FEAT,
        "autocast": str(evaluator.precision.dtype or "off"),
    }


def _title(cfg: CfgNode) -> str:
    """The line above the closing table."""
    return f"results, protocol {cfg.DATASETS.PROTOCOL}" if cfg.DATASETS.PROTOCOL else "results"


def _closing_table(report: EvaluationReport, before: Path) -> str:
    """The trained model's results, below those before training if they are on the same targets."""
    rows = [("trained", report.as_dict())]
    if before.is_file():
        earlier = json.loads(before.read_text(encoding="utf-8"))
        if list(earlier["targets"]) == [target.name for target in report.targets]:
            rows.insert(0, ("before", earlier))
    return format_table(rows)
