"""Write features of images to a file; after an interruption, the same command resumes."""

from __future__ import annotations

import argparse

from datasets.image_lists import read_image_lists
from processor.extractor import Extractor
from processor.runtime import distributed
from processor.search.extract import extract_to_file, join_lists
from processor.tools.command_line import place_output


def open_extractor(arguments: argparse.Namespace, *, normalize: bool = True) -> Extractor:
    """A checkpoint's extractor, with device, batch size and workers of its configuration.

    Raises:
        ValueError: several processes were started.
    """
    if distributed.size() > 1:
        raise ValueError(
            f"run.py {arguments.command} runs in a single process; start it without torchrun"
        )
    return Extractor(
        arguments.checkpoint,
        None,
        batch_size=None,
        amp=arguments.amp,
        normalize=normalize,
        num_workers=None,
        opts=arguments.opts,
    )


def run(arguments: argparse.Namespace) -> None:
    """Extract features and write them.

    Raises:
        BadImageError, ConfigError, FileNotFoundError, ValueError: see `Extractor`,
            `read_image_lists` and `extract_to_file`.
    """
    output = place_output(arguments.output, arguments.checkpoint, "features.npz")
    if arguments.memmap and output.suffix == ".npz":
        output = output.with_suffix(".npy")
    extractor = open_extractor(arguments, normalize=not arguments.no_normalize)
    lists = read_image_lists(arguments.images, extractor.cfg.DATASETS.ROOT_DIR)
    images = join_lists(extractor, lists)
    extract_to_file(extractor, images, output, on_bad_image=extractor.cfg.INPUT.ON_BAD_IMAGE)
