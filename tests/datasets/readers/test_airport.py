"""Airport: a list of paths, in which persons have numbers from 11001."""

import pytest

from datasets.readers.airport import read_airport


@pytest.fixture
def make_tree(tmp_path, make_files):
    def make(*lines, folder=".", images=("cam2/11001/a.jpg", "cam1/401999/b.jpg")):
        make_files(*images, "filepath.txt", folder=folder)
        (tmp_path / folder / "filepath.txt").write_bytes("\r\n".join(lines).encode())

    return make


@pytest.mark.parametrize("folder", ["AirportALERT", "airport/AirportALERT", "airport", "."])
@pytest.mark.parametrize("separator", ["\\", "/"])
def test_list_gives_pids_and_cameras(tmp_path, make_tree, facts, folder, separator):
    lines = ("cam2/11001/a.jpg", "cam1/11000/c.jpg", "", "cam1/401999/b.jpg", "cam0/5/d.jpg")
    make_tree(*(line.replace("/", separator) for line in lines), folder=folder)
    splits = read_airport(tmp_path)
    base = "" if folder == "." else f"{folder}/"
    assert facts(splits.train) == [
        (f"{base}cam2/11001/a.jpg", 11001, 2),
        (f"{base}cam1/401999/b.jpg", 401999, 1),
    ]
    assert (splits.name, splits.query, splits.gallery) == ("airport", [], [])
    assert splits.notes == ("for training only",)


@pytest.mark.parametrize("line", ["cam1\\b.jpg", "cam1\\someone\\b.jpg"])
def test_malformed_line_is_an_error_naming_it(tmp_path, make_tree, line):
    make_tree("cam2\\11001\\a.jpg", line)
    with pytest.raises(ValueError, match=r"filepath\.txt, line 2: expected 'camera\\identity\\im"):
        read_airport(tmp_path)


@pytest.mark.parametrize("lines", [("cam2\\11001\\gone.jpg",), ("cam2\\11000\\a.jpg",), ()])
def test_missing_images_are_an_error(tmp_path, make_tree, lines):
    make_tree(*lines)
    with pytest.raises(FileNotFoundError, match=r"airport: no images in .*filepath\.txt"):
        read_airport(tmp_path)


def test_missing_tree_names_every_path(tmp_path, make_files):
    make_files("AirportALERT/cam1/11001/a.jpg")
    with pytest.raises(FileNotFoundError) as error:
        read_airport(tmp_path)
    text = str(error.value)
    assert f"{tmp_path}/AirportALERT  (lacks filepath.txt)" in text
    for folder in ("airport/AirportALERT", "airport", "Airport"):
        assert f"{tmp_path}/{folder}  (no such folder)" in text
    assert f"{tmp_path}  (lacks filepath.txt)" in text
    assert "AirportALERT/\n" in text
    assert "REID_DATA" in text
