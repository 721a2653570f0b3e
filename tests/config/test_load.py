"""Defaults, YAML file, environment and overrides become one checked, frozen tree."""

import contextlib
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config import ConfigError, UnknownOptionError, load_cfg
from config.defaults import default_cfg
from config.legacy import NO_EFFECT
from config.load import dump_cfg, load_cfg_text
from config.options import flatten, lookup

STAGE = {
    "IMS_PER_BATCH": 64,
    "OPTIMIZER_NAME": "Adam",
    "MAX_EPOCHS": 100,
    "BASE_LR": 3e-4,
    "MOMENTUM": 0.9,
    "WEIGHT_DECAY": 5e-4,
    "WEIGHT_DECAY_BIAS": 5e-4,
    "WARMUP_FACTOR": 0.01,
    "WARMUP_EPOCHS": 5,
    "WARMUP_LR_INIT": 0.01,
    "LR_MIN": 1.6e-5,
    "WARMUP_ITERS": 500,
    "WARMUP_METHOD": "linear",
    "COSINE_MARGIN": 0.5,
    "COSINE_SCALE": 30,
    "CHECKPOINT_PERIOD": 10,
    "LOG_PERIOD": 100,
    "EVAL_PERIOD": 10,
}
STAGE_2_ONLY = {
    "LARGE_FC_LR": False,
    "BIAS_LR_FACTOR": 1,
    "CENTER_LR": 0.5,
    "CENTER_LOSS_WEIGHT": 5e-4,
    "GAMMA": 0.1,
    "STEPS": (40, 70),
}
ORIGINAL_DEFAULTS = {
    "MODEL.DEVICE": "auto",  # original: cuda, never read
    "MODEL.DEVICE_ID": "0",
    "MODEL.NAME": "RN50",  # original: resnet50
    "MODEL.LAST_STRIDE": 1,
    "MODEL.PRETRAIN_PATH": "",
    "MODEL.PRETRAIN_CHOICE": "clip",  # original: imagenet, never read
    "MODEL.NECK": "bnneck",
    "MODEL.IF_WITH_CENTER": False,  # original: 'no'
    "MODEL.ID_LOSS_TYPE": "softmax",
    "MODEL.ID_LOSS_WEIGHT": 1,
    "MODEL.TRIPLET_LOSS_WEIGHT": 1,
    "MODEL.I2T_LOSS_WEIGHT": 1,
    "MODEL.METRIC_LOSS_TYPE": "triplet",
    "MODEL.DIST_TRAIN": False,
    "MODEL.NO_MARGIN": False,
    "MODEL.IF_LABELSMOOTH": True,  # original: 'on'
    "MODEL.COS_LAYER": False,
    "MODEL.DROP_PATH": 0.1,
    "MODEL.DROP_OUT": 0,
    "MODEL.ATT_DROP_RATE": 0,
    "MODEL.TRANSFORMER_TYPE": "None",
    "MODEL.STRIDE_SIZE": [16, 16],
    "MODEL.SIE_COE": 3.0,
    "MODEL.SIE_CAMERA": False,
    "MODEL.SIE_VIEW": False,
    "INPUT.SIZE_TRAIN": [384, 128],
    "INPUT.SIZE_TEST": [384, 128],
    "INPUT.PROB": 0.5,
    "INPUT.RE_PROB": 0.5,
    "INPUT.PIXEL_MEAN": [0.485, 0.456, 0.406],
    "INPUT.PIXEL_STD": [0.229, 0.224, 0.225],
    "INPUT.PADDING": 10,
    "DATASETS.NAMES": ("market1501",),  # original: a bare string
    "DATASETS.ROOT_DIR": "../data",
    "DATALOADER.NUM_WORKERS": 8,
    "DATALOADER.SAMPLER": "softmax",
    "DATALOADER.NUM_INSTANCE": 16,
    "SOLVER.SEED": 1234,
    "SOLVER.MARGIN": 0.3,
    **{f"SOLVER.STAGE1.{key}": value for key, value in STAGE.items()},
    **{f"SOLVER.STAGE2.{key}": value for key, value in (STAGE | STAGE_2_ONLY).items()},
    "TEST.IMS_PER_BATCH": 128,
    "TEST.RE_RANKING": False,
    "TEST.WEIGHT": "",
    "TEST.NECK_FEAT": "after",
    "TEST.FEAT_NORM": True,  # original: 'yes'
    "TEST.DIST_MAT": "dist_mat.npy",
    "TEST.EVAL": False,
    "OUTPUT_DIR": "",
}


