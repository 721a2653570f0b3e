"""Boxes of a frame, cut out as images."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor


def crop_boxes(frame: np.ndarray, boxes: Any) -> list[np.ndarray]:
    """Cut boxes out of a frame; parts beyond its edges are clipped, fractions are rounded outward.

    Args:
        frame: (H, W, 3) uint8.
        boxes: (N, 4) left, top, right, bottom in pixels; an array, a tensor or lists.

    Returns:
        N views of the frame, (h, w, 3).

    Raises:
        ValueError: another shape; a box that is not finite or has no pixel of the frame, by number.
    """
    if not isinstance(frame, np.ndarray):
        raise ValueError(f"frame: expected an array (H, W, 3), got {type(frame).__name__}")
    if isinstance(boxes, Tensor):  # of a detector, also on a GPU
        boxes = boxes.detach().cpu()
    numbers = np.asarray(boxes, dtype=np.float64)
    numbers = numbers.reshape(0, 4) if not numbers.size else numbers
    if frame.ndim != 3 or numbers.ndim != 2 or numbers.shape[1] != 4:
        raise ValueError(
            f"expected a frame (H, W, 3) and boxes (N, 4), got {frame.shape} and {numbers.shape}"
        )
    height, width = frame.shape[:2]
    crops = []
    for number, box in enumerate(numbers):
        if not np.isfinite(box).all():
            raise ValueError(f"boxes[{number}]: {box.tolist()} is not finite")
        left, top = np.clip(np.floor(box[:2]), 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(box[2:]), 0, (width, height)).astype(int)
        if box[0] >= box[2] or box[1] >= box[3] or left >= right or top >= bottom:
            raise ValueError(
                f"boxes[{number}]: {box.tolist()} has no pixel of the {width} x {height} frame"
            )
        crops.append(frame[top:bottom, left:right])
    return crops
