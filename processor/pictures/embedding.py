"""Features in the plane: identities by colour, cameras or data sets by shape, prompts as stars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch.nn.functional as F
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from processor.evaluation.identity_sample import Identity
from processor.pictures.style import HUES, INK, PAPER, new_figure, tidy_axes

METHODS = ("tsne", "pca")
PERPLEXITY = 30  # of t-SNE; less where there are few features
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "8")
FILLS = ("full", "hollow", "dark edge")  # with the hues, the looks of 24 identities
SIZE, STAR_SIZE = 6.5, 17  # points
LEGEND_LETTERS = 110  # in a line below the axes, 5 of them around each entry


@dataclass(frozen=True, slots=True)
class Plane:
    """Features in two dimensions.

    Attributes:
        points: (N, 2).
        axes: what the two axes are.
    """

    points: np.ndarray
    axes: tuple[str, str]


def project_to_plane(features: Tensor, method: str, seed: int = 0) -> Plane:
    """Features (N, D) -> (N, 2), by t-SNE (van der Maaten and Hinton, 2008) or by PCA.

    Args:
        features: N of 4 or more.
        method: one of `METHODS`.
        seed: of t-SNE, which starts from the principal components.

    Raises:
        ValueError: fewer than 4 features.
    """
    rows = features.double().numpy()
    if len(rows) < 4:
        raise ValueError(f"{len(rows)} images are too few to draw, 4 are needed")
    if method == "tsne":
        perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
        from sklearn.manifold import TSNE  # takes a second, which other sub-commands need not wait

        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed)
        return Plane(tsne.fit_transform(rows.astype(np.float32)), ("t-SNE 1", "t-SNE 2"))
    left, values, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    shares = np.square(values) / max(np.square(values).sum(), np.finfo(float).tiny)
    points = left[:, :2] * values[:2]
    first, second = (f"component {i + 1} ({shares[i]:.0%} of the variance)" for i in range(2))
    return Plane(points, (first, second))


def without_gap(images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """Directions of image and text features from the mean direction of their own kind.

    The two kinds lie in separate cones, however well they match (the modality gap, Liang et al.,
    2022); side by side in a plane they would be two heaps.
    """
    centered = []
    for features in (images, texts):
        directions = F.normalize(features.float())
        centered.append(F.normalize(directions - directions.mean(0)))
    return centered[0], centered[1]


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn.

    Attributes:
        plane: where the images are, and after them the prompts.
        identities: (N,) who is on every image.
        marks: (N,) what its shape says of every image, its camera or its data set.
        prompts: (M,) whose the prompts are.
    """

    plane: Plane
    identities: Sequence[Identity]
    marks: Sequence[str]
    prompts: Sequence[Identity] = ()


def draw_embedding(scene: Scene, *, title: str, mark: str) -> Figure:
    """Every image as a point, every prompt as a star, the pid beside an identity's images.

    Args:
        scene: see there.
        title: says which feature is shown.
        mark: what the shapes stand for.
    """
    figure = new_figure(11, 8)
    axes = figure.add_subplot()
    tidy_axes(axes)
    people = list(dict.fromkeys(scene.identities))
    looks = dict(zip(people, map(_look, range(len(people))), strict=True))
    marks = sorted(set(scene.marks), key=lambda name: (len(name), name))
    shapes = {name: SHAPES[place % len(SHAPES)] for place, name in enumerate(marks)}
    points = scene.plane.points
    images, stars = points[: len(scene.identities)], points[len(scene.identities) :]
    of_image = list(zip(scene.identities, scene.marks, strict=True))
    for person, kind in product(people, marks):
        chosen = images[[pair == (person, kind) for pair in of_image]]
        axes.plot(*chosen.T, shapes[kind], markersize=SIZE, **looks[person])
    for person, star in zip(scene.prompts, stars, strict=True):
        axes.plot(*star, "*", markersize=STAR_SIZE, zorder=3, **looks[person])
        _write(axes, person, star, above=8)
    for person in people:
        own = images[[other == person for other in scene.identities]]
        middle = np.array([np.median(own[:, 0]), np.quantile(own[:, 1], 0.75)])
        _write(axes, person, middle, above=5)
    axes.set(xlabel=scene.plane.axes[0], ylabel=scene.plane.axes[1])
    axes.tick_params(labelsize="small")
    figure.suptitle(title, x=0.02, ha="left", fontsize="medium")
    _add_legends(figure, looks, {} if len(marks) < 2 else shapes, mark, prompts=bool(scene.prompts))
    return figure


def _look(number: int) -> dict[str, Any]:
    """Colour and fill of the marker of an identity."""
    hue = HUES[number % len(HUES)]
    fill = FILLS[number // len(HUES) % len(FILLS)]
    face = PAPER if fill == "hollow" else hue
    edge = {"full": PAPER, "hollow": hue, "dark edge": INK}[fill]
    width = {"full": 0.5, "hollow": 1.6, "dark edge": 1.2}[fill]
    return {"markerfacecolor": face, "markeredgecolor": edge, "markeredgewidth": width}


def _write(axes: Axes, person: Identity, place: np.ndarray, above: float) -> None:
    """Write a pid some points above a place."""
    axes.annotate(
        str(person[1]),
        (place[0], place[1]),
        (0, above),
        textcoords="offset points",
        fontsize="small",
        ha="center",
        color=INK,
        path_effects=[patheffects.withStroke(linewidth=2.5, foreground=PAPER)],
        zorder=4,
    )


def _add_legends(
    figure: Figure,
    looks: dict[Identity, dict[str, Any]],
    shapes: dict[str, str],
    mark: str,
    *,
    prompts: bool,
) -> None:
    """Identities on the right; below, what the shapes mean."""

    def handle(shape: str, label: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="", marker=shape, markersize=SIZE, label=label, **style)

    several = len({name for name, _ in looks}) > 1
    people = [
        handle("o", f"{name} {pid}" if several else str(pid), **look)
        for (name, pid), look in looks.items()
    ]
    columns = 1 + (len(people) - 1) // 32
    figure.legend(
        handles=people, title="identity", loc="outside right upper", ncols=columns, frameon=False
    )
    gray = {"markerfacecolor": "gray", "markeredgecolor": "gray"}
    by_shape: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        by_shape.setdefault(shape, []).append(name)
    kinds = [handle(shape, ", ".join(own), **gray) for shape, own in by_shape.items()]
    if prompts:
        kinds.append(handle("*", "learned prompt", **gray))
    if kinds:
        longest = max(len(str(kind.get_label())) for kind in kinds)
        figure.legend(
            handles=kinds,
            title=mark if shapes else None,
            loc="outside lower center",
            ncols=min(8, max(1, LEGEND_LETTERS // (longest + 5))),
            frameon=False,
        )
