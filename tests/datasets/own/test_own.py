"""Own data: folders, CSV files and drawn splits."""

import logging
import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.own.draw import _draw_queries, draw_test_only, split_own_data
from datasets.own.folder import read_folder, read_own_data
from datasets.own.table import read_csv, read_csv_entries
from datasets.readers.image_files import describe_unread
from datasets.records import Sample
from datasets.registry import read_dataset


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


def test_folder_without_cameras_keeps_same_camera_matches(tmp_path):
    make_files(tmp_path / "cows", *(f"{cow}/{i}.jpg" for cow in "abcdefgh" for i in range(6)))
    splits = read_own_data(tmp_path / "cows")
    assert splits.name == "cows"
    assert len(splits.train) == 24
    assert len(splits.query) == 4
    assert len(splits.gallery) == 20
    assert {(s.camid, s.camera) for s in every(splits)} == {(0, "")}
    assert not splits.ignore_same_camera
    assert any("cameras unknown" in note for note in splits.notes)
    assert any("seed 0" in note for note in splits.notes)


def test_folder_reads_images_recursively_and_skips_other_files(tmp_path):
    make_files(
        tmp_path,
        *("a/1.JPG", "a/day1/2.jpeg", "a/day1/x/3.png", "b/1.bmp", "c/1.WebP", "c/2.jpg"),
        *("d/1.jpg", "d/notes.txt", "a/Thumbs.db", "loose.jpg", ".cache/x/1.jpg", "b/._1.jpg"),
        *("query.txt", "d/2.jpg", "d/.thumbnails/2.jpg"),
    )
    names = sorted(Path(s.path).name for s in every(read_folder(tmp_path)))
    assert names == sorted(
        ["1.JPG", "2.jpeg", "3.png", "1.bmp", "1.WebP", "2.jpg", "1.jpg", "2.jpg"]
    )


def test_images_outside_identity_folders_are_counted(tmp_path, caplog):
    make_files(tmp_path, *(f"{pid}/{i}.jpg" for pid in "abcd" for i in range(2)), "loose.jpg")
    with caplog.at_level(logging.WARNING):
        read_folder(tmp_path)
    assert "ignored 1 images outside identity folders" in caplog.text


@pytest.mark.parametrize("form", ["{i}_c{cam}_x.jpg", "door-cam{cam}-{i}.jpg", "{i}_C{cam}.png"])
def test_cameras_come_from_file_names(tmp_path, form):
    files = [f"{pid}/{form.format(i=i, cam=3 + i % 2)}" for pid in "abcd" for i in range(4)]
    make_files(tmp_path, *files)
    splits = read_folder(tmp_path)
    assert splits.ignore_same_camera
    camids = {Path(s.path).name: s.camid for s in every(splits)}
    assert camids == {form.format(i=i, cam=3 + i % 2): i % 2 for i in range(4)}
    assert len(splits.query) == 4  # two test identities, two cameras


def test_one_file_without_camera_makes_all_cameras_unknown(tmp_path):
    files = [f"{pid}/{i}_c{i}.jpg" for pid in "abcd" for i in range(4)]
    make_files(tmp_path, *files, "a/noname.jpg")
    splits = read_folder(tmp_path)
    assert {s.camid for s in every(splits)} == {0}
    assert not splits.ignore_same_camera


def test_single_camera_keeps_same_camera_matches(tmp_path):
    make_files(tmp_path, *(f"{pid}/{i}_c7.jpg" for pid in "abcd" for i in range(3)))
    splits = read_folder(tmp_path)
    assert not splits.ignore_same_camera
    assert any("one camera" in note for note in splits.notes)


@pytest.mark.parametrize(
    ("names", "order"),
    [(["10", "9", "100", "2"], ["2", "9", "10", "100"]), (["b10", "b9", "a", "2"], None)],
)
def test_identities_are_numbered_numerically_or_alphabetically(tmp_path, names, order):
    make_files(tmp_path, *(f"{name}/{i}.jpg" for name in names for i in range(2)))
    samples = every(read_folder(tmp_path))
    pids = {Path(s.path).parent.name: s.pid for s in samples}
    assert pids == {name: pid for pid, name in enumerate(order or sorted(names))}


@pytest.mark.parametrize("gallery", ["gallery", "test"])
def test_given_split_folders_are_used(tmp_path, gallery):
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


def test_folder_may_be_for_training_or_testing_only(tmp_path):
    make_files(tmp_path / "one", "train/x/1.jpg")
    make_files(tmp_path / "two", "query/x/1.jpg", "gallery/x/2.jpg", "val/x/3.jpg")
    training, test = read_folder(tmp_path / "one"), read_folder(tmp_path / "two")
    assert [len(part) for part in (training.train, training.query, training.gallery)] == [1, 0, 0]
    assert [len(part) for part in (test.train, test.query, test.gallery)] == [0, 1, 1]


