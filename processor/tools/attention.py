"""Draw where a model looks: maps of attention over pictures, one by one and on a sheet."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from yacs.config import CfgNode

from datasets.build import build_evaluation_loader
from datasets.images import read_image
from datasets.readers.tree import find_images
from datasets.records import Sample
from model import CLIPReID
from model.attention import RESNET_METHODS, VIT_METHODS, attention_maps, attention_methods
from processor.model_file import open_model
from processor.pictures.attention import add_scale, overlay
from processor.pictures.sheet import Tile, draw_sheet
from processor.runtime.device import choose_device

logger = logging.getLogger(__name__)

DESCRIPTION = "where a model looks, drawn over pictures"
PAIRS_PER_ROW = 4
UNKNOWN = -1  # pid, camera and viewpoint of a picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py attention`."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="e.g. last.pth")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="pictures, or folders of them")
    parser.add_argument(
        "--method",
        choices=(*VIT_METHODS, *RESNET_METHODS),
        help=f"of a ViT {VIT_METHODS[0]} (unless given) or {VIT_METHODS[1]}; of a ResNet grad-cam",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="a folder; attention beside the checkpoint unless given"
    )
    parser.add_argument(
        "--limit", type=int, default=32, help="pictures at most; of more, evenly spaced ones"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write one overlay per picture, and a sheet of all.

    Raises:
        BadImageError: a picture cannot be decoded.
        FileNotFoundError, ValueError: no such file, or a model without such maps.
    """
    paths = spread(find_images(arguments.images), arguments.limit)
    loaded = open_model(arguments.checkpoint)
    if not isinstance(loaded.model, CLIPReID):
        raise ValueError(f"{arguments.checkpoint}: only CLIP's image towers have such maps")
    model = loaded.model.to(choose_device(loaded.cfg.MODEL.DEVICE, loaded.cfg.MODEL.DEVICE_ID))
    method = arguments.method or attention_methods(model)[0]
    maps = maps_of_files(model.eval(), loaded.cfg, paths, method)
    folder = Path(arguments.output or Path(arguments.checkpoint).parent / "attention")
    folder.mkdir(parents=True, exist_ok=True)
    tiles = []
    for number, (path, attention) in enumerate(zip(paths, maps, strict=True), start=1):
        file = folder / f"{number:03}_{Path(path).stem}_{method}.png"
        overlay(read_image(path), attention).save(file)
        tiles += [Tile(path, (Path(path).name,)), Tile(str(file))]
    step = 2 * PAIRS_PER_ROW
    rows = [tiles[start : start + step] for start in range(0, len(tiles), step)]
    sheet = folder / f"sheet_{method}.png"
    title = f"Where {Path(arguments.checkpoint).name} looks ({method})"
    add_scale(draw_sheet(rows, title=title)).save(sheet)
    logger.info("written to %s: %d overlays and %s", folder, len(paths), sheet.name)


def maps_of_files(model: CLIPReID, cfg: CfgNode, paths: Sequence[str], method: str) -> list[Tensor]:
    """(rows, columns) maps of pictures from unknown cameras, on the CPU; see `attention_maps`."""
    device = next(model.parameters()).device
    samples = [Sample(path, UNKNOWN, UNKNOWN, UNKNOWN) for path in paths]
    maps: list[Tensor] = []
    for batch in build_evaluation_loader(cfg, samples):
        batch = batch.to(device)
        maps += attention_maps(
            model, batch.images, batch.camids, batch.viewids, method=method
        ).cpu()
    return maps


def spread(paths: list[str], limit: int) -> list[str]:
    """At most `limit` of the paths, evenly spaced; says so when there are more.

    Raises:
        ValueError: the limit is below 1.
    """
    if limit < 1:
        raise ValueError(f"--limit {limit}: at least 1")
    if len(paths) <= limit:
        return paths
    logger.info("%d of %d pictures, evenly spaced (--limit)", limit, len(paths))
    return [paths[number * len(paths) // limit] for number in range(limit)]
