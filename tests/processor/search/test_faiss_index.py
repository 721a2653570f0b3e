"""Search with faiss: exact distances, few misses, an index that is stored."""

import logging
import os
import sys

import numpy as np
import pytest
import torch

from processor.search import faiss_index, inverted_file
from processor.search.exact import search
from processor.search.faiss_index import FaissIndex
from processor.search.feature_rows import FeatureRows
from processor.search.inverted_file import Plan, balanced_rotation


@pytest.fixture(scope="module")
def data():
    """Queries and 4,000 gallery rows of length 1 in 200 clusters."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(200, 32, generator=generator)
    rows = centres.repeat(21, 1) + 0.7 * torch.randn(4200, 32, generator=generator)
    rows /= rows.norm(dim=1, keepdim=True)
    return rows[:50], rows[200:]


def share_found(found, true):
    return (found.indices[:, :, None] == true.indices[:, None]).any(dim=2).double().mean()


def test_flat_index_equals_the_exact_search(data):
    pytest.importorskip("faiss")
    found, true = FaissIndex(data[1], "flat").search(data[0], 10), search(*data, 10)
    assert torch.equal(found.indices, true.indices)
    assert torch.equal(found.distances, true.distances)


def test_coded_index_misses_few_and_is_stored(data, tmp_path, caplog):
    pytest.importorskip("faiss")
    file, true = tmp_path / "gallery.faiss", search(*data, 10)
    found = FaissIndex(data[1], "ivfpq", file).search(data[0], 10)
    assert share_found(found, true) > 0.95
    right = found.indices[:, 0] == true.indices[:, 0]
    assert torch.equal(found.distances[right, 0], true.distances[right, 0])  # measured, not decoded
    written = file.read_bytes()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        again = FaissIndex(data[1], "ivfpq", file).search(data[0], 10)
        assert torch.equal(again.indices, found.indices)
        assert file.read_bytes() == written
        assert "training" not in caplog.text
        FaissIndex(data[1][:2000], "ivfpq", file)  # other features
    assert "is rebuilt" in caplog.text
    assert file.read_bytes() != written


def test_missing_neighbours_are_minus_one(data):
    pytest.importorskip("faiss")
    found = FaissIndex(data[1], "ivfpq").search(data[0], 3_990)  # of 4,000, in some of the lists
    none = found.indices == -1
    assert none.any()
    assert torch.equal(none, found.distances.isinf())


def test_too_small_gallery_is_rejected(data):
    pytest.importorskip("faiss")
    with pytest.raises(
        ValueError, match=r"ivfpq: training an index takes 1,000 gallery images, got 999"
    ):
        FaissIndex(data[1][:999], "ivfpq")


def test_error_without_faiss_says_what_to_install(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match="--index flat needs faiss: pip install faiss-cpu"):
        FaissIndex(data[1], "flat").search(data[0], 10)


def test_error_of_an_unknown_index_lists_the_known(data):
    with pytest.raises(ValueError, match="--index: 'hnsw'; known: flat, ivfpq"):
        FaissIndex(data[1], "hnsw").search(data[0], 10)


@pytest.mark.parametrize("damage", ["flip", "cut", "no record", "other rows"])
def test_damaged_index_or_one_of_other_rows_is_built_again(data, tmp_path, damage, caplog):
    """faiss would trust every length in the file."""
    pytest.importorskip("faiss")
    file = tmp_path / "gallery.faiss"
    query, gallery = data
    expected = FaissIndex(gallery, "ivfpq", file).search(query, 10)
    content, record = bytearray(file.read_bytes()), file.with_name(f"{file.name}.json")
    if damage == "flip":
        content[40] ^= 255
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "no record":
        record.unlink()
    else:
        gallery = gallery.flip(0) if isinstance(gallery, torch.Tensor) else gallery[::-1].copy()
    caplog.set_level("INFO")
    found = FaissIndex(gallery, "ivfpq", file).search(query, 10)
    assert "is damaged or belongs to other features, and is rebuilt" in caplog.text
    if damage != "other rows":
        assert torch.equal(found.indices, expected.indices)
    caplog.clear()
    FaissIndex(gallery, "ivfpq", file)
    assert "rebuilt" not in caplog.text


def test_index_of_unchanged_files_is_used_without_reading_the_features(
    data, tmp_path, monkeypatch, caplog
):
    pytest.importorskip("faiss")
    query, gallery = data
    parts = [tmp_path / f"{number}.npy" for number in range(2)]
    for part, rows in zip(parts, gallery.split(2500), strict=True):
        np.save(part, rows.numpy())
    rows = FeatureRows([np.load(part, mmap_mode="r") for part in parts])
    file = tmp_path / "gallery.faiss"
    first = FaissIndex(rows, "ivfpq", file, parts).search(query, 10)
    in_memory = FaissIndex(gallery, "ivfpq").search(query, 10)
    assert torch.equal(first.indices, in_memory.indices)
    assert torch.equal(first.distances, in_memory.distances)
    with monkeypatch.context() as patch:
        patch.setattr(faiss_index, "_hash_rows", lambda _: pytest.fail("features were read"))
        again = FaissIndex(rows, "ivfpq", file, parts).search(query, 10)
    assert torch.equal(first.indices, again.indices)
    for part in parts:
        os.utime(part, (1, 1))  # copied, say
    written = file.read_bytes()
    caplog.set_level("INFO")
    FaissIndex(rows, "ivfpq", file, parts)
    assert "rebuilt" not in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(faiss_index, "_hash_rows", lambda _: pytest.fail("features were read"))
        FaissIndex(rows, "ivfpq", file, parts)
    np.save(parts[0], gallery[:2500].flip(0).numpy())
    changed = FeatureRows([np.load(part, mmap_mode="r") for part in parts])
    FaissIndex(changed, "ivfpq", file, parts)
    assert "is rebuilt" in caplog.text
    assert file.read_bytes() != written


def test_features_that_are_not_finite_are_named(data):
    pytest.importorskip("faiss")
    gallery = data[1].clone()
    gallery[1234, 5] = float("nan")
    with pytest.raises(ValueError, match="gallery_features: NaN or infinite value"):
        FaissIndex(gallery, "ivfpq")


@pytest.mark.parametrize(
    ("rows", "dim", "factory", "probes"),
    [
        (1_000, 32, "IVF15,PQ4x4", 15),
        (100_000, 256, "OPQ16,IVF632,PQ16", 151),
        (10_485_760, 256, "OPQ16,IVF6476,PQ16", 483),
        (50_000, 1_280, "OPQ80,IVF446,PQ80", 127),
        (50_000, 7, "OPQ1,IVF446,PQ1", 127),
    ],
)
def test_shape_of_an_index_follows_the_size(rows, dim, factory, probes):
    plan = Plan.of(rows, dim)
    assert (plan.factory, plan.num_probes) == (factory, probes)
    assert plan.num_training <= rows


def test_rotation_deals_out_variances_with_equal_products():
    """Four components of variances 1, 1/2, 1/4, 1/8 on two codes: the largest with the smallest."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0].astype(np.float32)
    deviations = np.sqrt([1, 1 / 2, 1 / 4, 1 / 8]).astype(np.float32)
    rows = (rng.standard_normal((40_000, 4), np.float32) * deviations) @ basis.T + 3
    found = balanced_rotation(rows, 2)
    np.testing.assert_allclose(found @ found.T, np.eye(4), atol=1e-5)
    similarity = np.abs(found @ basis)  # row: a row of the rotation, column: a component
    assert similarity.argmax(1).tolist() == [0, 3, 1, 2]
    assert similarity.max(1).min() > 0.99
    variances = np.cov(rows @ found.T, rowvar=False).diagonal().reshape(2, 2)
    np.testing.assert_allclose(variances.prod(axis=1), 1 / 8, rtol=0.03)


