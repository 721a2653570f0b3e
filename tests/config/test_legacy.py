"""Files written for the original code load unchanged."""

import pytest

from config import ConfigError, load_cfg
from config.load import load_cfg_text
from config.options import lookup

# In the style of the original: an empty DATASETS block, words for booleans, unused options.
ORIGINAL_FILE = """
MODEL:
  PRETRAIN_CHOICE: 'imagenet'
  METRIC_LOSS_TYPE: 'triplet'
  IF_LABELSMOOTH: 'off'
  IF_WITH_CENTER: 'no'
  NAME: 'ViT-B-16'
  STRIDE_SIZE: [16, 16]
  ID_LOSS_WEIGHT : 0.25
  TRIPLET_LOSS_WEIGHT : 1.0
  I2T_LOSS_WEIGHT : 1.0
  TRANSFORMER_TYPE: 'None'
  # SIE_CAMERA: True

INPUT:
  SIZE_TRAIN: [256, 128]
  SIZE_TEST: [256, 128]
  PROB: 0.5 # random horizontal flip
  RE_PROB: 0.5 # random erasing
  PADDING: 10
  PIXEL_MEAN: [0.5, 0.5, 0.5]
  PIXEL_STD: [0.5, 0.5, 0.5]

DATALOADER:
  SAMPLER: 'softmax_triplet'
  NUM_INSTANCE: 4
  NUM_WORKERS: 8

SOLVER:
  STAGE1:
    IMS_PER_BATCH: 64
    OPTIMIZER_NAME: "Adam"
    BASE_LR: 0.00035
    WARMUP_LR_INIT: 0.00001
    LR_MIN: 1e-6
    WARMUP_METHOD: 'linear'
    WEIGHT_DECAY:  1e-4
    WEIGHT_DECAY_BIAS: 1e-4
    MAX_EPOCHS: 120
    CHECKPOINT_PERIOD: 120
    LOG_PERIOD: 50
    WARMUP_EPOCHS: 5

  STAGE2:
    IMS_PER_BATCH: 64
    OPTIMIZER_NAME: "Adam"
    BASE_LR: 0.000005
    WARMUP_METHOD: 'linear'
    WARMUP_ITERS: 10
    WARMUP_FACTOR: 0.1
    WEIGHT_DECAY:  0.0001
    WEIGHT_DECAY_BIAS: 0.0001
    LARGE_FC_LR: False
    MAX_EPOCHS: 60
    CHECKPOINT_PERIOD: 60
    LOG_PERIOD: 50
    EVAL_PERIOD: 60
    BIAS_LR_FACTOR: 2
    STEPS: [30, 50]
    GAMMA: 0.1

TEST:
  EVAL: True
  IMS_PER_BATCH: 64
  RE_RANKING: False
  WEIGHT: ''
  NECK_FEAT: 'before'
  FEAT_NORM: 'yes'

DATASETS:
#   NAMES: ('market1501')
#   ROOT_DIR: ('../data')
# OUTPUT_DIR: ''
"""

BASELINE_FILE = """
MODEL:
  NAME: 'resnet50'
  IF_LABELSMOOTH: 'on'
INPUT:
  SIZE_TRAIN: [256, 128]
  SIZE_TEST: [256, 128]
DATASETS:
  NAMES: ('market1501')
  ROOT_DIR: ('../data')
SAMPLER: 'softmax_triplet'
DATALOADER:
  NUM_INSTANCE: 4
SOLVER:
  IMS_PER_BATCH: 32
  OPTIMIZER_NAME: 'SGD'
  BASE_LR: 0.00035
  STEPS: [40, 70]
  WARMUP_METHOD: 'constant'
  CENTER_LOSS_WEIGHT: 0.001
  SEED: 9
  MARGIN: 0.5
  COSINE_SCALE: 30
TEST:
  FEAT_NORM: no
OUTPUT_DIR: ('out')
"""


def load(folder, text, opts=()):
    path = folder / "original.yml"
    path.write_text(text, encoding="utf-8")
    return load_cfg(path, opts)


def test_two_stage_file_loads(tmp_path):
    cfg = load(tmp_path, ORIGINAL_FILE)
    expected = {
        "MODEL.NAME": "ViT-B-16",
        "MODEL.PRETRAIN_CHOICE": "clip",
        "MODEL.IF_LABELSMOOTH": False,
        "MODEL.IF_WITH_CENTER": False,
        "MODEL.ID_LOSS_WEIGHT": 0.25,
        "DATASETS.NAMES": ("market1501",),
        "SOLVER.STAGE1.LR_MIN": 1e-6,
        "SOLVER.STAGE1.WARMUP_LR_INIT": 1e-5,
        "SOLVER.STAGE1.WEIGHT_DECAY": 1e-4,
        "SOLVER.STAGE2.STEPS": (30, 50),
        "SOLVER.STAGE2.BASE_LR": 5e-6,
        "TEST.FEAT_NORM": True,
        "TEST.NECK_FEAT": "before",
    }
    assert {key: lookup(cfg, key) for key in expected} == expected


