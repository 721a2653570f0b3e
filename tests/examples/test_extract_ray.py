"""Ray's features are the extractor's; runs where ray is installed."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipreid import Extractor

ROOT = Path(__file__).parents[2]


def test_features_of_ray_are_the_extractors(checkpoint, tmp_path):
    pytest.importorskip("ray.data")
    import ray

    parquet = pytest.importorskip("pyarrow.parquet")
    from examples.extract_ray import extract

    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), np.uint8)).save(images / f"{number}.png")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables = {"PYTHONPATH": path}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": variables})
    try:
        extract(checkpoint, str(images), str(tmp_path / "features"), actors=1)
    finally:
        ray.shutdown()
    table = parquet.read_table(tmp_path / "features").to_pylist()
    expected = Extractor(checkpoint)([row["path"] for row in table]).numpy()
    assert len(table) == 10
    np.testing.assert_allclose([row["feature"] for row in table], expected, atol=1e-5)
