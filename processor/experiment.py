"""The top level of the program: the steps of a training run and of an evaluation."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from config import Overrides, dump_cfg, list_overrides, load_cfg
from config.plugins import describe_plugins
from datasets.checks.fingerprint import ALL, TEST, TRAINING, describe_data
from datasets.checks.leakage import check_names, note_same_names, note_same_people
from datasets.images.build import build_training_images
from datasets.images.placement import FreeMemory, measure_memory
from datasets.images.training_images import ProcessShare, TrainingImages
from datasets.sources import TrainingSet
from loss import check_extra_losses
from model import ReIDModel
from processor.checkpoints.configuration import NO_PRETRAINING
from processor.checkpoints.load import open_model
from processor.checkpoints.meta import describe_training
from processor.checkpoints.place import output_folder
from processor.checkpoints.resume import (
    StartingPoint,
    build_starting_model,
    check_same_images,
    find_starting_point,
)
from processor.evaluation.build import build_evaluator, prepare_evaluation
from processor.evaluation.evaluator import Evaluator
from processor.results.files import save_evaluation, save_results
from processor.results.report import EvaluationReport, closing_table, format_table, log_results
from processor.runtime import distributed
from processor.runtime.device import choose_device, describe_device
from processor.runtime.guest import own_globals
from processor.runtime.lock import locked_folder
from processor.runtime.log import Lines, LogFile, run_log
from processor.runtime.precision import Precision
from processor.runtime.progress import clock
from processor.runtime.run_folder import RunFolder
from processor.runtime.seeding import seed_everything, use_deterministic_kernels
from processor.runtime.signals import Interrupted, StopRequest
from processor.runtime.wrapping import compile_encoder
from processor.training.build import build_stages
from processor.training.plan import RunPlan, add_remarks, plan_run
from processor.training.stage import PlannedStage
from processor.training.trainer import Trainer

logger = logging.getLogger(__name__)

FEW_IDENTITIES = 10


def train(cfg: CfgNode) -> EvaluationReport:
    """Train as the configuration says, evaluate, and write everything into OUTPUT_DIR.

    Nothing is written or moved, and OUTPUT_DIR stays empty, before configuration, data and weights
    have been checked.

    Returns:
        The last epoch's evaluation.

    Raises:
        ConfigError, FileNotFoundError, ValueError: configuration, data or weights cannot be used;
            says what to change.
        Interrupted: a signal; `last.pth` holds the state.
    """
    with ExitStack() as cleanup:
        cleanup.enter_context(own_globals())
        try:
            return _train(cfg, cleanup)
        except Interrupted:
            logger.info("to continue from last.pth, if there is one: SOLVER.RESUME auto")
            raise


def _train(cfg: CfgNode, cleanup: ExitStack) -> EvaluationReport:
    """Train; what is open at the end is left to `cleanup`."""
    started = time.monotonic()
    log = cleanup.enter_context(run_log())
    if cfg.SOLVER.DETERMINISTIC:
        use_deterministic_kernels()
    else:
        torch.backends.cudnn.benchmark = True  # all batches of a run have one size
    device = choose_device(cfg.MODEL.DEVICE, cfg.MODEL.DEVICE_ID)
    precision = Precision.of(cfg.SOLVER.AMP, device)
    output = Path(cfg.OUTPUT_DIR or "runs/unnamed")
    if distributed.is_first():
        cleanup.enter_context(locked_folder(output, "OUTPUT_DIR"))
    check_extra_losses(cfg)
    start = find_starting_point(cfg, output)
    with distributed.first_process_first():  # it draws or extracts images that others find
        plan = plan_run(cfg)
    hashes = check_same_images(cfg, plan.data, start)
    stop = cleanup.enter_context(StopRequest())
    evaluator = build_evaluator(cfg, plan.targets, device, stop)
    images = _build_images(cfg, plan.data, device, stop)
    model = _build_model(cfg, plan.data, start, device)
    stages = build_stages(cfg, model, images, plan.sampler, precision, stop)
    folder = RunFolder(output, resume=start.continues_in(output))
    cleanup.callback(folder.close)
    log.open(folder.path / "log.txt")
    _record_run(cfg, plan, folder, precision, evaluator.precision)
    _log_header(cfg, plan, folder, stages)
    logger.info("model    %s", _describe_model(cfg, model, start, precision))
    logger.info("images   %s", images.summary)
    state = start.training
    del start  # the weights are in the model
    trainer = Trainer(
        model=model,
        folder=folder,
        precision=precision,
        stop=stop,
        model_name=cfg.MODEL.NAME,
        config_text=dump_cfg(cfg),
        meta=describe_training(cfg, plan.data),
        seed=cfg.SOLVER.SEED,
        evaluate=(lambda: evaluator(model)) if plan.targets else None,
        image_hashes=hashes,
    )
    if cfg.TEST.BEFORE_TRAINING and not state:
        trainer.evaluate_before_training()
    trainer.run_stages(stages, state)
    report = trainer.report
    if report is None:  # nothing was left to train
        report = trainer.score(lambda: evaluator(model))
        log_results(report)
    if report.targets:
        _write_results(cfg, plan.data, folder, evaluator, report)
    logger.info("done     in %s", clock(time.monotonic() - started))
    tool = "rank-list {}" if report.targets else "extract {} IMAGES"
    logger.info("next     python run.py %s", tool.format(shlex.quote(str(folder.last))))
    return report


def _build_images(
    cfg: CfgNode, data: TrainingSet, device: torch.device, stop: StopRequest
) -> TrainingImages:
    """The training images, kept where every process has room for them."""
    free = distributed.collect(measure_memory(device))
    on_device = [x.device for x in free if x.device is not None]
    ram = min(x.ram for x in free) // distributed.local_size()
    return build_training_images(
        cfg,
        data,
        device,
        stop.check,
        free=FreeMemory(ram, min(on_device) if on_device else None),
        share=ProcessShare(distributed.share, distributed.local_size()),
    )


def _build_model(
    cfg: CfgNode, data: TrainingSet, start: StartingPoint, device: torch.device
) -> ReIDModel:
    seed_everything(cfg.SOLVER.SEED)
    with distributed.first_process_first():  # it downloads CLIP's weights
        model = build_starting_model(cfg, data, start).to(device)
    if cfg.MODEL.COMPILE:
        compile_encoder(model)
    return model


def _record_run(
    cfg: CfgNode, plan: RunPlan, folder: RunFolder, training: Precision, evaluation: Precision
) -> None:
    """Write config.yml and run.json."""
    record = {
        "seed": cfg.SOLVER.SEED,
        "device": describe_device(training.device),
        "number_format": {"training": training.name, "evaluation": evaluation.name},
        "processes": distributed.size(),
        "plugins": describe_plugins(cfg.PLUGINS),
        "data": [
            describe_data([source], ALL if plan.data.use_all else TRAINING)
            for source in plan.sources
        ],
        "use_all": plan.data.use_all,
        "targets": [describe_data(target.splits, TEST) for target in plan.targets],
    }
    folder.write_record(dump_cfg(cfg), record)


def _log_header(
    cfg: CfgNode, plan: RunPlan, folder: RunFolder, stages: Sequence[PlannedStage]
) -> None:
    """Log the stages, the data and the output folder."""
    data = plan.data
    method = "DSGL" if cfg.DSGL.ENABLED else "CLIP-ReID" if cfg.MODEL.TEXT_TOWER else "baseline"
    which = f"stage{'s' * (len(stages) > 1)} {', '.join(str(stage.name) for stage in stages)}"
    logger.info(
        "run      %s, %s, seed %d; writing to %s (log.txt, metrics.jsonl, TensorBoard)",
        method,
        which,
        cfg.SOLVER.SEED,
        folder.path,
    )
    counts = f"of {data.num_classes:,} identities, {data.num_cameras} cameras"
    identities = "without identity labels" if cfg.DSGL.ENABLED else counts
    logger.info(
        "data     %s of %s: %s images %s; %s",
        "all images" if data.use_all else "training images",
        ", ".join(data.names),
        f"{len(data.samples):,}",
        identities,
        f"tested on {', '.join(target.name for target in plan.targets)}"
        if plan.targets
        else "not evaluated",
    )
    if not cfg.DSGL.ENABLED and data.num_classes < FEW_IDENTITIES:
        logger.warning("%d identities are very few to learn from", data.num_classes)


def _describe_model(
    cfg: CfgNode, model: ReIDModel, start: StartingPoint, precision: Precision
) -> str:
    """Architecture, size, weights, device and number format."""
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    processes = f"{distributed.size()} processes, " if distributed.size() > 1 else ""
    return (
        f"{cfg.MODEL.NAME}, {millions:.1f} M parameters, {start.weights(cfg)}; {processes}"
        f"{describe_device(precision.device)}, {precision.name}"
    )


def _write_results(
    cfg: CfgNode,
    data: TrainingSet,
    folder: RunFolder,
    evaluator: Evaluator,
    report: EvaluationReport,
) -> None:
    """Write results.json and results.md, and log the closing table."""
    if distributed.is_first():
        trained_on = {"sources": list(data.names), "use_all": data.use_all}
        how = _how(cfg, evaluator, "last", cfg.SOLVER.STAGE2.MAX_EPOCHS)
        results = {**report.as_dict(), **how, "training": trained_on}
        save_results(folder.path, results)
    logger.info("%s\n%s", _title(cfg), Lines(closing_table(report, folder.before_training)))
    logger.info("results  %s", folder.path / "results.md")


def evaluate(config_file: str | None = None, opts: Overrides = ()) -> EvaluationReport:
    """Evaluate a checkpoint on DATASETS.TARGETS, or on the test splits of DATASETS.NAMES.

    Results go next to the checkpoint unless a config file or OUTPUT_DIR is given.

    Args:
        config_file: a YAML file; None takes the configuration from the checkpoint.
        opts: overrides `KEY VALUE ...` or a dict; here or in the file, TEST.WEIGHT names the
            checkpoint.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_model` and `read_dataset`.
        Interrupted: a signal; no results are written.
    """
    with own_globals(), run_log() as log, StopRequest() as stop:
        return _evaluate(config_file, list_overrides(opts), log, stop)


def _evaluate(
    config_file: str | None, opts: list[str], log: LogFile, stop: StopRequest
) -> EvaluationReport:
    typed = dict(zip(opts[::2], opts[1::2], strict=False))
    weight = typed.get("TEST.WEIGHT")
    if not weight:
        weight = load_cfg(config_file, [*opts, *NO_PRETRAINING], quiet=True).TEST.WEIGHT
    loaded = open_model(weight, config_file, opts)
    cfg = loaded.cfg
    by_checkpoint = config_file is None and "OUTPUT_DIR" not in typed
    output = output_folder(weight) if by_checkpoint else Path(cfg.OUTPUT_DIR)
    log.open(output / "test_log.txt")
    opened = prepare_evaluation(loaded)
    targets = opened.evaluator.targets
    if loaded.use_all:
        check_names(loaded.cameras, [target.name for target in targets])
    splits = [target.splits for target in targets]
    notes = note_same_names(loaded.identity_names, splits)
    notes |= note_same_people(loaded.cameras, splits)
    evaluator = replace(opened.evaluator, targets=add_remarks(targets, notes), stop=stop)
    evaluator.check()
    report = evaluator(opened.model)
    log_results(report)
    trained_on = {"sources": list(loaded.cameras), "use_all": loaded.use_all}
    how = _how(cfg, evaluator, weight, loaded.meta.get("epoch"))
    results = {**report.as_dict(), **how, "training": trained_on}
    table = format_table([(Path(weight).name, report.as_dict())])
    logger.info("%s\n%s", _title(cfg), Lines(table))
    if distributed.is_first():
        logger.info("results: %s", save_evaluation(output, results))
    return report


def _how(cfg: CfgNode, evaluator: Evaluator, checkpoint: str, epoch: Any) -> dict[str, Any]:
    """How the scores were computed, for results.json; an epoch of None is unknown."""
    return {
        "published_protocol": cfg.DATASETS.PROTOCOL,
        "checkpoint": checkpoint,
        **({} if epoch is None else {"epoch": epoch}),
        "protocol": evaluator.protocol.as_dict(),
        "neck_feature": cfg.TEST.NECK_FEAT,
        "number_format": evaluator.precision.name,
    }


def _title(cfg: CfgNode) -> str:
    """The line above the closing table."""
    return f"results, protocol {cfg.DATASETS.PROTOCOL}" if cfg.DATASETS.PROTOCOL else "results"