def test_images_outside_split_and_identity_folders_are_counted(tmp_path, caplog):
    names = [f"{split}/{pid}/{i}.jpg" for split in ("query", "test") for pid in "xy" for i in "12"]
    make_files(tmp_path, *names, "a.jpg", "query/b.jpg", "test/c.jpg")
    splits = read_folder(tmp_path)
    assert len(every(splits)) == 8
    assert "ignored 3 images outside identity folders" in caplog.text


def test_gallery_without_query_is_an_error(tmp_path):
    make_files(tmp_path, "train/x/1.jpg", "test/y/2.jpg")
    with pytest.raises(ValueError, match="gallery images but no query images"):
        read_folder(tmp_path)


def test_identities_in_train_and_test_are_counted(tmp_path, caplog):
    make_files(tmp_path, "train/x/1.jpg", "query/x/2.jpg", "gallery/x/3.jpg")
    with caplog.at_level(logging.WARNING):
        splits = read_folder(tmp_path)
    assert splits.train[0].pid == splits.query[0].pid == splits.gallery[0].pid
    assert "1 identities are in both train and test" in splits.notes[0]
    assert "both train and test" in caplog.text


def test_empty_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images in .*<identity>"):
        read_folder(tmp_path)


def test_market_layout_is_recognized(tmp_path):
    make_files(
        tmp_path / "mine",
        *("bounding_box_train/0001_c1_0.jpg", "query/0002_c1_0.jpg"),
        "bounding_box_test/0002_c2_0.jpg",
    )
    splits = read_own_data(tmp_path / "mine")
    assert splits.name == "mine"
    assert [(s.identity, s.camera) for s in splits.gallery] == [("0002", "2")]
    assert splits.query[0].pid == splits.gallery[0].pid != splits.train[0].pid


@pytest.mark.parametrize(
    "folders",
    [
        ("bounding_box_train", "query", "bounding_box_test"),
        ("Bounding_Box_Train", "Query", "BOUNDING_BOX_TEST"),
        ("image_train", "image_query", "image_test"),
    ],
)
def test_names_of_the_market_layout_stay_and_its_special_identities_are_counted(
    tmp_path, caplog, folders
):
    train, query, gallery = folders
    make_files(
        tmp_path / "mine",
        *(f"{train}/{pid}_c{camera}_0.jpg" for pid in ("007", "7", "0001") for camera in (1, 4)),
        *(f"{train}/0000_c1_2.jpg", f"{train}/-1_c1_0.jpg", f"{train}/sub/0001_c1_9.jpg"),
        *(f"{query}/0099_c1_1.jpg", f"{query}/0000_c2_2.jpg", f"{gallery}/0000_c1_0.jpg"),
        *(f"{gallery}/0099_c2_1.jpg", "loose.jpg"),
    )
    (tmp_path / "mine" / gallery / "0777_c1_1.jpg").mkdir()
    splits = read_own_data(tmp_path / "mine")
    assert sorted({s.identity for s in splits.train}) == ["0001", "007", "7"]
    assert len(splits.train) == 7
    assert len({s.pid for s in splits.train}) == 3
    assert [s.identity for s in splits.query] == ["0099"]
    assert sorted(s.identity for s in splits.gallery) == ["0000", "0099"]
    assert {s.camera for s in splits.train} == {"1", "4"}
    assert "1 images of identity -1 left out: junk" in splits.notes
    assert "2 images of identity 0 left out of training and queries: distractors" in splits.notes
    assert "1 gallery images of identity 0: distractors" in splits.notes
    assert "ignored 1 images outside these splits" in caplog.text


@pytest.mark.parametrize("form", ["{}", "{:03}"])
def test_identities_numbered_from_0_include_0_unless_one_is_missing(tmp_path, form):
    def read(numbers):
        rows = [f"{i}_{j}.jpg,{form.format(i)},train" for i in numbers for j in range(2)]
        images = [row.partition(",")[0] for row in rows]
        return read_csv(write_csv(tmp_path, "\n".join(["path,pid,split", *rows]), *images))

    assert len({s.pid for s in read(range(4)).train}) == 4
    splits = read((0, 2, 3))
    assert len({s.pid for s in splits.train}) == 2
    assert "2 images of identity 0 left out of training and queries: distractors" in splits.notes


