"""Thresholds from named features, against a sort of all pairs."""

import numpy as np
import pytest

from processor.metrics import pair_threshold
from processor.metrics.pair_threshold import find_threshold
from processor.metrics.working_memory import WorkingMemory


def slow_threshold(features, names, cameras, far):
    """Every pair once, in float64: up to the first impostor pair that would be too many."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    genuine, impostor = [], []
    for i in range(len(unit)):
        for j in range(i + 1, len(unit)):
            if cameras is None or cameras[i] != cameras[j]:
                distance = np.linalg.norm(unit[i] - unit[j])
                (genuine if names[i] == names[j] else impostor).append(distance)
    genuine, impostor = np.sort(genuine), np.sort(impostor)
    allowed = int(np.floor(far * len(impostor) + 1e-9))
    return genuine, impostor, impostor[allowed]


@pytest.mark.parametrize("with_cameras", [False, True])
@pytest.mark.parametrize("far", [0.5, 0.05, 1e-3])
@pytest.mark.parametrize("seed", range(5))
def test_equals_a_sort_of_all_pairs(monkeypatch, seed, far, with_cameras):
    monkeypatch.setattr(pair_threshold, "WorkingMemory", lambda _, d: WorkingMemory(0.001, d))
    rng = np.random.default_rng(seed)
    names = [f"name {i}" for i in rng.integers(0, 8, 60)]
    centers = {name: rng.standard_normal(6) for name in sorted(set(names))}
    features = np.stack([centers[name] + 0.8 * rng.standard_normal(6) for name in names])
    cameras = rng.integers(0, 3, 60).tolist() if with_cameras else None
    genuine, impostor, too_many = slow_threshold(features, names, cameras, far)
    found = find_threshold(features, names, cameras, far)
    assert (found.num_genuine, found.num_impostor) == (len(genuine), len(impostor))
    last = max([0, *genuine[genuine < too_many], *impostor[impostor < too_many]])
    assert last < found.distance < too_many
    assert found.tar == pytest.approx((genuine < too_many).mean())
    assert found.far == pytest.approx((impostor < too_many).mean())
    assert 0 < found.eer < 0.5


def test_pairs_of_one_camera_do_not_count():
    features = np.array([[1.0, 0], [0.8, 0.6], [0, 1.0], [-1.0, 0]])
    names, cameras = ["a", "a", "b", "b"], ["x", "y", "y", "y"]
    found = find_threshold(features, names, cameras, far=0.4)
    assert (found.num_genuine, found.num_impostor) == (1, 2)  # (0, 1); (0, 2), (0, 3)
    assert found.distance == pytest.approx((np.hypot(0.2, 0.6) + 2**0.5) / 2)
    assert (found.far, found.tar, found.eer) == (0, 1, 0)


@pytest.mark.parametrize(
    ("names", "cameras", "far", "message"),
    [
        (["a", "b", "c"], None, 0.1, "no two images of one name"),
        (["a", "a", "a"], None, 0.1, "no two images of two names"),
        (["a", "a", "b"], [1, 1, 2], 0.1, "of one name from different cameras"),
        (["a", "a"], None, 0.1, "names: 2 for 3 features"),
        (["a", "a", "b"], [1, 2], 0.1, "cameras: 2 for 3 features"),
        (["a", "a", "b"], None, 1.0, "far: expected above 0 and below 1, got 1.0"),
    ],
)
def test_unusable_pairs_are_an_error(names, cameras, far, message):
    with pytest.raises(ValueError, match=message):
        find_threshold(np.eye(3), names, cameras, far)


def test_equal_images_of_two_names_have_no_threshold():
    same = np.ones((4, 3))
    with pytest.raises(ValueError, match=r"more than 10.00% of the pairs of two names are at dis"):
        find_threshold(same, ["a", "a", "b", "b"], far=0.1)
