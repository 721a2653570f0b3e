"""Test images and test identities that a model trains on are found, and no others."""

import logging
from dataclasses import replace

import pytest

from datasets.checks import equal_files
from datasets.checks.equal_files import PROBE_BYTES
from datasets.checks.leakage import (
    LeakageError,
    check_leakage,
    check_names,
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
    """A data set of existing files, each with its own identity."""
    parts = []
    for first, paths in ((0, train), (100, query), (200, gallery)):
        parts.append([Sample(str(path), first + n, 0) for n, path in enumerate(paths)])
    return DataSplits(name, *parts)


def noise(seed, size=3 * PROBE_BYTES):
    """Bytes as random as those of an image."""
    return bytes(seed * 7 + position * position % 251 & 255 for position in range(size))


def test_planted_image_is_refused_and_named(write):
    source = data_of_files("mine", train=[write("mine/1.jpg", noise(1))])
    planted = write("other/7.jpg", noise(1))
    target = data_of_files("other", query=[write("other/8.jpg", noise(2))], gallery=[planted])
    with pytest.raises(LeakageError) as error:
        check_leakage([source], [[target]], use_all=False)
    assert str(error.value) == (
        "target other: 1 of its test images are among the training images "
        f"({planted} = {source.train[0].path}); "
        "leave the data set out of DATASETS.TARGETS or of DATASETS.NAMES"
    )


def test_all_planted_images_are_counted_and_three_named(write):
    train = [write(f"mine/{n}.jpg", noise(n)) for n in range(5)]
    planted = [write(f"other/{n}.jpg", noise(n)) for n in range(5)]
    target = data_of_files("other", query=planted[:2], gallery=planted)
    with pytest.raises(LeakageError, match="target other: 5 of its test images") as error:
        check_leakage([data_of_files("mine", train=train)], [[target]], use_all=False)
    assert [path in str(error.value) for path in planted] == [True, True, True, False, False]
    assert "; ...)" in str(error.value)


def test_images_of_every_source_and_of_every_target_are_compared(write):
    first = data_of_files("first", train=[write("first/1.jpg", noise(1))])
    second = data_of_files("second", train=[write("second/1.jpg", noise(2))])
    clean = data_of_files("clean", query=[write("clean/1.jpg", noise(3))])
    target = data_of_files("target", query=[write("target/1.jpg", noise(2))])
    check_leakage([first], [[clean], [target]], use_all=False)
    with pytest.raises(LeakageError, match="target target: 1 of its test images"):
        check_leakage([first, second], [[clean], [target]], use_all=False)


def test_images_of_every_split_of_a_target_are_compared(write):
    source = data_of_files("mine", train=[write("mine/1.jpg", noise(1))])
    splits = [data_of_files("other", query=[write(f"other/{n}.jpg", noise(n))]) for n in (3, 2, 1)]
    check_leakage([source], [splits[:2]], use_all=False)
    with pytest.raises(LeakageError, match="1 of its test images"):
        check_leakage([source], [splits], use_all=False)


def test_test_images_of_a_source_count_with_use_all(write):
    source = data_of_files(
        "mine",
        train=[write("mine/1.jpg", noise(1))],
        gallery=[write("mine/2.jpg", noise(2))],
    )
    target = data_of_files("other", gallery=[write("other/1.jpg", noise(2))])
    check_leakage([source], [[target]], use_all=False)
    with pytest.raises(LeakageError, match=r"other/1\.jpg = .*mine/2\.jpg") as error:
        check_leakage([source], [[target]], use_all=True)
    assert str(error.value).endswith(", or set DATASETS.USE_ALL False")


def test_training_images_of_a_target_do_not_count(write):
    """A target is not evaluated on its own training split."""
    source = data_of_files("mine", train=[write("mine/1.jpg", noise(1))])
    target = data_of_files(
        "other",
        train=[write("other/1.jpg", noise(1))],
        query=[write("other/2.jpg", noise(2))],
    )
    check_leakage([source], [[target]], use_all=False)


def test_files_are_read_once_for_all_targets(write, monkeypatch):
    read = []
    for name in ("_size", "_hash_middle", "_hash_all"):
        function = getattr(equal_files, name)
        spy = lambda path, read_file=function: (read.append(path), read_file(path))[1]  # noqa: E731
        monkeypatch.setattr(equal_files, name, spy)
    source = data_of_files("mine", train=[write("mine/1.jpg", noise(1))])
    targets = [data_of_files(f"t{n}", query=[write(f"{n}.jpg", noise(n))]) for n in (2, 3)]
    check_leakage([source], [[target] for target in targets], use_all=False)
    assert read.count(source.train[0].path) == 2  # its size and its middle
    assert len(read) == 6


# ---------------------------------------------------------- images in both training and test split


@pytest.fixture
def twice(write):
    """A data set with three test images that are training images too, two of them copies."""
    train = [write(f"twice/{n}.jpg", noise(n)) for n in range(4)]
    query = [write("twice/q0.jpg", noise(0)), write("twice/q9.jpg", noise(9))]
    return data_of_files("twice", train, query, [write("twice/g1.jpg", noise(1)), train[2]])


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_images_in_both_published_splits_are_noted(write, twice, caplog):
    other = data_of_files("other", [write("other/1.jpg", noise(7))])
    assert check_leakage([other, twice], [[twice]], use_all=False) == {
        "twice": "3 of its test images are in its own training split"
    }
    (line,) = warnings(caplog)
    assert line.startswith("target twice: 3 of its test images are in its own training split (")
    train = [image.path for image in twice.train]
    for test, found in ((twice.query[0], 0), (twice.gallery[0], 1), (twice.gallery[1], 2)):
        assert f"{test.path} = {train[found]}" in line


def test_clean_data_set_has_no_note(write, caplog):
    source = data_of_files("mine", [write("1.jpg", noise(1))], [write("2.jpg", noise(2))])
    assert check_leakage([source], [[source]], use_all=False) == {}
    assert warnings(caplog) == []


def test_images_in_both_splits_are_refused_with_use_all(twice):
    nobody = frozenset(image.pid for image in twice.query + twice.gallery)
    twice = replace(twice, distractors=nobody)
    with pytest.raises(LeakageError, match="target twice: 3 of its test images"):
        check_leakage([twice], [[twice]], use_all=True)


def test_images_of_another_source_are_refused_despite_the_note(write, twice):
    other = data_of_files("other", [write("other/1.jpg", noise(9))])
    for sources in ([other, twice], [twice, other]):
        with pytest.raises(LeakageError, match=r"target twice: 1 of .*q9\.jpg = .*other/1\.jpg"):
            check_leakage(sources, [[twice]], use_all=False)


def test_namesake_with_other_training_images_is_another_data_set(twice):
    namesake = DataSplits("twice", twice.train[1:], twice.query, twice.gallery)
    with pytest.raises(LeakageError, match="2 of its test images are among the training images"):
        check_leakage([namesake], [[twice]], use_all=False)


def test_training_images_that_another_split_tests_are_refused(write):
    """The halves of the first split change sides in the second; pids do not show it."""
    first_half, second_half = (
        [write(f"{half}/{n}.jpg", noise(10 * half + n)) for n in range(4)] for half in (1, 2)
    )
    first = data_of_files("halves", first_half, second_half[:2], second_half[2:])
    second = data_of_files("halves", second_half, first_half[:2], first_half[2:])
    assert check_leakage([first], [[first]], use_all=False) == {}
    with pytest.raises(LeakageError, match="target halves: 4 of its test images"):
        check_leakage([first], [[first, second]], use_all=False)


def test_copy_that_another_split_tests_is_refused(twice, write):
    """The second split has other training images, so the copy was not published with it."""
    second = data_of_files("twice", [write("5.jpg", noise(5))], [twice.query[0].path])
    with pytest.raises(LeakageError, match=r"1 of its test images .*q0\.jpg = .*0\.jpg"):
        check_leakage([twice], [[twice, second]], use_all=False)


def test_trials_of_one_training_split_are_all_its_own(twice):
    """The trials of VehicleID draw queries and galleries from the same test images."""
    trial = DataSplits("twice", list(twice.train), twice.gallery, twice.query)
    assert check_leakage([twice], [[twice, trial]], use_all=False) == {
        "twice": "3 of its test images are in its own training split"
    }


# --------------------------------------------------------------------------------- identities


def refused(source, *splits, use_all):
    with pytest.raises(LeakageError) as error:
        check_leakage([source], [splits], use_all=use_all)
    return str(error.value)


def test_identities_of_the_same_family_are_found():
    """Occluded-Duke shows the identities of DukeMTMC-reID in other images."""
    source = data("dukemtmc", train=[1, 2], query=[5, 6], gallery=[5, 6, 7])
    target = data("occ_duke", query=[6], gallery=[6, 7])
    check_leakage([source], [[target]], use_all=False)
    assert refused(source, target, use_all=True) == (
        "target occ_duke: 2 of its test identities are trained on with dukemtmc (6, 7); "
        "leave the data set out of DATASETS.TARGETS or of DATASETS.NAMES, "
        "or set DATASETS.USE_ALL False"
    )


def test_remedy_names_use_all_only_if_it_is_set():
    """The protocols of CUHK03 split its identities differently."""
    source = data("cuhk03", train=[10_001, 10_002, 10_003, 10_004])
    target = data("cuhk03_classic_labeled", query=[10_001, 10_002], gallery=[10_003, 10_004])
    message = refused(source, target, use_all=False)
    assert (
        "4 of its test identities are trained on with cuhk03 (10001, 10002, 10003, ...)" in message
    )
    assert message.endswith("leave the data set out of DATASETS.TARGETS or of DATASETS.NAMES")


def test_identities_of_a_later_split_are_found():
    """The training half of the first split is tested in the second."""
    first = data("viper", train=[0, 1], query=[2, 3], gallery=[2, 3])
    second = data("viper", train=[2, 3], query=[0, 1], gallery=[0, 1], copy="2")
    check_leakage([first], [[first]], use_all=False)
    assert "2 of its test identities" in refused(first, first, second, use_all=False)


def test_source_may_be_a_target_without_use_all():
    source = data("market1501", train=[1, 2], query=[3], gallery=[3, 4])
    check_leakage([source], [[source]], use_all=False)
    assert "2 of its test identities are trained on" in refused(source, source, use_all=True)


def test_distractors_are_not_identities():
    none = frozenset([0])
    source = data("dukemtmc", train=[0, 1], query=[2], gallery=[2, 0], distractors=none)
    target = data("occ_duke", query=[5], gallery=[5, 0], distractors=none)
    check_leakage([source], [[target]], use_all=True)


def test_equal_pids_of_other_data_sets_are_other_identities():
    source = data("dukemtmc", train=[1, 2], query=[3], gallery=[3])
    check_leakage([source], [[data("market1501", query=[1], gallery=[1, 3])]], use_all=True)


def test_separate_test_pids_are_other_identities():
    """MSMT17: identities 0 and 1 of the test split are not those of the training split."""
    source = data(
        "msmt17", train=[0, 1, 2], query=[0, 1], gallery=[0, 1, 1], separate_test_ids=True
    )
    check_leakage([source], [[source]], use_all=False)
    assert shared_identities(source, [source], use_all=True) == {3, 4}


def test_given_split_of_own_data_may_share_identities():
    """Reading the split has already warned; images must still differ."""
    source = data("my_cows", train=[1, 2], query=[2, 3], gallery=[2, 3])
    check_leakage([source], [[source]], use_all=False)


# -------------------------------------------------------------------------------- checkpoints


def test_target_of_a_checkpoint_with_use_all_is_refused():
    check_names(["market1501", "dukemtmc"], ["msmt17", "cuhk03"])
    check_names([], ["msmt17"])
    with pytest.raises(LeakageError) as error:
        check_names(["market1501", "dukemtmc"], ["msmt17", "occ_duke"])
    assert str(error.value) == (
        "target occ_duke: the checkpoint was trained on all images of dukemtmc, including its test "
        "images; leave it out of DATASETS.TARGETS"
    )


def test_checkpoint_of_the_same_family_is_noted(caplog):
    sources = ["market1501", "cuhk03"]
    names = ("cuhk03_labeled", "msmt17", "cuhk03_classic", "market1501", "cuhk03")
    targets = [[data(name, train=[1], query=[2], gallery=[2])] for name in names]
    note = "trained on cuhk03, which shows the same identities"
    expected = {"cuhk03_labeled": note, "cuhk03_classic": note}
    assert note_same_people(sources, targets) == expected
    assert warnings(caplog) == [
        f"target {name}: the checkpoint was {note}; its scores may be too high" for name in expected
    ]


def test_checkpoint_of_the_first_split_is_noted(caplog):
    first = data("viper", train=[0, 1], query=[2, 3], gallery=[2, 3])
    second = data("viper", train=[2, 3], query=[0, 1], gallery=[0, 1], copy="2")
    note = "trained on its first split, which has test identities of other splits"
    assert note_same_people(["viper"], [[first, second]]) == {"viper": note}
    assert warnings(caplog) == [
        f"target viper: the checkpoint was {note}; its scores may be too high"
    ]
    assert note_same_people(["viper"], [[first]]) == {}
    assert note_same_people(["prid"], [[first, second]]) == {}


def test_checkpoint_with_the_same_training_split_is_not_noted():
    trials = [data("VehicleID", train=[1], query=[n], gallery=[2, 3]) for n in (2, 3)]
    assert note_same_people(["VehicleID"], [trials]) == {}
    others = [data(name, train=[1], query=[2]) for name in ("VehicleID_1600", "veri_wild_5000")]
    assert note_same_people(["VehicleID", "veri_wild"], [[other] for other in others]) == {}


def test_checkpoint_with_unknown_sources_is_not_noted():
    assert note_same_people([], [[data("viper", train=[0], query=[1])]]) == {}


@pytest.mark.parametrize(
    ("source", "target"), [("dukemtmc", "p_dukemtmc"), ("cuhk02", "cuhk01"), ("cuhk01", "cuhk02")]
)
def test_people_under_other_numbers_are_refused_and_noted(source, target):
    trained = DataSplits(source, [Sample("a.jpg", 1, 0)], [], [])
    tested = DataSplits(target, [], [Sample("b.jpg", 2, 0)], [Sample("c.jpg", 2, 1)])
    with pytest.raises(
        LeakageError, match=f"target {target}: it shows people of {source}"
    ) as error:
        check_leakage([trained], [[tested]], use_all=True)
    assert "USE_ALL" not in str(error.value)  # would not help
    with pytest.raises(
        LeakageError, match=f"target {target}: .* trained on all images of {source}"
    ):
        check_names([source], [target])
    notes = note_same_people([source], [[tested]])
    assert notes == {target: f"trained on {source}, which shows the same identities"}