@pytest.mark.parametrize(
    ("first", "second"),
    [("Jose\u0301", "José"), ("p0", "p0\u200b"), ("p  p", "p p"), ("Ann", "ann")],
)
def test_names_that_look_the_same_are_doubted(tmp_path, caplog, first, second):
    rows = [f"{i}.jpg,{name},train" for i, name in enumerate((first, second, "x"))]
    images = [f"{i}.jpg" for i in range(3)]
    splits = read_csv(write_csv(tmp_path, "\n".join(["path,pid,split", *rows]), *images))
    assert len({s.pid for s in splits.train}) == 3
    shown = f"{first!a} and {second!a}"
    assert f"names that look the same are different identities: {shown}; " in caplog.text


def test_folders_of_systems_and_broken_links_are_no_images(tmp_path):
    names = [f"{pid}/{i}.jpg" for pid in "abcd" for i in range(3)]
    hidden = ["a/.ipynb_checkpoints/0.jpg", "a/@eaDir/0.jpg/T.jpg", ".Trash-1000/files/x.jpg"]
    hidden += ["$RECYCLE.BIN/x.jpg", "lost+found/x.jpg", "__MACOSX/x.jpg"]
    make_files(tmp_path, *names, *hidden, "a/license_plate.heic", "a/LICENSE", "a/copying.cr2")
    (tmp_path / "b" / "9.jpg").symlink_to(tmp_path / "nowhere.jpg")
    splits = read_own_data(tmp_path, tested_only=True)
    assert len(every(splits)) == 12
    assert {s.identity for s in every(splits)} == set("abcd")
    unread = describe_unread(splits.unread)
    assert unread == "3 files not read: .cr2 1, .heic 1, broken links 1"


# CSV


def test_csv_with_all_columns(tmp_path):
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


def test_csv_with_absolute_paths_and_pids_only(tmp_path):
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
        ("path;id;pid\n", "no rows"),
        ("path|pid\n1.jpg|0", "line 1: expected the header path,pid"),
        ("path,pid\n", "no rows"),
        ("path,pid\n1.jpg,a\nnone.jpg,a", "line 3: no such file: .*none.jpg"),
        ("path,pid\n,a", "line 2: no such file"),
        ("path,pid\n1.jpg,", "line 2: pid is empty"),
        ("path,pid\n1.jpg", "line 2: 2 fields expected, 1 found"),
        ("path,pid\n1.jpg,a,b", "line 2: 2 fields expected, 3 found"),
        ("path,pid\n1.jpg,a\n\n1.jpg,b", "line 4: .*1.jpg is already on line 2"),
        ("path,pid,camid\n1.jpg,a,-1", "line 2: camid is '-1'"),
        ("path,pid,viewid\n1.jpg,a,-2", "line 2: viewid is '-2'"),
        (
            "path,pid,split\n1.jpg,a,dev",
            "line 2: split is 'dev'; expected train, query, gallery or both",
        ),
        (
            "path,pid,date\n1.jpg,a,3/5/2021",
            "line 2: encounter is '3/5/2021'; write the date as 2026",
        ),
        (
            "path,pid,date\n1.jpg,a,31-1-2026",
            "line 2: encounter is '31-1-2026'; write the date as 2026",
        ),
        (
            "path,pid,date\n1.jpg,a,3 Feb 2026",
            "line 2: encounter is '3 Feb 2026'; write the date as 2026",
        ),
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


def test_drawn_split_depends_on_the_seed_and_not_on_the_order():
    samples = make_samples([[0, 1, 1, 0, 2]] * 12)
    first = split_own_data(samples, seed=3)
    assert split_own_data(samples[::-1], seed=3) == first
    assert split_own_data(samples, seed=4) != first


def test_drawn_split_halves_identities_and_draws_a_query_per_camera():
    splits = split_own_data(make_samples([[0, 0, 1, 1, 2, 2]] * 8))
    assert len({s.pid for s in splits.train}) == 4
    assert len(splits.query) == 4 * 3
    assert len(splits.gallery) == 4 * 3
    three_quarters = split_own_data(make_samples([[0, 1]] * 8), train_fraction=0.75)
    assert len({s.pid for s in three_quarters.train}) == 6


def test_every_drawn_query_keeps_a_gallery_image():
    splits = split_own_data(make_samples([[0, 1]] * 4))
    assert len(splits.query) == len(splits.gallery) == 2


def test_identities_with_one_image_are_distractors():
    splits = split_own_data(make_samples([[0]] * 30 + [[0, 0, 0]] * 30))
    single = {s.pid for s in splits.gallery if s.pid < 30}
    assert single
    assert not single & {s.pid for s in splits.query}