def write(folder, text):
    path = folder / "file.yml"
    path.write_text(text, encoding="utf-8")
    return path


# defaults


def test_original_options_have_their_defaults_or_no_effect():
    assert len(ORIGINAL_DEFAULTS) == 89
    assert len(NO_EFFECT) == 20
    assert set(ORIGINAL_DEFAULTS) >= NO_EFFECT
    living = {key: v for key, v in ORIGINAL_DEFAULTS.items() if key not in NO_EFFECT}
    cfg = load_cfg()
    assert {key: lookup(cfg, key) for key in living} == living


def test_all_89_original_options_load(tmp_path):
    tree = {}
    for key, value in ORIGINAL_DEFAULTS.items():
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = list(value) if isinstance(value, tuple) else value
    assert load_cfg(write(tmp_path, yaml.safe_dump(tree)), ["OUTPUT_DIR", "x"]) == load_cfg(
        None, ["OUTPUT_DIR", "x"]
    )
    opts = [word for pair in ORIGINAL_DEFAULTS.items() for word in map(str, pair)]
    assert load_cfg(None, opts) == load_cfg()


def test_defaults_are_a_fresh_copy():
    cfg = default_cfg()
    cfg.MODEL.STRIDE_SIZE.append(3)
    cfg.SOLVER.SEED = 7
    assert default_cfg().MODEL.STRIDE_SIZE == [16, 16]
    assert default_cfg().SOLVER.SEED == 1234


def test_tree_is_frozen():
    cfg = load_cfg()
    with pytest.raises(AttributeError):
        cfg.SOLVER.SEED = 1
    with pytest.raises(AttributeError):
        cfg.SOLVER.STAGE1.BASE_LR = 1.0


# sources and their order


def test_later_source_wins(tmp_path, monkeypatch):
    file = write(tmp_path, "DATASETS:\n  ROOT_DIR: /from/file\nSOLVER:\n  SEED: 5\n")
    assert load_cfg(file).DATASETS.ROOT_DIR == "/from/file"
    monkeypatch.setenv("REID_DATA", "/from/environment")
    assert load_cfg().DATASETS.ROOT_DIR == "/from/environment"
    assert load_cfg(file).DATASETS.ROOT_DIR == "/from/environment"
    cfg = load_cfg(file, ["DATASETS.ROOT_DIR", "/typed", "SOLVER.SEED", "6"])
    assert (cfg.DATASETS.ROOT_DIR, cfg.SOLVER.SEED) == ("/typed", 6)
    assert load_cfg(None, ["SOLVER.SEED", "1", "SOLVER.SEED", "2"]).SOLVER.SEED == 2


def test_empty_environment_variable_counts_as_absent(monkeypatch):
    monkeypatch.setenv("REID_DATA", "")
    assert load_cfg().DATASETS.ROOT_DIR == "../data"


def test_output_folder_is_named_after_the_file(tmp_path):
    assert f"runs/{tmp_path.name}/file" == load_cfg(write(tmp_path, "")).OUTPUT_DIR
    assert load_cfg(write(tmp_path, "OUTPUT_DIR: here")).OUTPUT_DIR == "here"
    assert load_cfg(write(tmp_path, ""), ["OUTPUT_DIR", "there"]).OUTPUT_DIR == "there"
    assert load_cfg().OUTPUT_DIR == ""


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "SOLVER:\n", "SOLVER:\n  STAGE1:\n", "SOLVER:\n  STAGE1:\n  #  SEED: 1\n"],
)
def test_empty_file_or_block_counts_as_absent(tmp_path, text):
    cfg = load_cfg(write(tmp_path, text), ["OUTPUT_DIR", "x"])
    assert cfg == load_cfg(None, ["OUTPUT_DIR", "x"])


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "MODEL: [", "MODEL: {a: b: c}"])
def test_file_without_options_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=r"file\.yml"):
        load_cfg(write(tmp_path, text))


