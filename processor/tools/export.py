"""Write a checkpoint's image tower as an ONNX file, or a slim checkpoint without the text tower."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from yacs.config import CfgNode

from config.errors import ConfigError
from datasets.image_lists import read_image_lists
from datasets.images.build import build_evaluation_transform, build_level_normalization
from datasets.images.cache import to_levels
from datasets.images.decode import read_image
from datasets.images.transforms import resize
from datasets.synthetic.render import draw_people
from processor.checkpoints.export import (
    ImageTower,
    MissingPackageError,
    OnnxFile,
    smallest_cosine,
    write_onnx,
)
from processor.checkpoints.load import open_model
from processor.checkpoints.slim import save_slim
from processor.tools.command_line import IMAGES, add_checkpoint, add_config_file, add_overrides

logger = logging.getLogger(__name__)

DESCRIPTION = "write a checkpoint as ONNX, or without what retrieval does not need"
LEAST_COSINE = 0.9999
NUM_PICTURES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py export`."""
    add_checkpoint(parser)
    parser.add_argument("--onnx", type=Path, metavar="FILE", help="write the image tower as ONNX")
    parser.add_argument(
        "--preprocess",
        action="store_true",
        help="ONNX: takes (B, H, W, 3) uint8 RGB pictures of the model's size, not resized inside",
    )
    parser.add_argument("--normalize", action="store_true", help="ONNX: gives features of length 1")
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="ONNX: compare its features with the model's (default)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="IMAGES",
        help=f"ONNX: compare on the first {NUM_PICTURES} of these, not on drawn people: {IMAGES}",
    )
    parser.add_argument(
        "--slim", type=Path, metavar="FILE", help="write a checkpoint without the text tower"
    )
    parser.add_argument(
        "--half", action="store_true", help="slim: in float16, half as large and not quite the same"
    )
    add_config_file(parser)
    add_overrides(parser, "TEST.NECK_FEAT after")


def run(arguments: argparse.Namespace) -> None:
    """Write what is asked for.

    Raises:
        ConfigError: flags that do not go together.
        FileNotFoundError, ValueError: see `open_model`; or the ONNX file's features are not the
            model's, so that it is not written.
    """
    _check_arguments(arguments)
    if arguments.slim:
        save_slim(
            arguments.slim,
            arguments.checkpoint,
            arguments.config_file,
            arguments.opts,
            half=arguments.half,
        )
        logger.info("written: %s, %s", arguments.slim, _megabytes(arguments.slim))
    if arguments.onnx:
        export_onnx(arguments)


def _check_arguments(arguments: argparse.Namespace) -> None:
    """Raise ConfigError where nothing is asked for, or what the flags do not give."""
    if not arguments.onnx and not arguments.slim:
        raise ConfigError("export: say what to write, --onnx FILE or --slim FILE")
    if arguments.half and not arguments.slim:
        raise ConfigError("--half: it is of --slim FILE, which is missing")
    if not arguments.onnx and (arguments.preprocess or arguments.normalize or arguments.images):
        raise ConfigError("--preprocess, --normalize, --images: they are of --onnx FILE")
    if arguments.slim and arguments.slim.resolve() == Path(arguments.checkpoint).resolve():
        raise ConfigError(f"--slim: {arguments.slim} is the checkpoint itself; name another file")


def export_onnx(arguments: argparse.Namespace) -> None:
    """Write the ONNX file, if its features are the model's; raises as `run`."""
    loaded = open_model(arguments.checkpoint, arguments.config_file, arguments.opts)
    cfg, path = loaded.cfg, arguments.onnx
    levels = _to_levels(_read_pictures(arguments.images, cfg.DATASETS.ROOT_DIR), cfg)
    normalized = _normalize(levels, cfg)
    preprocess = build_level_normalization(cfg, torch.device("cpu"))
    tower = ImageTower(
        loaded.model.eval(),
        preprocess if arguments.preprocess else None,
        unit_length=arguments.normalize,
    )
    images = levels if arguments.preprocess else normalized
    with torch.no_grad():
        expected = ImageTower(loaded.model, unit_length=arguments.normalize)(normalized)
    description = _describe(arguments, cfg, expected.shape[1])
    check = partial(_check, images=images, expected=expected) if arguments.check else None
    write_onnx(path, tower, images[:2], description, check)
    logger.info("written: %s, %s, %d features", path, _megabytes(path), expected.shape[1])


def _check(path: Path, images: Tensor, expected: Tensor) -> None:
    """Compare a file's features with the model's, of one image and of many at a time.

    Raises:
        ValueError: they differ.
    """
    try:
        file = OnnxFile(path)
    except MissingPackageError as error:
        logger.warning("the file is not compared with the model: %s", error)
        return
    cosine = smallest_cosine(file, [(images[:1], expected[:1]), (images, expected)])
    if not cosine >= LEAST_COSINE:  # nor is NaN
        raise ValueError(
            f"--onnx: nothing was written, as the file's features are not the model's: cosine "
            f"{cosine:.6f}, at least {LEAST_COSINE} is wanted; --no-check writes it all the same"
        )
    logger.info("compared with the model on %d images: cosine %.6f or more", len(images), cosine)


def _describe(arguments: argparse.Namespace, cfg: CfgNode, dimension: int) -> dict[str, Any]:
    """The file's metadata: how to make its input, and what its output is."""
    sides = cfg.MODEL.SIE_CAMERA or cfg.MODEL.SIE_VIEW
    layout = "uint8 (B, H, W, 3)" if arguments.preprocess else "float32 (B, 3, H, W), normalized"
    return {
        "architecture": cfg.MODEL.NAME,
        "checkpoint": Path(arguments.checkpoint).name,
        "input": f"RGB, {layout}",
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


def _read_pictures(places: Sequence[str], root: str) -> list[Image.Image]:
    """Pictures to compare on: those of some places, or else drawn people; and two of noise."""
    pictures = draw_people(NUM_PICTURES)
    if places:
        samples = [x for images in read_image_lists(places, root) for x in images.samples]
        pictures = [read_image(sample.path) for sample in samples[:NUM_PICTURES]]
    noise = np.random.default_rng(0).integers(0, 256, (2, 128, 64, 3), dtype=np.uint8)
    return [*pictures, *map(Image.fromarray, noise)]


def _to_levels(pictures: list[Image.Image], cfg: CfgNode) -> Tensor:
    """(B, H, W, 3) uint8, resized as for evaluation."""
    interpolation = InterpolationMode(cfg.INPUT.TEST_INTERPOLATION)
    fit = resize(tuple(cfg.INPUT.SIZE_TEST), interpolation)
    return torch.stack([to_levels(fit(picture)) for picture in pictures])


def _normalize(levels: Tensor, cfg: CfgNode) -> Tensor:
    """(B, 3, H, W) as the evaluation normalizes resized pictures."""
    transform = build_evaluation_transform(cfg, resized=True)
    return torch.stack([transform(Image.fromarray(picture.numpy())) for picture in levels])


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