def test_rotation_of_features_of_low_rank():
    """Components without variance are dealt out, too."""
    rows = np.zeros((1000, 6), np.float32)
    rows[:, 0] = np.arange(1000)
    for given in (rows, np.ones_like(rows)):
        found = balanced_rotation(given, 3)
        np.testing.assert_allclose(found @ found.T, np.eye(6), atol=1e-6)


def test_rotation_finds_more_neighbours_than_none(monkeypatch):
    """Features whose components have unequal variances, in the order of the components."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    deviations = (1 / np.arange(1, 65)).astype(np.float32)
    gallery = rng.standard_normal((20_000, 64), np.float32) * deviations
    query = gallery[:50] + 0.05 * rng.standard_normal((50, 64), np.float32) * deviations
    expected = search(torch.from_numpy(query), torch.from_numpy(gallery), 10).indices
    monkeypatch.setattr(faiss_index, "CANDIDATES", 2)
    shares = []
    for rotation in (balanced_rotation, lambda rows, _: np.eye(rows.shape[1], dtype=np.float32)):
        monkeypatch.setattr(inverted_file, "balanced_rotation", rotation)
        found = FaissIndex(gallery, "ivfpq").search(query, 10).indices
        shares.append((found[:, :, None] == expected[:, None]).any(2).double().mean().item())
    assert shares[0] > shares[1] + 0.1


def test_index_of_another_process_is_not_taken_for_this_one(data, tmp_path, monkeypatch):
    """Another one replaces the file between its writing and its record."""
    pytest.importorskip("faiss")
    query, gallery = data
    file, write = tmp_path / "gallery.faiss", faiss_index._write_record
    expected = FaissIndex(gallery, "ivfpq").search(query, 10)
    other = gallery.flip(0)

    def write_late(*given):
        monkeypatch.setattr(faiss_index, "_write_record", write)
        FaissIndex(other, "ivfpq", file)
        write(*given)

    monkeypatch.setattr(faiss_index, "_write_record", write_late)
    for _ in range(2):  # made, and opened
        found = FaissIndex(gallery, "ivfpq", file).search(query, 10)
        assert torch.equal(found.indices, expected.indices)