def test_missing_file_names_its_neighbours(tmp_path):
    write(tmp_path, "")
    with pytest.raises(FileNotFoundError, match=r"no file .*fil\.yml.*file\.yml"):
        load_cfg(tmp_path / "fil.yml")
    with pytest.raises(FileNotFoundError, match="no file"):
        load_cfg(tmp_path / "no" / "folder.yml")


# overrides


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("SOLVER.STAGE2.BASE_LR", "1e-3", 1e-3),
        ("SOLVER.STAGE2.BASE_LR", "1", 1.0),
        ("SOLVER.STAGE2.STEPS", "(10, 20)", (10, 20)),
        ("SOLVER.STAGE2.STEPS", "[10, 20]", (10, 20)),
        ("SOLVER.STAGE2.STEPS", "[]", ()),
        ("SOLVER.STAGE2.MAX_EPOCHS", "12.0", 12),
        ("MODEL.STRIDE_SIZE", "(16, 16)", [16, 16]),
        ("MODEL.DEVICE_ID", "3", "3"),
        ("MODEL.DEVICE_ID", "('3')", "3"),
        ("MODEL.PROMPT", "A photo of a {context} cow.", "A photo of a {context} cow."),
        ("MODEL.PROMPT", "(white cow", "(white cow"),
        ("OUTPUT_DIR", "runs/7", "runs/7"),
        ("OUTPUT_DIR", "7", "7"),
        ("DATASETS.NAMES", "msmt17", ("msmt17",)),
        ("DATASETS.NAMES", "('market1501', 'msmt17')", ("market1501", "msmt17")),
        ("DATASETS.NAMES", "/my data/cows", ("/my data/cows",)),
        ("DATASETS.TARGETS", "msmt17", ("msmt17",)),
        ("DATASETS.TARGETS", "", ()),
        ("DATASETS.TARGETS", "['msmt17']", ("msmt17",)),
        ("INPUT.PIXEL_MEAN", "[0, 0.5, 1]", [0.0, 0.5, 1.0]),
        ("TEST.RE_RANKING", "True", True),
        ("TEST.RE_RANKING", "yes", True),
        ("TEST.RE_RANKING", "1", True),
        ("TEST.FEAT_NORM", "no", False),
        ("TEST.FEAT_NORM", "False", False),
        ("TEST.FEAT_NORM", "OFF", False),
    ],
)
def test_override(key, text, value):
    found = lookup(load_cfg(None, [key, text]), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("MODEL.STRIDE_SIZES", "MODEL.STRIDE_SIZE"),
        ("SOLVER.STAGE2.BASE_LRR", "SOLVER.STAGE2.BASE_LR"),
        ("DATALOADER.NUM_INSTANCES", "DATALOADER.NUM_INSTANCE"),
        ("TEST.STRIDE_SIZE", "MODEL.STRIDE_SIZE"),
        ("model.name", "MODEL.NAME"),
        ("STRIDE_SIZE", "MODEL.STRIDE_SIZE"),
        ("LARGE_FC", "SOLVER.STAGE2.LARGE_FC_LR"),
    ],
)
def test_unknown_option_names_the_nearest(key, near):
    with pytest.raises(UnknownOptionError) as error:
        load_cfg(None, [key, "1"])
    assert f"unknown option {key} (from the command line)" in str(error.value)
    assert near in str(error.value)


