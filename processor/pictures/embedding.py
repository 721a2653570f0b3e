"""Features in a plane: colours are identities, shapes cameras or data sets, stars prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from datasets.records import natural_order
from processor.evaluation.identity_sample import Identity
from processor.pictures.figure import new_figure, tidy_axes
from processor.pictures.plane import Plane, find_medoid
from processor.pictures.sheet import read_scaled
from processor.pictures.style import FAINT_INK, GREY, HUES, INK, PAPER

WIDTH, HEIGHT = 12.0, 9.0  # inches
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "8")
FILLS = ("full", "hollow", "dark edge")  # with the hues, the looks of 24 identities
SIZE, STAR_SIZE = 6.5, 17  # points
THUMBNAIL_HEIGHT = 160  # pixels read from the file
THUMBNAIL_POINTS = 42.0  # height on the figure for up to MANY identities, then less
MANY = 24
LABEL_SHARE = 0.07  # of the axes' height, left free for the label of the topmost point
LEGEND_LETTERS = 110  # in a line below the axes, 5 of them around each entry


@dataclass(frozen=True, slots=True)
class Scene:
    """The contents of a figure.

    Attributes:
        plane: the points of the images, followed by those of the prompts.
        identities: (N,) the identity of every image.
        marks: (N,) what each image's shape stands for, its camera or its data set.
        paths: (N,) the image files, for thumbnails; empty = no thumbnails.
        prompts: (M,) the identities of the prompts.
        names: of the identities; one without a name is its pid.
    """

    plane: Plane
    identities: Sequence[Identity]
    marks: Sequence[str]
    paths: Sequence[str] = ()
    prompts: Sequence[Identity] = ()
    names: Mapping[Identity, str] = field(default_factory=dict)


def draw_embedding(scene: Scene, *, title: str, notes: Sequence[str] = ()) -> Figure:
    """Draw images as points and prompts as stars, with a thumbnail and the name of each identity.

    The thumbnail is the identity's medoid. A line runs from a star to the median of its images.

    Args:
        scene: see there.
        title: above the axes.
        notes: smaller lines below the title.
    """
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_subplot()
    tidy_axes(axes)
    people = list(dict.fromkeys(scene.identities))
    looks = dict(zip(people, map(_look, range(len(people))), strict=True))
    shapes = _choose_shapes(scene.marks)
    points = scene.plane.points
    images, stars = points[: len(scene.identities)], points[len(scene.identities) :]
    of_image = list(zip(scene.identities, scene.marks, strict=True))
    for person, kind in product(people, shapes):
        chosen = images[[pair == (person, kind) for pair in of_image]]
        axes.plot(*chosen.T, shapes[kind], markersize=SIZE, zorder=3, **looks[person])
    rows = {x: np.flatnonzero([other == x for other in scene.identities]) for x in people}
    for person, star in zip(scene.prompts, stars, strict=True):
        end = np.median(images[rows[person]], axis=0)
        axes.plot(*zip(star, end, strict=True), color=FAINT_INK, linewidth=0.9, zorder=1)
        axes.plot(*star, "*", markersize=STAR_SIZE, zorder=4, **looks[person])
    for person in people:
        medoid = rows[person][find_medoid(images[rows[person]])]
        path = scene.paths[medoid] if scene.paths else ""
        _label(axes, _name(person, people, scene.names), images[medoid], path, len(people))
    if scene.plane.axes:
        axes.set(xlabel=scene.plane.axes[0], ylabel=scene.plane.axes[1])
        axes.tick_params(labelsize="small")
    else:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    axes.margins(0.05)
    if scene.paths:  # the topmost thumbnail stays inside the axes
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + LABEL_SHARE * (high - low))
    figure.suptitle(title, x=0.01, ha="left", fontsize="x-large")
    axes.set_title("\n".join(notes), loc="left", fontsize="medium", color=FAINT_INK)
    _add_legend(figure, shapes, prompts=bool(scene.prompts))
    return figure


def _choose_shapes(marks: Sequence[str]) -> dict[str, str]:
    """The marker of every mark, in natural order; more marks than shapes share them."""
    names = sorted(set(marks), key=natural_order)
    return {name: SHAPES[place % len(SHAPES)] for place, name in enumerate(names)}


def _look(number: int) -> dict[str, Any]:
    """Colour and fill of the marker of an identity."""
    hue = HUES[number % len(HUES)]
    fill = FILLS[number // len(HUES) % len(FILLS)]
    face = PAPER if fill == "hollow" else hue
    edge = {"full": PAPER, "hollow": hue, "dark edge": INK}[fill]
    width = {"full": 0.5, "hollow": 1.6, "dark edge": 1.2}[fill]
    return {"markerfacecolor": face, "markeredgecolor": edge, "markeredgewidth": width}


def _name(person: Identity, people: Sequence[Identity], names: Mapping[Identity, str]) -> str:
    """The name, after that of its data set where there are several."""
    name = names.get(person, str(person[1]))
    return f"{person[0]} {name}" if len({data for data, _ in people}) > 1 else name


def _label(axes: Axes, name: str, place: np.ndarray, path: str, count: int) -> None:
    """Put an identity's thumbnail above its medoid, and its name above that."""
    height = THUMBNAIL_POINTS * min(1, (MANY / count) ** 0.5) if path else 0
    if path:
        image = np.asarray(read_scaled(path, THUMBNAIL_HEIGHT))
        box = OffsetImage(image, zoom=height / THUMBNAIL_HEIGHT, dpi_cor=True)
        axes.add_artist(
            AnnotationBbox(
                box,
                (place[0], place[1]),
                (0, 5 + height / 2),
                boxcoords="offset points",
                pad=0.08,
                bboxprops={"edgecolor": PAPER, "facecolor": PAPER},
                zorder=2,
            )
        )
    axes.annotate(
        name,
        (place[0], place[1]),
        (0, 8 + height),
        textcoords="offset points",
        fontsize="small",
        ha="center",
        color=INK,
        path_effects=[patheffects.withStroke(linewidth=2.5, foreground=PAPER)],
        zorder=5,
    )


def _add_legend(figure: Figure, shapes: dict[str, str], *, prompts: bool) -> None:
    """Below the axes, the meaning of the shapes; none where there is a single one."""

    def handle(shape: str, label: str) -> Line2D:
        return Line2D([], [], linestyle="", marker=shape, markersize=SIZE, color=GREY, label=label)

    by_shape: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        by_shape.setdefault(shape, []).append(name)
    kinds = [handle(shape, ", ".join(own)) for shape, own in by_shape.items()]
    if len(kinds) < 2:
        kinds = []
    if prompts:
        kinds.append(handle("*", "learned prompt"))
    if kinds:
        longest = max(len(str(kind.get_label())) for kind in kinds)
        columns = min(8, max(1, LEGEND_LETTERS // (longest + 5)))
        figure.legend(handles=kinds, loc="outside lower center", ncols=columns, frameon=False)
