"""Images as users name them: which are taken, in which order, with which labels."""

import logging
from pathlib import Path

import pytest

from datasets.image_lists import read_image_lists


def make_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def described(images):
    return [(Path(s.path).name, s.pid, s.camid, s.viewid) for s in images.samples]


def test_folder_is_read_recursively_in_the_order_of_paths(tmp_path):
    make_files(tmp_path, "b/2.jpg", "b/1.PNG", "a/x/9.webp", "0.jpg", "notes.txt", "b/._1.jpg")
    (images,) = read_image_lists([str(tmp_path)], "nowhere")
    names = ["0.jpg", "9.webp", "1.PNG", "2.jpg"]
    assert described(images) == [(name, -1, -1, -1) for name in names]
    assert images.dataset == ""


def test_places_keep_their_order_and_repeated_images_are_taken_once(tmp_path, caplog):
    make_files(tmp_path, "f/1.jpg", "f/2.jpg", "loose")
    places = [tmp_path / "loose", tmp_path / "f" / "2.jpg", tmp_path / "f"]
    lists = read_image_lists([str(place) for place in places], "nowhere")
    names = [[row[0] for row in described(images)] for images in lists]
    assert names == [["loose"], ["2.jpg"], ["1.jpg"]]
    assert "1 repeated images are taken once" in caplog.text


def test_csv_keeps_pids_and_needs_only_paths(tmp_path):
    make_files(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "all.csv").write_text("path,pid,camid,viewid\n2.jpg,0007,3,1\n1.jpg,,,\n")
    (tmp_path / "paths.csv").write_text("path\n3.jpg\n1.jpg\n")
    all_, paths = read_image_lists([str(tmp_path / "all.csv"), str(tmp_path / "paths.csv")], "")
    assert described(all_) == [("2.jpg", 7, 3, 1), ("1.jpg", -1, -1, -1)]
    assert [row[:3] for row in described(paths)] == [("3.jpg", -1, -1)]


def test_csv_with_names_numbers_and_logs_them(tmp_path, caplog):
    make_files(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "herd.csv").write_text("path,pid\n1.jpg,rosa\n2.jpg,alma\n3.jpg,rosa\n")
    with caplog.at_level(logging.INFO):
        (images,) = read_image_lists([str(tmp_path / "herd.csv")], "")
    assert [sample.pid for sample in images.samples] == [1, 0, 1]
    assert "2 identities numbered in the order of their names" in caplog.text


def test_splits_of_own_data_and_benchmarks(tmp_path):
    names = [f"{split}/{pid}/c{pid % 2}.jpg" for split in ("query", "gallery") for pid in (5, 8)]
    make_files(tmp_path / "shop", *names)
    make_files(tmp_path / "Market-1501-v15.09.15", "bounding_box_train/0002_c1s1_000451_03.jpg")
    make_files(tmp_path / "Market-1501-v15.09.15", "query/0001_c3s1_000451_00.jpg")
    make_files(tmp_path / "Market-1501-v15.09.15", "bounding_box_test/0001_c2s1_000451_01.jpg")
    places = ["shop:query", f"{tmp_path / 'shop'}:gallery", "market1501:query"]
    query, gallery, market = read_image_lists(places, tmp_path)
    assert [Path(sample.path).parts[-3:-1] for sample in query.samples] == [
        ("query", "5"),
        ("query", "8"),
    ]
    assert [sample.pid for sample in gallery.samples] == [0, 1]
    assert (query.dataset, market.dataset) == ("shop", "market1501")
    assert described(market) == [("0001_c3s1_000451_00.jpg", 1, 2, 0)]


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("nothing", "'nothing' is not a file, folder, CSV file or split of a data set"),
        ("market1501", "name the split, e.g. market1501:query"),
        ("market1501:test", "'market1501:test' is not a file"),
    ],
)
def test_missing_places_are_named(place, named, tmp_path):
    with pytest.raises(FileNotFoundError, match=named):
        read_image_lists([place], tmp_path)


def test_place_without_images_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images in .* and its subfolders"):
        read_image_lists([str(tmp_path)], "")
    make_files(tmp_path / "shop", "query/1/a.jpg", "gallery/1/b.jpg")
    with pytest.raises(ValueError, match="data set shop has no train images"):
        read_image_lists(["shop:train"], tmp_path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("pid\n1\n", "line 1: expected the header path"),
        ("path,split\nmissing.jpg,\n", "line 2: no such file"),
    ],
)
def test_csv_errors_name_the_line(tmp_path, text, named):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=named):
        read_image_lists([str(tmp_path / "list.csv")], "")


def test_csv_with_names_that_mean_one_number_or_are_too_large_numbers_them(tmp_path):
    make_files(tmp_path, *(f"{number}.jpg" for number in range(6)))
    rows = ["0.jpg,1,door", "1.jpg,01,yard", "2.jpg,001,door", f"3.jpg,{10**20},", "4.jpg,,"]
    (tmp_path / "all.csv").write_text("\n".join(["path,pid,camid", *rows]))
    (images,) = read_image_lists([str(tmp_path / "all.csv")], "")
    assert [(x.identity, x.camera) for x in images.samples] == [
        ("1", "door"),
        ("01", "yard"),
        ("001", "door"),
        (str(10**20), ""),
        ("", ""),
    ]
    assert len({x.pid for x in images.samples[:4]}) == 4
    assert [x.camid for x in images.samples] == [0, 1, 0, -1, -1]


def test_subfolders_name_identities_where_asked(tmp_path):
    make_files(tmp_path / "crops", "Moby/1.jpg", "Moby/day 2/2.jpg", "Özil/1.jpg", "loose.jpg")
    (plain,) = read_image_lists([str(tmp_path / "crops")], "")
    (named,) = read_image_lists([str(tmp_path / "crops")], "", by_folder=True)
    assert {x.identity for x in plain.samples} == {""}
    names = {Path(x.path).name: (x.pid, x.identity) for x in named.samples}
    assert names == {"1.jpg": (1, "Özil"), "2.jpg": (0, "Moby"), "loose.jpg": (-1, "")}


def test_unread_files_of_a_folder_are_counted_by_suffix(tmp_path, caplog):
    make_files(
        tmp_path, "a.gif", "b.jfif", "c.dib", "1.heic", "2.HEIC", "film.mp4", "README", "x.csv"
    )
    (images,) = read_image_lists([str(tmp_path)], "")
    assert [row[0] for row in described(images)] == ["a.gif", "b.jfif", "c.dib"]
    assert caplog.messages == [f"{tmp_path}: 3 files not read: .heic 2, .mp4 1"]
    make_files(tmp_path, "only/1.heic")
    with pytest.raises(FileNotFoundError, match=r"no images in .*; 1 file not read: .heic 1"):
        read_image_lists([str(tmp_path / "only")], "")


@pytest.mark.parametrize("name", ["list.txt", "list.xlsx", "list.json"])
def test_table_with_another_ending_is_named(tmp_path, name):
    (tmp_path / name).write_text("path,pid\n")
    with pytest.raises(ValueError, match=rf"{name}: a table has to end in .csv or .tsv"):
        read_image_lists([str(tmp_path / name)], "")


def test_table_of_tabs_is_read(tmp_path):
    make_files(tmp_path, "1.jpg")
    (tmp_path / "list.tsv").write_text("path\tpid\n1.jpg\tBella\n")
    (images,) = read_image_lists([str(tmp_path / "list.tsv")], "")
    assert [sample.identity for sample in images.samples] == ["Bella"]