def test_unknown_option_in_a_file_names_the_file(tmp_path):
    file = write(tmp_path, "MODEL:\n  NAMES: ViT-B-16\n")
    with pytest.raises(UnknownOptionError, match=r"MODEL\.NAMES \(from .*file\.yml\).*MODEL\.NAME"):
        load_cfg(file)
    with pytest.raises(UnknownOptionError, match="QQQQ"):
        load_cfg(None, ["QQQQ.ZZZZ", "1"])


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("SOLVER.SEED", "many"),
        ("SOLVER.SEED", "1.5"),
        ("SOLVER.SEED", "True"),
        ("SOLVER.SEED", "1e999"),
        ("SOLVER.SEED", "[1]"),
        ("SOLVER.MARGIN", "wide"),
        ("SOLVER.MARGIN", "None"),
        ("TEST.RE_RANKING", "maybe"),
        ("TEST.RE_RANKING", "2"),
        ("TEST.RE_RANKING", "1.0"),
        ("MODEL.STRIDE_SIZE", "12"),
        ("MODEL.STRIDE_SIZE", "[12, 'x']"),
        ("MODEL.STRIDE_SIZE", "[12, [12]]"),
        ("SOLVER.STAGE2.STEPS", "40"),
        ("MODEL.NAME", "('a', 'b')"),
    ],
)
def test_wrong_type_names_option_and_default(key, text):
    with pytest.raises(ConfigError) as error:
        load_cfg(None, [key, text])
    assert key in str(error.value)
    assert f"like the default {lookup(default_cfg(), key)!r}" in str(error.value)
    kinds = ("a whole number", "a number", "True or False", "a list", "text")
    assert any(f"should be {kind}, like" in str(error.value) for kind in kinds)


def test_not_a_number_is_refused():
    with pytest.raises(ConfigError, match=r"SOLVER\.STAGE2\.BASE_LR"):
        load_cfg_text("SOLVER:\n  STAGE2:\n    BASE_LR: .nan\n")


@given(
    st.dictionaries(st.sampled_from(sorted(ORIGINAL_DEFAULTS)), st.text(max_size=12), max_size=3)
)
def test_any_text_gives_a_configuration_or_a_config_error(options):
    opts = [word for pair in options.items() for word in pair]
    with contextlib.suppress(ConfigError):
        assert load_cfg(None, opts).is_frozen()


# keys given twice in a file


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("SOLVER:\n  SEED: 1\n  SEED: 2\n", "SOLVER.SEED", ("1", "2")),
        ("SOLVER:\n  SEED: 3\n  SEED: 3\n", "SOLVER.SEED", ("3",)),
        ("OUTPUT_DIR: a\nOUTPUT_DIR: b\n", "OUTPUT_DIR", ("a", "b")),
        ("MODEL:\n  STRIDE_SIZE: [12, 12]\n  STRIDE_SIZE: [16, 16]\n", "STRIDE_SIZE", ("12",)),
        ("SOLVER:\n  SEED: 1\nSOLVER:\n  MARGIN: 0.1\n", "SOLVER", ("SEED", "MARGIN")),
        ("SOLVER:\n  STAGE1:\n    LR_MIN: 1\n    LR_MIN: 2\n", "STAGE1.LR_MIN", ("1", "2")),
        (
            "SOLVER:\n  MAX_EPOCHS: 3\n  STAGE2:\n    MAX_EPOCHS: 4\n",
            "SOLVER.MAX_EPOCHS",
            ("3", "4", "SOLVER.STAGE2.MAX_EPOCHS"),
        ),
        ("SAMPLER: a\nDATALOADER:\n  SAMPLER: b\n", "SAMPLER", ("a", "b")),
    ],
)
def test_key_given_twice_in_a_file_is_refused(tmp_path, text, key, values):
    file = write(tmp_path, text)
    with pytest.raises(ConfigError, match="given twice") as error:
        load_cfg(file)
    for part in (key, str(file), *values):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("SOLVER:\n  SEED: 1\n\n  SEED: 2\n", (2, 4)),
        ("SOLVER:\n  SEED: 1\nMODEL:\n  NAME: RN50\nSOLVER:\n  MARGIN: 0.1\n", (1, 5)),
        ("SOLVER:\n  MAX_EPOCHS: 3\n  STAGE2:\n    MAX_EPOCHS: 4\n", (2, 4)),
        ("SOLVER.SEED: 1\nSOLVER:\n  SEED: 1\n", (1, 3)),
        ("SAMPLER: a\n\n\nDATALOADER:\n  SAMPLER: b\n", (1, 5)),
        ("USER:\n  A: 1\n  B: 2\n  A: 3\n", (2, 4)),
    ],
)
def test_key_given_twice_in_a_file_is_refused_with_both_lines(tmp_path, text, lines):
    with pytest.raises(ConfigError, match="given twice") as error:
        load_cfg(write(tmp_path, text))
    assert tuple(map(int, re.findall(r"in line (\d+)", str(error.value)))) == lines