@pytest.mark.parametrize("cameras_by_pid", [[[0, 0]] * 3, [[0, 1]]])
def test_too_few_identities_are_an_error_with_a_remedy(cameras_by_pid):
    with pytest.raises(ValueError, match=r"too few.*4 are needed.*CSV column 'split'"):
        split_own_data(make_samples(cameras_by_pid), name="mine")


@pytest.mark.parametrize(
    ("cameras_by_pid", "message"),
    [([[0]] * 6, "has two images"), ([[0, 0], [1, 1]] * 3, "has images from two cameras")],
)
def test_no_possible_query_is_an_error_with_a_remedy(cameras_by_pid, message):
    with pytest.raises(ValueError, match=f"nothing to test.*{message}.*CSV column 'split'"):
        split_own_data(make_samples(cameras_by_pid))


def test_csv_with_one_empty_camid_has_unknown_cameras(tmp_path):
    rows = ["1.jpg,a,3,train", "2.jpg,b,4,query", "3.jpg,b,,test"]
    text = "\n".join(["path,pid,camid,split", *rows])
    splits = read_csv(write_csv(tmp_path, text, "1.jpg", "2.jpg", "3.jpg"))
    assert [s.camid for s in [*splits.train, *splits.query, *splits.gallery]] == [0, 0, 0]
    assert splits.ignore_same_camera is False
    assert any("cameras unknown" in note for note in splits.notes)


def test_missing_cameras_are_counted(tmp_path, caplog):
    rows = ["1.jpg,a,3", "2.jpg,b,4", "3.jpg,b,"]
    write_csv(tmp_path, "\n".join(["path,pid,camid", *rows]), "1.jpg", "2.jpg", "3.jpg")
    read_csv(tmp_path / "herd.csv", tested_only=True)
    text = f"1 of 3 images have no camera, such as {tmp_path / '3.jpg'}, so all cameras count as"
    assert text in caplog.text


@pytest.mark.parametrize(
    ("one", "other", "split"), [("gallery", "test", "gallery"), ("probe", "query", "query")]
)
def test_two_folders_of_one_split_are_refused(tmp_path, one, other, split):
    for folder in {"query", "gallery", one, other}:
        make_files(tmp_path, f"{folder}/anna/1.jpg", f"{folder}/bert/1.jpg")
    with pytest.raises(ValueError, match=f"{one} and {other} are both read as {split}"):
        read_folder(tmp_path)


def test_unknown_people_cannot_be_tested(tmp_path):
    rows = ["1.jpg,unknown,1,query", "2.jpg,Unknown,2,gallery"]
    path = write_csv(tmp_path, "\n".join(["path,pid,camid,split", *rows]), "1.jpg", "2.jpg")
    with pytest.raises(ValueError, match="all 2 images are of identity unknown"):
        read_csv(path)


def test_market_tree_without_images_names_what_is_there(tmp_path):
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / name).mkdir()
    (tmp_path / "query" / "0001_c1s1_000001_00.heic").touch()
    text = r"no images in bounding_box_test, bounding_box_train, query below .*\.heic 1"
    with pytest.raises(FileNotFoundError, match=text):
        read_own_data(tmp_path)


def test_encounters_that_begin_alike_are_two(tmp_path):
    cells = [
        "2021-05-03_north",
        "2021-05-03_south",
        "2021-05-03 10:00",
        "2021-05-03T11:00",
        "Marsh pond 2019",
    ]
    rows = [f"{i}.jpg,a,{cell}" for i, cell in enumerate(cells)]
    path = write_csv(
        tmp_path, "\n".join(["path,pid,encounter", *rows]), *(f"{i}.jpg" for i in range(5))
    )
    found = [entry.encounter for entry in read_csv_entries(path).values()]
    assert found == [cells[0], cells[1], "2021-05-03", "2021-05-03", "Marsh pond 2019"]


def test_path_of_any_length_is_named_with_its_line(tmp_path):
    path = write_csv(tmp_path, f"path,pid\n{'x' * 300},a")
    with pytest.raises(ValueError, match=r"herd\.csv, line 2: no such file"):
        read_csv(path)


def test_repeated_column_is_named_and_nameless_ones_are_ignored(tmp_path):
    path = write_csv(tmp_path, "path,pid,,\n1.jpg,a,,", "1.jpg")
    assert [entry.identity for entry in read_csv_entries(path).values()] == ["a"]
    path.write_text("path,ID,id\n1.jpg,a,b")
    with pytest.raises(ValueError, match="line 1: more than one column is called id"):
        read_csv_entries(path)


