"""The examples of docs/extending.md, run as they stand."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from datasets.records import DataSplits, Sample
from datasets.samplers.options import PassOptions, SamplerOptions, WalkOptions
from datasets.sources import join_sources
from model.encoders.kind import EncoderOptions

TEXT = (Path(__file__).parents[1] / "docs/extending.md").read_text(encoding="utf-8")
FILES = dict(
    zip(
        re.findall(r"Save it as `([^`]+)`", TEXT),
        re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL),
        strict=True,
    )
)


def run_example(file):
    names = {"__name__": file}
    exec(compile(FILES[file], file, "exec"), names)
    return names


def test_loss_is_zero_for_features_of_unit_length():
    length_loss = run_example("loss/length.py")["length_loss"]
    assert length_loss(torch.tensor([[0.6, 0.8], [1.0, 0.0]])).item() == pytest.approx(0, abs=1e-12)
    assert length_loss(torch.tensor([[3.0, 4.0]])).item() == 16


def test_encoder_returns_features_of_its_widths():
    names = run_example("model/encoders/tiny_conv.py")
    encoder = names["build_tiny_conv"]("tiny_conv", EncoderOptions(image_size=(64, 32)))
    features = encoder.image_encoder(torch.rand(2, 3, 64, 32))
    assert features.final.shape == (2, encoder.image_encoder.width)
    assert features.projected.shape == (2, 0)
    assert encoder.image_encoder.maps(torch.rand(2, 3, 64, 32)).shape == (2, 128, 4, 2)
    with pytest.raises(FileNotFoundError, match="tiny_conv"):
        names["find_weights"]("tiny_conv")


def test_reader_reads_pids_and_cameras(tmp_path):
    for name in ("train/0007_c2_01", "query/0008_c1_01", "gallery/0008_c2_03"):
        file = tmp_path / "zoo" / f"{name}.jpg"
        file.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(file)
    splits = run_example("datasets/readers/zoo.py")["BENCHMARK"].read(tmp_path, 0)
    found = [(x[0].pid, x[0].camid) for x in (splits.train, splits.query, splits.gallery)]
    assert found == [(7, 1), (8, 0), (8, 1)]


def test_sampler_fills_batches_from_one_camera():
    samples = [Sample(f"{i}.jpg", pid=i, camid=i % 2) for i in range(10)]
    data = join_sources([DataSplits("zoo", samples, [], [])])
    options = SamplerOptions(
        batch_size=2,
        num_instances=1,
        p_x_k=False,
        seed=0,
        walk=WalkOptions(),
        clusters=PassOptions(),
    )
    sampler = run_example("datasets/samplers/by_camera.py")["make_sampler"](data, options)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 4
    assert all(len({index % 2 for index in batch}) == 1 for batch in batches)
    assert len({index for batch in batches for index in batch}) == 8
