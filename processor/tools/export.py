"""Write a checkpoint's image side: as an ONNX file, a slim checkpoint, or a folder to publish."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from yacs.config import CfgNode

from config.errors import ConfigError
from config.packages import MissingPackageError
from datasets.image_lists import read_image_lists
from datasets.images.build import (
    build_evaluation_transform,
    build_level_normalization,
    build_level_transform,
)
from datasets.images.decode import read_image
from datasets.synthetic.render import draw_people
from model.encoders.clip import architecture_text
from model.network_files.embedder import NetworkFile
from model.weights.locate import WEIGHTS, locate_weights
from processor.checkpoints.export import ImageTower, smallest_cosine, write_onnx
from processor.checkpoints.load import LoadedModel, open_model
from processor.checkpoints.slim import open_slim, save_folder, save_slim
from processor.results.card import PublishedModel, find_results, write_card
from processor.runtime.outputs import check_output_file
from processor.tools.arguments.export import NUM_IMAGES
from processor.tools.command_line import place_folder
from processor.tools.measured_exports import Request, export_measured

logger = logging.getLogger(__name__)

LEAST_COSINE = 0.9999
MAX_DROP = 0.5  # points of mAP


def run(arguments: argparse.Namespace) -> None:
    """Write the requested files.

    Raises:
        ConfigError: flags that contradict each other.
        FileNotFoundError, ValueError: see `open_model`; or the ONNX file's features differ from
            the model's, and it is not written.
    """
    _check_arguments(arguments)
    files = [arguments.onnx, arguments.slim, arguments.int8, arguments.openvino]
    given = [path.absolute() for path in files if path]
    if len(given) > len(set(given)):
        raise ConfigError("--onnx, --slim, --int8, --openvino: each needs a file of its own")
    for option in ("onnx", "slim", "int8", "openvino"):
        path, option = getattr(arguments, option), f"--{option}"
        if path:
            check_output_file(path, option)
            weights = locate_weights(arguments.checkpoint) if path.exists() else None
            if weights is not None and weights.exists() and path.samefile(weights):
                raise ConfigError(f"{option}: {path} is the checkpoint itself; name another file")
    if arguments.slim:
        save_slim(
            arguments.slim,
            arguments.checkpoint,
            arguments.config_file,
            arguments.opts,
            half=arguments.half,
        )
        logger.info("written: %s, %s", arguments.slim, _megabytes(arguments.slim))
    if arguments.safetensors:
        export_folder(arguments)
    if arguments.int8 or arguments.openvino:
        export_smaller(arguments)
    elif arguments.onnx:
        export_onnx(arguments, arguments.onnx)


def _check_arguments(arguments: argparse.Namespace) -> None:
    """Raise ConfigError if no file is requested or a flag belongs to another file."""
    smaller = arguments.int8 or arguments.openvino
    if not (arguments.onnx or smaller or arguments.slim or arguments.safetensors):
        raise ConfigError(
            "export: give --onnx FILE, --int8 FILE, --openvino FILE, --slim FILE or --safetensors"
        )
    if not smaller and (arguments.data or arguments.max_drop is not None):
        raise ConfigError("--data, --max_drop: only with --int8 FILE or --openvino FILE")
    if arguments.half and not arguments.slim:
        raise ConfigError("--half: only with --slim FILE")
    if not arguments.safetensors and (arguments.output or arguments.results):
        raise ConfigError("--output, --results: only with --safetensors")
    onnx = arguments.onnx or smaller
    if not onnx and (arguments.preprocess or arguments.normalize or arguments.images):
        raise ConfigError(
            "--preprocess, --normalize, --images: only with --onnx, --int8, --openvino"
        )


def export_folder(arguments: argparse.Namespace) -> None:
    """Write the folder to publish; raises as `run`.

    Results are looked for only if no option was changed, as they would be of other features.
    """
    checkpoint, opts = arguments.checkpoint, arguments.opts
    file = Path(checkpoint)
    folder = place_folder(arguments.output, checkpoint, f"{file.stem}_safetensors")
    slim = open_slim(checkpoint, arguments.config_file, opts)
    cfg = slim.cfg
    results = None
    if arguments.results or not (opts or arguments.config_file):
        epoch = slim.meta.get("epoch")
        epoch = epoch if isinstance(epoch, int) else None
        results = find_results(file, cfg.TEST.NECK_FEAT, arguments.results, epoch=epoch)
    model = PublishedModel(
        title=folder.resolve().name,
        architecture="" if architecture_text(cfg.MODEL.NAME) else cfg.MODEL.NAME,
        image_size=tuple(cfg.INPUT.SIZE_TEST),
        sources=tuple(slim.cameras),
        labels=not cfg.DSGL.ENABLED,
    )
    save_folder(folder, slim, write_card(model, results))
    evaluation = "with its evaluation" if results else "without an evaluation"
    logger.info("written: %s, %s, %s", folder, _megabytes(folder / WEIGHTS), evaluation)


def export_smaller(arguments: argparse.Namespace) -> None:
    """Write --int8 and --openvino from a float32 file, which --onnx keeps; raises as `run`."""
    with TemporaryDirectory() as folder:
        path = arguments.onnx or Path(folder) / "float32.onnx"
        loaded = export_onnx(arguments, path)
        max_drop = MAX_DROP if arguments.max_drop is None else arguments.max_drop
        request = Request(path, loaded, arguments.data, arguments.images, max_drop)
        export_measured(request, arguments.int8, arguments.openvino)


def export_onnx(arguments: argparse.Namespace, path: Path) -> LoadedModel:
    """Write an ONNX file if its features equal the model's; raises as `run`."""
    loaded = open_model(arguments.checkpoint, arguments.config_file, arguments.opts)
    cfg = loaded.cfg
    levels = _to_levels(_read_images(arguments.images, cfg.DATASETS.ROOT_DIR), cfg)
    normalized = _normalize(levels, cfg)
    preprocess = build_level_normalization(cfg, torch.device("cpu"))
    tower = ImageTower(
        loaded.network().eval(),
        preprocess if arguments.preprocess else None,
        unit_length=arguments.normalize,
    )
    images = levels if arguments.preprocess else normalized
    with torch.no_grad():
        expected = ImageTower(loaded.model, unit_length=arguments.normalize)(normalized)
    description = _describe(arguments, cfg, expected.shape[1])
    given = levels.permute(0, 3, 1, 2) if arguments.preprocess else normalized
    check = partial(_check, images=given, expected=expected) if arguments.check else None
    write_onnx(path, tower, images[:2], description, check)
    if path == arguments.onnx:
        logger.info("written: %s, %s, %d features", path, _megabytes(path), expected.shape[1])
    return loaded


