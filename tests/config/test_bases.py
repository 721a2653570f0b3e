"""`_BASE_`: a file inherits the options of another; its own options win."""

import json

import pytest

from config import ConfigError, UnknownOptionError, load_cfg
from config.load import dump_cfg, load_cfg_text

TWO_BLOCKS = "SOLVER:\n  SEED: 1\n  MARGIN: 0.1\n  STAGE2:\n    MAX_EPOCHS: 7\n    BASE_LR: 0.1\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file below the test's folder, which is not the working folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    def write_file(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def solver(cfg):
    stage = cfg.SOLVER.STAGE2
    return cfg.SOLVER.SEED, cfg.SOLVER.MARGIN, stage.MAX_EPOCHS, stage.BASE_LR


def test_file_overrides_its_base_option_by_option(write):
    write("person/base.yml", TWO_BLOCKS)
    file = write(
        "new/file.yml",
        "_BASE_: ../person/base.yml\nSOLVER:\n  SEED: 2\n  STAGE2:\n    MAX_EPOCHS: 8\n",
    )
    assert solver(load_cfg(file)) == (2, 0.1, 8, 0.1)
    assert solver(load_cfg(file, ["SOLVER.SEED", "3"])) == (3, 0.1, 8, 0.1)


def test_base_path_is_relative_to_the_file_that_names_it(write):
    write("a/base.yml", TWO_BLOCKS)
    write("a/b/base.yml", "_BASE_: ../base.yml\nSOLVER:\n  SEED: 2\n  MARGIN: 0.2\n")
    file = write("c/file.yml", "_BASE_: ../a/b/base.yml\nSOLVER:\n  SEED: 3\n")
    assert solver(load_cfg(file)) == (3, 0.2, 7, 0.1)


def test_base_may_be_absolute_and_may_come_last(write):
    base = write("base.yml", TWO_BLOCKS)
    file = write("new/file.yml", f"SOLVER:\n  SEED: 2\n_BASE_: {base}\n")
    assert solver(load_cfg(file)) == (2, 0.1, 7, 0.1)


def test_file_with_only_a_base_equals_the_base(write):
    base = write("base.yml", TWO_BLOCKS)
    file = write("file.yml", "_BASE_: base.yml\n")
    output = ["OUTPUT_DIR", "x"]
    assert load_cfg(file, output) == load_cfg(base, output)


def test_empty_block_keeps_the_options_of_the_base(write):
    write("base.yml", TWO_BLOCKS)
    file = write("file.yml", "_BASE_: base.yml\nDATASETS:\nSOLVER:\n  STAGE2:\n")
    assert solver(load_cfg(file)) == (1, 0.1, 7, 0.1)


@pytest.mark.parametrize(
    ("base", "own"),
    [
        (
            "DATALOADER:\n  NUM_WORKERS: 0\n  SAMPLER: softmax_triplet\n  NUM_INSTANCE: 4\n",
            "SAMPLER: dfgs_text\nDATALOADER:\n  NUM_WORKERS: 1\n",
        ),
        (
            "DATALOADER:\n  NUM_INSTANCE: 4\nSAMPLER: softmax_triplet\n",
            "DATALOADER:\n  SAMPLER: dfgs_text\n",
        ),
    ],
)
def test_file_overrides_its_base_in_either_spelling(write, base, own):
    write("base.yml", base)
    assert load_cfg(write("file.yml", f"_BASE_: base.yml\n{own}")).DATALOADER.SAMPLER == "dfgs_text"


def test_list_replaces_the_list_of_the_base(write):
    write("base.yml", 'DATASETS:\n  NAMES: ("market1501", "msmt17")\n')
    file = write("file.yml", '_BASE_: base.yml\nDATASETS:\n  NAMES: ("veri",)\n')
    assert load_cfg(file).DATASETS.NAMES == ("veri",)


def test_output_folder_is_named_after_the_given_file_and_never_inherited(write):
    write("person/base.yml", TWO_BLOCKS)
    file = write("new/file.yml", "_BASE_: ../person/base.yml\n")
    assert load_cfg(file).OUTPUT_DIR == "runs/new/file"
    base = write("person/base.yml", "OUTPUT_DIR: here\n")
    assert load_cfg(file).OUTPUT_DIR == "runs/new/file"
    assert load_cfg(base).OUTPUT_DIR == "here"
    assert load_cfg(file, ["OUTPUT_DIR", "there"]).OUTPUT_DIR == "there"
    write("new/file.yml", "_BASE_: ../person/base.yml\nOUTPUT_DIR: own\n")
    assert load_cfg(file).OUTPUT_DIR == "own"


def test_saved_configuration_needs_no_base(write):
    write("base.yml", TWO_BLOCKS)
    cfg = load_cfg(write("file.yml", "_BASE_: base.yml\nSOLVER:\n  SEED: 2\n"))
    assert load_cfg_text(dump_cfg(cfg)) == cfg


# model configs next to a file

MODEL = "MODEL:\n  NAME: tiny.json\n  STRIDE_SIZE: [8, 8]\n"