def draw_queries_slowly(group, rng, *, across_cameras):
    """Counts all images again for every camera."""
    left, queries = Counter(sample.camid for sample in group), []
    for camid in sorted(left):
        images = [sample for sample in group if sample.camid == camid]
        candidate = images[int(rng.random() * len(images))]
        left[camid] -= 1
        cameras = {camid, *(query.camid for query in queries)}
        if all(left.total() - across_cameras * left[camera] > 0 for camera in cameras):
            queries.append(candidate)
        else:
            left[camid] += 1
    return queries


@given(st.lists(st.integers(0, 6), min_size=1, max_size=14), st.integers(0, 99), st.booleans())
def test_queries_are_those_of_the_slow_reference(cameras, seed, across_cameras):
    (group,) = [make_samples([cameras])]
    found, expected = (
        draw_queries(group, Random(seed), across_cameras=across_cameras)
        for draw_queries in (_draw_queries, draw_queries_slowly)
    )
    assert found == expected


# images without identities, and folders that look like cameras


def test_unlabelled_images_are_a_training_split_without_a_note_on_cameras(tmp_path):
    make_files(tmp_path / "crops", *(f"train/unknown/{i}_c{i % 3}.jpg" for i in range(9)))
    splits = read_own_data(tmp_path / "crops")
    assert (splits.name, splits.query, splits.gallery, splits.notes) == ("crops", [], [], ())
    assert [(s.pid, s.camid) for s in splits.train] == [(0, i % 3) for i in range(9)]


