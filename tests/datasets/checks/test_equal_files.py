"""Equal files are found by path and by content, and no others."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.checks.equal_files import PROBE_BYTES, equal_files


def noise(seed, size=3 * PROBE_BYTES):
    """Bytes as random as those of an image."""
    return bytes(seed * 7 + position * position % 251 & 255 for position in range(size))


def test_copy_under_another_name_is_found(write):
    train = [write("train/1.jpg", noise(1)), write("train/2.jpg", noise(2))]
    tests = [write("test/9.jpg", noise(3)), write("test/8.png", noise(2))]
    assert equal_files(train, tests) == {tests[1]: train[1]}


def test_same_path_is_found_even_if_unreadable():
    assert equal_files(["a/1.jpg", "a/2.jpg"], ["b/1.jpg", "a/2.jpg"]) == {"a/2.jpg": "a/2.jpg"}


def test_copy_of_an_image_on_both_sides_is_found(write):
    both, copy = write("both.jpg", noise(1)), write("copy.jpg", noise(1))
    assert equal_files([both], [both, copy]) == {both: both, copy: both}


def test_symbolic_link_is_found(write, tmp_path):
    train = write("train.jpg", noise(1))
    link = tmp_path / "link.jpg"
    link.symlink_to(train)
    assert equal_files([train], [str(link)]) == {str(link): train}


def test_different_bytes_of_equal_size_differ(write):
    assert equal_files([write("a.jpg", noise(1))], [write("b.jpg", noise(2))]) == {}


@pytest.mark.parametrize("place", [0, -1])
def test_files_with_equal_middles_are_compared_completely(write, place):
    content = bytearray(noise(1))
    first = write("a.jpg", bytes(content))
    content[place] ^= 1
    second = write("b.jpg", bytes(content))
    start = (len(content) - PROBE_BYTES) // 2
    assert content[start : start + PROBE_BYTES] == noise(1)[start : start + PROBE_BYTES]
    assert equal_files([first], [second]) == {}
    assert equal_files([first], [write("c.jpg", noise(1))]) != {}


def test_files_smaller_than_the_probe_are_compared_completely(write):
    train = write("a.jpg", b"abcdef")
    tests = [write("b.jpg", b"abcdeg"), write("c.jpg", b"abcdef"), write("d.jpg", b"abcdefg")]
    assert equal_files([train], tests) == {tests[1]: train}


def test_unreadable_files_are_skipped(write, tmp_path):
    train, test = write("train.jpg", noise(1)), write("test.jpg", noise(1))
    folders = [tmp_path / "c.jpg", tmp_path / "d.jpg"]
    for folder in folders:
        folder.mkdir()
    gone = str(tmp_path / "gone.jpg")
    found = equal_files([gone, str(folders[0]), train], [str(folders[1]), test, gone + "2"])
    assert found == {test: train}


def test_empty_files_are_skipped(write):
    assert equal_files([write("a.jpg", b"")], [write("b.jpg", b"")]) == {}


def changed(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


LARGE = noise(1, 2 * PROBE_BYTES)
CONTENTS = [b"", b"a", b"b", LARGE, changed(LARGE, 0), changed(LARGE, PROBE_BYTES), LARGE[:-1]]
FILE = st.tuples(
    st.sampled_from([None, *range(len(CONTENTS))]), st.sampled_from(["train", "test", "both"])
)


def equal(first, second):
    """Whether two paths are the same image."""
    if first == second:
        return True
    if not (first.exists() and second.exists()):
        return False
    return first.read_bytes() == second.read_bytes() != b""


@settings(max_examples=60)
@given(st.lists(FILE, min_size=5, max_size=8))
def test_equal_files_match_a_slow_comparison(files):
    with tempfile.TemporaryDirectory() as folder:
        sides = {"train": [], "test": []}
        for number, (content, side) in enumerate(files):
            path = Path(folder) / f"{number}.jpg"
            if content is not None:
                path.write_bytes(CONTENTS[content])
            for name in ("train", "test") if side == "both" else (side,):
                sides[name].append(path)
        train, tests = sides["train"], sides["test"]
        found = equal_files([str(path) for path in train], [str(path) for path in tests])
        expected = {str(test) for test in tests if any(equal(test, other) for other in train)}
        assert set(found) == expected
        for test, other in found.items():
            assert Path(other) in train
            assert equal(Path(test), Path(other))