def model_config(patch=8):
    return json.dumps({"vision_cfg": {"patch_size": patch, "layers": 2}})


def test_model_config_is_found_next_to_the_base(write):
    path = write("person/tiny.json", model_config())
    write("person/base.yml", MODEL)
    file = write("new/file.yml", "_BASE_: ../person/base.yml\n")
    name = load_cfg(file).MODEL.NAME
    assert path.samefile(name)
    assert name == load_cfg(file, ["MODEL.NAME", "gone/tiny.json"]).MODEL.NAME


def test_model_config_next_to_the_file_that_names_it_wins(write):
    above = write("person/tiny.json", model_config())
    own = write("new/tiny.json", model_config())
    write("person/base.yml", MODEL)
    assert above.samefile(load_cfg(write("new/a.yml", "_BASE_: ../person/base.yml\n")).MODEL.NAME)
    file = write("new/b.yml", f"_BASE_: ../person/base.yml\n{MODEL}")
    assert own.samefile(load_cfg(file).MODEL.NAME)


def test_typed_model_config_is_found_next_to_the_given_file(write):
    write("person/tiny.json", model_config())
    own = write("new/tiny.json", model_config())
    write("person/base.yml", MODEL)
    file = write("new/file.yml", "_BASE_: ../person/base.yml\n")
    assert own.samefile(load_cfg(file, ["MODEL.NAME", "tiny.json"]).MODEL.NAME)


def test_missing_model_config_is_named(write):
    write("person/base.yml", MODEL)
    with pytest.raises(ConfigError, match=r"MODEL\.NAME: no file tiny\.json"):
        load_cfg(write("new/file.yml", "_BASE_: ../person/base.yml\n"))


# errors


def test_missing_base_names_both_files(write):
    write("person/base.yml", "")
    file = write("new/file.yml", "_BASE_: ../person/bas.yml\n")
    with pytest.raises(FileNotFoundError) as error:
        load_cfg(file)
    message = str(error.value)
    assert message.startswith(f"_BASE_ of {file}: no file ")
    assert "person/bas.yml; files there: " in message
    assert message.endswith("person/base.yml")


def test_missing_base_of_a_base_names_both_files(write):
    middle = write("middle.yml", "_BASE_: gone.yml\n")
    with pytest.raises(FileNotFoundError, match=rf"_BASE_ of {middle}: no file .*gone\.yml"):
        load_cfg(write("file.yml", "_BASE_: middle.yml\n"))


def test_folder_as_base_is_refused(write):
    file = write("file.yml", "_BASE_: .\n")
    with pytest.raises(FileNotFoundError, match=r"_BASE_ of .*file\.yml: no file"):
        load_cfg(file)


def test_file_as_its_own_base_is_refused(write):
    file = write("new/file.yml", "_BASE_: ../new/file.yml\n")
    with pytest.raises(ConfigError, match=r"_BASE_ of .*file\.yml: .*file\.yml is itself based on"):
        load_cfg(file)


def test_circular_bases_are_refused_with_both_files(write):
    first = write("first.yml", "_BASE_: second.yml\n")
    second = write("second.yml", "_BASE_: first.yml\n")
    message = f"_BASE_ of {second}: {first} is itself based on {second}"
    for start in (first, write("start.yml", "_BASE_: first.yml\n")):
        with pytest.raises(ConfigError) as error:
            load_cfg(start)
        assert str(error.value) == message


@pytest.mark.parametrize("value", ["", "[base.yml]", "''", "{a: b}"])
def test_base_that_is_not_a_path_is_refused(write, value):
    with pytest.raises(ConfigError, match=r"_BASE_ of .*file\.yml: .*should be the path of one"):
        load_cfg(write("file.yml", f"_BASE_: {value}\n"))


@pytest.mark.parametrize("text", ["- a\n- b\n", "MODEL: ["])
def test_base_without_options_is_refused(write, text):
    write("base.yml", text)
    with pytest.raises(ConfigError, match=r"_BASE_ of .*file\.yml: .*base\.yml (holds|is not)"):
        load_cfg(write("file.yml", "_BASE_: base.yml\n"))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("SOLVER:\n  SEEDS: 1\n", UnknownOptionError, r"SOLVER\.SEEDS \(from .*base\.yml\)"),
        ("SOLVER:\n  SEED: x\n", ConfigError, r"SOLVER\.SEED: 'x' \(from .*base\.yml\)"),
        ("SOLVER:\n  _BASE_: x.yml\n", UnknownOptionError, r"SOLVER\._BASE_ \(from .*base\.yml\)"),
    ],
)
def test_error_names_the_file_that_sets_the_option(write, text, error, message):
    write("base.yml", text)
    with pytest.raises(error, match=message):
        load_cfg(write("file.yml", "_BASE_: base.yml\n"))


def test_base_on_the_command_line_is_refused():
    with pytest.raises(UnknownOptionError, match="_BASE_"):
        load_cfg(None, ["_BASE_", "base.yml"])
