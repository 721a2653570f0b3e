"""A model is rebuilt from its checkpoint alone."""

from dataclasses import replace

import pytest
import torch

from config import ConfigError
from datasets.records import DataSplits, Sample
from datasets.sources import join_sources
from model.encoders import registry
from processor.checkpoints.load import open_model


def test_model_is_rebuilt_from_the_file_alone(saved, assert_same_features):
    loaded = open_model(saved[0])
    assert loaded.cfg.MODEL.STRIDE_SIZE == [12, 12]
    assert loaded.model.cv_embed.shape == (6, 128)
    assert loaded.cameras == {"one": range(2, 4)}
    assert_same_features(loaded)


def test_clip_weights_are_not_needed(saved, monkeypatch):
    def refuse(*_arguments):
        raise AssertionError("CLIP's weights were looked for")

    monkeypatch.setattr(registry, "CLIP", replace(registry.CLIP, find_weights=refuse))
    monkeypatch.setattr("model.build.load_pretrained", refuse)
    open_model(saved[0])


def test_missing_path_is_refused():
    with pytest.raises(ConfigError, match=r"TEST\.WEIGHT: name the checkpoint"):
        open_model("")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights file .*gone\.pth"):
        open_model(str(tmp_path / "gone.pth"))


def test_unsupervised_model_is_rebuilt_from_the_file_alone(unsupervised, assert_same_unit_features):
    loaded = open_model(unsupervised[0])
    assert loaded.cfg.DSGL.ENABLED is True
    assert loaded.cfg.DSGL.EMBED_DIM == 12
    assert loaded.cameras == {"one": range(3)}
    assert_same_unit_features(loaded)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")  # a classifier without identities
@pytest.mark.parametrize("unsupervised", ["tiny ViT"], indirect=True)
def test_other_kind_of_model_is_refused(saved, unsupervised):
    with pytest.raises(ConfigError, match=r"DSGL\.ENABLED: .* was trained the other way"):
        open_model(saved[0], None, ["DSGL.ENABLED", "True", "MODEL.SIE_CAMERA", "False"])
    with pytest.raises(ConfigError, match=r"DSGL\.ENABLED: .* was trained the other way"):
        open_model(unsupervised[0], None, ["DSGL.ENABLED", "False"])


@pytest.mark.parametrize("unsupervised", ["resnet18"], indirect=True)
def test_pooling_with_other_parameters_is_refused(unsupervised):
    message = r"DSGL\.POOLING, DSGL\.EMBED_DIM: only one of the model and .* has pooling\.p"
    with pytest.raises(ConfigError, match=message):
        open_model(unsupervised[0], None, ["DSGL.POOLING", "gem"])


def test_prompts_belong_to_the_sources_in_their_order(saved):
    loaded = open_model(saved[0])
    samples = [Sample(str(pid), pid, 0) for pid in range(10)]
    assert loaded.has_prompts_of(join_sources([DataSplits("one", samples, [], [])]))
    assert not loaded.has_prompts_of(join_sources([DataSplits("other", samples, [], [])]))
    assert not loaded.has_prompts_of(join_sources([DataSplits("one", samples[1:], [], [])]))
    early = replace(loaded, before_prompts=True)
    assert not early.has_prompts_of(join_sources([DataSplits("one", samples, [], [])]))


def test_stage_0_file_has_no_prompts_yet(saved, tmp_path):
    content = torch.load(saved[0], weights_only=True)
    content["meta"]["stage"] = 0
    torch.save(content, tmp_path / "early.pth")
    assert open_model(str(tmp_path / "early.pth")).before_prompts
    assert not open_model(saved[0]).before_prompts
