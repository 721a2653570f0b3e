"""Draw attention maps over images, one by one and on a sheet."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from config import ConfigError
from datasets.checks.outputs import refuse_inside_data
from datasets.image_lists import ImageList, read_image_lists
from datasets.images.build import build_evaluation_loader
from datasets.images.decode import read_image
from model.attention import attention_maps, attention_methods
from processor.checkpoints.cameras import cameras_of
from processor.checkpoints.load import LoadedModel, open_model
from processor.features import ids_of_model
from processor.pictures.attention import add_scale, overlay
from processor.pictures.sheet import Tile, draw_sheet
from processor.runtime.device import choose_device
from processor.runtime.files import atomic_file
from processor.tools.command_line import place_folder

logger = logging.getLogger(__name__)

PAIRS_PER_ROW = 4
TILE_HEIGHT = 288  # pixels, on the sheet
NOTES = {
    "rollout": "attention rollout through all layers; it does not explain why two images match",
    "class-token": "attention of the class token in the last layer",
    "grad-cam": "Grad-CAM of the descriptor",
}


@dataclass(frozen=True, slots=True)
class Map:
    """An image's attention map (rows, columns), on the CPU."""

    path: str
    attention: Tensor


def run(arguments: argparse.Namespace) -> None:
    """Write one overlay per image, and a sheet of all.

    Raises:
        BadImageError: an image cannot be decoded.
        ConfigError, FileNotFoundError, ValueError: no such file, or a model without such maps.
    """
    folder = place_folder(arguments.output, arguments.checkpoint, "attention")
    loaded = open_model(arguments.checkpoint, None, arguments.opts)
    methods = attention_methods(loaded.network())
    if not methods:
        raise ConfigError(
            f"{arguments.checkpoint}: there are no attention maps for {loaded.cfg.MODEL.NAME} and "
            "the feature that is made of it; docs/models.md lists the encoders that have some"
        )
    root = loaded.cfg.DATASETS.ROOT_DIR
    refuse_inside_data(folder, "--output", arguments.images, root)
    lists = read_image_lists(arguments.images, root)
    method = arguments.method or methods[0]
    maps = make_maps(loaded, limit_images(lists, arguments.limit), method)
    tiles = []
    for number, found in enumerate(maps, start=1):
        name = Path(found.path)
        file = folder / f"{number:03}_{name.stem}_{method}.png"
        with atomic_file(file) as partial:
            overlay(read_image(found.path), found.attention).save(partial)
        flat = bool(
            found.attention.max() == found.attention.min()
        )  # Grad-CAM drops negative values
        tiles += [Tile(found.path, (name.stem,)), Tile(str(file), ("flat map",) * flat)]
    step = 2 * PAIRS_PER_ROW
    rows = [tiles[start : start + step] for start in range(0, len(tiles), step)]
    sheet = folder / f"sheet_{method}.png"
    drawn = draw_sheet(
        rows,
        title="Where the information may come from",
        notes=[f"{Path(arguments.checkpoint).name}, {NOTES[method]}"],
        tile_height=TILE_HEIGHT,
    )
    with atomic_file(sheet) as partial:
        add_scale(drawn.image).save(partial)
    logger.info("written: %s and %d overlays next to it", sheet, len(maps))


def make_maps(loaded: LoadedModel, lists: Sequence[ImageList], method: str) -> list[Map]:
    """Maps of all readable images; raises as `attention_maps` and `cameras_of`."""
    cfg, model = loaded.cfg, loaded.network()
    device = choose_device(cfg.MODEL.DEVICE, cfg.MODEL.DEVICE_ID)
    model.to(device).eval()
    maps: list[Map] = []
    for images in lists:
        cameras = cameras_of(cfg, images.dataset, loaded.cameras) if images.dataset else None
        for batch in build_evaluation_loader(cfg, images.samples):
            batch = batch.to(device)
            if len(batch):
                ids = ids_of_model(batch.camids, batch.viewids, cameras)
                found = attention_maps(model, batch.images, *ids, method=method).cpu()
                paths = [images.samples[i].path for i in batch.indices.tolist()]
                maps += map(Map, paths, found)
    return maps


def limit_images(lists: Sequence[ImageList], limit: int) -> list[ImageList]:
    """At most `limit` images, evenly spaced over all; logs if that leaves some out."""
    total = sum(len(images.samples) for images in lists)
    if total <= limit:
        return list(lists)
    logger.info("%d of %d images, evenly spaced (--limit)", limit, total)
    kept = {number * total // limit for number in range(limit)}
    limited, start = [], 0
    for images in lists:
        samples = [x for place, x in enumerate(images.samples, start) if place in kept]
        limited.append(replace(images, samples=samples))
        start += len(images.samples)
    return limited
