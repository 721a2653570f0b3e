"""Changes of a training set are counted by kind."""

from dataclasses import replace
from pathlib import Path

import pytest

from datasets.checks.changes import compare_images, describe_images
from datasets.records import Sample
from datasets.sources import TrainingSet


@pytest.fixture
def samples(tmp_path):
    """Six images of three identities."""
    (tmp_path / "root" / "train").mkdir(parents=True)
    found = []
    for i in range(6):
        path = tmp_path / "root" / "train" / f"{i}.jpg"
        path.write_bytes(bytes([i]) * 3000)
        found.append(Sample(str(path), i // 2, i % 2, -1, f"name {i // 2}", f"camera {i % 2}"))
    return found


def described(samples):
    labels = [sample.pid for sample in samples]
    return describe_images(TrainingSet(samples, labels, [0] * len(labels), 3, 2, 1, ("a",), (0,)))


def changes(before, samples):
    found = compare_images(before, described(samples))
    return found.gone, found.new, found.changed


def test_equal_data_in_another_folder_and_order_have_not_changed(samples, tmp_path):
    before = described(samples)
    (tmp_path / "root").rename(tmp_path / "moved")
    moved = [replace(x, path=x.path.replace("/root/", "/moved/")) for x in samples]
    assert not compare_images(before, described(moved[::-1]))


def test_deleted_and_added_images_are_counted(samples):
    before = described(samples[:5])
    assert changes(before, samples[1:]) == (1, 1, 0)


def test_places_that_look_alike_are_two(tmp_path):
    """Their last two parts are equal."""
    samples = []
    for identity in "ab":
        path = tmp_path / identity / "day1" / "1.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(identity.encode() * 3000)
        samples.append(Sample(str(path), 0, 0, -1, identity))
    before = described(samples)
    assert len(before) == 2
    for sample in samples:
        Path(sample.path).write_bytes(b"c")
        assert changes(before, samples)[2] >= 1
    assert changes(before, samples) == (0, 0, 2)


@pytest.mark.parametrize("field", [{"pid_name": "x"}, {"camid_name": "x"}, {"viewid": 3}])
def test_other_identity_camera_or_viewpoint_is_a_change(samples, field):
    before = described(samples)
    assert changes(before, [replace(samples[0], **field), *samples[1:]]) == (0, 0, 1)


@pytest.mark.parametrize("content", [b"", bytes([9]) * 3000, bytes([0]) * 2999])
def test_replaced_file_is_a_change(samples, content):
    before = described(samples)
    Path(samples[0].path).write_bytes(content)
    assert changes(before, samples) == (0, 0, 1)


def test_swapped_identities_are_counted(samples):
    before = described(samples)
    names = ["name 1", "name 1", "name 0", "name 0", "name 2", "name 2"]
    swapped = [replace(x, pid_name=name) for x, name in zip(samples, names, strict=True)]
    found = compare_images(before, described(swapped))
    assert str(found) == (
        "of 6 images 0 are gone and 4 have another identity, camera or content; 0 are new"
    )