def test_loose_images_alone_are_an_error_that_names_the_folder_for_unlabelled_images(tmp_path):
    make_files(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(FileNotFoundError, match=r"train/unknown/<image>\.jpg"):
        read_own_data(tmp_path)


@pytest.mark.parametrize(
    "names", [["cam1", "cam2", "cam3", "cam4"], ["Camera_01", "camera-2", "c3", "CAM 4"]]
)
def test_identities_named_like_cameras_give_a_warning(tmp_path, caplog, names):
    make_files(tmp_path, *(f"{name}/{i}.jpg" for name in names for i in range(2)))
    splits = read_folder(tmp_path)
    assert len({s.pid for s in every(splits)}) == 4
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert f"the folders {', '.join(sorted(names)[:3])}, ... look like cameras" in warning
    assert "<identity>/0001_c2.jpg" in warning


@pytest.mark.parametrize("names", [["cam1", "cam2", "cam3", "anna"], ["cow1", "cow2", "1", "cat3"]])
def test_other_identities_give_no_warning(tmp_path, caplog, names):
    make_files(tmp_path, *(f"{name}/{i}.jpg" for name in names for i in range(2)))
    read_folder(tmp_path)
    assert [r for r in caplog.records if r.levelno == logging.WARNING] == []


# data that no model was trained on


def test_tested_only_data_test_all_identities(tmp_path):
    images = [f"{pid}{i}.jpg" for pid in "abcd" for i in range(3)]
    rows = [f"{image},{image[0]}" for image in images]
    file = write_csv(tmp_path, "path,pid\n" + "\n".join(rows), *images)
    for path in (file, tmp_path / "cows"):
        make_files(tmp_path / "cows", *(f"{image[0]}/{image}" for image in images))
        half, whole = read_own_data(path), read_own_data(path, tested_only=True)
        assert [len(part) for part in (half.train, half.query, half.gallery)] == [6, 2, 4]
        assert [len(part) for part in (whole.train, whole.query, whole.gallery)] == [0, 4, 8]
        assert {s.pid for s in whole.query} == {s.pid for s in whole.gallery} == {0, 1, 2, 3}
        assert "not trained on: all 4 identities are tested" in whole.notes[0]


def test_tested_only_data_keep_a_given_split(tmp_path):
    make_files(tmp_path, "train/x/1.jpg", "query/y/1.jpg", "gallery/y/2.jpg")
    assert read_folder(tmp_path, tested_only=True) == read_folder(tmp_path)


@given(samples=IDENTITIES)
def test_all_images_of_tested_only_data_are_query_or_gallery(samples):
    try:
        splits = draw_test_only(samples)
    except ValueError as error:
        assert "nothing to test" in str(error)  # noqa: PT017
        return
    assert sorted(s.path for s in splits.query + splits.gallery) == sorted(s.path for s in samples)
    assert draw_test_only(samples[::-1]) == splits
    for query in splits.query:
        assert any(
            g.pid == query.pid and not (splits.ignore_same_camera and g.camid == query.camid)
            for g in splits.gallery
        )


def test_tested_only_data_may_have_few_identities():
    splits = draw_test_only(make_samples([[0, 1], [0, 1]]))
    assert [s.pid for s in splits.query] == [0, 1]


# names, further columns, encounters


def test_identities_and_cameras_keep_their_names(tmp_path):
    rows = ["1.jpg,Moby,door,train", "2.jpg,Özil,yard,query", "3.jpg,Özil,10.0.0.7,gallery"]
    text = "\n".join(["path,pid,camid,split", *rows])
    splits = read_csv(write_csv(tmp_path, text, "1.jpg", "2.jpg", "3.jpg"))
    assert [(s.pid, s.identity, s.camid, s.camera) for s in every(splits)] == [
        (0, "Moby", 1, "door"),
        (1, "Özil", 2, "yard"),
        (1, "Özil", 0, "10.0.0.7"),
    ]


def test_identities_are_text_and_cameras_are_renumbered(tmp_path):
    pids = ["1", "01", "001", "0001", "9" * 20]
    images = [f"{number}.jpg" for number in range(10)]
    rows = [
        f"{image},{pids[i // 2]},{20231101 + i % 2},{('query', 'gallery')[i % 2]}"
        for i, image in enumerate(images)
    ]
    text = "\n".join(["path,pid,camid,split", *rows])
    splits = read_csv(write_csv(tmp_path, text, *images))
    assert {s.identity for s in splits.query} == set(pids)
    assert sorted(s.pid for s in splits.query) == [0, 1, 2, 3, 4]
    assert {(s.camid, s.camera) for s in every(splits)} == {(0, "20231101"), (1, "20231102")}


def test_folder_cameras_keep_the_number_in_the_file_name(tmp_path):
    make_files(tmp_path / "query" / "a", "1_c02.jpg")
    make_files(tmp_path / "gallery" / "a", "2_c7.jpg")
    splits = read_folder(tmp_path)
    assert [(s.camid, s.camera) for s in every(splits)] == [(0, "2"), (1, "7")]


def test_usual_column_names_are_taken_and_others_ignored_with_one_note(tmp_path, caplog):
    rows = ["1.jpg,a,0,left,query", "2.jpg,a,1,right,gallery"]
    text = "\n".join(["image_path,identity,cam_id,orientation,split", *rows])
    with caplog.at_level(logging.INFO):
        splits = read_csv(write_csv(tmp_path, text, "1.jpg", "2.jpg"))
    assert [s.camid for s in every(splits)] == [0, 1]
    assert [r.message.partition(": ")[2] for r in caplog.records if "columns" in r.message] == [
        "columns read image_path as path, identity as pid, cam_id as camid; ignored orientation"
    ]


def test_our_column_name_wins_over_another_name_for_it(tmp_path, caplog):
    text = "path,id,pid,split\n1.jpg,100,a,query\n2.jpg,101,a,gallery"
    with caplog.at_level(logging.INFO):
        splits = read_csv(write_csv(tmp_path, text, "1.jpg", "2.jpg"))
    assert {s.identity for s in every(splits)} == {"a"}
    assert "ignored id" in caplog.text


def test_split_both_is_query_and_gallery(tmp_path):
    rows = ["1.jpg,a,both", "2.jpg,a,both", "3.jpg,b,gallery"]
    text = "\n".join(["path,pid,split", *rows])
    splits = read_csv(write_csv(tmp_path, text, "1.jpg", "2.jpg", "3.jpg"))
    assert [Path(s.path).name for s in splits.query] == ["1.jpg", "2.jpg"]
    assert [Path(s.path).name for s in splits.gallery] == ["1.jpg", "2.jpg", "3.jpg"]
    assert not splits.train
    assert "2 images are query and gallery, but not matches of themselves" in splits.notes


@pytest.mark.parametrize(
    ("groups", "last"),
    [
        (["enc7", "enc14", "enc9"], "enc14"),
        (["9.5", "10.5", "10.25"], "10.25"),
        (["2026-2-1", "2026-10-1", "2026/9/30"], "2026-10-1"),
        (["20261001", "20260930"], "20261001"),
    ],
)
def test_encounters_are_ordered_with_numbers_by_value(tmp_path, groups, last):
    images = {f"{pid}{number}.jpg": group for pid in "ab" for number, group in enumerate(groups)}
    rows = [f"{image},{image[0]},{group}" for image, group in images.items()]
    text = "\n".join(["path,pid,encounter", *rows])
    splits = read_csv(write_csv(tmp_path, text, *images), tested_only=True)
    assert {images[Path(s.path).name] for s in splits.query} == {last}


@pytest.mark.parametrize("column", ["encounter", "date"])
def test_queries_are_of_an_identitys_last_encounter(tmp_path, column):
    days = ["2023-05-01", "2024-01-09", "2024-01-10"]
    images = {f"{pid}{day}{i}.jpg": (pid, day) for pid in "abcd" for day in days for i in (0, 1)}
    rows = [f"{image},{pid},{day} 1{image[-5]}:30" for image, (pid, day) in images.items()]
    rows.append("once.jpg,e,2024-01-10")
    text = "\n".join([f"path,pid,{column}", *rows])
    splits = read_csv(write_csv(tmp_path, text, *images, "once.jpg"), tested_only=True)
    query = {Path(s.path).name for s in splits.query}
    assert query == {image for image, (_, day) in images.items() if day == days[-1]}
    assert {Path(s.path).name for s in splits.gallery} == {*images, "once.jpg"} - query
    assert not splits.ignore_same_camera
    assert any("last encounter" in note for note in splits.notes)
    drawn = read_csv(tmp_path / "herd.csv")
    trained = {s.identity for s in drawn.train}
    assert 0 < len(trained) < 5
    assert trained.isdisjoint(s.identity for s in [*drawn.query, *drawn.gallery])


def test_incomplete_encounters_are_not_used_and_counted(tmp_path, caplog):
    images = [f"{pid}{i}.jpg" for pid in "abcd" for i in range(3)]
    rows = [f"{image},{image[0]},{'' if image == 'a0.jpg' else image[1]}" for image in images]
    text = "\n".join(["path,pid,encounter", *rows])
    splits = read_csv(write_csv(tmp_path, text, *images), tested_only=True)
    assert "1 of 12 images have no encounter or date" in caplog.text
    assert len(splits.query) == 4  # drawn


def test_unknown_animals_are_left_out_and_counted(tmp_path, caplog):
    tests = ["1.jpg,a,query", "2.jpg,a,gallery", "4.jpg,Unknown,gallery"]
    images = [f"{number}.jpg" for number in range(1, 6)]

    def read(*rows):
        return read_csv(write_csv(tmp_path, "\n".join(["path,pid,split", *rows]), *images))

    splits = read(*tests, "3.jpg,unknown,train", "5.jpg,b,train")
    assert [s.identity for s in every(splits)] == ["b", "a", "a"]
    assert "2 images of identity unknown left out" in caplog.text
    for rows in (tests[:0], tests):  # to train on without labels
        splits = read(*rows, "3.jpg,unknown,train", "5.jpg,Unknown,train")
        assert len(splits.train) == 2
        assert len(splits.gallery) == bool(rows)


def test_folder_of_unknown_images_is_not_an_identity(tmp_path, caplog):
    make_files(tmp_path, *(f"{pid}/{i}.jpg" for pid in ("a", "b", "Unknown") for i in range(3)))
    splits = read_own_data(tmp_path, tested_only=True)
    assert {s.identity for s in every(splits)} == {"a", "b"}
    assert "3 images of identity unknown left out" in caplog.text


class Frame:
    """The part of a DataFrame that is used: columns, and rows as tuples."""

    def __init__(self, columns, rows):
        self.columns = columns
        self._rows = rows

    def itertuples(self, index, name):
        assert (index, name) == (False, None)
        return iter(self._rows)


def test_a_data_frame_is_read_like_a_csv(tmp_path):
    make_files(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    rows = [
        (0, "Moby", "a/1.jpg", float("nan"), 3),
        (1, "Moby", "a/2.jpg", None, 4),
        (2, "Özil", "b/1.jpg", 1.0, 3.0),
        (3, "Özil", "b/2.jpg", 2.0, 4.0),
    ]
    frame = Frame(["image_id", "identity", "path", "weight", "camera"], rows)
    splits = read_dataset(frame, tmp_path, tested_only=True)
    assert {s.identity for s in splits.query} == {"Moby", "Özil"}
    assert {(s.camid, s.camera) for s in every(splits)} == {(0, "3"), (1, "4")}
    with pytest.raises(ValueError, match="the table, row 1: no such file"):
        read_dataset(Frame(["identity", "path"], [("a", "a/1.jpg"), ("a", "x.jpg")]), tmp_path)
    with pytest.raises(ValueError, match="expected a data set's name or path, or a table, got 7"):
        read_dataset(7, tmp_path)
    with pytest.raises(ValueError, match="the table, columns: expected the header path,pid"):
        read_dataset(Frame(["identity"], [("a",)]), tmp_path)


PEOPLE = "path,pid\n" + "".join(
    f"{name}_{n}.jpg,{name}\n" for name in ("Özil", "Zoë") for n in "12"
)


def write_people(folder, content, name="people.csv"):
    for person in ("Özil", "Zoë"):
        for number in "12":
            (folder / f"{person}_{number}.jpg").touch()
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv")])
def test_table_of_any_unicode_encoding_and_delimiter_is_read(tmp_path, encoding, delimiter, name):
    text = PEOPLE.replace(",", delimiter).replace("\n", "\r\n")
    entries = read_csv_entries(write_people(tmp_path, text.encode(encoding), name))
    assert [entry.identity for entry in entries.values()] == ["Özil", "Özil", "Zoë", "Zoë"]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (PEOPLE.encode("cp1252"), "line 2: the byte 0xd6"),
        ("path,pid\nÖzil_1.jpg,a\n".encode("cp1252"), "line 2: the byte 0xd6"),
        ("path,pid\n1.jpg,a\n2.jpg,马\n".encode("gbk"), "line 3: the byte 0xc2"),
        ("path,pid,größe\n".encode("cp1252"), "line 1: the byte 0xf6"),
        (PEOPLE.encode("utf-16-le"), "line 1: the byte 0x00"),
    ],
)
def test_table_of_another_encoding_is_named_with_line_and_remedy(tmp_path, content, place):
    make_files(tmp_path, "1.jpg", "2.jpg")
    file = write_people(tmp_path, content)
    with pytest.raises(
        ValueError, match=f"people.csv, {place} is not UTF-8 text; save .* as UTF-8"
    ):
        read_csv(file)


