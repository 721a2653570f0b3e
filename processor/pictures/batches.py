"""Batches of several samplers side by side, with curves between look-alikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from PIL import Image, ImageDraw

from datasets.sources import TrainingSet
from processor.pictures.sheet import MARGIN, SMOOTH, Drawn, Tile, draw_sheet
from processor.pictures.style import FAINT_INK, INK, PAPER, REDDISH_PURPLE
from processor.pictures.text import lines_height, wrap, write_lines

TILE_HEIGHT, TITLE_SIZE, HEADING_SIZE, NOTE_SIZE = 128, 22, 20, 15  # pixels
GUTTER = 76  # left of a batch, for the curves
DOT, STROKE = 4, 3  # radius of a curve's ends and its width
SHALLOWEST, DEEPER = 16, 9  # bulge of a curve between neighbouring rows, and per further row


@dataclass(frozen=True, slots=True)
class SampledBatch:
    """The first batch of an epoch, with statistics of all its batches.

    Attributes:
        sampler: its name.
        images: P x K positions in the training set, an identity's K side by side.
        labels: (P,) the identities.
        distances: (P,) Euclidean, from every identity to the nearest other one in the batch.
        mean_distance: mean of such distances over all batches of the epoch.
        hits: how many of an identity's nearest share its batch; mean over all batches.
    """

    sampler: str
    images: list[int]
    labels: list[int]
    distances: list[float]
    mean_distance: float
    hits: float


def draw_batches(
    batches: Sequence[SampledBatch],
    data: TrainingSet,
    neighbours: Sequence[Sequence[int]],
    title: str,
    most: int,
) -> Image.Image:
    """Draw a column per sampler: a row of K images per identity, look-alikes joined by curves.

    Args:
        batches: one per sampler.
        data: the training images.
        neighbours: (I, k) labels of every identity's k nearest, which `hits` counts.
        title: names the model and the features that identities are compared by.
        most: identities shown of each batch.
    """
    count = len(neighbours[0])
    columns = []
    for batch in batches:
        num_instances = len(batch.images) // len(batch.labels)
        rows = []
        for place in range(min(most, len(batch.labels))):
            images = batch.images[place * num_instances :][:num_instances]
            rows.append(_identity_row(data, images, batch.distances[place]))
        heading = f"{batch.sampler}: hits {batch.hits:.1f} of {count}"
        sheet = draw_sheet(rows, tile_height=TILE_HEIGHT)
        links = find_links(batch.labels[: len(rows)], neighbours)
        columns.append(_add_curves(sheet, links, heading))
    notes = [
        f"A curve joins look-alikes: one is among the other's {count} nearest identities. "
        "Hits: how many of an identity's nearest share its batch, mean over the epoch.",
        "Nearest at: distance to the most similar other identity of the batch.",
    ]
    return _side_by_side(columns, title, notes)


def find_links(labels: Sequence[int], neighbours: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Pairs of rows (i < j) whose identities are look-alikes: one is a neighbour of the other."""
    return [
        (i, j)
        for (i, a), (j, b) in combinations(enumerate(labels), 2)
        if b in neighbours[a] or a in neighbours[b]
    ]


def _identity_row(data: TrainingSet, images: Sequence[int], distance: float) -> list[Tile]:
    """Tiles of one identity, named below the first one; below the others stand their cameras."""
    domain = data.domains[images[0]]
    who = (f"identity {data.samples[images[0]].identity}", f"nearest at {distance:#.3g}")
    first = (*who, data.names[domain]) if len(data.names) > 1 else who
    tiles = [Tile(data.samples[images[0]].path, first)]
    for sample in (data.samples[i] for i in images[1:]):
        tiles.append(Tile(sample.path, (f"camera {sample.camera or 'unknown'}",)))
    return tiles


def _add_curves(sheet: Drawn, links: Sequence[tuple[int, int]], heading: str) -> Image.Image:
    """The sheet with a heading, and with a gutter to the left where curves join its rows."""
    gutter = Image.new("RGB", (SMOOTH * GUTTER, SMOOTH * sheet.image.height), PAPER)
    pen = ImageDraw.Draw(gutter)
    right = SMOOTH * (GUTTER - DOT)
    for i, j in links:
        top, bottom = SMOOTH * sheet.middles[i], SMOOTH * sheet.middles[j]
        depth = SMOOTH * min(SHALLOWEST + DEEPER * (j - i - 1), GUTTER - 2 * DOT)
        box = (right - depth, top, right + depth, bottom)
        pen.arc(box, 90, 270, fill=REDDISH_PURPLE, width=SMOOTH * STROKE)
        for y in (top, bottom):
            pen.circle((right, y), SMOOTH * DOT, fill=REDDISH_PURPLE)
    lines = wrap(heading, HEADING_SIZE, sheet.image.width)
    above = lines_height(lines, HEADING_SIZE)
    size = (GUTTER + sheet.image.width, above + sheet.image.height)
    column = Image.new("RGB", size, PAPER)
    column.paste(
        gutter.resize((GUTTER, sheet.image.height), Image.Resampling.LANCZOS), (MARGIN, above)
    )
    column.paste(sheet.image.crop((MARGIN, 0, *sheet.image.size)), (MARGIN + GUTTER, above))
    write_lines(column, (MARGIN + GUTTER, 0), lines, HEADING_SIZE)
    return column


def _side_by_side(columns: Sequence[Image.Image], title: str, notes: list[str]) -> Image.Image:
    """The columns below the title and notes."""
    width = sum(column.width for column in columns)
    titles = wrap(title, TITLE_SIZE, width - 2 * MARGIN)
    small = [line for note in notes for line in wrap(note, NOTE_SIZE, width - 2 * MARGIN)]
    heights = [lines_height(titles, TITLE_SIZE), lines_height(small, NOTE_SIZE)]
    header = 3 * MARGIN + sum(heights)
    page = Image.new("RGB", (width, header + max(column.height for column in columns)), PAPER)
    write_lines(page, (MARGIN, MARGIN), titles, TITLE_SIZE, INK)
    write_lines(page, (MARGIN, MARGIN + heights[0]), small, NOTE_SIZE, FAINT_INK)
    left = 0
    for column in columns:
        page.paste(column, (left, header))
        left += column.width
    return page
