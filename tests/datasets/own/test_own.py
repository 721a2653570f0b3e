"""Own data: folders, CSV files and the drawn split."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.own.csv_file import read_csv
from datasets.own.entries import split_own_data
from datasets.own.folder import read_folder, read_own_data
from datasets.records import Sample


def make_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_csv(folder, text, *images):
    make_files(folder, *images)
    path = folder / "herd.csv"
    path.write_text(text)
    return path


def every(splits):
    return splits.train + splits.query + splits.gallery


# folder per identity


def test_folder_without_cameras(tmp_path):
    make_files(tmp_path / "cows", *(f"{cow}/{i}.jpg" for cow in "abcdefgh" for i in range(6)))
    splits = read_own_data(tmp_path / "cows")
    assert splits.name == "cows"
    assert len(splits.train) == 24
    assert len(splits.query) == 4
    assert len(splits.gallery) == 20
    assert {s.camid for s in every(splits)} == {0}
    assert not splits.ignore_same_camera
    assert any("cameras unknown" in note for note in splits.notes)
    assert any("seed 0" in note for note in splits.notes)


def test_folder_reads_image_types_in_subfolders_and_passes_over_others(tmp_path):
    make_files(
        tmp_path,
        *("a/1.JPG", "a/day1/2.jpeg", "a/day1/x/3.png", "b/1.bmp", "c/1.WebP", "c/2.jpg"),
        *("d/1.jpg", "d/notes.txt", "a/Thumbs.db", "loose.jpg", ".cache/x/1.jpg", "b/._1.jpg"),
        *("query.txt", "d/2.jpg"),
    )
    names = sorted(Path(s.path).name for s in every(read_folder(tmp_path)))
    assert names == sorted(
        ["1.JPG", "2.jpeg", "3.png", "1.bmp", "1.WebP", "2.jpg", "1.jpg", "2.jpg"]
    )


def test_folder_warns_of_loose_images(tmp_path, caplog):
    make_files(tmp_path, *(f"{pid}/{i}.jpg" for pid in "abcd" for i in range(2)), "loose.jpg")
    with caplog.at_level(logging.WARNING):
        read_folder(tmp_path)
    assert "1 images outside an identity folder" in caplog.text


@pytest.mark.parametrize("form", ["{i}_c{cam}_x.jpg", "door-cam{cam}-{i}.jpg", "{i}_C{cam}.png"])
def test_folder_with_a_camera_in_every_name(tmp_path, form):
    files = [f"{pid}/{form.format(i=i, cam=3 + i % 2)}" for pid in "abcd" for i in range(4)]
    make_files(tmp_path, *files)
    splits = read_folder(tmp_path)
    assert splits.ignore_same_camera
    camids = {Path(s.path).name: s.camid for s in every(splits)}
    assert camids == {form.format(i=i, cam=3 + i % 2): i % 2 for i in range(4)}
    assert len(splits.query) == 4  # two test identities, two cameras


def test_folder_with_a_camera_in_some_names_has_none(tmp_path):
    files = [f"{pid}/{i}_c{i}.jpg" for pid in "abcd" for i in range(4)]
    make_files(tmp_path, *files, "a/noname.jpg")
    splits = read_folder(tmp_path)
    assert {s.camid for s in every(splits)} == {0}
    assert not splits.ignore_same_camera


def test_folder_with_one_camera_keeps_same_camera_matches(tmp_path):
    make_files(tmp_path, *(f"{pid}/{i}_c7.jpg" for pid in "abcd" for i in range(3)))
    splits = read_folder(tmp_path)
    assert not splits.ignore_same_camera
    assert any("one camera" in note for note in splits.notes)


@pytest.mark.parametrize(
    ("names", "order"),
    [(["10", "9", "100", "2"], ["2", "9", "10", "100"]), (["b10", "b9", "a", "2"], None)],
)
def test_identity_numbers_are_numeric_or_alphabetical(tmp_path, names, order):
    make_files(tmp_path, *(f"{name}/{i}.jpg" for name in names for i in range(2)))
    samples = every(read_folder(tmp_path))
    pids = {Path(s.path).parent.name: s.pid for s in samples}
    assert pids == {name: pid for pid, name in enumerate(order or sorted(names))}


@pytest.mark.parametrize("gallery", ["gallery", "test"])
def test_folder_with_given_splits(tmp_path, gallery):
    make_files(
        tmp_path,
        *("train/x/1_c1.jpg", "train/y/1_c2.jpg"),
        *("query/a/1_c1.jpg", f"{gallery}/a/2_c2.jpg", f"{gallery}/b/3_c2.jpg"),
    )
    splits = read_folder(tmp_path)
    assert [(s.pid, s.camid) for s in splits.train] == [(2, 0), (3, 1)]
    assert [(s.pid, s.camid) for s in splits.query] == [(0, 0)]
    assert [(s.pid, s.camid) for s in splits.gallery] == [(0, 1), (1, 1)]
    assert splits.ignore_same_camera
    assert splits.notes == ()


def test_folder_for_training_or_testing_only(tmp_path):
    make_files(tmp_path / "one", "train/x/1.jpg")
    make_files(tmp_path / "two", "query/x/1.jpg", "gallery/x/2.jpg", "val/x/3.jpg")
    training, test = read_folder(tmp_path / "one"), read_folder(tmp_path / "two")
    assert [len(part) for part in (training.train, training.query, training.gallery)] == [1, 0, 0]
    assert [len(part) for part in (test.train, test.query, test.gallery)] == [0, 1, 1]


def test_folder_with_gallery_but_no_query(tmp_path):
    make_files(tmp_path, "train/x/1.jpg", "test/y/2.jpg")
    with pytest.raises(ValueError, match="gallery images but no query images"):
        read_folder(tmp_path)


def test_identities_in_train_and_test_are_reported(tmp_path, caplog):
    make_files(tmp_path, "train/x/1.jpg", "query/x/2.jpg", "gallery/x/3.jpg")
    with caplog.at_level(logging.WARNING):
        splits = read_folder(tmp_path)
    assert splits.train[0].pid == splits.query[0].pid == splits.gallery[0].pid
    assert "1 identities are in both train and test" in splits.notes[0]
    assert "both train and test" in caplog.text


def test_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images in .*<identity>"):
        read_folder(tmp_path)


def test_folder_in_market_layout(tmp_path):
    make_files(
        tmp_path / "mine",
        *("bounding_box_train/0001_c1_0.jpg", "query/0002_c1_0.jpg"),
        "bounding_box_test/0002_c2_0.jpg",
    )
    splits = read_own_data(tmp_path / "mine")
    assert splits.name == "mine"
    assert [(s.pid, s.camid) for s in splits.gallery] == [(2, 1)]


# CSV


def test_csv_with_everything(tmp_path):
    images = ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]
    rows = ["a/1.jpg,bella,0,3,train", "a/2.jpg,bella,1,,train"]
    rows += ["b/1.jpg,7,2,-1,query", "", "b/2.jpg,7,0,0,Gallery"]
    text = "\ufeffpath, pid ,camid,viewid,split\n" + "\n".join(rows)
    splits = read_csv(write_csv(tmp_path, text, *images))
    assert splits.name == "herd"
    assert splits.train == [
        Sample(str(tmp_path / "a/1.jpg"), 1, 0, 3),
        Sample(str(tmp_path / "a/2.jpg"), 1, 1, -1),
    ]
    assert splits.query == [Sample(str(tmp_path / "b/1.jpg"), 0, 2, -1)]
    assert splits.gallery == [Sample(str(tmp_path / "b/2.jpg"), 0, 0, 0)]
    assert splits.ignore_same_camera


def test_csv_without_split_and_cameras_with_absolute_paths(tmp_path):
    images = [f"{pid}{i}.jpg" for pid in "abcd" for i in range(3)]
    rows = [f"{tmp_path / image},{image[0]}" for image in images]
    splits = read_own_data(write_csv(tmp_path, "path,pid\n" + "\n".join(rows), *images))
    assert sorted(Path(s.path).name for s in every(splits)) == images
    assert len(splits.query) == 2
    assert not splits.ignore_same_camera
    assert {s.viewid for s in every(splits)} == {0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the header path,pid"),
        ("path,camid\n1.jpg,0", "line 1: expected the header path,pid"),
        ("path;pid\n1.jpg;0", "line 1: expected the header path,pid"),
        ("path,pid,cam_id\n1.jpg,a,0", "line 1: expected the header path,pid"),
        ("path,pid\n", "no rows"),
        ("path,pid\n1.jpg,a\nnone.jpg,a", "line 3: no such file: .*none.jpg"),
        ("path,pid\n,a", "line 2: no such file"),
        ("path,pid\n1.jpg,", "line 2: pid is empty"),
        ("path,pid\n1.jpg", "line 2: 2 fields expected, 1 found"),
        ("path,pid\n1.jpg,a,b", "line 2: 2 fields expected, 3 found"),
        ("path,pid\n1.jpg,a\n\n1.jpg,b", "line 4: .*1.jpg is already on line 2"),
        ("path,pid,camid\n1.jpg,a,0\n2.jpg,a,door", "line 3: camid is 'door'"),
        ("path,pid,camid\n1.jpg,a,-1", "line 2: camid is '-1'"),
        ("path,pid,viewid\n1.jpg,a,-2", "line 2: viewid is '-2'"),
        ("path,pid,split\n1.jpg,a,dev", "line 2: split is 'dev'; expected train, query, gallery"),
        ("path,pid,split\n1.jpg,a,train\n2.jpg,a,", "line 3: split is empty"),
    ],
)
def test_csv_errors_name_file_and_line(tmp_path, text, message):
    path = write_csv(tmp_path, text, "1.jpg", "2.jpg")
    with pytest.raises(ValueError, match=f"herd.csv.*{message}"):
        read_csv(path)


# drawn split


def make_samples(cameras_by_pid):
    return [
        Sample(f"{pid}/{i:03}.jpg", pid, camid)
        for pid, cameras in enumerate(cameras_by_pid)
        for i, camid in enumerate(cameras)
    ]


IDENTITIES = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=4, max_size=20
).map(make_samples)


@given(
    samples=IDENTITIES,
    seed=st.integers(0, 1000),
    fraction=st.floats(0, 1),
    has_cameras=st.booleans(),
)
def test_drawn_split_invariants(samples, seed, fraction, has_cameras):
    if not has_cameras:
        samples = [Sample(s.path, s.pid, 0) for s in samples]
    try:
        splits = split_own_data(samples, seed=seed, train_fraction=fraction)
    except ValueError as error:
        assert "nothing to test" in str(error)  # noqa: PT017
        return
    assert sorted(s.path for s in every(splits)) == sorted(s.path for s in samples)
    assert splits.train
    assert not {s.pid for s in splits.train} & {s.pid for s in splits.query + splits.gallery}
    assert {s.pid for s in splits.query} <= {s.pid for s in splits.gallery}
    drawn = [(s.pid, s.camid) for s in splits.query]
    assert len(set(drawn)) == len(drawn)
    for query in splits.query:
        assert any(
            g.pid == query.pid and not (splits.ignore_same_camera and g.camid == query.camid)
            for g in splits.gallery
        )


def test_drawn_split_repeats_and_follows_the_seed():
    samples = make_samples([[0, 1, 1, 0, 2]] * 12)
    first = split_own_data(samples, seed=3)
    assert split_own_data(samples[::-1], seed=3) == first
    assert split_own_data(samples, seed=4) != first


def test_drawn_split_halves_and_takes_a_query_per_camera():
    splits = split_own_data(make_samples([[0, 0, 1, 1, 2, 2]] * 8))
    assert len({s.pid for s in splits.train}) == 4
    assert len(splits.query) == 4 * 3
    assert len(splits.gallery) == 4 * 3
    three_quarters = split_own_data(make_samples([[0, 1]] * 8), train_fraction=0.75)
    assert len({s.pid for s in three_quarters.train}) == 6


def test_drawn_split_leaves_a_gallery_image():
    splits = split_own_data(make_samples([[0, 1]] * 4))
    assert len(splits.query) == len(splits.gallery) == 2


def test_identities_with_one_image_are_distractors():
    splits = split_own_data(make_samples([[0]] * 30 + [[0, 0, 0]] * 30))
    single = {s.pid for s in splits.gallery if s.pid < 30}
    assert single
    assert not single & {s.pid for s in splits.query}


@pytest.mark.parametrize("cameras_by_pid", [[[0, 0]] * 3, [[0, 1]]])
def test_too_few_identities_names_the_remedy(cameras_by_pid):
    with pytest.raises(ValueError, match=r"too few.*4 are needed.*CSV column 'split'"):
        split_own_data(make_samples(cameras_by_pid), name="mine")


@pytest.mark.parametrize(
    ("cameras_by_pid", "message"),
    [([[0]] * 6, "has two images"), ([[0, 0], [1, 1]] * 3, "has images from two cameras")],
)
def test_nothing_to_test_names_the_remedy(cameras_by_pid, message):
    with pytest.raises(ValueError, match=f"nothing to test.*{message}.*CSV column 'split'"):
        split_own_data(make_samples(cameras_by_pid))


def test_csv_with_an_empty_camera_has_none(tmp_path):
    rows = ["1.jpg,a,3,train", "2.jpg,b,4,query", "3.jpg,b,,test"]
    text = "\n".join(["path,pid,camid,split", *rows])
    splits = read_csv(write_csv(tmp_path, text, "1.jpg", "2.jpg", "3.jpg"))
    assert [s.camid for s in [*splits.train, *splits.query, *splits.gallery]] == [0, 0, 0]
    assert splits.ignore_same_camera is False
    assert any("cameras unknown" in note for note in splits.notes)
