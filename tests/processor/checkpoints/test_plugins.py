"""A checkpoint names the plug-ins of its run, and never imports them."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from config import ConfigError, dump_cfg, load_cfg, plugins
from model import build_model
from processor.checkpoints.load import open_model
from processor.checkpoints.meta import ModelSizes, describe_model
from processor.checkpoints.resume import find_starting_point
from processor.checkpoints.save import save_checkpoint
from processor.checkpoints.slim import save_slim
from processor.evaluation.build import prepare_evaluation
from processor.extractor import Extractor

EXAMPLE = Path(__file__).parents[3] / "examples" / "extra_encoder.py"
REGISTER = """
from pathlib import Path
from clipreid.plugins import register_loss, register_sampler
register_loss("my_loss", print)
register_sampler("my_sampler", print, p_x_k=False)
Path(__file__).with_name("marker").touch()
"""
SIZES = ModelSizes(5, 1, 1)
IMAGES = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def plugin(tmp_path):
    """A file that registers an encoder, a loss and a sampler, and leaves a marker."""
    path = tmp_path / "mine.py"
    path.write_text(EXAMPLE.read_text(encoding="utf-8") + REGISTER, encoding="utf-8")
    return path


@pytest.fixture
def save(tmp_path, plugin):
    """`save("KEY", "VALUE", ...)`: the `last.pth` of a run with the plug-in, then a new process."""

    def write(*opts):
        options = [
            *("PLUGINS", str(plugin), "MODEL.PRETRAIN_CHOICE", "none"),
            *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
            *("MODEL.TEXT_TOWER", "False", "USER.WIDTH", "16"),
        ]
        cfg = load_cfg(None, [*options, *opts])
        torch.manual_seed(0)
        model = build_model(cfg, 5, 1, 1).eval()
        training = {"stage": 2, "epoch": 1, "finished": True}
        meta = describe_model(cfg, SIZES, {"one": range(1)})
        save_checkpoint(tmp_path / "last.pth", model, dump_cfg(cfg), meta, training)
        plugins._remove(list(plugins._REGISTERED))
        plugins._IMPORTED.clear()
        (tmp_path / "marker").unlink()
        return str(tmp_path / "last.pth"), model

    return write


@pytest.fixture
def needed(plugin):
    sha256 = hashlib.sha256(plugin.read_bytes()).hexdigest()
    named = f"the plug-in {plugin} (sha256 {sha256})"
    return f"this checkpoint needs {named}; give it: PLUGINS {plugin}"


def test_encoder_of_a_plugin_is_asked_for_and_not_imported(save, needed, tmp_path):
    path, _ = save("MODEL.NAME", "tiny_conv")
    for open_ in (Extractor, open_model, lambda path: save_slim(tmp_path / "slim.pth", path)):
        with pytest.raises(ConfigError) as error:
            open_(path)
        assert str(error.value) == f"MODEL.NAME: unknown encoder 'tiny_conv'; {path}: {needed}"
    assert not (tmp_path / "marker").exists()


def test_given_plugin_rebuilds_the_encoder_with_its_options(save, plugin, tmp_path):
    path, model = save("MODEL.NAME", "tiny_conv")
    extractor = Extractor(path, opts=["PLUGINS", str(plugin)], normalize=False)
    assert extractor.model.image_encoder.width == 16
    assert extractor.description["USER.WIDTH"] == "16"
    with torch.no_grad():
        torch.testing.assert_close(extractor.model.embed(IMAGES), model.embed(IMAGES))
    save_slim(tmp_path / "slim.pth", path, opts=["PLUGINS", str(plugin)])
    slim = open_model(str(tmp_path / "slim.pth"), opts=["PLUGINS", str(plugin)])
    plugins = json.loads(torch.load(path, weights_only=True)["meta"]["plugins"])
    plugins[0]["path"] = plugin.name  # a slim file is for others
    assert json.loads(slim.meta["plugins"]) == plugins


def test_plugin_may_be_named_by_a_config_file_of_the_user(save, plugin, tmp_path):
    path, _ = save("MODEL.NAME", "tiny_conv")
    (tmp_path / "recipe.yml").write_text("PLUGINS: [mine.py]\nUSER: {WIDTH: 32}\n")
    loaded = open_model(path, str(tmp_path / "recipe.yml"))
    assert list(loaded.cfg.PLUGINS) == [str(plugin)]
    assert loaded.cfg.USER.WIDTH == 16
    assert loaded.cfg.MODEL.NAME == "tiny_conv"


def test_plugins_of_losses_and_samplers_are_not_needed(save, tiny_clip_json, tmp_path):
    opts = ["MODEL.EXTRA_LOSSES", "my_loss,1", "DATALOADER.SAMPLER", "my_sampler"]
    path, model = save("MODEL.NAME", tiny_clip_json, *opts)
    extractor = Extractor(path, normalize=False)
    with torch.no_grad():
        torch.testing.assert_close(extractor.model.embed(IMAGES), model.embed(IMAGES))
    assert extractor.cfg.DATALOADER.SAMPLER == "my_sampler"
    save_slim(tmp_path / "slim.pth", path)
    assert open_model(str(tmp_path / "slim.pth")).cfg.PLUGINS == ()
    resumed = ["MODEL.NAME", tiny_clip_json, "SOLVER.RESUME", path]
    assert find_starting_point(load_cfg(None, resumed), tmp_path).resumed
    assert not (tmp_path / "marker").exists()


def test_data_set_of_a_plugin_is_asked_for(save, tiny_clip_json, needed, tmp_path):
    path, _ = save("MODEL.NAME", tiny_clip_json, "DATASETS.NAMES", "my_zoo")
    loaded = open_model(path)
    with pytest.raises(ConfigError) as error:
        prepare_evaluation(loaded)
    assert str(error.value).startswith("DATASETS.TARGETS: 'my_zoo' is neither a known data set")
    assert str(error.value).endswith(f"; if a plug-in registers it, {needed}")
    assert not (tmp_path / "marker").exists()


def test_planted_configuration_runs_no_code(save, plugin, tiny_clip_json, tmp_path):
    """A file whose text names a plug-in that its meta does not know."""
    path, _ = save("MODEL.NAME", tiny_clip_json)
    content = torch.load(path, weights_only=True)
    del content["meta"]["plugins"]
    torch.save(content, path)
    assert str(plugin) in content["config"]
    assert str(plugin) in open_model(path).missing_plugins
    assert not (tmp_path / "marker").exists()


def test_changed_plugin_is_reported(save, plugin, tmp_path, caplog):
    path, _ = save("MODEL.NAME", "tiny_conv")
    opts = ["PLUGINS", str(plugin)]
    open_model(path, opts=opts)
    assert not [x for x in caplog.records if x.levelname == "WARNING"]
    plugin.write_text(plugin.read_text() + "# changed\n")
    open_model(path, opts=opts)
    resumed = [*opts, "MODEL.NAME", "tiny_conv", "SOLVER.RESUME", path]
    find_starting_point(load_cfg(None, resumed), tmp_path)
    changed = [x.message for x in caplog.records if "has changed since the model" in x.message]
    assert len(changed) == 2
    assert changed[0].startswith(f"PLUGINS: {plugin} has changed since the model was trained")


def test_changed_option_of_a_plugin_is_reported_on_resume(save, plugin, tmp_path, caplog):
    path, _ = save("MODEL.NAME", "tiny_conv", "USER.OLD", "1")
    opts = ["PLUGINS", str(plugin), "MODEL.NAME", "tiny_conv", "SOLVER.RESUME", path]
    cfg = load_cfg(None, [*opts, "USER.WIDTH", "16", "USER.NEW", "2"])
    find_starting_point(cfg, tmp_path)
    messages = [x.message for x in caplog.records if x.message.startswith("USER")]
    assert messages == [
        "USER.NEW changed from None to 2 since the run stopped",
        "USER.OLD changed from 1 to None since the run stopped",
    ]
