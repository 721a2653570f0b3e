"""Drawn data sets: reproducible files, disjoint splits, look-alikes, distinct domains."""

import dataclasses
import json
import re
import shutil
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.synthetic import render
from datasets.synthetic.people import draw_identities
from datasets.synthetic.places import DOMAINS
from datasets.synthetic.render import DatasetSize, render_dataset, synthetic_folder

SMALL = DatasetSize(3, 2, num_cameras=2, images_per_camera=2, seed=5)
NAME = re.compile(r"(-1|\d{4})_c([1-9])s1_\d{6}_00\.jpg")


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.glob("*/*.jpg"))}


def bytes_of(folder):
    return {name: path.read_bytes() for name, path in files_of(folder).items()}


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return render_dataset("street", tmp_path_factory.mktemp("street"), SMALL, num_workers=1)


def test_bytes_do_not_depend_on_the_number_of_workers(street, tmp_path):
    again = render_dataset("street", tmp_path, SMALL, num_workers=2)
    assert again.name == street.name
    assert bytes_of(again) == bytes_of(street)


def test_another_seed_draws_other_images_into_another_folder(street, tmp_path):
    other = render_dataset("street", tmp_path, dataclasses.replace(SMALL, seed=6), num_workers=1)
    assert other.name != street.name
    assert not set(bytes_of(other).values()) & set(bytes_of(street).values())


def test_images_do_not_depend_on_each_other():
    plan = render.Plan(DOMAINS["mall"], SMALL, 128, 64)
    shots = list(render.plan_shots(plan))
    alone = np.asarray(render.draw_shot(plan, shots[7]))
    for shot in reversed(shots):
        last = np.asarray(render.draw_shot(plan, shot))
        if shot is shots[7]:
            break
    np.testing.assert_array_equal(alone, last)


def test_folder_has_the_market1501_layout(street):
    ids = defaultdict(lambda: defaultdict(list))
    for name, path in files_of(street).items():
        part, file = name.split("/")
        pid, camera = NAME.fullmatch(file).groups()
        ids[part][int(pid)].append(int(camera))
        with Image.open(path) as image:
            assert (image.size, image.mode, image.format) == ((64, 128), "RGB", "JPEG")
    assert {part: set(pids) for part, pids in ids.items()} == {
        "bounding_box_train": {1, 2, 3},
        "query": {4, 5},
        "bounding_box_test": {-1, 0, 4, 5},
    }
    assert all(sorted(cameras) == [1, 1, 2, 2] for cameras in ids["bounding_box_train"].values())
    assert all(sorted(cameras) == [1, 2] for cameras in ids["query"].values())


def test_size_is_height_and_width(tmp_path):
    folder = render_dataset("street", tmp_path, SMALL, size=(96, 40), num_workers=1)
    with Image.open(next(iter(files_of(folder).values()))) as image:
        assert image.size == (40, 96)


@pytest.mark.parametrize("name", DOMAINS)
def test_identities_differ_and_families_are_look_alikes(name):
    train = draw_identities(DOMAINS[name], 1, 100, 0)
    test = draw_identities(DOMAINS[name], 101, 50, 0)
    assert [person.pid for person in train + test] == list(range(1, 151))
    assert len({person.appearance for person in train + test}) == 150
    for people in (train, test):
        families = defaultdict(list)
        for person in people:
            families[person.family].append(dataclasses.astuple(person.appearance))
        pairs = [pair for members in families.values() for pair in combinations(members, 2)]
        assert len(pairs) > len(people) / 4
        differences = [sum(a != b for a, b in zip(*pair, strict=True)) for pair in pairs]
        assert set(differences) == {1, 2}


def test_domains_differ_in_colour(tmp_path):
    means = {}
    for name in DOMAINS:
        folder = render_dataset(name, tmp_path, SMALL, num_workers=1)
        pixels = [np.asarray(Image.open(path)) for path in files_of(folder).values()]
        means[name] = np.mean(pixels, axis=(0, 1, 2))
    for first, second in combinations(means, 2):
        assert np.linalg.norm(means[first] - means[second]) > 10, (first, second)


