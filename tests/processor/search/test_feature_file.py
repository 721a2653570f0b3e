"""Feature files: reading returns the written features, and interrupted writing resumes."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib import format as npy_format

from datasets.records import Sample
from processor.search import feature_file, stored_features
from processor.search.feature_file import FeatureFile, read_record
from processor.search.feature_record import FORMAT, NUMBERS_ONLY, check_same_model
from processor.search.feature_rows import FeatureRows
from processor.search.sample_table import SampleTable
from processor.search.stored_features import pack_features, read_features

RECORD = {
    "format": FORMAT,
    "checkpoint": "one.pth",
    "model": {"weights": "abc", "INPUT.SIZE_TEST": "[8, 4]"},
    "normalized": False,
    "images": 10,
}
FEATURES = torch.arange(30.0).view(10, 3) / 7
NAMES = ["Moby", "Özil", "сом, 2", "007", '"7"']
SAMPLES = [
    Sample(f'a, "b"/{number} ü.jpg', number // 2, number % 3, -1, NAMES[number // 2], "door")
    for number in range(10)
]
BATCHES = (slice(0, 4), slice(4, 8), slice(8, 10))
ENDINGS = (".npy", ".csv", ".json")


def write(path, batches=BATCHES, record=RECORD):
    """Append the rows that are missing."""
    with FeatureFile(path, 3, record) as file:
        for rows in batches:
            if rows.start >= file.images_done:
                file.append(FEATURES[rows], SAMPLES[rows])


def contents(path):
    return [path.with_suffix(ending).read_bytes() for ending in ENDINGS]


def assert_complete(stored):
    np.testing.assert_array_equal(stored.features, FEATURES.numpy())
    assert stored.features.dtype == np.float32
    assert stored.paths == [sample.path for sample in SAMPLES]
    assert stored.samples == SAMPLES
    assert [x.identity for x in stored.samples] == [x.pid_name for x in SAMPLES]
    assert {x.camera for x in stored.samples} == {"door"}
    assert RECORD.items() <= stored.record.items()


def test_reading_gives_what_was_written(tmp_path):
    write(tmp_path / "new" / "features.npy")
    stored = read_features(tmp_path / "new" / "features.npy")
    assert_complete(stored)
    assert isinstance(stored.features, np.memmap)
    plain = np.load(tmp_path / "new" / "features.npy")  # an ordinary .npy
    np.testing.assert_array_equal(plain, FEATURES.numpy())


def test_large_files_are_read_row_by_row(tmp_path, monkeypatch):
    write(tmp_path / "features.npy")
    monkeypatch.setattr(stored_features, "MOST_CHECKED", 9)
    stored = read_features(tmp_path / "features.npy")
    assert isinstance(stored.features, FeatureRows)
    assert isinstance(stored.samples, SampleTable)
    np.testing.assert_array_equal(stored.features[3:8], FEATURES[3:8].numpy())
    assert list(stored.samples) == SAMPLES
    assert stored.paths == [sample.path for sample in SAMPLES]


def test_a_number_in_place_of_a_matrix_is_refused(tmp_path):
    write(tmp_path / "features.npy")
    np.save(tmp_path / "features.npy", np.float32(3))
    with pytest.raises(ValueError, match="not a float32 matrix"):
        read_features(tmp_path / "features.npy")


def test_packing_leaves_one_file(tmp_path):
    write(tmp_path / "parts.npy")
    pack_features(tmp_path / "parts.npy", tmp_path / "features.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["features.npz"]
    assert_complete(read_features(tmp_path / "features.npz"))
    with np.load(tmp_path / "features.npz", allow_pickle=False) as content:
        assert content["names"].tolist() == [sample.pid_name for sample in SAMPLES]
        assert content["cameras"].tolist() == ["door"] * 10
        assert content["pids"].tolist() == [sample.pid for sample in SAMPLES]
        assert content["camids"].tolist() == [sample.camid for sample in SAMPLES]
        arrays = {"features", "paths", "pids", "camids", "names", "cameras", "record"}
        assert set(content.files) == arrays


def test_a_file_without_names_is_read_by_its_numbers(tmp_path):
    record = {**RECORD, "format": NUMBERS_ONLY, "images_done": 2, "images": 2}
    table = "path,pid,camid\na.jpg,7,2\nb.jpg,-1,-1\n"
    (tmp_path / "old.csv").write_text(table)
    (tmp_path / "old.json").write_text(json.dumps(record))
    np.save(tmp_path / "old.npy", FEATURES[:2].numpy())
    numbers = {"paths": ["a.jpg", "b.jpg"], "pids": [7, -1], "camids": [2, -1]}
    np.savez(tmp_path / "old.npz", features=FEATURES[:2], record=json.dumps(record), **numbers)
    for ending in ("npy", "npz"):
        samples = read_features(tmp_path / f"old.{ending}").samples
        assert [(x.path, x.identity, x.camera) for x in samples] == [
            ("a.jpg", "7", "3"),
            ("b.jpg", "", ""),
        ]


@pytest.mark.parametrize("done", [0, 1, 2])
@pytest.mark.parametrize("cut", ["matrix", "table", "record"])
def test_continued_file_is_bit_identical(tmp_path, monkeypatch, done, cut):
    """The process dies while it appends a batch, before it writes header, table or record."""
    write(tmp_path / "straight.npy")
    path = tmp_path / "features.npy"

    class KilledError(Exception):
        pass

    def kill(*_arguments, **_options):
        raise KilledError

    write(path, BATCHES[:done])
    function = {"matrix": "npy_format.write_array_header_1_0", "table": "_csv_lines"}
    with monkeypatch.context() as patch, FeatureFile(path, 3, RECORD) as file:
        patch.setattr(feature_file, "write_json", kill)
        if cut != "record":
            patch.setattr(f"processor.search.feature_file.{function[cut]}", kill)
        with pytest.raises(KilledError):
            file.append(FEATURES[BATCHES[done]], SAMPLES[BATCHES[done]])
    with FeatureFile(path, 3, RECORD) as file:
        assert file.images_done == BATCHES[done].start
    write(path)
    assert contents(path) == contents(tmp_path / "straight.npy")


def test_broken_images_count_without_a_row(tmp_path):
    path = tmp_path / "features.npy"
    with FeatureFile(path, 3, RECORD) as file:
        file.append(FEATURES[:3], SAMPLES[:3], ["x.jpg"])
        file.append(torch.empty(0, 0), [], ["y.jpg", "z.jpg"])
    with FeatureFile(path, 3, RECORD) as file:
        assert (file.rows, file.images_done) == (3, 6)
        file.append(FEATURES[6:], SAMPLES[6:])
        assert file.bad_images == ["x.jpg", "y.jpg", "z.jpg"]
    stored = read_features(path)
    np.testing.assert_array_equal(stored.features, FEATURES[[0, 1, 2, 6, 7, 8, 9]].numpy())
    assert stored.paths[3] == SAMPLES[6].path


def test_incomplete_file_is_rejected(tmp_path):
    write(tmp_path / "features.npy", BATCHES[:1])
    with pytest.raises(ValueError, match=r"incomplete, with 4 of 10 images; run the same"):
        read_features(tmp_path / "features.npy")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"normalized": True}, "normalized is False there and True now"),
        ({"images": 11}, "images is 10 there and 11 now"),
        (
            {"model": {**RECORD["model"], "weights": "xyz"}, "checkpoint": "two.pth"},
            r"features of one\.pth, .* be compared with those of two\.pth: weights differ",
        ),
        (
            {"model": {"weights": "abc", "INPUT.SIZE_TEST": "[8, 8]"}},
            r"INPUT\.SIZE_TEST differ; use one checkpoint for both",
        ),
    ],
)
def test_features_of_other_records_are_not_appended(tmp_path, change, named):
    path = tmp_path / "features.npy"
    write(path, BATCHES[:2])
    before = contents(path)
    with pytest.raises(ValueError, match=named):
        write(path, record={**RECORD, **change})
    assert contents(path) == before


def test_a_moved_checkpoint_is_accepted(tmp_path):
    write(tmp_path / "features.npy", BATCHES[:2])
    write(tmp_path / "features.npy", record={**RECORD, "checkpoint": "elsewhere/one.pth"})
    assert_complete(read_features(tmp_path / "features.npy"))


@pytest.mark.parametrize("ending", [".npy", ".csv"])
def test_foreign_files_are_not_overwritten(tmp_path, ending):
    """The user's own files may have the output's name."""
    (tmp_path / f"features{ending}").write_text("path\n1.jpg\n")
    with pytest.raises(ValueError, match=rf"features\{ending} exists and would be overwritten"):
        write(tmp_path / "features.npy")
    assert (tmp_path / f"features{ending}").read_text() == "path\n1.jpg\n"


def test_foreign_files_are_rejected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no features file .*gone\.npz"):
        read_features(tmp_path / "gone.npz")
    np.save(tmp_path / "plain.npy", np.ones((2, 3)))
    np.savez(tmp_path / "plain.npz", features=np.ones((2, 3)))
    for name in ("plain.npy", "plain.npz"):
        with pytest.raises(ValueError, match=rf"{name}: not written by run\.py extract"):
            read_record(tmp_path / name)


def test_features_of_another_model_are_rejected(tmp_path):
    write(tmp_path / "features.npy")
    found = read_record(tmp_path / "features.npy")
    check_same_model(tmp_path, found, RECORD)
    wanted = {**RECORD, "model": {**RECORD["model"], "TEST.NECK_FEAT": "before"}}
    with pytest.raises(ValueError, match=r"TEST\.NECK_FEAT differ"):
        check_same_model(tmp_path, found, wanted)


def test_file_names_need_not_be_utf8(tmp_path):
    """File names on Linux need not be UTF-8."""
    name = b"na\xefve.jpg".decode("utf-8", "surrogateescape")
    with FeatureFile(tmp_path / "a.npy", 3, {**RECORD, "images": 2}) as file:
        file.append(FEATURES[:1], [Sample(name, -1, -1)], [name])
    assert read_features(tmp_path / "a.npy").paths == [name]
    pack_features(tmp_path / "a.npy", tmp_path / "a.npz")
    stored = read_features(tmp_path / "a.npz")
    assert stored.paths == [name]
    assert stored.record["bad_images"] == [name]
    assert json.dumps(stored.record)


def test_full_disk_is_named_by_the_file_and_loses_no_earlier_rows(tmp_path, monkeypatch):
    path = tmp_path / "features.npy"
    record = {"format": FORMAT, "model": {}, "checkpoint": "a", "images": 2}
    samples = [Sample("a.jpg", 0, 0)]
    with FeatureFile(path, 4, record) as file:
        file.append(torch.ones(1, 4), samples)
        with monkeypatch.context() as patch:
            patch.setattr(npy_format, "write_array_header_1_0", _no_space)
            with pytest.raises(OSError, match="No space left") as error:
                file.append(torch.ones(1, 4), samples)
    assert error.value.filename == str(path)
    with FeatureFile(path, 4, record) as file:
        assert file.rows == 1


def _no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_file_that_lost_rows_is_refused(tmp_path):
    path = tmp_path / "f.npy"
    write(path, BATCHES[:2])
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    with pytest.raises(ValueError, match=r"f\.npy: 223 bytes, its record counts 224; write it aga"):
        write(path)


def test_rows_are_on_the_disk_before_the_record_counts_them(tmp_path, monkeypatch):
    path = tmp_path / "f.npy"
    synced = []
    with FeatureFile(path, 3, RECORD) as file:
        fsync = os.fsync
        monkeypatch.setattr(
            os, "fsync", lambda number: synced.append(os.fstat(number).st_ino) or fsync(number)
        )
        file.append(FEATURES[:4], SAMPLES[:4])
    assert synced[:2] == [path.stat().st_ino, path.with_suffix(".csv").stat().st_ino]
    assert path.with_suffix(".json").stat().st_ino in synced[2:]


def test_file_that_another_process_writes_is_refused(tmp_path):
    path = tmp_path / "f.npy"
    with FeatureFile(path, 3, RECORD) as file:
        for record in (RECORD, {**RECORD, "images": 4}):  # nothing is written yet
            with pytest.raises(ValueError, match="is being written by another process; wait"):
                FeatureFile(path, 3, record)
        file.append(FEATURES, SAMPLES)
    assert_complete(read_features(path))


def test_file_without_a_batch_is_started_anew(tmp_path):
    path = tmp_path / "f.npy"
    with FeatureFile(path, 3, {**RECORD, "images": 4}):
        pass
    write(path)
    assert_complete(read_features(path))


def test_file_of_a_process_that_was_killed_at_once_is_started_anew(tmp_path):
    """Killed after it had made the file, and before it wrote the record."""
    path = tmp_path / "features.npy"
    path.touch()
    with FeatureFile(path, 2, RECORD) as file:
        file.append(torch.ones(1, 2), SAMPLES[:1])
    assert np.load(path).tolist() == [[1, 1]]


def test_features_and_images_must_be_equally_many(tmp_path):
    with FeatureFile(tmp_path / "features.npy", 2, RECORD) as file:
        with pytest.raises(ValueError, match=r"features\.npy: 2 features of 1 images"):
            file.append(torch.ones(2, 2), SAMPLES[:1])
        assert file.rows == 0


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="needs Linux")
def test_file_is_not_mapped_when_it_is_removed(tmp_path, monkeypatch):
    """Windows removes no mapped file."""
    path = tmp_path / "features.npy"
    with FeatureFile(path, 2, {**RECORD, "images": 1}) as file:
        file.append(torch.tensor([[0.6, 0.8]]), SAMPLES[:1])
    mapped = []

    def remove(source):
        mapped.append(str(source) in Path("/proc/self/maps").read_text())

    monkeypatch.setattr(stored_features, "remove_file", remove)
    stored_features.pack_features(path, tmp_path / "features.npz")
    assert mapped == [False]
