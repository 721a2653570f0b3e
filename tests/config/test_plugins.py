"""Plug-ins are imported once, from where they are found, and fail with their file and line."""

import hashlib
import json
import sys

import pytest
import torch

from config import ConfigError, load_cfg
from config.load import dump_cfg, load_cfg_text
from config.plugins import describe_plugins, import_plugins, register
from config.samplers import SAMPLERS
from loss.extra import EXTRA_LOSSES

LOSS = """
from clipreid.plugins import register_loss

@register_loss({name!r})
def loss(features, labels):
    return features.sum() * {factor}
"""


@pytest.fixture
def plugin(tmp_path):
    """`plugin("mine")` writes a file that registers a loss of this name, and returns its path."""

    def write(name, factor=1, file="my_losses.py"):
        path = tmp_path / file
        path.write_text(LOSS.format(name=name, factor=factor), encoding="utf-8")
        return path

    return write


def value_of(name):
    return EXTRA_LOSSES[name].loss(torch.ones(2), None).item()


def test_file_is_imported_once_for_several_configurations(plugin):
    path = plugin("mine")
    for _ in range(2):
        assert (str(path),) == load_cfg(None, ["PLUGINS", str(path)]).PLUGINS
    assert value_of("mine") == 2


def test_changed_file_replaces_what_it_registered(plugin):
    path = plugin("mine")
    load_cfg(None, ["PLUGINS", str(path)])
    plugin("mine", factor=10)
    load_cfg(None, ["PLUGINS", str(path)])
    assert value_of("mine") == 20
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert describe_plugins([str(path)]) == [{"path": str(path), "sha256": sha256}]


def test_file_that_fails_after_a_change_works_again_as_it_was(plugin):
    path = plugin("mine")
    text = path.read_text()
    for content, known in ((text, True), ("1 / 0", False), (text, True)):
        path.write_text(content)
        if known:
            load_cfg(None, ["PLUGINS", str(path)])
        else:
            with pytest.raises(ConfigError, match="line 1: ZeroDivisionError"):
                load_cfg(None, ["PLUGINS", str(path)])
        assert ("mine" in EXTRA_LOSSES) == known


@pytest.mark.parametrize("words", [["a.py", "b.py"], ["a.py,b.py"], ["('a.py', 'b.py')"]])
def test_several_files_may_be_typed(plugin, monkeypatch, tmp_path, words):
    plugin("one", file="a.py")
    plugin("two", file="b.py")
    monkeypatch.chdir(tmp_path)
    cfg = load_cfg(None, ["PLUGINS", *words, "SOLVER.SEED", "1"])
    assert cfg.PLUGINS == ("a.py", "b.py")
    assert {"one", "two"} <= set(EXTRA_LOSSES)


def test_file_is_found_next_to_the_yaml_file_that_names_it(plugin, tmp_path):
    (tmp_path / "bases").mkdir()
    plugin("mine", file="bases/my_losses.py")
    (tmp_path / "bases" / "base.yml").write_text("PLUGINS: [my_losses.py]\n")
    (tmp_path / "recipe.yml").write_text("_BASE_: bases/base.yml\n")
    cfg = load_cfg(tmp_path / "recipe.yml")
    assert (str(tmp_path / "bases" / "my_losses.py"),) == cfg.PLUGINS
    assert "mine" in EXTRA_LOSSES