def test_complete_folder_is_reused(street, monkeypatch):
    monkeypatch.setattr(render, "draw_shot", None)
    assert render_dataset("street", street.parent, SMALL, num_workers=1) == street


@pytest.mark.parametrize("loss", ["marker", "parameters", "image"])
def test_incomplete_folder_is_drawn_again(loss, tmp_path):
    folder = render_dataset("station", tmp_path, SMALL, num_workers=1)
    before = bytes_of(folder)
    marker, image = folder / render.MARKER, next(iter(files_of(folder).values()))
    if loss == "marker":
        marker.unlink()
    elif loss == "parameters":
        marker.write_text(json.dumps({"num_images": len(before)}))
    else:
        image.unlink()
    (folder / "query" / "stale.jpg").write_bytes(b"")
    assert render_dataset("station", tmp_path, SMALL, num_workers=1) == folder
    assert bytes_of(folder) == before
    assert marker.is_file()


def test_interrupted_drawing_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(render, "draw_shot", interrupt)
    with pytest.raises(KeyboardInterrupt):
        render_dataset("mall", tmp_path, SMALL, num_workers=1)
    assert list(tmp_path.iterdir()) == []


def test_synthetic_folder_draws_to_the_cache_and_logs_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("REID_CACHE", str(tmp_path))
    monkeypatch.setattr(render, "DEFAULTS", SMALL)
    with caplog.at_level("INFO", logger="datasets.synthetic.render"):
        folder = synthetic_folder("synthetic_campus")
        assert synthetic_folder("synthetic_campus") == folder
    assert folder.parent == tmp_path / "synthetic"
    (message,) = [record.getMessage() for record in caplog.records]
    assert str(len(files_of(folder))) in message
    assert str(folder) in message


@pytest.mark.parametrize("name", ["synthetic_moon", "moon", "campus", ""])
def test_unknown_name_lists_the_known_ones(name):
    with pytest.raises(ValueError, match="synthetic_street, synthetic_mall, synthetic_campus"):
        synthetic_folder(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_cameras": 1}, "num_cameras"),
        ({"num_cameras": 10}, "num_cameras"),
        ({"images_per_camera": 1}, "images_per_camera"),
        ({"num_test_pids": 0}, "num_test_pids"),
        ({"num_train_pids": 10_000}, "9999"),
    ],
)
def test_impossible_counts_are_refused(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        render_dataset("street", tmp_path, dataclasses.replace(SMALL, **change), num_workers=1)


def test_impossible_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="size"):
        render_dataset("street", tmp_path, SMALL, size=(128, 0), num_workers=1)


def test_drawing_with_a_short_or_empty_file_is_drawn_again(tmp_path):
    """A power failure may leave names without content."""
    counts = DatasetSize(2, 2, num_cameras=2, images_per_camera=2)
    folder = render_dataset("street", tmp_path, counts, size=(32, 16), num_workers=1)
    files = sorted(folder.glob("*/*.jpg"))
    whole = [file.read_bytes() for file in files]
    files[0].write_bytes(b"")
    files[1].write_bytes(whole[1][:-2])
    assert render_dataset("street", tmp_path, counts, size=(32, 16), num_workers=1) == folder
    assert [file.read_bytes() for file in files] == whole


def test_draft_of_a_killed_process_is_removed(tmp_path, monkeypatch):
    counts = DatasetSize(2, 2, num_cameras=2, images_per_camera=2)
    monkeypatch.setattr(render, "_is_complete", lambda *_: False)
    monkeypatch.setattr(shutil, "rmtree", lambda *_a, **_k: None)  # killed before the clean-up
    monkeypatch.setattr(Path, "rename", lambda *_: None)
    render_dataset("street", tmp_path, counts, size=(32, 16), num_workers=1)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    monkeypatch.setattr(render.psutil, "pid_exists", lambda _: False)
    folder = render_dataset("street", tmp_path, counts, size=(32, 16), num_workers=1)
    assert list(tmp_path.iterdir()) == [folder]
