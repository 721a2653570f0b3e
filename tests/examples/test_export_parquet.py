"""The exported table holds the features and images of the file."""

import numpy as np
import pytest
import torch

from datasets.records import Sample
from processor.search.feature_file import FeatureFile
from processor.search.feature_record import FORMAT

parquet = pytest.importorskip("pyarrow.parquet")

RECORD = {"format": FORMAT, "checkpoint": "one.pth", "model": {}, "images": 5}


@pytest.mark.parametrize("rows", [2, 65_536])
def test_table_holds_features_and_images(tmp_path, monkeypatch, rows):
    from examples import export_parquet

    monkeypatch.setattr(export_parquet, "ROWS", rows)
    features = torch.arange(15.0).view(5, 3)
    samples = [Sample(f"ö, {i}.jpg", i, 0, -1, "Özil" if i else "", "door") for i in range(5)]
    with FeatureFile(tmp_path / "features.npy", 3, RECORD) as file:
        file.append(features, samples)
    export_parquet.export(tmp_path / "features.npy", tmp_path / "features.parquet")
    table = parquet.read_table(tmp_path / "features.parquet")
    assert table["path"].to_pylist() == [f"ö, {i}.jpg" for i in range(5)]
    assert table["name"].to_pylist() == ["0", *["Özil"] * 4]
    assert table["camera"].to_pylist() == ["door"] * 5
    np.testing.assert_array_equal(np.array(table["feature"].to_pylist()), features.numpy())
