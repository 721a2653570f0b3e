"""run.py search --text finds drawn people by their captions."""

import json

import numpy as np
import pytest

from config import dump_cfg, load_cfg
from datasets.synthetic import caption
from datasets.synthetic.places import CAMPUS
from datasets.synthetic.render import DatasetSize, Plan, draw_shot, plan_shots
from model import build_model
from processor.checkpoints.save import save_checkpoint

pytestmark = pytest.mark.slow

ROW = DatasetSize(1, 200, num_cameras=1, images_per_camera=1)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Folder with an image of each of 200 people, and who they are."""
    folder = tmp_path_factory.mktemp("people")
    plan = Plan(CAMPUS, ROW, 128, 64)
    shots = [shot for shot in plan_shots(plan) if shot.pid > 1]
    for shot in shots:
        draw_shot(plan, shot).save(folder / f"{shot.pid}.png")
    return folder, {str(shot.pid): shot.appearance for shot in shots}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The demo's model as stage 1 leaves its image encoder: as it was pre-trained."""
    cfg = load_cfg("configs/demo/vit_tiny.yml")
    path = tmp_path_factory.mktemp("run") / "stage1.pth"
    meta = {"num_classes": 2, "num_cameras": 1, "num_views": 1, "cameras": json.dumps({})}
    save_checkpoint(path, build_model(cfg, 2, 1, 1), dump_cfg(cfg), meta)
    return path


def neighbours_of(folder):
    return json.loads((folder / "neighbours.json").read_text())["queries"]


def test_captions_find_their_people(script, checkpoint, people, tmp_path):
    folder, who = people
    rng = np.random.default_rng(5)
    wanted = list(who)[:50]
    texts = [caption(who[name], rng) for name in wanted]
    arguments = ["--gallery", folder, "--output", tmp_path, "--text", *texts]
    finished = script("run.py", "search", checkpoint, *arguments)
    assert finished.status == 0, finished.output
    assert "50 queries in 200 images" in finished.output
    found = neighbours_of(tmp_path)
    assert [query["text"] for query in found] == texts
    hits = [
        f"{folder / name}.png" in [match["path"] for match in query["nearest"]]
        for name, query in zip(wanted, found, strict=True)
    ]
    assert sum(hits) >= 40
    assert len(list(tmp_path.glob("neighbours_*.png"))) == 5


def test_stored_features_are_searched_by_their_projected_part(script, checkpoint, people, tmp_path):
    folder, who = people
    text = caption(next(iter(who.values())), np.random.default_rng(0))
    for place in ("files", "features"):
        gallery = folder
        if place == "features":
            gallery = tmp_path / "gallery.npz"
            assert script("run.py", "extract", checkpoint, folder, "--output", gallery).status == 0
        arguments = ["--gallery", gallery, "--output", tmp_path / place, "--text", text]
        assert script("run.py", "search", checkpoint, *arguments).status == 0
    one, other = (neighbours_of(tmp_path / place) for place in ("files", "features"))
    assert one == other


def test_words_or_images(script, checkpoint, people, tmp_path, capfd):
    folder, _ = people
    arguments = ["--gallery", folder, "--output", tmp_path, "--text", "a", "--query", folder]
    assert script("run.py", "search", checkpoint, *arguments).status == 2
    assert "argument --query: not allowed with argument --text" in capfd.readouterr().err


def test_options_of_searches_by_images_are_refused(script, checkpoint, people, tmp_path):
    folder, _ = people
    thresholds = tmp_path / "thresholds.json"
    thresholds.write_text("{}", encoding="utf-8")
    words = ["search", checkpoint, "--text", "a person", "--gallery", folder, "--output", tmp_path]
    for more, message in (
        (["--threshold", thresholds], "is for distances between images"),
        (["TEST.NECK_FEAT", "after"], "texts are compared with the features before the neck"),
    ):
        finished = script("run.py", *words, *more)
        assert finished.status == 1
        assert message in finished.unwrapped
