"""The code of docs/extending.md is that of the examples, and the examples keep their promises."""

import re
from pathlib import Path

import pytest
import torch

from clipreid.plugins import EncoderOptions, SamplerOptions
from config import load_cfg
from config.samplers import SAMPLERS
from datasets.records import DataSplits, Sample
from datasets.samplers.options import PassOptions, WalkOptions
from datasets.sources import join_sources
from loss.extra import EXTRA_LOSSES, LossOptions
from model.encoders.registry import find_encoder_kind

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SIMPLEST, *BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
NAMES = ("extra_loss", "extra_encoder", "extra_dataset", "extra_sampler")


def load_example(name):
    load_cfg(None, ["PLUGINS", str(ROOT / "examples" / f"{name}.py")])


@pytest.mark.parametrize(("block", "name"), list(zip(BLOCKS, NAMES, strict=True)), ids=NAMES)
def test_code_is_that_of_the_example(block, name):
    assert block in (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")


def test_simplest_loss_is_that_of_the_example(tmp_path):
    (tmp_path / "my_losses.py").write_text(SIMPLEST, encoding="utf-8")
    load_cfg(None, ["PLUGINS", str(tmp_path / "my_losses.py")])
    length_loss = EXTRA_LOSSES["length"].loss
    del EXTRA_LOSSES["length"]
    load_example("extra_loss")
    for loss in (length_loss, EXTRA_LOSSES["length"].loss):
        unit = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
        assert loss(unit, None).item() == pytest.approx(0, abs=1e-12)
        assert loss(torch.tensor([[3.0, 4.0]]), None).item() == 16


def test_cosine_classifier_prefers_the_direction_of_the_label():
    load_example("extra_loss")
    made = EXTRA_LOSSES["cosine"].loss(LossOptions(2, 3, 0, {"SCALE": 10.0}))
    made.directions.data = torch.eye(2, 3)
    features = torch.tensor([[5.0, 0.0, 0.0]])
    right, wrong = (made(features, torch.tensor([label])).item() for label in (0, 1))
    assert wrong - right == pytest.approx(10)


def test_encoder_returns_features_of_its_widths():
    load_example("extra_encoder")
    kind = find_encoder_kind("tiny_conv")
    options = EncoderOptions(image_size=(64, 32), user={"WIDTH": 24})
    encoder = kind.build("tiny_conv", options).image_encoder
    features = encoder(torch.rand(2, 3, 64, 32))
    assert features.final.shape == (2, encoder.width) == (2, 24)
    assert features.projected.shape == (2, encoder.joint_width)
    assert encoder.maps(torch.rand(2, 3, 64, 32)).shape == (2, 24, *encoder.grid)
    with pytest.raises(FileNotFoundError, match="tiny_conv has no published weights"):
        kind.find_weights("tiny_conv", "")


def test_sampler_fills_batches_from_one_camera():
    load_example("extra_sampler")
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
    sampler = SAMPLERS["by_camera"].maker(data, options)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 4
    assert all(len({index % 2 for index in batch}) == 1 for batch in batches)
    assert len({index for batch in batches for index in batch}) == 8