def test_alias_of_its_own_block_ends_in_an_error(tmp_path):
    with pytest.raises((ConfigError, UnknownOptionError)):
        load_cfg(write(tmp_path, "SOLVER: &a\n  STAGE2: *a\n"))


def test_file_may_set_what_its_base_or_an_anchor_sets(tmp_path):
    (tmp_path / "base.yml").write_text("SOLVER:\n  SEED: 1\n")
    file = write(
        tmp_path,
        "_BASE_: base.yml\nSOLVER:\n  SEED: 2\n  STAGE1: &stage\n    BASE_LR: 0.1\n"
        "    MAX_EPOCHS: 3\n  STAGE2:\n    <<: *stage\n    MAX_EPOCHS: 4\n",
    )
    solver = load_cfg(file).SOLVER
    assert (solver.SEED, solver.STAGE1.MAX_EPOCHS, solver.STAGE2.MAX_EPOCHS) == (2, 3, 4)
    assert solver.STAGE2.BASE_LR == 0.1


# pre-trained weights


def test_path_of_weights_that_would_not_be_loaded_is_refused(tmp_path):
    opts = ["MODEL.PRETRAIN_PATH", "weights.pt", "MODEL.PRETRAIN_CHOICE", "none"]
    message = r"MODEL\.PRETRAIN_PATH: weights\.pt .*MODEL\.PRETRAIN_CHOICE is none"
    with pytest.raises(ConfigError, match=message):
        load_cfg(None, opts)
    with pytest.raises(ConfigError, match=message):
        load_cfg(write(tmp_path, "MODEL:\n  PRETRAIN_CHOICE: none\n"), opts[:2])
    assert load_cfg(None, opts[:2]).MODEL.PRETRAIN_PATH == "weights.pt"


def test_checkpoint_configuration_may_hold_a_path_of_weights_that_are_not_loaded():
    text = "MODEL:\n  PRETRAIN_PATH: weights.pt\n  PRETRAIN_CHOICE: none\n"
    assert load_cfg_text(text).MODEL.PRETRAIN_PATH == "weights.pt"


# flat options of the baselines


@pytest.mark.parametrize(
    ("opts", "notes"),
    [
        (
            ["SOLVER.MAX_EPOCHS", "3"],
            ["SOLVER.MAX_EPOCHS sets SOLVER.STAGE2.MAX_EPOCHS, not SOLVER.STAGE1.MAX_EPOCHS (100)"],
        ),
        (
            ["SOLVER.MAX_EPOCHS", "3", "SOLVER.STAGE0.MAX_EPOCHS", "2"],
            [
                "SOLVER.MAX_EPOCHS sets SOLVER.STAGE2.MAX_EPOCHS, not SOLVER.STAGE0.MAX_EPOCHS (2) "
                "or SOLVER.STAGE1.MAX_EPOCHS (100)"
            ],
        ),
        (["SOLVER.STAGE2.MAX_EPOCHS", "3"], []),
        (["SOLVER.GAMMA", "0.5", "SOLVER.EVAL_PERIOD", "3"], []),  # stage 1 has no such option
        (["SOLVER.MAX_EPOCHS", "3", "MODEL.TEXT_TOWER", "False"], []),
        (["SOLVER.MAX_EPOCHS", "3", "DSGL.ENABLED", "True"], []),
    ],
)
def test_flat_option_notes_the_stages_that_it_leaves_unchanged(opts, notes, caplog):
    caplog.set_level("INFO")
    assert load_cfg(None, opts).SOLVER.STAGE1.MAX_EPOCHS == 100
    assert [record.getMessage() for record in caplog.records] == notes


# round trip


