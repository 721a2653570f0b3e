"""Batches of several samplers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from datasets.sources import TrainingSet
from processor.pictures.sheet import Tile, draw_sheet, shorten
from processor.pictures.style import INK, PAPER

TILE_HEIGHT, HEADER, MARGIN, TEXT_SIZE = 112, 48, 16, 20  # pixels


@dataclass(frozen=True, slots=True)
class SampledBatch:
    """The first batch of an epoch, and numbers of all its batches.

    Attributes:
        sampler: its name.
        images: P x K positions in the training set, an identity's K side by side.
        labels: (P,) the identities.
        distances: (P,) Euclidean, from every identity to the nearest other one in the batch.
        mean_distance: of such distances in all batches of the epoch.
        hits: how many of an identity's nearest are in its batch; mean over all batches.
    """

    sampler: str
    images: list[int]
    labels: list[int]
    distances: list[float]
    mean_distance: float
    hits: float


def draw_batches(
    batches: Sequence[SampledBatch], data: TrainingSet, title: str, most: int
) -> Image.Image:
    """A sheet per sampler: a row of K pictures for every identity.

    Args:
        batches: of samplers.
        data: the training images.
        title: says what identities were compared by.
        most: identities of every batch that are shown.
    """
    sheets = []
    for batch in batches:
        num_instances = len(batch.images) // len(batch.labels)
        rows = []
        for place in range(min(most, len(batch.labels))):
            images = batch.images[place * num_instances :][:num_instances]
            rows.append(_identity_row(data, images, batch.distances[place]))
        heading = f"{batch.sampler}: hits {batch.hits:.2f}, nearest {batch.mean_distance:#.3g}"
        sheets.append(draw_sheet(rows, title=heading, tile_height=TILE_HEIGHT))
    return _side_by_side(sheets, title)


def _identity_row(data: TrainingSet, images: Sequence[int], distance: float) -> list[Tile]:
    """Tiles of one identity; below the first one who it is, below the others their cameras."""
    domain = data.domains[images[0]]
    who = (f"id {data.samples[images[0]].pid}", f"nearest {distance:#.3g}")
    first = (*who, data.names[domain]) if len(data.names) > 1 else who
    tiles = [Tile(data.samples[images[0]].path, first)]
    for sample in (data.samples[i] for i in images[1:]):
        camid = sample.camid - data.camera_offsets[domain]
        tiles.append(Tile(sample.path, (f"camera {camid}",)))
    return tiles


def _side_by_side(sheets: Sequence[Image.Image], title: str) -> Image.Image:
    size = (sum(sheet.width for sheet in sheets), HEADER + max(sheet.height for sheet in sheets))
    page = Image.new("RGB", size, PAPER)
    font = ImageFont.load_default(TEXT_SIZE)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's own, as a size is given
    text = shorten(title, font, page.width - 2 * MARGIN)
    ImageDraw.Draw(page).text((MARGIN, MARGIN), text, font=font, fill=INK)
    left = 0
    for sheet in sheets:
        page.paste(sheet, (left, HEADER))
        left += sheet.width
    return page
