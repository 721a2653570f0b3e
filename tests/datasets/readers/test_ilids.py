"""i-LIDS: one drawn query and gallery image per test identity; no cameras."""

import pytest

from datasets.readers.ilids import FROZEN, read_ilids

PERSONS = "ilids/i-LIDS_Pedestrian/Persons"
PIDS = [5 + 2 * number for number in range(119)]  # numbers are not contiguous


def count_images(pid):
    return 4 + (pid % 4 == 1) - (pid % 4 == 3)


@pytest.fixture
def make_full(make_files):
    def make(folder=PERSONS):
        images = [f"{pid:04}{n:03}.jpg" for pid in PIDS for n in range(1, count_images(pid) + 1)]
        make_files(*images, folder=folder)
        return images

    return make


@pytest.mark.parametrize(
    "folder",
    [
        PERSONS,
        "i-LIDS_Pedestrian/Persons",
        "iLIDS/Persons",
        "QMUL-iLIDS/images",
        "ilids/Persons",
        "Persons",
    ],
)
def test_every_split_has_60_queries_and_60_gallery_images(tmp_path, make_full, facts, folder):
    images = make_full(folder)
    for split, numbers in enumerate(FROZEN.load()):
        splits = read_ilids(tmp_path, split)
        test = [PIDS[number - 1] for number in numbers]
        assert (splits.name, len(test)) == ("ilids", 60)
        assert [s.pid for s in splits.query] == test
        assert [s.pid for s in splits.gallery] == test
        assert not {s.path for s in splits.query} & {s.path for s in splits.gallery}
        assert len({s.pid for s in splits.train}) == 59
        assert facts(splits.train) == [
            (f"{folder}/{name}", int(name[:4]), int(name[4:7]) - 1)
            for name in images
            if int(name[:4]) not in test
        ]
        for path, pid, camid in facts(splits.query + splits.gallery):
            assert path == f"{folder}/{pid:04}{camid + 1:03}.jpg"
        assert splits.notes == (
            FROZEN.note,
            "one random query and one random gallery image per identity",
            "no camera labels: camid is the image number, no match is junk",
        )


def test_draw_is_pinned_and_differs_between_splits(tmp_path, make_full):
    make_full()
    draws = [read_ilids(tmp_path, split) for split in range(10)]
    assert [(s.pid, s.camid) for s in draws[0].query[:6]] == [
        (13, 2),
        (15, 0),
        (17, 1),
        (23, 1),
        (25, 0),
        (29, 3),
    ]
    assert [(s.pid, s.camid) for s in draws[0].gallery[:6]] == [
        (13, 4),
        (15, 2),
        (17, 2),
        (23, 2),
        (25, 2),
        (29, 1),
    ]
    chosen = {}
    for draw in draws:
        for query, gallery in zip(draw.query, draw.gallery, strict=True):
            chosen.setdefault(query.pid, set()).add((query.camid, gallery.camid))
    assert max(len(pairs) for pairs in chosen.values()) >= 4
    drawn = {camid for pairs in chosen.values() for pair in pairs for camid in pair}
    assert drawn == {0, 1, 2, 3, 4}


def test_test_identity_with_one_image_is_an_error(tmp_path, make_full):
    make_full()
    pid = PIDS[FROZEN.load()[2][0] - 1]
    for number in range(2, count_images(pid) + 1):
        (tmp_path / PERSONS / f"{pid:04}{number:03}.jpg").unlink()
    with pytest.raises(
        ValueError, match=rf"ilids: identity {pid} has only one image, .*{pid:04}001\.jpg"
    ):
        read_ilids(tmp_path, 2)


def test_missing_identity_is_an_error(tmp_path, make_full):
    make_full()
    for path in (tmp_path / PERSONS).glob("0009*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"ilids: 118 identities in .*Persons, expected 119, "):
        read_ilids(tmp_path)


@pytest.mark.parametrize("name", ["0001.jpg", "0001000.jpg", "00010011.jpg", "person01.jpg"])
def test_strange_name_is_an_error(tmp_path, make_files, name):
    make_files("0001001.jpg", name, folder="Persons")
    with pytest.raises(ValueError, match=rf"ilids: cannot read .*{name}: expected.*0001002\.jpg"):
        read_ilids(tmp_path)


def test_empty_folder_is_an_error(tmp_path, make_files):
    make_files("Persons/Thumbs.db")
    with pytest.raises(FileNotFoundError, match=r"ilids: no images in .*Persons"):
        read_ilids(tmp_path)


def test_missing_tree_names_every_path(tmp_path, make_files):
    make_files("QMUL-iLIDS/readme.txt")
    with pytest.raises(FileNotFoundError) as error:
        read_ilids(tmp_path)
    text = str(error.value)
    assert "data set ilids not found" in text
    assert f"{tmp_path}/ilids/i-LIDS_Pedestrian  (no such folder)" in text
    assert f"{tmp_path}/iLIDS  (no such folder)" in text
    assert f"{tmp_path}/QMUL-iLIDS  (lacks Persons or images)" in text
    assert "Persons/   0001001.jpg 0001002.jpg" in text