def _check(path: Path, images: Tensor, expected: Tensor) -> None:
    """Compare a file's features with the model's, on one image and on a batch.

    Raises:
        ValueError: they differ.
    """
    try:
        file = NetworkFile(path)
    except MissingPackageError as error:
        logger.warning("the file was not compared with the model: %s", error)
        return
    cosine = smallest_cosine(file.embed, [(images[:1], expected[:1]), (images, expected)])
    if not cosine >= LEAST_COSINE:  # NaN fails too
        raise ValueError(
            f"--onnx: not written, the file's features differ from the model's: cosine "
            f"{cosine:.6f}, required {LEAST_COSINE}; --no-check writes it anyway"
        )
    logger.info("compared with the model on %d images: cosine %.6f or more", len(images), cosine)


def _describe(arguments: argparse.Namespace, cfg: CfgNode, dimension: int) -> dict[str, Any]:
    """The file's metadata: its input format and its output."""
    sides = cfg.MODEL.SIE_CAMERA or cfg.MODEL.SIE_VIEW
    layout = "uint8 (B, H, W, 3)" if arguments.preprocess else "float32 (B, 3, H, W), normalized"
    order = "RGB" if arguments.preprocess else cfg.INPUT.CHANNELS.upper()
    return {
        "architecture": cfg.MODEL.NAME,
        "checkpoint": Path(arguments.checkpoint).name,
        "input": f"{order}, {layout}",
        "channels": "rgb" if arguments.preprocess else cfg.INPUT.CHANNELS,
        "image_size": list(cfg.INPUT.SIZE_TEST),
        "interpolation": cfg.INPUT.TEST_INTERPOLATION,
        "normalization": cfg.INPUT.NORMALIZATION,
        "mean": list(cfg.INPUT.PIXEL_MEAN),
        "std": list(cfg.INPUT.PIXEL_STD),
        "dimension": dimension,
        "neck_feature": cfg.TEST.NECK_FEAT,
        "unit_length": arguments.normalize,
        "side_information": "mean embedding" if sides else "none",
    }


def _read_images(places: Sequence[str], root: str) -> list[Image.Image]:
    """Images to compare on: given ones or drawn people, plus two of noise."""
    images = draw_people(NUM_IMAGES)
    if places:
        samples = [sample for found in read_image_lists(places, root) for sample in found.samples]
        images = [read_image(sample.path) for sample in samples[:NUM_IMAGES]]
    noise = np.random.default_rng(0).integers(0, 256, (2, 128, 64, 3), dtype=np.uint8)
    return [*images, *map(Image.fromarray, noise)]


def _to_levels(images: list[Image.Image], cfg: CfgNode) -> Tensor:
    """(B, H, W, 3) uint8, resized as in evaluation."""
    transform = build_level_transform(cfg)
    return torch.stack([transform(image) for image in images])


def _normalize(levels: Tensor, cfg: CfgNode) -> Tensor:
    """(B, 3, H, W), normalized as in evaluation."""
    transform = build_evaluation_transform(cfg, resized=True)
    return torch.stack([transform(Image.fromarray(image.numpy())) for image in levels])


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
