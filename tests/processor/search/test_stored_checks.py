"""Stored features and galleries: every field is checked, and the error names the file."""

import json
import zipfile

import numpy as np
import pytest
import torch

from datasets.records import Sample
from processor.search.feature_file import FeatureFile
from processor.search.feature_record import FORMAT
from processor.search.gallery import Gallery
from processor.search.stored_features import pack_features, read_features

RECORD = {
    "format": FORMAT,
    "model": {"weights": "a"},
    "checkpoint": "one.pth",
    "normalized": False,
    "dim": 4,
    "images": 5,
    "images_sha256": "b",
}


@pytest.fixture
def features(tmp_path):
    """Path of a .npy with sidecars; five rows of four numbers."""
    path = tmp_path / "features.npy"
    samples = [Sample(f"{i}.jpg", i, 0, -1, f"name {i}", "cam") for i in range(5)]
    with FeatureFile(path, 4, RECORD) as file:
        file.append(torch.eye(5, 4) + 0.1, samples)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 4}, r"features are \(5, 4\), its record has \(4, 4\)"),
        ({"dim": 3}, r"features are \(5, 4\), its record has \(5, 3\)"),
        ({"rows": "5"}, "rows is '5'"),
        ({"images": None}, "images is 'None'"),
        ({"images_done": -5}, "negative counts"),
        ({"bad_images": [1]}, "an entry of bad_images is '1'"),
        ({"bad_images": "a"}, "bad_images is 'a'"),
        ({"model": []}, "model is"),
        ({"checkpoint": 3}, "checkpoint is '3'"),
        ({"normalized": "yes"}, "normalized is 'yes'"),
        ({"format": None}, "not written by run.py extract"),
    ],
)
def test_damaged_record_is_named(features, change, message):
    sidecar = features.with_suffix(".json")
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), **change}))
    with pytest.raises(ValueError, match=f"^{features}.*{message}"):
        read_features(features)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.full((5, 4), np.nan, "f4"), "not all finite"),
        (np.full((5, 4), np.inf, "f4"), "not all finite"),
        (np.ones((4, 4), "f4"), "4 rows of features for 5 images"),
        (np.ones((5, 4), "f8"), "float64"),
        (np.ones(5, "f4"), r"\(5,\), not a float32 matrix"),
        (np.array([["a"] * 4] * 5), "not a float32 matrix"),
    ],
)
def test_matrix_that_does_not_fit_is_refused(features, matrix, message):
    np.save(features, matrix)
    with pytest.raises(ValueError, match=f"^{features}.*{message}"):
        read_features(features)


def test_features_said_to_have_length_1_are_measured(features):
    sidecar = features.with_suffix(".json")
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "normalized": True}))
    np.save(features, np.full((5, 4), 0.5, "f4"))
    assert len(read_features(features).features) == 5
    np.save(features, np.full((5, 4), 0.6, "f4"))
    with pytest.raises(ValueError, match=r"features of another length than 1; write it again"):
        read_features(features)


@pytest.mark.parametrize(
    "line",
    [
        *("a.jpg", "a.jpg,x,0,n,c", "a.jpg,1,2,n", "a.jpg,1,2,n,c,d", "a.jpg,0.5,2,n,c"),
        *(f"a.jpg,{2**63},2,n,c", "a\0.jpg,1,2,n,c"),
    ],
)
def test_damaged_row_of_the_table_is_named(features, line):
    table = features.with_suffix(".csv")
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:2], line, *lines[3:]]))
    with pytest.raises(ValueError, match=f"^{table}: row 2 is not an image"):
        read_features(features)


def test_header_that_asks_for_any_memory_is_refused(features):
    content = features.read_bytes()
    header = content[:128].replace(b"(5, 4), }      ", b"(50000000, 4), }")
    assert b"50000000" in header
    features.write_bytes(header[:128] + content[128:])
    with pytest.raises(ValueError, match=f"^{features}"):
        read_features(features)


def test_npz_that_unpacks_to_more_than_it_has_is_refused(features, tmp_path):
    path = tmp_path / "packed.npz"
    pack_features(features, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", bytes(2**22))
    with pytest.raises(ValueError, match=f"^{path}.*unpack to"):
        read_features(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["a", 5]}, "an entry of names is '5'"),
        ({"keys": [0, "1"]}, "an entry of keys is '1'"),
        ({"keys": [-2, -1]}, "rows do not fit"),
        ({"cameras": [None, {}]}, "an entry of cameras is '{}'"),
        ({"next_key": None}, "next_key is 'None'"),
        ({"model": "a"}, "model is 'a'"),
        ({"checkpoint": None}, "checkpoint is"),
        ({"features": 3}, "features is '3'"),
        ({"names": "ab"}, "names is 'ab'"),
    ],
)
def test_damaged_field_of_a_gallery_is_named(tmp_path, change, message):
    gallery = Gallery()
    gallery.add(torch.eye(2, 4), ["a", "b"])
    gallery.save(tmp_path)
    path = tmp_path / "gallery.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=f"^{path}.*{message}"):
        Gallery.load(tmp_path)


@pytest.mark.parametrize("value", [np.nan, 0.0, 5.0])
def test_features_of_another_length_are_refused_in_a_gallery(tmp_path, value):
    gallery = Gallery()
    gallery.add(torch.eye(2, 4), ["a", "b"])
    gallery.save(tmp_path)
    (path,) = tmp_path.glob("features_*.npy")
    matrix = np.load(path)
    matrix[0, 0] = value
    np.save(path, matrix)
    with pytest.raises(ValueError, match=f"^{path}"):
        Gallery.load(tmp_path)
