"""Extraction and search without the packages that only training and evaluation need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipreid.command import PROGRAMS
from processor.tools.environment import TRAINING_PACKAGES

ROOT = Path(__file__).resolve().parents[1]

# Python runs a file of this name at its start.
SITECUSTOMIZE = f"""
import sys
from importlib.machinery import PathFinder

class Light(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        missing = name.split(".")[0] in {list(TRAINING_PACKAGES)}
        return None if missing else super().find_spec(name, path, target)

sys.meta_path = [Light if finder is PathFinder else finder for finder in sys.meta_path]
"""

USE = """
import sys
import clipreid

extractor = clipreid.Extractor(sys.argv[1], "cpu")
gallery = clipreid.Gallery(extractor)
gallery.add(sys.argv[2:], names=["a", "a", "b", "b"])
found = gallery.search(sys.argv[2:3], top=1)[0][0]
threshold = clipreid.find_threshold(extractor(sys.argv[2:]), ["a", "a", "b", "b"], far=0.5)
print(found.name, len(gallery), threshold.num_genuine)
"""

# One process for several commands: importing torch takes seconds.
COMMANDS = """
import contextlib, io, json, sys
from clipreid.command import main

found = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["clipreid", *words]
    output = io.StringIO()
    status = 0
    with contextlib.redirect_stdout(output):
        try:
            main()
        except SystemExit as end:
            status = end.code
    found.append((status, output.getvalue()))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """`light(*words)` runs Python without the packages; the finished process."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    environment = {**os.environ, "PYTHONPATH": str(folder)}

    def run(*words):
        command = [sys.executable, *map(str, words)]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="module")
def clipreid(light):
    """`clipreid(command, ...)` runs commands, lists of words; (status, output) of each."""

    def run(*commands):
        done = light("-c", COMMANDS, json.dumps([list(map(str, words)) for words in commands]))
        assert done.stderr == ""
        found = json.loads(done.stdout)
        assert len(found) == len(commands)
        return found

    return run


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of four images."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for name in ("a1", "a2", "b1", "b2"):
        pixels = generator.integers(0, 256, (64, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def test_packages_are_really_missing(light):
    for package in TRAINING_PACKAGES:
        assert f"No module named '{package}'" in light("-c", f"import {package}").stderr


def test_public_names_work(light, tiny_checkpoint, images):
    done = light("-c", USE, tiny_checkpoint, *sorted(images.iterdir()))
    assert done.stdout == "a 4 2\n", done.stderr


def test_extract_search_and_compare_work(clipreid, tiny_checkpoint, images, tmp_path):
    stored, query = tmp_path / "features.npz", images / "a1.png"
    places = ["--query", query, "--gallery", stored, "--output", tmp_path / "found"]
    extracted, searched, compared = clipreid(
        ["extract", tiny_checkpoint, images, "--output", stored],
        ["search", tiny_checkpoint, *places],
        ["compare", tiny_checkpoint, query, query],
    )
    assert extracted[0] == 0, extracted[1]
    assert searched[0] == 0, searched[1]
    neighbours = json.loads((tmp_path / "found" / "neighbours.json").read_text())
    assert Path(neighbours["queries"][0]["nearest"][0]["path"]).name == "a1.png"
    assert (tmp_path / "found" / "neighbours_1.png").is_file()
    assert "Euclidean distance 0.0000" in compared[1]


def test_a_gallery_is_filled_and_asked(clipreid, tiny_checkpoint, images, tmp_path):
    gallery = ["--gallery", tmp_path / "gallery"]
    output = ["--threshold", 0.001, "--output", tmp_path / "who.json"]
    enrolled, identified = clipreid(
        ["enrol", tiny_checkpoint, images, "--name", "a", *gallery],
        ["identify", tiny_checkpoint, images, *gallery, *output],
    )
    assert enrolled[0] == 0, enrolled[1]
    assert identified[0] == 0, identified[1]
    found = json.loads((tmp_path / "who.json").read_text())["images"]
    assert [row["name"] for row in found] == ["a"] * 4


def test_other_commands_name_what_to_install_in_one_line(clipreid, tiny_checkpoint):
    words = {
        "curves": ["runs"],
        "attention": [tiny_checkpoint, "a.png"],
        "test": ["TEST.WEIGHT", tiny_checkpoint],
    }
    recipe = ["--config_file", "configs/demo/vit_tiny.yml"]
    names = [*PROGRAMS, "attention", "curves"]
    found = clipreid(*([name, *words.get(name, recipe)] for name in names))
    for (status, output), name in zip(found, names, strict=True):
        assert status == 1, name
        (line,) = output.splitlines()
        assert line.startswith("error: this command needs "), name
        assert any(f"pip install {package};" in line for package in TRAINING_PACKAGES.values())