def test_file_in_the_working_folder_comes_first(plugin, monkeypatch, tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        plugin(folder, file=f"{folder}/my_losses.py")
    (tmp_path / "there" / "recipe.yml").write_text("PLUGINS: my_losses.py\n")
    monkeypatch.chdir(tmp_path / "here")
    load_cfg(tmp_path / "there" / "recipe.yml")
    assert "here" in EXTRA_LOSSES
    assert "there" not in EXTRA_LOSSES


def test_module_is_imported_by_its_name(plugin, monkeypatch, tmp_path):
    (tmp_path / "my_package").mkdir()
    path = plugin("mine", file="my_package/losses_of_mine.py")
    monkeypatch.syspath_prepend(tmp_path)
    cfg = load_cfg(None, ["PLUGINS", "my_package.losses_of_mine"])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    described = [{"path": "my_package.losses_of_mine", "sha256": sha256}]
    assert describe_plugins(cfg.PLUGINS) == described
    path.write_text("# changed")
    load_cfg(None, ["PLUGINS", "my_package.losses_of_mine"])
    assert describe_plugins(cfg.PLUGINS) == described
    assert value_of("mine") == 2


@pytest.mark.parametrize("name", ["no_such_module", "no.such.module", "not a module"])
def test_unknown_module_is_refused(name):
    with pytest.raises(ConfigError, match=f"PLUGINS: no module '{name}'; .*ends with .py"):
        load_cfg(None, ["PLUGINS", name])


def test_missing_file_is_refused_with_the_places_it_was_looked_for(tmp_path):
    (tmp_path / "recipe.yml").write_text("PLUGINS: [gone.py]\n")
    with pytest.raises(ConfigError, match=r"PLUGINS: no file gone\.py; .*gone\.py, .*gone\.py"):
        load_cfg(tmp_path / "recipe.yml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = x / 0\n", r"bad\.py, line 2: ZeroDivisionError: division by zero"),
        ("x = 1\n\nif x\n", r"bad\.py, line 3: SyntaxError"),
        ("import no_such_thing\n", r"bad\.py, line 1: ModuleNotFoundError: .*no_such_thing"),
    ],
)
def test_file_that_fails_is_named_with_line_and_error(tmp_path, text, message):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_cfg(None, ["PLUGINS", str(tmp_path / "bad.py")])


def test_file_that_fails_registers_nothing_and_can_be_corrected(plugin):
    path = plugin("mine")
    text = path.read_text()
    path.write_text(f"{text}\n1 / 0\n")
    with pytest.raises(ConfigError, match="line 8: ZeroDivisionError"):
        load_cfg(None, ["PLUGINS", str(path)])
    assert "mine" not in EXTRA_LOSSES
    path.write_text(text)
    load_cfg(None, ["PLUGINS", str(path)])
    assert "mine" in EXTRA_LOSSES


def test_taken_name_is_refused(plugin):
    first, second = plugin("mine"), plugin("mine", file="other.py")
    with pytest.raises(ConfigError, match=r"other\.py, line 4: ValueError: the name 'mine' is"):
        load_cfg(None, ["PLUGINS", f"{first},{second}"])
    with pytest.raises(ValueError, match="'softmax' is registered already"):
        register(SAMPLERS, "softmax", None)


def test_parameters_made_by_a_file_are_the_same_in_every_process(tmp_path):
    """And making them does not change the random numbers of the run."""
    made = []
    for seed, name in ((1, "a.py"), (2, "b.py")):
        path = tmp_path / name
        path.write_text("import torch\nWEIGHTS = torch.randn(3)\n")
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        import_plugins([str(path)], [])
        assert torch.equal(torch.get_rng_state(), state)
        made += [m.WEIGHTS for m in sys.modules.values() if getattr(m, "__file__", "") == str(path)]
    assert torch.equal(*made)


def test_dataclasses_of_a_file_work(tmp_path):
    path = tmp_path / "records.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Pair:\n    a: int = 1\nassert Pair(2).a == 2\n"
    )
    assert (str(path),) == load_cfg(None, ["PLUGINS", str(path)]).PLUGINS


SAMPLER = "from clipreid.plugins import register_sampler\nregister_sampler('odd', print)\n"


def test_sampler_of_a_plugin_is_a_choice(tmp_path):
    (tmp_path / "odd.py").write_text(SAMPLER)
    opts = ["DATALOADER.SAMPLER", "odd"]
    with pytest.raises(ConfigError, match=r"'odd' is not one of softmax, .*PLUGINS names files"):
        load_cfg(None, opts)
    cfg = load_cfg(None, ["PLUGINS", str(tmp_path / "odd.py"), *opts])
    assert cfg.DATALOADER.SAMPLER == "odd"


def test_configuration_of_a_checkpoint_imports_nothing(tmp_path):
    path = tmp_path / "planted.py"
    path.write_text(f"open({json.dumps(str(tmp_path / 'marker'))}, 'w')\n")
    text = f"PLUGINS: ['{path}']\nDATALOADER:\n  SAMPLER: odd\n"
    cfg = load_cfg_text(text)
    assert not (tmp_path / "marker").exists()
    assert (cfg.PLUGINS, cfg.DATALOADER.SAMPLER) == ((), "odd")
    assert load_cfg_text(dump_cfg(cfg)) == cfg
    with pytest.raises(ConfigError, match="'even' is not one of"):
        load_cfg_text(text, ["DATALOADER.SAMPLER", "even"])
    assert (str(path),) == load_cfg_text(text, ["PLUGINS", str(path)]).PLUGINS
    assert (tmp_path / "marker").exists()
