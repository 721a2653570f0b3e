"""torch.hub gives the extractor of a checkout, whatever else has been imported."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from processor.extractor import Extractor

ROOT = Path(__file__).resolve().parents[1]
OURS = ("config", "datasets", "loss", "model", "processor", "solver")

LOAD = """
import json, sys
import datasets, torch

checkout, checkpoint, image, *ours = sys.argv[1:]
extractor = torch.hub.load(checkout, "clip_reid", source="local", checkpoint=checkpoint)
import clipreid  # hub.load has removed the checkout from sys.path

found = {
    "features": extractor(image)[0].tolist(),
    "is_ours": type(extractor) is clipreid.Extractor,
    "seed": clipreid.load_cfg(None, ["SOLVER.SEED", "5"]).SOLVER.SEED,
    "imported": [name for name in sys.modules if name.split(".")[0] in ours],
    "paths": [path for path in sys.path if path == checkout],
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tiny_checkpoint, tmp_path_factory):
    """What a process finds that has a `datasets` of its own, in a folder with such files."""
    folder = tmp_path_factory.mktemp("user")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    image = folder / "image.png"
    Image.fromarray(pixels).save(image)
    (folder / "datasets.py").write_text("class Dataset: pass\n")
    for name in {*OURS} - {"datasets"}:
        (folder / f"{name}.py").write_text(f"raise RuntimeError('{name} of the user')\n")
    command = [sys.executable, "-c", LOAD, str(ROOT), tiny_checkpoint, str(image), *OURS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {"image": str(image), **json.loads(done.stdout)}


def test_hub_gives_the_extractor_beside_modules_of_the_same_names(found, tiny_checkpoint):
    expected = Extractor(tiny_checkpoint, "cpu")(found["image"])[0].numpy()
    np.testing.assert_allclose(found["features"], expected, atol=1e-6)
    assert found["imported"] == ["datasets"]
    assert found["paths"] == []


def test_the_other_public_names_go_by_the_same_package(found):
    assert found["is_ours"]
    assert found["seed"] == 5
