"""A gallery against a list that is sorted anew for every query."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.metrics.pair_threshold import find_threshold
from processor.search import gallery as gallery_module
from processor.search import gallery_file
from processor.search.gallery import Gallery, Match

DIM = 3
GRID = [torch.tensor([float(x), float(y), 1.0]) for x in range(-2, 3) for y in range(-2, 3)]


class Doubling:
    """Stands for an extractor: an "image" is a number, its feature a point of the grid."""

    checkpoint = "model.pth"

    def __init__(self, weights="abc"):
        self.description = {"weights": weights, "MODEL.NAME": "toy"}

    def __call__(self, images):
        return torch.stack([GRID[i] for i in images]) if images else torch.empty(0, DIM)


class Slow:
    """The same by lists: rows of (name, key, unit feature)."""

    def __init__(self):
        self.rows, self.next_key = [], 0

    def add(self, points, names):
        for point, name in zip(points, names, strict=True):
            unit = torch.nn.functional.normalize(GRID[point], dim=0)
            self.rows.append((name, self.next_key, unit))
            self.next_key += 1

    def search(self, point, top):
        query = torch.nn.functional.normalize(GRID[point], dim=0).double()
        distances = [(row[2].double() - query).norm().item() for row in self.rows]
        order = sorted(range(len(distances)), key=lambda i: (distances[i], i))[:top]
        return [(self.rows[i][0], self.rows[i][1], distances[i]) for i in order]


NAMES = ["Moby", "Шамту", "鯨", "a b"]
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.lists(st.tuples(st.integers(0, 24), st.sampled_from(NAMES)), max_size=4),
        ),
        st.tuples(st.just("remove_name"), st.sampled_from(NAMES)),
        st.tuples(st.just("remove_key"), st.integers(0, 12)),
        st.tuples(st.just("update"), st.tuples(st.integers(0, 12), st.integers(0, 24))),
        st.tuples(st.just("search"), st.tuples(st.integers(0, 24), st.integers(1, 6))),
        st.tuples(st.just("reload"), st.none()),
    ),
    max_size=12,
)


class Pair:
    """A gallery and its slow reference, which every operation is checked on."""

    def __init__(self, folder):
        self.gallery, self.slow, self.folder = Gallery(Doubling()), Slow(), folder

    def keys(self):
        return [row[1] for row in self.slow.rows]

    def add(self, value):
        points, names = [p for p, _ in value], [n for _, n in value]
        start = self.slow.next_key
        assert self.gallery.add(points, names) == list(range(start, start + len(points)))
        self.slow.add(points, names)

    def remove_name(self, name):
        count = sum(row[0] == name for row in self.slow.rows)
        if not count:
            with pytest.raises(ValueError, match="names not in the gallery"):
                self.gallery.remove(name)
        else:
            assert self.gallery.remove(names=[name]) == count
        self.slow.rows = [row for row in self.slow.rows if row[0] != name]

    def remove_key(self, key):
        if key not in self.keys():
            with pytest.raises(ValueError, match="keys not in the gallery"):
                self.gallery.remove(keys=[key])
        else:
            assert self.gallery.remove(keys=[key]) == 1
        self.slow.rows = [row for row in self.slow.rows if row[1] != key]

    def update(self, value):
        key, point = value
        if key in self.keys():
            self.gallery.update([key], [point])
        unit = torch.nn.functional.normalize(GRID[point], dim=0)
        self.slow.rows = [(n, k, unit if k == key else f) for n, k, f in self.slow.rows]

    def search(self, value):
        point, top = value
        (found,) = self.gallery.search([point], top)
        expected = self.slow.search(point, top)
        assert [(m.name, m.key) for m in found] == [(n, k) for n, k, _ in expected]
        assert [m.distance for m in found] == pytest.approx([d for *_, d in expected], abs=1e-7)
        if expected:
            name, _, distance = expected[0]
            assert self.gallery.identify([point], distance + 1e-6) == [name]
            assert self.gallery.identify([point], distance - 1e-6) == [None]

    def reload(self, _):
        self.gallery.save(self.folder)
        self.gallery = Gallery.load(self.folder, Doubling())


@settings(max_examples=1000)
@given(operations=OPERATIONS)
def test_any_sequence_of_operations_equals_the_slow_reference(operations, tmp_path_factory):
    pair = Pair(tmp_path_factory.getbasetemp() / "gallery")
    for operation, value in operations:
        getattr(pair, operation)(value)
        assert pair.gallery.names == [row[0] for row in pair.slow.rows]
        assert pair.gallery.keys == pair.keys()
        assert len(pair.gallery) == len(pair.slow.rows)


def test_changed_gallery_is_bit_equal_to_a_rebuilt_one(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 8)).astype(np.float32)
    changed = Gallery()
    changed.add(rows[:30], [f"p{i}" for i in range(30)])
    changed.remove(names=["p3", "p4"], keys=[0])
    changed.add(rows[30:], "late")
    changed.save(tmp_path)
    changed = Gallery.load(tmp_path)
    rebuilt = Gallery()
    kept = [i for i in range(30) if i not in (0, 3, 4)]
    rebuilt.add(rows[kept], [f"p{i}" for i in kept])
    rebuilt.add(rows[30:], "late")
    one, two = changed.search(rows[:5], 50), rebuilt.search(rows[:5], 50)
    assert [[(m.name, m.distance) for m in row] for row in one] == [
        [(m.name, m.distance) for m in row] for row in two
    ]
    assert changed.keys[-20:] == list(range(30, 50))


def test_empty_gallery_knows_nobody():
    gallery = Gallery(Doubling())
    assert len(gallery) == 0
    assert gallery.search([3, 4]) == [[], []]
    assert gallery.identify([3, 4], 9.0) == [None, None]
    assert gallery.add([], []) == []


def test_identify_takes_the_nearest_row_up_to_the_threshold():
    gallery = Gallery()
    gallery.add(np.array([[1.0, 0], [0, 2.0]]), ["east", "north"])
    query = np.array([[3.0, 4.0]])
    ((first, second),) = gallery.search(query)
    assert first == Match("north", 1, pytest.approx(np.hypot(0.6, 0.2)))
    assert second == Match("east", 0, pytest.approx(np.hypot(0.4, 0.8)))
    assert gallery.identify(query, first.distance) == ["north"]
    assert gallery.identify(query, first.distance - 1e-6) == [None]


def test_gallery_of_another_model_is_refused_and_both_are_named(tmp_path):
    gallery = Gallery(Doubling())
    gallery.add([1, 2], ["a", "b"], cameras=["door", 3])
    gallery.save(tmp_path)
    other = Doubling("xyz")
    other.checkpoint = "other.pth"
    with pytest.raises(ValueError, match=r"model\.pth.*other\.pth.*weights"):
        Gallery.load(tmp_path, other)
    assert json.loads((tmp_path / "gallery.json").read_text())["cameras"] == ["door", 3]
    assert Gallery.load(tmp_path).search(GRID[1][None], 1)[0][0].name == "a"


def test_keys_are_never_used_twice_even_after_loading(tmp_path):
    gallery = Gallery(Doubling())
    keys = gallery.add([1, 2, 3], "x")
    gallery.remove(keys=keys)
    gallery.save(tmp_path)
    assert Gallery.load(tmp_path, Doubling()).add([4], "y") == [3]


def test_failed_removal_removes_nothing():
    gallery = Gallery(Doubling())
    gallery.add([1, 2], ["a", "b"])
    with pytest.raises(ValueError, match="names not in the gallery: zed"):
        gallery.remove(names=["a", "zed"])
    with pytest.raises(ValueError, match="keys not in the gallery: 9"):
        gallery.remove(names="a", keys=[9])
    assert gallery.names == ["a", "b"]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda g: g.add([1, 2], ["a"]), "names: 1 for 2 rows"),
        (lambda g: g.add([1], "a", cameras=[1, 2]), "cameras: 2 for 1 rows"),
        (lambda g: g.add(np.ones((1, 5)), "a"), "features of width 5, the gallery has 3"),
        (lambda g: g.add(np.full((1, 3), np.nan), "a"), "features"),
        (lambda g: g.search([1], top=0), "top: expected at least 1, got 0"),
        (lambda g: g.update([0], [1, 2]), "keys: 1 for 2 rows"),
        (lambda _: Gallery().add(["a.jpg"], "a"), r"without an extractor takes \(N, D\)"),
    ],
)
def test_mistakes_are_named_and_change_nothing(action, message):
    gallery = Gallery(Doubling())
    gallery.add([7], "Moby")
    with pytest.raises(ValueError, match=message):
        action(gallery)
    assert gallery.names == ["Moby"]
    assert gallery.search([7])[0][0].distance == 0


def test_damaged_gallery_is_refused(tmp_path):
    gallery = Gallery(Doubling())
    gallery.add([1, 2], "a")
    gallery.save(tmp_path)
    record = json.loads((tmp_path / "gallery.json").read_text())
    for change in ({"names": ["a"]}, {"keys": [1, 0]}, {"next_key": 1}, {"format": "other"}):
        (tmp_path / "gallery.json").write_text(json.dumps({**record, **change}))
        with pytest.raises(ValueError, match=r"damaged|gallery\.json is not a gallery"):
            Gallery.load(tmp_path)
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gallery\.json is missing"):
        Gallery.load(tmp_path)


def test_saving_again_keeps_one_file_of_features(tmp_path):
    gallery = Gallery(Doubling())
    for point in (1, 2, 3):
        gallery.add([point], "a")
        gallery.save(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]
    assert len(Gallery.load(tmp_path)) == 3


def test_an_index_is_that_of_the_present_rows():
    rng = np.random.default_rng(0)
    rows, queries = rng.standard_normal((300, 16)), rng.standard_normal((5, 16))
    gallery = Gallery()
    gallery.add(rows[:200], [f"{number}" for number in range(200)])
    assert gallery.search(queries, 3, index="flat") == gallery.search(queries, 3)
    gallery.add(rows[200:], "late")
    gallery.update([0, 7], queries[:2])
    assert gallery.search(queries, 3, index="flat") == gallery.search(queries, 3)
    gallery.remove(keys=[0, 250])
    assert gallery.search(queries, 3, index="flat") == gallery.search(queries, 3)
    with pytest.raises(ValueError, match="training an index takes 1,000 gallery images, got 298"):
        gallery.search(queries, index="ivfpq")
    assert Gallery().search(queries, index="flat") == [[]] * 5


def test_a_gallery_saved_without_its_extractor_stays_that_of_its_model(tmp_path):
    named = Gallery(Doubling("one"))
    named.add(np.eye(3), ["a", "b", "c"])
    named.save(tmp_path)
    without = Gallery.load(tmp_path)
    without.remove("b")
    without.save(tmp_path)
    assert Gallery.load(tmp_path, Doubling("one")).names == ["a", "c"]
    with pytest.raises(ValueError, match="cannot be compared"):
        Gallery.load(tmp_path, Doubling("two"))


def test_saving_leaves_other_files_of_the_folder_alone(tmp_path):
    np.save(tmp_path / "features_of_mine.npy", np.eye(2))
    gallery = Gallery()
    gallery.add(np.eye(3), ["a", "b", "c"])
    gallery.save(tmp_path)
    gallery.remove("b")
    gallery.save(tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2
    assert (tmp_path / "features_of_mine.npy").is_file()


def test_names_cameras_and_thresholds_may_be_those_of_numpy_and_of_find_threshold(tmp_path):
    gallery = Gallery()
    gallery.add(np.eye(3), np.array(["a", "b", "c"]), cameras=np.array([1, 2, 3]))
    gallery.save(tmp_path)
    assert gallery.remove(names=np.array(["a"]), keys=np.array([1])) == 2
    threshold = find_threshold(np.eye(4)[[0, 0, 1, 1]], ["a", "a", "b", "b"], far=0.1)
    assert gallery.identify(np.eye(3)[2:], threshold) == ["c"]
    with pytest.raises(ValueError, match="threshold: expected a distance"):
        gallery.identify(np.eye(3), float("nan"))
    for bad in (None, float("nan"), " "):
        with pytest.raises(ValueError, match="is not a name"):
            gallery.add(np.eye(3)[:1], [bad])
    with pytest.raises(ValueError, match="is not a name"):
        gallery.add(np.eye(3)[:1], " ")


@pytest.mark.parametrize(
    "cameras", [torch.tensor([1, 2, 3]), np.array([1, 2, 3]), [1.0, 2.0, 3.0], [1, 2, 3]]
)
def test_cameras_that_are_added_can_be_loaded(tmp_path, cameras):
    gallery = Gallery()
    gallery.add(np.eye(3), ["a", "b", "c"], cameras)
    gallery.save(tmp_path)
    assert Gallery.load(tmp_path)._cameras == [1, 2, 3]


@pytest.mark.parametrize("camera", [1.5, float("nan"), True, ["door"]])
def test_camera_that_is_neither_text_nor_a_whole_number_is_refused(camera):
    gallery = Gallery()
    with pytest.raises(ValueError, match="neither a name nor a whole number"):
        gallery.add(np.eye(3)[:1], ["a"], [camera])
    assert len(gallery) == 0


def test_features_that_a_killed_save_left_go_with_the_next_one(tmp_path, monkeypatch):
    gallery = Gallery()
    gallery.add(np.eye(3), ["a", "b", "c"])
    gallery.save(tmp_path)
    gallery.remove("b")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "glob", lambda *_: [])  # killed before it removes the former file
        gallery.save(tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2
    gallery.save(tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_gallery_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    gallery = Gallery()
    gallery.add(np.eye(3), ["a", "b", "c"])
    gallery.save(tmp_path)
    load = gallery_file.map_npy

    def replace_first(path, mode):
        monkeypatch.setattr(gallery_file, "map_npy", load)
        gallery.remove("b")
        gallery.save(tmp_path)
        return load(path, mode)

    monkeypatch.setattr(gallery_file, "map_npy", replace_first)
    assert Gallery.load(tmp_path).names == ["a", "c"]
    next(tmp_path.glob("*.npy")).unlink()
    with pytest.raises(ValueError, match=r"gallery.json is damaged: features_\w+.npy is missing"):
        Gallery.load(tmp_path)


def test_damaged_gallery_is_not_saved_over(tmp_path):
    gallery = Gallery()
    gallery.add(np.eye(3), ["a", "b", "c"])
    (tmp_path / "gallery.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a gallery of this program"):
        gallery.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.json"]


def test_two_programs_that_save_at_once_leave_a_whole_gallery(tmp_path, monkeypatch):
    """The second one would save when the first has not yet removed the former features."""
    first, second = Gallery(), Gallery()
    first.add(torch.eye(3)[:1], names=["a"])
    second.add(torch.eye(3)[1:], names=["b", "c"])
    first.save(tmp_path)
    first.add(torch.eye(3)[2:], names=["d"])
    write, refused = gallery_module.write_json, []

    def write_and_let_the_other_save(path, record):
        write(path, record)
        with pytest.raises(ValueError, match=r"is in use by process"):
            second.save(tmp_path)
        refused.append(True)

    with monkeypatch.context() as patch:
        patch.setattr(gallery_module, "WRITE_SECONDS", 0)
        patch.setattr(gallery_module, "write_json", write_and_let_the_other_save)
        first.save(tmp_path)
    assert refused
    assert Gallery.load(tmp_path).names == ["a", "d"]
    second.save(tmp_path)
    assert Gallery.load(tmp_path).names == ["b", "c"]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]


def test_keys_may_be_a_generator():
    gallery = Gallery()
    gallery.add(torch.eye(3), names=["a", "b", "c"])
    assert gallery.remove(keys=(key for key in gallery.keys[:2])) == 2
    assert gallery.names == ["c"]


def test_features_of_an_unknown_model_stay_unknown(tmp_path, caplog):
    gallery = Gallery()
    gallery.add(torch.eye(3), names=["a", "b", "c"])
    gallery.save(tmp_path)
    extractor = SimpleNamespace(checkpoint="one.pth", description={"weights": "abc"})
    loaded = Gallery.load(tmp_path, extractor)
    assert "it is unknown whether one.pth is the model that made them" in caplog.text
    loaded.save(tmp_path)
    assert json.loads((tmp_path / "gallery.json").read_text())["model"] == {}
