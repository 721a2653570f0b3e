"""Position embeddings and their grid of patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_position_embedding(
    embedding: Tensor, new_grid: tuple[int, int], old_grid: tuple[int, int] | None = None
) -> Tensor:
    """Resample a grid of position embeddings bilinearly; the first row (class or mean) stays.

    Args:
        embedding: (1 + rows * columns, D), as OpenAI's CLIP stores it.
        new_grid: (rows, columns) of patches, e.g. (16, 8) for 256x128 at stride 16.
        old_grid: (rows, columns) of `embedding`; None means a square.

    Returns:
        (1 + new rows * new columns, D).

    Raises:
        ValueError: the rows do not fill `old_grid`.
    """
    patches = len(embedding) - 1
    side = round(patches**0.5)
    rows, columns = old_grid or (side, side)
    if rows * columns != patches:
        raise ValueError(f"{patches} position embeddings do not fill a {rows}x{columns} grid")
    grid = embedding[1:].reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid.float(), size=new_grid, mode="bilinear", align_corners=False)
    grid = grid.permute(0, 2, 3, 1).flatten(0, 2).to(embedding.dtype)
    return torch.cat([embedding[:1], grid])


def fit_position_embedding(embedding: Tensor, grid: tuple[int, int], prefix: int = 1) -> Tensor:
    """`resize_position_embedding` in float32 from an unknown grid; the first rows stay.

    A square number of patches is taken for a square, any other for the grid whose aspect ratio is
    closest to the new one.
    """
    embedding = embedding.float()
    # The function that resizes keeps one row in front.
    rows = torch.cat([embedding[prefix : prefix + 1], embedding[prefix:]])
    return torch.cat([embedding[:prefix], _fit_rows(rows, grid)[1:]])


def _fit_rows(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    patches = len(embedding) - 1
    if round(patches**0.5) ** 2 == patches:
        return resize_position_embedding(embedding, grid)
    aspect = grid[0] / grid[1]
    factors = [(patches // c, c) for c in range(1, patches + 1) if patches % c == 0]
    old = min(factors, key=lambda f: abs(torch.tensor(f[0] / f[1] / aspect).log().item()))
    return resize_position_embedding(embedding, grid, old)


def patch_grid(
    image_size: tuple[int, int], patch: tuple[int, int], stride: tuple[int, int]
) -> tuple[int, int]:
    """(rows, columns) of patches; raises ValueError if stride or size does not fit the patch."""
    if min(image_size) < max(patch):
        raise ValueError(
            f"INPUT.SIZE_TRAIN: {list(image_size)} is smaller than a patch {list(patch)}"
        )
    if stride[0] > patch[0] or stride[1] > patch[1]:
        raise ValueError(
            f"MODEL.STRIDE_SIZE: {list(stride)} is larger than the patch {list(patch)}, which "
            f"would lose the pixels between patches; set it to {list(patch)} or less"
        )
    rows = (image_size[0] - patch[0]) // stride[0] + 1
    columns = (image_size[1] - patch[1]) // stride[1] + 1
    return rows, columns
