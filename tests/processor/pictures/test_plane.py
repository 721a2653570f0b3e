"""Projections to the plane, medoids, and the share of images nearest to their own prompt."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from processor.pictures.plane import (
    find_medoid,
    project_to_plane,
    share_of_right_prompts,
    without_gap,
)


def blobs(count=12, width=16):
    """Two groups of features far from each other."""
    noise = torch.randn(2 * count, width, generator=torch.Generator().manual_seed(0))
    noise[:count, 0] += 50
    return noise


def test_pca_keeps_points_that_lie_in_a_plane():
    turn = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(0))).Q
    flat = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    plane = project_to_plane(flat @ turn.T + 7, "pca")
    assert np.abs(plane.points) == pytest.approx(flat.abs().numpy(), abs=1e-5)
    assert plane.axes == ("component 1 (90% of the variance)", "component 2 (10% of the variance)")


def test_equal_features_are_one_point():
    assert np.abs(project_to_plane(torch.ones(5, 3), "pca").points).max() == 0


def test_tsne_keeps_groups_apart_and_is_reproducible():
    first, second = (project_to_plane(blobs(), "tsne", seed=3) for _ in range(2))
    assert np.array_equal(first.points, second.points)
    assert first.axes == ()  # they have no meaning
    left, right = first.points[:12], first.points[12:]
    gap = np.linalg.norm(left.mean(0) - right.mean(0))
    assert gap > np.linalg.norm(left - left.mean(0), axis=1).max()


def test_few_images_are_an_error():
    with pytest.raises(ValueError, match="3 images are too few"):
        project_to_plane(torch.eye(3), "tsne")


def test_gap_between_kinds_is_closed():
    """Texts are the images' directions behind an offset of their own and a scale."""
    noise = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    images, texts = F.pad(noise, (2, 0)), F.pad(noise, (2, 0))
    images[:, 0] = texts[:, 1] = 20
    assert (F.normalize(images) @ F.normalize(texts).T).max() < 0.2
    one, other = without_gap(images, 5 * texts)
    assert (one @ other.T).argmax(1).tolist() == list(range(30))
    assert (one * other).sum(1).min() > 0.95
    torch.testing.assert_close(one.norm(dim=1), torch.ones(30))


def test_medoid_is_in_the_heap_and_not_between_heap_and_outlier():
    points = np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 1.0], [99.0, 0.0]])
    assert find_medoid(points) == 2
    assert find_medoid(points[:2]) == 0  # of equals, the first


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=9))
def test_no_point_is_nearer_to_the_others_than_the_medoid(points):
    points = np.array(points, dtype=float)
    sums = [sum(np.linalg.norm(a - b) for b in points) for a in points]
    assert sums[find_medoid(points)] == pytest.approx(min(sums))


def test_share_of_right_prompts_counts_images_whose_nearest_prompt_is_their_own():
    images = F.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.9], [0.8, 1.0], [0.1, 1.0]]))
    texts = torch.eye(2)
    owners = ["x", "y", "y", "y"]
    assert share_of_right_prompts(images, texts, owners, ["x", "y"]) == 0.75
    assert share_of_right_prompts(images, texts, owners, ["y", "x"]) == 0.25