def test_one_warning_names_all_options_without_effect(tmp_path, caplog):
    load(tmp_path, ORIGINAL_FILE, ["MODEL.DROP_PATH", "0.2"])
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    named = record.getMessage().partition(": ")[2].split(", ")
    assert named == [
        "MODEL.DROP_PATH",
        "MODEL.TRANSFORMER_TYPE",
        "SOLVER.STAGE1.WARMUP_METHOD",
        "SOLVER.STAGE1.WEIGHT_DECAY_BIAS",
        "TEST.EVAL",
    ]


@pytest.mark.parametrize("value", ["0.2", "many", "[1, 2]", ""])
def test_option_without_effect_takes_any_value_and_leaves_no_trace(value, caplog):
    assert load_cfg(None, ["MODEL.DROP_PATH", value]) == load_cfg()
    assert [record.getMessage() for record in caplog.records] == [
        "options without effect: MODEL.DROP_PATH"
    ]
    caplog.clear()
    load_cfg(None, ["MODEL.DROP_PATH", value], quiet=True)
    assert not caplog.records


def test_checkpoint_of_an_earlier_version_loads_with_options_without_effect():
    text = "TEST:\n  EVAL: true\n  IMS_PER_BATCH: 9\nMODEL:\n  COS_LAYER: false\n"
    assert load_cfg_text(text).TEST.IMS_PER_BATCH == 9


def test_flat_baseline_file_sets_stage_2(tmp_path, caplog):
    cfg = load(tmp_path, BASELINE_FILE)
    expected = {
        "MODEL.NAME": "RN50",
        "MODEL.IF_LABELSMOOTH": True,
        "DATASETS.NAMES": ("market1501",),
        "DATASETS.ROOT_DIR": "../data",
        "DATALOADER.SAMPLER": "softmax_triplet",
        "SOLVER.SEED": 9,
        "SOLVER.MARGIN": 0.5,
        "SOLVER.STAGE2.IMS_PER_BATCH": 32,
        "SOLVER.STAGE2.OPTIMIZER_NAME": "SGD",
        "SOLVER.STAGE2.BASE_LR": 3.5e-4,
        "SOLVER.STAGE2.STEPS": (40, 70),
        "SOLVER.STAGE2.WARMUP_METHOD": "constant",
        "SOLVER.STAGE2.CENTER_LOSS_WEIGHT": 1e-3,
        "TEST.FEAT_NORM": False,
        "OUTPUT_DIR": "out",
    }
    assert {key: lookup(cfg, key) for key in expected} == expected
    assert lookup(cfg, "SOLVER.STAGE1.IMS_PER_BATCH") == 64
    assert [r.getMessage() for r in caplog.records] == [
        "options without effect: SOLVER.STAGE2.COSINE_SCALE"
    ]


def test_flat_overrides_set_stage_2():
    cfg = load_cfg(None, ["SOLVER.BASE_LR", "0.1", "SOLVER.EVAL_PERIOD", "3", "SAMPLER", "softmax"])
    assert cfg.SOLVER.STAGE2.BASE_LR == 0.1
    assert cfg.SOLVER.STAGE2.EVAL_PERIOD == 3


@pytest.mark.parametrize(
    "option", ["TEST.FEAT_NORM", "MODEL.IF_LABELSMOOTH", "MODEL.IF_WITH_CENTER"]
)
@pytest.mark.parametrize(
    ("word", "meaning"),
    [("yes", True), ("on", True), ("True", True), ("no", False), ("off", False), ("Off", False)],
)
@pytest.mark.parametrize("quote", ["'", '"', ""])
def test_words_are_read_as_booleans(tmp_path, option, word, meaning, quote):
    block, key = option.split(".")
    cfg = load(tmp_path, f"{block}:\n  {key}: {quote}{word}{quote}\n")
    assert lookup(cfg, option) is meaning


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("('market1501')", ("market1501",)),
        ("('market1501',)", ("market1501",)),
        ("'market1501'", ("market1501",)),
        ("market1501", ("market1501",)),
        ("[market1501, msmt17]", ("market1501", "msmt17")),
        ('("market1501", "msmt17")', ("market1501", "msmt17")),
    ],
)
def test_names_may_be_a_string_or_a_list(tmp_path, text, names):
    found = load(tmp_path, f"DATASETS:\n  NAMES: {text}\n").DATASETS.NAMES
    assert found == names


def test_device_number_may_be_quoted(tmp_path):
    assert load(tmp_path, "MODEL:\n  DEVICE_ID: ('0')\n").MODEL.DEVICE_ID == "0"
    assert load(tmp_path, "MODEL:\n  DEVICE_ID: 1\n").MODEL.DEVICE_ID == "1"


def test_unknown_word_for_a_boolean_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"TEST\.FEAT_NORM.*'never'"):
        load(tmp_path, "TEST:\n  FEAT_NORM: never\n")


def test_words_that_yaml_reads_as_false_keep_their_meaning(tmp_path):
    file = tmp_path / "words.yml"
    file.write_text("SOLVER:\n  AMP: off\nMODEL:\n  NECK: no\nDATASETS:\n  NAMES: (msmt17)\n")
    cfg = load_cfg(file)
    assert (cfg.SOLVER.AMP, cfg.MODEL.NECK, cfg.DATASETS.NAMES) == ("off", "no", ("msmt17",))
    assert load_cfg(None, ["DATASETS.NAMES", "a, b"]).DATASETS.NAMES == ("a", "b")
