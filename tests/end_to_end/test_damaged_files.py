"""Damaged or hostile files: a right result or one line, in little time and memory."""

import json
import random
import shutil
import threading
import time

import numpy as np
import psutil
import pytest
import torch

from datasets.records import Sample
from processor.checkpoints.load import open_model
from processor.results.threshold import FORMAT as THRESHOLD_FORMAT
from processor.results.threshold import read_threshold
from processor.runtime.shortages import explain_system_error
from processor.search.feature_file import FeatureFile
from processor.search.feature_record import FORMAT as FEATURES_FORMAT
from processor.search.gallery import Gallery
from processor.search.stored_features import pack_features, read_features
from processor.tools.program import USER_ERRORS

SECONDS, BYTES = 10, 2**30
VALUES = [None, -1, 0, 2**40, 1e308, float("nan"), float("inf"), "", "x" * 300, [], {}, [[]], True]


@pytest.fixture(scope="module")
def originals(tmp_path_factory, straight):
    """A checkpoint, weights alone, features, a threshold and a gallery, each with its reader."""
    folder = tmp_path_factory.mktemp("originals")
    shutil.copy(straight / "last.pth", folder / "last.pth")
    shutil.copy(straight / "config.yml", folder / "recipe.yml")
    state = torch.load(folder / "last.pth", weights_only=True)["model"]
    torch.save({f"module.{k}": v for k, v in state.items()}, folder / "weights.pth")
    features = torch.nn.functional.normalize(torch.randn(20, 8))
    samples = [Sample(f"{i}.jpg", i, 0, -1, f"name {i}", "cam") for i in range(20)]
    record = {"format": FEATURES_FORMAT, "model": {"weights": "a"}, "checkpoint": "one.pth"}
    record |= {"normalized": True, "dim": 8, "images": 20, "images_sha256": "b"}
    for name in ("features.npy", "packed.npy"):
        with FeatureFile(folder / name, 8, record) as file:
            file.append(features, samples)
    pack_features(folder / "packed.npy", folder / "packed.npz")
    threshold = {"format": THRESHOLD_FORMAT, "model": {"weights": "a"}, "checkpoint": "one.pth"}
    threshold |= {"data": "street", "eer": {"value": 0.1}}
    threshold["recommended"] = {"threshold": 0.8, "criterion": "false accept rate 0.001"}
    (folder / "threshold.json").write_text(json.dumps(threshold))
    gallery = Gallery()
    gallery.add(features, [x.identity for x in samples])
    gallery.save(folder / "gallery")
    return folder


def use(path):
    """What the program does with such a file."""
    if path.suffix == ".pth":
        with torch.no_grad():
            recipe = None if path.name == "last.pth" else str(path.with_name("recipe.yml"))
            return open_model(str(path), recipe).model.eval().embed(torch.zeros(1, 3, 64, 32))
    if path.name == "threshold.json":
        return read_threshold(str(path), {"weights": "a"}).value
    if path.parent.name == "gallery":
        return Gallery.load(path.parent).names
    name = "packed.npz" if path.suffix == ".npz" else "features.npy"
    return read_features(path.with_name(name)).features


def damage(path, rng):
    """Flip bytes, cut, repeat or overwrite parts, or swap the value of a JSON field."""
    content = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "cut", "zero", "repeat", "field", "field"])
    start = rng.randrange(len(content))
    if path.suffix == ".json" and kind == "field":
        path.write_text(json.dumps(damage_field(json.loads(content), rng)))
        return
    if kind == "cut":
        content = content[:start]
    elif kind == "zero":
        content[start : start + rng.randrange(1, 2000)] = bytes(rng.randrange(1, 2000))
    elif kind == "repeat":
        content[start:start] = content[start : start + rng.randrange(1, 2000)]
    else:  # near the ends, where headers and tables of contents are
        for _ in range(rng.randrange(1, 6)):
            place = rng.choice([start, rng.randrange(min(4000, len(content)))])
            content[rng.choice([place, -place])] = rng.randrange(256)
    path.write_bytes(content)


def damage_field(tree, rng):
    keys = list(tree)
    key = rng.choice(keys)
    if isinstance(tree[key], dict) and tree[key] and rng.random() < 0.5:
        return {**tree, key: damage_field(tree[key], rng)}
    if isinstance(tree[key], list) and tree[key] and rng.random() < 0.5:
        items = list(tree[key])
        items[rng.randrange(len(items))] = rng.choice(VALUES)
        return {**tree, key: items}
    if rng.random() < 0.2:
        return {name: value for name, value in tree.items() if name != key}
    return {**tree, key: rng.choice([*VALUES, tree[rng.choice(keys)]])}


class Peak:
    """The largest memory of this process within the block, above that at its start."""

    def __enter__(self):
        self.process, self.done, self.bytes = psutil.Process(), threading.Event(), 0
        self.start = self.process.memory_info().rss
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self):
        while not self.done.wait(0.002):
            self.bytes = max(self.bytes, self.process.memory_info().rss - self.start)

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


FILES = [
    *("last.pth", "weights.pth", "packed.npz", "features.npy", "features.json", "features.csv"),
    *("threshold.json", "gallery/gallery.json", "gallery/features"),
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("seed", range(24))
def test_damage_is_one_line_or_harmless(originals, tmp_path, name, seed):
    shutil.copytree(originals, tmp_path / "copy")
    path = tmp_path / "copy" / name
    path = next(path.parent.glob("features_*")) if name.endswith("/features") else path
    damage(path, random.Random(f"{name} {seed}"))
    started = time.monotonic()
    with Peak() as peak:
        try:
            found = use(path)
        except (*USER_ERRORS, OSError) as error:
            text = explain_system_error(error) or str(error)
            assert str(tmp_path) in text or "MODEL." in text or "checkpoint" in text, text
        else:
            assert found is not None
            if isinstance(found, float):
                assert 0 <= found <= 2
            if isinstance(found, np.ndarray):
                assert np.isfinite(found).all()
    assert peak.bytes < BYTES
    assert time.monotonic() - started < 6 * SECONDS  # hangs only: the machine may be busy
