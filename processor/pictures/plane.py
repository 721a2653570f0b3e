"""From features to points in a plane, and measures of their layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

METHODS = {"tsne": "t-SNE", "pca": "PCA"}
PERPLEXITY = 30  # of t-SNE; less where there are few features


@dataclass(frozen=True, slots=True)
class Plane:
    """Features in two dimensions.

    Attributes:
        points: (N, 2).
        axes: titles of the two axes; empty if they have no meaning, as in t-SNE.
    """

    points: np.ndarray
    axes: tuple[str, ...] = ()


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
        from sklearn.manifold import TSNE  # takes a second, which other sub-commands save

        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed)
        return Plane(tsne.fit_transform(rows.astype(np.float32)))
    left, values, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    shares = np.square(values) / max(np.square(values).sum(), np.finfo(float).tiny)
    points = left[:, :2] * values[:2]
    first, second = (f"component {i + 1} ({shares[i]:.0%} of the variance)" for i in range(2))
    return Plane(points, (first, second))


def without_gap(images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """Directions of image and text features from the mean direction of their own kind.

    The two kinds lie in separate cones, however well they match (the modality gap, Liang et al.,
    2022); drawn as they are, they would form two heaps.
    """
    centered = []
    for features in (images, texts):
        directions = F.normalize(features.float())
        centered.append(F.normalize(directions - directions.mean(0)))
    return centered[0], centered[1]


def find_medoid(points: np.ndarray) -> int:
    """Row of the point (of (N, 2)) with the smallest sum of distances to the others."""
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    return int(distances.sum(1).argmin())


def share_of_right_prompts(
    images: Tensor, texts: Tensor, owners: Sequence[object], prompts: Sequence[object]
) -> float:
    """Share of the images whose most similar prompt is that of their own identity.

    Args:
        images: (N, D) of length 1.
        texts: (M, D) of length 1.
        owners: (N,) identities of the images.
        prompts: (M,) identities of the prompts.
    """
    nearest = (images @ texts.T).argmax(1).tolist()
    right = [prompts[place] == owner for place, owner in zip(nearest, owners, strict=True)]
    return sum(right) / len(right)
