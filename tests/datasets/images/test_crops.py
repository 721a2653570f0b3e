"""Boxes cut out of a frame."""

import numpy as np
import pytest
import torch

from datasets.images.crops import crop_boxes

FRAME = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_boxes_are_left_top_right_bottom_in_pixels():
    (crop,) = crop_boxes(FRAME, [[1, 0, 3, 2]])
    assert np.array_equal(crop, FRAME[0:2, 1:3])


def test_fractions_are_rounded_outward_and_edges_clip():
    first, second = crop_boxes(FRAME, torch.tensor([[0.9, 1.2, 2.1, 2.8], [-5.0, -5.0, 99.0, 2.0]]))
    assert np.array_equal(first, FRAME[1:3, 0:3])
    assert np.array_equal(second, FRAME[0:2])


def test_no_boxes_give_no_crops():
    assert crop_boxes(FRAME, []) == []
    assert crop_boxes(FRAME, np.empty((0, 4))) == []


@pytest.mark.parametrize(
    "box",
    [[2, 1, 2, 3], [3, 1, 2, 3], [6, 0, 9, 2], [-4, 0, 0, 2], [0, np.nan, 1, 2], [0, 0, np.inf, 1]],
)
def test_box_without_pixels_is_named_by_its_number(box):
    with pytest.raises(ValueError, match=r"boxes\[1\]: .* (is not finite|has no pixel)"):
        crop_boxes(FRAME, [[0, 0, 1, 1], box])


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected a frame \(H, W, 3\) and boxes \(N, 4\)"):
        crop_boxes(FRAME, [[1, 2, 3]])


def test_boxes_of_a_detector_may_have_gradients():
    frame = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    boxes = torch.tensor([[1.0, 1.0, 4.0, 5.0]], requires_grad=True)
    (crop,) = crop_boxes(frame, boxes)
    assert np.array_equal(crop, frame[1:5, 1:4])