def test_damaged_utf_16_table_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"people.csv: .*save it as a CSV file in UTF-8"):
        read_csv(write_people(tmp_path, PEOPLE.encode("utf-16")[:-1]))


def test_endless_cell_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"people.csv, line 2: field larger than field limit"):
        read_csv(write_people(tmp_path, b'path,pid\n"' + b"a" * 200_000))


def test_file_whose_name_is_not_utf_8_is_listed_by_its_bytes(tmp_path):
    name = "é_1.jpg".encode("cp1252")
    (tmp_path / os.fsdecode(name)).touch()
    (tmp_path / "a.csv").write_bytes(b"path,pid\n" + name + b",a\n")
    (entry,) = read_csv_entries(tmp_path / "a.csv").values()
    assert os.fsencode(entry.path.name) == name


@pytest.mark.parametrize("market", [False, True])
def test_files_of_own_data_that_are_not_read_are_listed(tmp_path, caplog, market):
    names = [f"{pid}/{n}.jpg" for pid in "abcd" for n in "12"]
    if market:
        folders = ("bounding_box_train", "query", "bounding_box_test")
        names = [f"{folder}/0001_c1s1_1.jpg" for folder in folders]
    first = names[0].partition("/")[0]
    for name in (*names, f"{first}/3.heic", f"{first}/blob", "README", "film.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    splits = read_dataset(str(tmp_path), "")
    unread = [Path(path).relative_to(tmp_path).as_posix() for path in splits.unread]
    assert unread == [f"{first}/3.heic", f"{first}/blob", "film.mp4"]
    assert "3 files not read: .heic 1, .mp4 1, none 1" in caplog.text


def test_folder_without_images_says_what_was_not_read(tmp_path):
    for number in range(3):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / f"{number}.heic").touch()
    with pytest.raises(FileNotFoundError, match=r"no images .* \(3 files not read: .heic 3\)"):
        read_own_data(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1.jpg,a,20231101"], r"line 2: viewid is '20231101'; expected .* from -1 to 999"),
        ([f"1.jpg,{'7' * 300},0"], r"line 2: pid has more than 255 characters"),
        (["1.jpg,a,0", "./x/../1.jpg,b,0"], r"line 3: .*1.jpg is already on line 2"),
        (["1.jpg,a,0", '2.jpg,"b,0', "3.jpg,c,0"], r"line 3: unexpected end of data; is a quote"),
    ],
)
def test_odd_cells_are_named_by_their_line(tmp_path, rows, message):
    text = "\n".join(["path,pid,viewid", *rows])
    file = write_csv(tmp_path, text, "1.jpg", "2.jpg", "3.jpg", "x/1.jpg")
    with pytest.raises(ValueError, match=message):
        read_csv(file)


def test_space_before_a_quote_is_not_part_of_the_name(tmp_path):
    file = write_csv(tmp_path, 'path,pid,split\n1.jpg, "p0", train', "1.jpg")
    assert read_csv(file).train[0].identity == "p0"


def test_column_of_splits_under_another_name_is_named(tmp_path, caplog):
    rows = [f"{i}.jpg,{i % 4},{'train' if i % 4 < 2 else 'test'}" for i in range(8)]
    file = write_csv(
        tmp_path, "\n".join(["path,pid,subset", *rows]), *(f"{i}.jpg" for i in range(8))
    )
    read_csv(file, tested_only=True)
    assert "the column subset holds words such as train and query, but is not used" in caplog.text
