"""Write the features of images to a file; run the same command again after an interruption."""

from __future__ import annotations

import argparse
from pathlib import Path

from datasets.image_lists import read_image_lists
from processor.extraction import extract_to_file, join_lists
from processor.extractor import ON_BAD_IMAGE, Extractor
from processor.runtime import distributed

DESCRIPTION = "features of images into a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py extract`."""
    add_model_arguments(parser)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="files, folders with their subfolders, CSV files with a column path, or splits of "
        "data sets: market1501:query",
    )
    parser.add_argument(
        "--output",
        default="features.npz",
        metavar="FILE",
        help="a .npz (features, paths, pids, camids), or a .npy that programs can map into memory, "
        "with a .csv of the images and a .json beside it; features.npz unless given",
    )
    parser.add_argument(
        "--memmap", action="store_true", help="write a .npy where --output says .npz"
    )
    parser.add_argument(
        "--no_normalize", "--no-normalize", action="store_true", help="keep the length of features"
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every tool that extracts features."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a trained model, e.g. last.pth")
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:1 | mps")
    parser.add_argument("--batch_size", "--batch-size", type=int, default=64, help="of the model")
    parser.add_argument(
        "--num_workers",
        "--num-workers",
        type=int,
        default=8,
        help="processes that decode images, at most one per core",
    )
    parser.add_argument(
        "--amp", action="store_true", help="compute as SOLVER.AMP says, not in float32"
    )
    parser.add_argument(
        "--on_bad_image",
        "--on-bad-image",
        choices=ON_BAD_IMAGE,
        default="error",
        help="stop at an image that cannot be decoded, or leave it out and name it",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY VALUE",
        help="overrides of the checkpoint's configuration, e.g. DATASETS.ROOT_DIR /data",
    )


def open_extractor(arguments: argparse.Namespace, *, normalize: bool = True) -> Extractor:
    """The extractor of `add_model_arguments`.

    Raises:
        ValueError: several processes were started.
    """
    if distributed.size() > 1:
        raise ValueError(f"run.py {arguments.command}: start one process, without torchrun")
    return Extractor(
        arguments.checkpoint,
        arguments.device,
        batch_size=arguments.batch_size,
        amp=arguments.amp,
        normalize=normalize,
        num_workers=arguments.num_workers,
        opts=arguments.set,
    )


def run(arguments: argparse.Namespace) -> None:
    """Extract features and write them.

    Raises:
        BadImageError, ConfigError, FileNotFoundError, ValueError: see `Extractor`,
            `read_image_lists` and `extract_to_file`.
    """
    output = Path(arguments.output)
    if arguments.memmap and output.suffix == ".npz":
        output = output.with_suffix(".npy")
    extractor = open_extractor(arguments, normalize=not arguments.no_normalize)
    lists = read_image_lists(arguments.images, extractor.cfg.DATASETS.ROOT_DIR)
    images = join_lists(extractor, lists)
    extract_to_file(extractor, images, output, on_bad_image=arguments.on_bad_image)
