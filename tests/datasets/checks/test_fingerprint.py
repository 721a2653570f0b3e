"""The fingerprint identifies the images of a data set, in any folder."""

import hashlib
import json
import os
from dataclasses import replace

import pytest

from datasets.checks.fingerprint import ALL, TEST, TRAINING, describe_data, fingerprint
from datasets.records import DataSplits, Sample

FIRST = DataSplits(
    "first",
    train=[Sample("a/1.jpg", 9, 0), Sample("a/2.jpg", 4, 2), Sample("a/3.jpg", 9, 2)],
    query=[Sample("q/1.jpg", 1, 5)],
    gallery=[Sample("g/1.jpg", 1, 1), Sample("g/2.jpg", 0, 1)],
    notes=("a remark",),
)


def test_description_has_counts_notes_and_a_hash():
    result = describe_data([FIRST], ALL)
    assert result["name"] == "first"
    assert result["notes"] == ["a remark"]
    assert result["train"] == {"ids": 2, "images": 3, "cameras": 2}
    assert result["query"] == {"ids": 1, "images": 1, "cameras": 1}
    assert result["gallery"] == {"ids": 2, "images": 2, "cameras": 1}
    assert len(result["sha256"]) == 64
    assert json.loads(json.dumps(result)) == result


def test_fingerprint_does_not_depend_on_root_or_order():
    moved = [replace(sample, path=f"/elsewhere/{sample.path}") for sample in FIRST.train[::-1]]
    assert describe_data([replace(FIRST, train=moved)], ALL) == describe_data([FIRST], ALL)


@pytest.mark.parametrize(
    "sample",
    [
        Sample("a/9.jpg", 9, 0),
        Sample("z/1.jpg", 9, 0),
        Sample("a/1.jpg", 8, 0),
        Sample("a/1.jpg", 9, 1),
    ],
)
def test_fingerprint_sees_every_change(sample):
    changed = replace(FIRST, train=[sample, *FIRST.train[1:]])
    assert fingerprint([changed], ALL) != fingerprint([FIRST], ALL)


def test_fingerprint_sees_images_change_sides():
    swapped = replace(FIRST, query=FIRST.gallery, gallery=FIRST.query)
    assert fingerprint([swapped], ALL) != fingerprint([FIRST], ALL)


def test_fingerprint_of_test_images_is_pinned():
    """It identifies the test data of results across versions of the program."""
    second = replace(FIRST, query=FIRST.gallery, gallery=FIRST.query)
    assert fingerprint([FIRST, second], TEST) == (
        "de44ce4141ab944d9e81f2a7fe9ac2aafdca221976519b058a991e59717af4bd"
    )


def test_training_and_test_images_have_independent_fingerprints():
    moved = replace(FIRST, train=FIRST.train[:2])
    assert fingerprint([moved], TEST) == fingerprint([FIRST], TEST)
    assert fingerprint([moved], TRAINING) != fingerprint([FIRST], TRAINING)
    moved = replace(FIRST, gallery=FIRST.gallery[:1])
    assert fingerprint([moved], TEST) != fingerprint([FIRST], TEST)
    assert fingerprint([moved], TRAINING) == fingerprint([FIRST], TRAINING)


def test_fingerprint_sees_images_ids_splits_and_sizes(tmp_path):
    def splits(folder, content=b"abc", pid=1):
        (tmp_path / folder / "query").mkdir(parents=True)
        paths = [tmp_path / folder / "query" / name for name in ("a.jpg", "b.jpg")]
        for path in paths:
            path.write_bytes(content)
        query, gallery = (Sample(str(path), pid, 0) for path in paths)
        return DataSplits("x", [], [query], [gallery]), DataSplits("x", [], [gallery], [query])

    one, other = splits("one")
    known = fingerprint([one, other], TEST)
    assert fingerprint(splits("elsewhere"), TEST) == known
    assert fingerprint([other, one], TEST) != known
    assert fingerprint([one], TEST) != known
    assert fingerprint(splits("longer", b"abcd"), TEST) != known
    assert fingerprint(splits("person", pid=2), TEST) != known


def test_bytes_of_a_file_name_count_as_they_are():
    latin, utf8 = (os.fsdecode(b"a/" + "é.jpg".encode(x)) for x in ("latin-1", "utf-8"))
    one, other = (DataSplits("d", [Sample(path, 0, 0)], [], []) for path in (latin, utf8))
    line = b"0\ttrain\ta/\xe9.jpg\t0\t0\t0"
    assert fingerprint([one], TRAINING) == hashlib.sha256(line).hexdigest()
    assert fingerprint([one], TRAINING) != fingerprint([other], TRAINING)
