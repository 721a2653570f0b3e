"""Identities with names: every output of the program says them."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

WHALES = ["Moby", "Özil", "сом, большой", "クジラ", "Ahab & <b>", "007", "7", "Flipper"]


@pytest.fixture(scope="module")
def whales(people, tmp_path_factory):
    """A CSV of eight animals, whose images are drawn people, seen from places with names."""
    folder = tmp_path_factory.mktemp("sea")
    rows = ["image_path,identity,camera,timestamp"]
    images = sorted((people / "bounding_box_train").iterdir())
    pids = sorted({path.name[:4] for path in images})
    for pid, name in zip(pids, WHALES, strict=False):
        for path in (path for path in images if path.name.startswith(pid)):
            shutil.copy(path, folder / path.name)
            place = {"1": "bay", "2": "Nord, 3", "3": "10.0.0.7"}[path.name[6]]
            rows.append(f'{path.name},"{name}","{place}",12:30')
    table = folder / "whales.csv"
    table.write_text("\n".join(rows), encoding="utf-8")
    return table


@pytest.fixture(scope="module")
def run(train_in, whales, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whales")
    options = ["DATASETS.NAMES", str(whales), "SOLVER.STAGE2.IMS_PER_BATCH", "16"]
    train_in(folder, *options)
    return folder


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_checkpoint_has_the_name_behind_every_label(run):
    meta = torch.load(run / "last.pth", weights_only=True)["meta"]
    names = json.loads(meta["names"])
    assert len(names) == meta["num_classes"] == 4
    assert set(names) < set(WHALES)
    assert json.loads(meta["camera_names"]) == ["10.0.0.7", "Nord, 3", "bay"]


def test_results_have_the_names(run):
    (target,) = read_json(run / "results.json")["targets"].values()
    names = json.loads(torch.load(run / "last.pth", weights_only=True)["meta"]["names"])
    assert set(target["mAP_of_identities"]) == set(WHALES) - set(names)
    mean = np.mean(list(target["mAP_of_identities"].values()))
    assert mean == pytest.approx(target["mAP"])  # as many queries of each


def test_features_and_neighbours_have_the_names(run, whales, script, tmp_path):
    output = tmp_path / "whales.npz"
    assert script("run.py", "extract", run / "last.pth", whales, "--output", output).status == 0
    with np.load(output, allow_pickle=False) as stored:
        assert set(stored["names"]) == set(WHALES)
        assert set(stored["cameras"]) == {"bay", "Nord, 3", "10.0.0.7"}
        assert len(set(stored["pids"].tolist())) == 8
    finished = script(
        *("run.py", "search", run / "last.pth", "--query", whales, "--gallery", output),
        *("--top", 3, "--output", tmp_path / "search"),
    )
    assert finished.status == 0, finished.output
    first = read_json(tmp_path / "search" / "neighbours.json")["queries"][0]
    assert first["name"] in WHALES
    assert first["nearest"][0]["name"] == first["name"]  # itself
    assert first["nearest"][0]["camera"] == first["camera"]


def test_search_leaves_out_what_exceeds_the_threshold(run, whales, script, tmp_path):
    arguments = ("run.py", "search", run / "last.pth", "--query", whales, "--gallery", whales)
    far, near = tmp_path / "far", tmp_path / "near"
    script(*arguments, "--top", 5, "--output", far)
    finished = script(*arguments, "--top", 5, "--output", near, "--threshold", "0.001")
    assert " of 48 queries have a match other than themselves" in finished.unwrapped
    every, kept = (read_json(x / "neighbours.json")["queries"] for x in (far, near))
    expected = [[x for x in query["nearest"] if x["distance"] <= 0.001] for query in every]
    assert [query["nearest"] for query in kept] == expected
    assert all(len(found) < 5 for found in expected)


def test_a_table_of_training_images_alone_trains_without_evaluation(
    train_in, whales, tmp_path, caplog
):
    lines = whales.read_text(encoding="utf-8").splitlines()
    table = whales.with_name("all.csv")
    split = [f"{lines[0]},split", *(f"{line},train" for line in lines[1:])]
    table.write_text("\n".join(split), encoding="utf-8")
    options = ["DATASETS.NAMES", str(table), "SOLVER.STAGE2.IMS_PER_BATCH", "32"]
    assert train_in(tmp_path, *options).targets == []
    assert "no labelled test images in all: training without evaluation" in caplog.text
    meta = torch.load(tmp_path / "last.pth", weights_only=True)["meta"]
    assert set(json.loads(meta["names"])) == set(WHALES)


def test_rank_lists_choose_queries_by_name(run, script, tmp_path):
    names = list(read_json(run / "results.json")["targets"]["whales"]["mAP_of_identities"])
    finished = script(
        *("run.py", "rank-list", run / "last.pth", "--output", tmp_path, "--order", "random"),
        *("--pid", names[0], names[1]),
    )
    assert finished.status == 0, finished.output
    page = (tmp_path / "whales_random.html").read_text(encoding="utf-8")
    assert page.count('<section class="row"') == 6
    for name in names[:2]:
        escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert page.count(f'data-pid="{escaped}"') == 3
    finished = script("run.py", "rank-list", run / "last.pth", "--pid", "Nemo")
    assert finished.status == 1
    assert "--pid: no query has identity Nemo" in finished.unwrapped


def test_gallery_is_filled_asked_and_emptied(run, whales, script, tmp_path):
    """Half of the whales are enrolled; the others are unknown at a threshold of zero."""
    gallery = tmp_path / "gallery"
    lines = whales.read_text(encoding="utf-8").splitlines()
    known = whales.with_name("known.csv")
    known.write_text("\n".join([lines[0], *lines[1:25]]), encoding="utf-8")
    enrol = ("run.py", "enrol", run / "last.pth", known, "--gallery", gallery)
    assert "24 images of 4 identities enrolled, 0 there already" in script(*enrol).unwrapped
    assert "0 images of 0 identities enrolled, 24 there already" in script(*enrol).unwrapped
    identify = (
        *("run.py", "identify", run / "last.pth", whales, "--gallery", gallery),
        *("--threshold", "0.00001", "--output", tmp_path / "who.json"),
    )
    assert "24 images identified, 24 unknown" in script(*identify).unwrapped
    found = {row["path"]: row["name"] for row in read_json(tmp_path / "who.json")["images"]}
    assert list(found.values()) == [name for name in WHALES[:4] for _ in range(6)] + [None] * 24
    forgotten = script("run.py", "forget", "Özil", "--gallery", gallery).unwrapped
    assert "6 images of Özil removed" in forgotten
    assert "18 images identified, 30 unknown" in script(*identify).unwrapped
    assert script("run.py", "forget", "Özil", "--gallery", gallery).status == 1


def test_enrolling_needs_names(run, people, script, tmp_path):
    arguments = ("run.py", "enrol", run / "last.pth", people / "query", "--gallery", tmp_path)
    finished = script(*arguments)
    assert finished.status == 1
    assert "24 images have no name, e.g. " in finished.unwrapped
    assert "1 identities enrolled" in script(*arguments, "--name", "Willy").unwrapped


def test_clusters_become_own_data(run, whales, script, tmp_path):
    options = ("DSGL.EPS", "0.4", "DSGL.K1", "6", "DSGL.K2", "2", "DSGL.MIN_SAMPLES", "2")
    arguments = ("run.py", "cluster", run / "last.pth", whales, "--output", tmp_path)
    finished = script(*arguments, *options)
    assert finished.status == 0, finished.output
    record = read_json(tmp_path / "clusters.json")
    assert record["images"] == 48
    assert record["clusters"] >= 1
    assert -1 <= record["ari"] <= 1
    assert "with the labels" in finished.unwrapped
    lines = (tmp_path / "clusters.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "path,pid"
    names = [line.rsplit(",", 1)[1] for line in lines[1:]]
    assert len(set(names) - {"unknown"}) == record["clusters"]
    assert names.count("unknown") == record["outliers"]
    assert (tmp_path / "clusters_1.png").is_file()
    folder = script("run.py", "cluster", run / "last.pth", whales.parent, "--output", tmp_path)
    assert folder.status == 0
    assert "with the labels" not in folder.unwrapped  # there are none


def test_unknown_animals_are_neither_enrolled_nor_numbered(run, whales, script, tmp_path):
    lines = whales.read_text(encoding="utf-8").splitlines()
    table = whales.with_name("some.csv")
    unknown = [re.sub('"[^"]*"', "unknown", line, count=1) for line in lines[1:4]]
    table.write_text("\n".join([lines[0], *unknown, *lines[7:10]]), encoding="utf-8")
    gallery = ("--gallery", tmp_path / "gallery")
    finished = script("run.py", "enrol", run / "last.pth", table, *gallery)
    assert "3 images of 1 identities enrolled" in finished.unwrapped
    assert "3 images without a name left out" in finished.unwrapped
    output = tmp_path / "some.npz"
    script("run.py", "extract", run / "last.pth", table, "--output", output)
    with np.load(output) as stored:
        assert stored["names"].tolist() == ["", "", "", "Özil", "Özil", "Özil"]
        assert stored["pids"].tolist()[:3] == [-1, -1, -1]
    renamed = script("run.py", "enrol", run / "last.pth", table, "--name", "Willy", *gallery)
    assert "3 of the images are enrolled under another name, too, e.g." in renamed.unwrapped


def test_trained_names_in_another_table_are_noted(run, whales, script, tmp_path):
    copy = whales.with_name("copy.csv")
    shutil.copy(whales, copy)
    finished = script(
        *("test_clipreid.py", "TEST.WEIGHT", run / "last.pth", "DATASETS.TARGETS", copy),
        *("OUTPUT_DIR", tmp_path),
    )
    assert "target copy: 4 test identities have names that were trained on" in finished.unwrapped
    (target,) = read_json(tmp_path / "results.json")["targets"].values()
    assert any("names that were trained on" in note for note in target["notes"])


def test_cameras_that_moved_since_the_training_are_refused(train_in, whales, script, tmp_path):
    """A new camera comes before the others in the order of names."""
    table = whales.with_name("bay.csv")
    text = whales.read_text(encoding="utf-8")
    table.write_text(text, encoding="utf-8")
    options = ["DATASETS.NAMES", str(table), "MODEL.SIE_CAMERA", "True"]
    train_in(tmp_path, *options, "SOLVER.STAGE2.IMS_PER_BATCH", "16")
    test = ("test_clipreid.py", "TEST.WEIGHT", tmp_path / "last.pth", "OUTPUT_DIR", tmp_path / "e")
    assert script(*test).status == 0
    table.write_text(text.replace('"bay"', '"harbour"').replace("10.0.0.7", "attic"), "utf-8")
    finished = script(*test)
    assert finished.status == 1
    assert ", but the model learned camera " in finished.unwrapped
    assert "it was trained with 10.0.0.7, Nord, 3, bay. Rename" in finished.unwrapped
