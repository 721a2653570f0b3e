"""The demo's CLIP: the file of the repository, and what it has learned."""

import hashlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from datasets.synthetic.places import DOMAINS

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "configs/demo/vit_tiny.safetensors"
# What docs/make_tiny_clip.py wrote. On the same machine it writes the same bytes again, elsewhere
# weights that find within three points as many people.
SHA256 = "9ce1f6c12077a70788e30e86fa4142eb3018e63b7b7dc6f6bf7649f08985273a"
RETRIEVAL = {  # of the captions of 200 people: first, among the first ten
    "street": (0.565, 0.995),
    "mall": (0.455, 0.97),
    "campus": (0.505, 0.995),
    "station": (0.40, 0.94),
    "harbour": (0.51, 0.98),
}


@pytest.fixture(scope="module")
def script():
    """docs/make_tiny_clip.py as a module."""
    spec = importlib.util.spec_from_file_location("make_tiny_clip", ROOT / "docs/make_tiny_clip.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(script):
    model = script.DrawnClip()
    model.load(load_file(FILE))
    return model


def test_file_is_the_one_that_was_trained():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256
    assert FILE.stat().st_size < 8_000_000
    assert {tensor.dtype for tensor in load_file(FILE).values()} == {torch.float16}


@pytest.mark.parametrize("domain", DOMAINS)
def test_captions_find_unseen_people_of_unseen_places(script, model, domain):
    first, ten = script.retrieve(model, DOMAINS[domain])
    assert first == pytest.approx(RETRIEVAL[domain][0], abs=0.03)
    assert ten == pytest.approx(RETRIEVAL[domain][1], abs=0.03)


def test_no_outfit_is_drawn_elsewhere(script, monkeypatch):
    """Of the people it was trained on, by the names that captions have."""
    monkeypatch.setattr(script, "draw_shot", lambda *_: np.zeros((128, 64, 3), np.uint8))
    taken = script.taken_outfits()
    assert len(taken) > 40_000
    drawn = script.draw(script.draw_place(0), script.PEOPLE, taken)
    assert not taken & {script.outfit(person.who) for person in drawn}
    elsewhere = script.plan_shots(script.Plan(DOMAINS["mall"], script.UNSEEN, 128, 64))
    assert {script.outfit(shot.appearance) for shot in elsewhere} <= taken