@pytest.mark.parametrize(
    "opts",
    [
        [],
        ["DATASETS.NAMES", "('veri', 'VehicleID')", "DATASETS.TARGETS", "('veri',)"],
        ["MODEL.PROMPT", "A photo of a {context}: cow, 'white'", "OUTPUT_DIR", "('x')"],
        ["SOLVER.STAGE2.BASE_LR", "5e-6", "SOLVER.STAGE2.STEPS", "()", "TEST.FEAT_NORM", "no"],
        ["MODEL.DEVICE_ID", "007", "MODEL.PROMPT", "no"],
        ["MODEL.PROMPT", "\"'quoted' cow\""],
    ],
)
def test_saved_configuration_loads_as_an_equal_one(opts):
    cfg = load_cfg(None, opts)
    again = load_cfg_text(dump_cfg(cfg))
    assert dict(flatten(again)) == dict(flatten(cfg))
    assert again.is_frozen()
    assert type(again.SOLVER.STAGE2.STEPS) is tuple


def test_checkpoint_configuration_takes_overrides_without_a_warning(caplog):
    text = dump_cfg(load_cfg(None, ["SOLVER.SEED", "3"]))
    assert load_cfg_text(text, ["SOLVER.SEED", "4"]).SOLVER.SEED == 4
    assert load_cfg_text("").SOLVER.SEED == 1234
    assert not caplog.records
    with pytest.raises(UnknownOptionError):
        load_cfg_text("MODEL:\n  FOO: 1\n")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_file_with_a_byte_order_mark_is_read(tmp_path, encoding):
    file = tmp_path / "a.yml"
    file.write_bytes("DATASETS:\n  NAMES: Müller\n".encode(encoding))
    assert load_cfg(file).DATASETS.NAMES == ("Müller",)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le"])
def test_file_of_an_unknown_encoding_is_named_with_its_line(tmp_path, encoding):
    file = tmp_path / "a.yml"
    file.write_bytes("MODEL:\n  PROMPT: Kühe\n".encode(encoding))
    line = 1 if encoding == "utf-16-le" else 2
    with pytest.raises(
        ConfigError, match=f"--config_file: .*a.yml, line {line}: .*save .*as UTF-8"
    ):
        load_cfg(file)


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("a,b", ("a", "b")),
        ("[a, b]", ("a", "b")),
        ("('a', 'b')", ("a", "b")),
        ("'shop, north',b", ("shop, north", "b")),
        ("'[shop]'", ("[shop]",)),
        ("['shop, north', '[b]']", ("shop, north", "[b]")),
        ("anna's", ("anna's",)),
        ("shop[1]", ("shop[1]",)),
        ("2024.10,1_000,007", ("2024.10", "1_000", "007")),
    ],
)
def test_names_are_text_and_quotes_keep_commas_and_brackets(typed, names):
    assert names == load_cfg(None, ["DATASETS.TARGETS", typed]).DATASETS.TARGETS
    assert names == load_cfg(None, {"DATASETS.TARGETS": list(names)}).DATASETS.TARGETS


@pytest.mark.parametrize(
    "text", ["123e45", "1e5", "0x1f", "007", "1_000", "off", "~", "1.5", "a: b"]
)
def test_text_of_a_free_option_stays_text(text):
    cfg = load_cfg(None, {"USER.HASH": text})
    assert text == cfg.USER.HASH
    assert text == load_cfg_text(dump_cfg(cfg), []).USER.HASH


def test_items_of_a_list_that_was_empty_have_the_type_of_the_default(tmp_path):
    base = tmp_path / "base.yml"
    base.write_text("SOLVER: {STAGE2: {STEPS: []}}")
    assert load_cfg(str(base)).SOLVER.STAGE2.STEPS == ()
    cfg = load_cfg(str(base), ["SOLVER.STAGE2.STEPS", "(30, 50)"])
    assert cfg.SOLVER.STAGE2.STEPS == (30, 50)


def test_keys_and_sizes_of_odd_types_are_refused_in_one_line(tmp_path):
    file = tmp_path / "odd.yml"
    file.write_text("? [a, b]\n: 1\n")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load_cfg(str(file))
    model = tmp_path / "model.json"
    model.write_text('{"embed_dim": 8, "vision_cfg": {"layers": 2, "patch_size": "16"}}')
    with pytest.raises(ConfigError, match=r"patch_size is '16', not a whole number"):
        load_cfg(None, ["MODEL.NAME", str(model)])
