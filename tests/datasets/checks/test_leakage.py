"""Test images and test identities that a model trains on are found, and only those."""

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.checks import leakage
from datasets.checks.leakage import (
    PROBE_BYTES,
    LeakageError,
    check_leakage,
    check_names,
    equal_files,
    note_same_people,
    shared_identities,
)
from datasets.records import DataSplits, Sample


def images(*pids, folder="nowhere"):
    """An image of every identity; the files do not exist."""
    return [Sample(f"{folder}/{number}_{pid}.jpg", pid, 0) for number, pid in enumerate(pids)]


def data(name, train=(), query=(), gallery=(), **options):
    """A data set of identities; the files do not exist."""
    parts = {"train": train, "query": query, "gallery": gallery}
    folder = f"{name}{options.pop('copy', '')}"
    samples = {part: images(*pids, folder=f"{folder}/{part}") for part, pids in parts.items()}
    return DataSplits(name, **samples, **options)


def data_of_files(name, train=(), query=(), gallery=()):
    """A data set of files that are there; every file is an identity of its own."""
    parts = []
    for first, paths in ((0, train), (100, query), (200, gallery)):
        parts.append([Sample(str(path), first + n, 0) for n, path in enumerate(paths)])
    return DataSplits(name, *parts)


@pytest.fixture
def write(tmp_path):
    """`write("a.jpg", b"...")` -> path of a new file, as text."""

    def run(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    return run


def picture(seed, size=3 * PROBE_BYTES):
    """Bytes as random as those of a picture."""
    return bytes(seed * 7 + position * position % 251 & 255 for position in range(size))


# -------------------------------------------------------------------------------------- files


def test_copy_under_another_name_is_found(write):
    train = [write("train/1.jpg", picture(1)), write("train/2.jpg", picture(2))]
    tests = [write("test/9.jpg", picture(3)), write("test/8.png", picture(2))]
    assert equal_files(train, tests) == {tests[1]: train[1]}


def test_same_path_is_found_also_when_it_cannot_be_read():
    assert equal_files(["a/1.jpg", "a/2.jpg"], ["b/1.jpg", "a/2.jpg"]) == {"a/2.jpg": "a/2.jpg"}


def test_copy_of_an_image_that_is_itself_on_both_sides_is_found(write):
    both, copy = write("both.jpg", picture(1)), write("copy.jpg", picture(1))
    assert equal_files([both], [both, copy]) == {both: both, copy: both}


def test_symbolic_link_is_found(write, tmp_path):
    train = write("train.jpg", picture(1))
    link = tmp_path / "link.jpg"
    link.symlink_to(train)
    assert equal_files([train], [str(link)]) == {str(link): train}


def test_other_bytes_of_the_same_size_differ(write):
    assert equal_files([write("a.jpg", picture(1))], [write("b.jpg", picture(2))]) == {}


@pytest.mark.parametrize("place", [0, -1])
def test_files_of_one_middle_may_differ_elsewhere(write, place):
    content = bytearray(picture(1))
    first = write("a.jpg", bytes(content))
    content[place] ^= 1
    second = write("b.jpg", bytes(content))
    start = (len(content) - PROBE_BYTES) // 2
    assert content[start : start + PROBE_BYTES] == picture(1)[start : start + PROBE_BYTES]
    assert equal_files([first], [second]) == {}
    assert equal_files([first], [write("c.jpg", picture(1))]) != {}


def test_files_smaller_than_the_probe_are_compared_as_a_whole(write):
    train = write("a.jpg", b"abcdef")
    tests = [write("b.jpg", b"abcdeg"), write("c.jpg", b"abcdef"), write("d.jpg", b"abcdefg")]
    assert equal_files([train], tests) == {tests[1]: train}


def test_files_that_cannot_be_read_are_passed_over(write, tmp_path):
    train, test = write("train.jpg", picture(1)), write("test.jpg", picture(1))
    folders = [tmp_path / "c.jpg", tmp_path / "d.jpg"]
    for folder in folders:
        folder.mkdir()
    gone = str(tmp_path / "gone.jpg")
    found = equal_files([gone, str(folders[0]), train], [str(folders[1]), test, gone + "2"])
    assert found == {test: train}


def test_empty_files_are_no_pictures(write):
    assert equal_files([write("a.jpg", b"")], [write("b.jpg", b"")]) == {}


def changed(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


LARGE = picture(1, 2 * PROBE_BYTES)
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
def test_equal_files_are_those_a_slow_comparison_finds(files):
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


# ------------------------------------------------------------------------------------- images


def test_planted_image_stops_the_run_and_is_named(write):
    source = data_of_files("mine", train=[write("mine/1.jpg", picture(1))])
    planted = write("other/7.jpg", picture(1))
    target = data_of_files("other", query=[write("other/8.jpg", picture(2))], gallery=[planted])
    with pytest.raises(LeakageError) as error:
        check_leakage([source], [[target]], use_all=False)
    assert str(error.value) == (
        "target other: 1 of its test images are among the training images "
        f"({planted} = {source.train[0].path}); "
        "leave the data set out of DATASETS.TARGETS or of DATASETS.NAMES"
    )


def test_all_planted_images_are_counted_and_some_are_named(write):
    train = [write(f"mine/{n}.jpg", picture(n)) for n in range(5)]
    planted = [write(f"other/{n}.jpg", picture(n)) for n in range(5)]
    target = data_of_files("other", query=planted[:2], gallery=planted)
    with pytest.raises(LeakageError, match="target other: 5 of its test images") as error:
        check_leakage([data_of_files("mine", train=train)], [[target]], use_all=False)
    assert [path in str(error.value) for path in planted] == [True, True, True, False, False]
    assert "; ...)" in str(error.value)


def test_images_of_every_source_and_of_every_target_are_compared(write):
    first = data_of_files("first", train=[write("first/1.jpg", picture(1))])
    second = data_of_files("second", train=[write("second/1.jpg", picture(2))])
    clean = data_of_files("clean", query=[write("clean/1.jpg", picture(3))])
    target = data_of_files("target", query=[write("target/1.jpg", picture(2))])
    check_leakage([first], [[clean], [target]], use_all=False)
    with pytest.raises(LeakageError, match="target target: 1 of its test images"):
        check_leakage([first, second], [[clean], [target]], use_all=False)


def test_images_of_every_split_of_a_target_are_compared(write):
    source = data_of_files("mine", train=[write("mine/1.jpg", picture(1))])
    splits = [
        data_of_files("other", query=[write(f"other/{n}.jpg", picture(n))]) for n in (3, 2, 1)
    ]
    check_leakage([source], [splits[:2]], use_all=False)
    with pytest.raises(LeakageError, match="1 of its test images"):
        check_leakage([source], [splits], use_all=False)


def test_test_images_of_a_source_count_where_they_train(write):
    source = data_of_files(
        "mine", train=[write("mine/1.jpg", picture(1))], gallery=[write("mine/2.jpg", picture(2))]
    )
    target = data_of_files("other", gallery=[write("other/1.jpg", picture(2))])
    check_leakage([source], [[target]], use_all=False)
    with pytest.raises(LeakageError, match=r"other/1\.jpg = .*mine/2\.jpg") as error:
        check_leakage([source], [[target]], use_all=True)
    assert str(error.value).endswith(", or set DATASETS.USE_ALL False")


def test_training_images_of_a_target_may_be_trained_on(write):
    """A target's own training split is not what it is evaluated on."""
    source = data_of_files("mine", train=[write("mine/1.jpg", picture(1))])
    target = data_of_files(
        "other",
        train=[write("other/1.jpg", picture(1))],
        query=[write("other/2.jpg", picture(2))],
    )
    check_leakage([source], [[target]], use_all=False)


def test_files_are_read_once_for_all_targets(write, monkeypatch):
    read = []
    for name in ("_size", "_hash_middle", "_hash_all"):
        function = getattr(leakage, name)
        monkeypatch.setattr(leakage, name, lambda path, f=function: (read.append(path), f(path))[1])
    source = data_of_files("mine", train=[write("mine/1.jpg", picture(1))])
    targets = [data_of_files(f"t{n}", query=[write(f"{n}.jpg", picture(n))]) for n in (2, 3)]
    check_leakage([source], [[target] for target in targets], use_all=False)
    assert read.count(source.train[0].path) == 2  # its size and its middle
    assert len(read) == 6


# ------------------------------------------------------- images that a data set has on both sides


@pytest.fixture
def twice(write):
    """A data set with three test images that train as well, two of them as copies."""
    train = [write(f"twice/{n}.jpg", picture(n)) for n in range(4)]
    query = [write("twice/q0.jpg", picture(0)), write("twice/q9.jpg", picture(9))]
    return data_of_files("twice", train, query, [write("twice/g1.jpg", picture(1)), train[2]])


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_images_on_both_sides_of_the_published_split_are_noted(write, twice, caplog):
    other = data_of_files("other", [write("other/1.jpg", picture(7))])
    assert check_leakage([other, twice], [[twice]], use_all=False) == {
        "twice": "3 of its test images are in its own training split"
    }
    (line,) = warnings(caplog)
    assert line.startswith("target twice: 3 of its test images are in its own training split (")
    train = [image.path for image in twice.train]
    for test, found in ((twice.query[0], 0), (twice.gallery[0], 1), (twice.gallery[1], 2)):
        assert f"{test.path} = {train[found]}" in line


def test_clean_data_set_has_no_note(write, caplog):
    source = data_of_files("mine", [write("1.jpg", picture(1))], [write("2.jpg", picture(2))])
    assert check_leakage([source], [[source]], use_all=False) == {}
    assert warnings(caplog) == []


def test_images_on_both_sides_stop_a_run_on_all_images(twice):
    """Nobody among the test images is trained on as a person."""
    nobody = frozenset(image.pid for image in twice.query + twice.gallery)
    twice = replace(twice, distractors=nobody)
    with pytest.raises(LeakageError, match="target twice: 3 of its test images"):
        check_leakage([twice], [[twice]], use_all=True)


def test_images_on_both_sides_do_not_excuse_those_of_another_source(write, twice):
    other = data_of_files("other", [write("other/1.jpg", picture(9))])
    for sources in ([other, twice], [twice, other]):
        with pytest.raises(LeakageError, match=r"target twice: 1 of .*q9\.jpg = .*other/1\.jpg"):
            check_leakage(sources, [[twice]], use_all=False)


def test_namesake_with_other_training_images_is_another_data_set(twice):
    namesake = DataSplits("twice", twice.train[1:], twice.query, twice.gallery)
    with pytest.raises(LeakageError, match="2 of its test images are among the training images"):
        check_leakage([namesake], [[twice]], use_all=False)


def test_test_images_of_other_splits_that_train_stop_the_run(write):
    """The halves of the first split change sides in the second; numbers do not give it away."""
    first_half, second_half = (
        [write(f"{half}/{n}.jpg", picture(10 * half + n)) for n in range(4)] for half in (1, 2)
    )
    first = data_of_files("halves", first_half, second_half[:2], second_half[2:])
    second = data_of_files("halves", second_half, first_half[:2], first_half[2:])
    assert check_leakage([first], [[first]], use_all=False) == {}
    with pytest.raises(LeakageError, match="target halves: 4 of its test images"):
        check_leakage([first], [[first, second]], use_all=False)


def test_copy_that_another_split_searches_for_stops_the_run(twice, write):
    """In the second split, which trains on other images, it is no longer the publisher's doing."""
    second = data_of_files("twice", [write("5.jpg", picture(5))], [twice.query[0].path])
    with pytest.raises(LeakageError, match=r"1 of its test images .*q0\.jpg = .*0\.jpg"):
        check_leakage([twice], [[twice, second]], use_all=False)


def test_trials_of_one_training_split_are_all_its_own(twice):
    """VehicleID draws queries and galleries of its trials from the same test images."""
    trial = DataSplits("twice", list(twice.train), twice.gallery, twice.query)
    assert check_leakage([twice], [[twice, trial]], use_all=False) == {
        "twice": "3 of its test images are in its own training split"
    }


# --------------------------------------------------------------------------------- identities


def refused(source, *splits, use_all):
    with pytest.raises(LeakageError) as error:
        check_leakage([source], [splits], use_all=use_all)
    return str(error.value)


def test_people_of_another_version_of_a_source_are_found():
    """Occluded-Duke shows the people of DukeMTMC-reID, in other pictures."""
    source = data("dukemtmc", train=[1, 2], query=[5, 6], gallery=[5, 6, 7])
    target = data("occ_duke", query=[6], gallery=[6, 7])
    check_leakage([source], [[target]], use_all=False)
    assert refused(source, target, use_all=True) == (
        "target occ_duke: 2 of its test identities are trained on with dukemtmc (6, 7); "
        "leave the data set out of DATASETS.TARGETS or of DATASETS.NAMES, "
        "or set DATASETS.USE_ALL False"
    )


def test_remedy_names_only_what_is_on():
    """The protocols of CUHK03 divide its people in different ways."""
    source = data("cuhk03", train=[10_001, 10_002, 10_003, 10_004])
    target = data("cuhk03_classic_labeled", query=[10_001, 10_002], gallery=[10_003, 10_004])
    message = refused(source, target, use_all=False)
    assert (
        "4 of its test identities are trained on with cuhk03 (10001, 10002, 10003, ...)" in message
    )
    assert message.endswith("leave the data set out of DATASETS.TARGETS or of DATASETS.NAMES")


def test_people_of_a_later_split_are_found():
    """The training half of the first split is tested in the second."""
    first = data("viper", train=[0, 1], query=[2, 3], gallery=[2, 3])
    second = data("viper", train=[2, 3], query=[0, 1], gallery=[0, 1], copy="2")
    check_leakage([first], [[first]], use_all=False)
    assert "2 of its test identities" in refused(first, first, second, use_all=False)


def test_source_may_be_a_target_unless_all_its_images_train():
    source = data("market1501", train=[1, 2], query=[3], gallery=[3, 4])
    check_leakage([source], [[source]], use_all=False)
    assert "2 of its test identities are trained on" in refused(source, source, use_all=True)


def test_distractors_are_nobody():
    none = frozenset([0])
    source = data("dukemtmc", train=[0, 1], query=[2], gallery=[2, 0], distractors=none)
    target = data("occ_duke", query=[5], gallery=[5, 0], distractors=none)
    check_leakage([source], [[target]], use_all=True)


def test_numbers_of_other_data_sets_mean_other_people():
    source = data("dukemtmc", train=[1, 2], query=[3], gallery=[3])
    check_leakage([source], [[data("market1501", query=[1], gallery=[1, 3])]], use_all=True)


def test_numbers_that_begin_again_for_test_identities_mean_other_people():
    """MSMT17: identities 0 and 1 of the test split are not those of the training split."""
    source = data(
        "msmt17", train=[0, 1, 2], query=[0, 1], gallery=[0, 1, 1], separate_test_ids=True
    )
    check_leakage([source], [[source]], use_all=False)
    assert shared_identities(source, [source], use_all=True) == {3, 4}


def test_split_of_own_data_may_share_people():
    """Whoever gives such a split is warned when it is read; the pictures must differ."""
    source = data("my_cows", train=[1, 2], query=[2, 3], gallery=[2, 3])
    check_leakage([source], [[source]], use_all=False)


# -------------------------------------------------------------------------------- checkpoints


def test_target_of_a_checkpoint_that_trained_on_all_images():
    check_names(["market1501", "dukemtmc"], ["msmt17", "cuhk03"])
    check_names([], ["msmt17"])
    with pytest.raises(LeakageError) as error:
        check_names(["market1501", "dukemtmc"], ["msmt17", "occ_duke"])
    assert str(error.value) == (
        "target occ_duke: the checkpoint was trained on all images of dukemtmc, its test images "
        "among them; leave it out of DATASETS.TARGETS"
    )


def test_checkpoint_of_another_flavour_or_protocol_of_a_target(caplog):
    sources = ["market1501", "cuhk03"]
    names = ("cuhk03_labeled", "msmt17", "cuhk03_classic", "market1501", "cuhk03")
    targets = [[data(name, train=[1], query=[2], gallery=[2])] for name in names]
    note = "trained on cuhk03 of the same people"
    expected = {"cuhk03_labeled": note, "cuhk03_classic": note}
    assert note_same_people(sources, targets) == expected
    assert warnings(caplog) == [
        f"target {name}: the checkpoint was {note}; its results may be too good"
        for name in expected
    ]


def test_checkpoint_of_one_of_the_splits_of_a_target(caplog):
    first = data("viper", train=[0, 1], query=[2, 3], gallery=[2, 3])
    second = data("viper", train=[2, 3], query=[0, 1], gallery=[0, 1], copy="2")
    note = "trained on its first split, people of the other splits among them"
    assert note_same_people(["viper"], [[first, second]]) == {"viper": note}
    assert warnings(caplog) == [
        f"target viper: the checkpoint was {note}; its results may be too good"
    ]
    assert note_same_people(["viper"], [[first]]) == {}
    assert note_same_people(["prid"], [[first, second]]) == {}


def test_checkpoint_of_a_data_set_whose_trials_share_the_training_split():
    """Also of one whose test sets differ in their sizes alone."""
    trials = [data("VehicleID", train=[1], query=[n], gallery=[2, 3]) for n in (2, 3)]
    assert note_same_people(["VehicleID"], [trials]) == {}
    others = [data(name, train=[1], query=[2]) for name in ("VehicleID_1600", "veri_wild_5000")]
    assert note_same_people(["VehicleID", "veri_wild"], [[other] for other in others]) == {}


def test_checkpoint_of_unknown_training():
    assert note_same_people([], [[data("viper", train=[0], query=[1])]]) == {}
