"""Options that cannot work are refused before training starts."""

import json
import math

import pytest

from config import ConfigError, load_cfg
from config.checks import CHOICES, patch_size
from config.options import OPTIONS, lookup
from config.ranges import BOUNDS

TRIPLET = ("DATALOADER.SAMPLER", "softmax_triplet")
ON_DEVICE = ("INPUT.CACHE", "device")
VIT = ("MODEL.NAME", "ViT-B-16")


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ([*TRIPLET, "SOLVER.STAGE2.IMS_PER_BATCH", "60"], r"60 is not divisible.*NUM_INSTANCE 16"),
        ([*TRIPLET, "DATALOADER.NUM_INSTANCE", "64"], "one identity per batch"),
        (["INPUT.SIZE_TEST", "[256, 128]"], r"INPUT\.SIZE_TEST.*differs from INPUT\.SIZE_TRAIN"),
        (["INPUT.SIZE_TRAIN", "[256]"], r"INPUT\.SIZE_TRAIN.*2 numbers, each"),
        (
            ["INPUT.SIZE_TRAIN", "[256, 128, 3]"],
            r"INPUT\.SIZE_TRAIN.*2 numbers, each",
        ),
        (["INPUT.SIZE_TRAIN", "[]"], r"INPUT\.SIZE_TRAIN.*2 numbers, each"),
        (["INPUT.SIZE_TEST", "[0, 128]"], r"INPUT\.SIZE_TEST.*2 numbers, each"),
        (["MODEL.STRIDE_SIZE", "[16]"], r"MODEL\.STRIDE_SIZE.*2 numbers, each"),
        (["MODEL.STRIDE_SIZE", "[0, 16]"], r"MODEL\.STRIDE_SIZE.*2 numbers, each"),
        (["MODEL.STRIDE_SIZE", "[12, 12]"], r"MODEL\.STRIDE_SIZE.*ResNet has stride \[16, 16\]"),
        (
            ["INPUT.SIZE_TRAIN", "[250, 128]", "INPUT.SIZE_TEST", "[250, 128]"],
            "ResNet needs multiples of 16",
        ),
        ([*VIT, "MODEL.STRIDE_SIZE", "[16, 20]"], r"larger than the patches of 16.*\[16, 16\]"),
        (["MODEL.NAME", "ViT-L-14"], r"larger than the patches of 14.*\[14, 14\]"),
        (
            [*VIT, "INPUT.SIZE_TRAIN", "[12, 128]", "INPUT.SIZE_TEST", "[12, 128]"],
            "smaller than one patch of 16",
        ),
        (["MODEL.NAME", "no/such.json"], r"MODEL\.NAME: no file no/such\.json"),
        (["SOLVER.STAGE2.STEPS", "(70, 40)"], r"STEPS.*ascending"),
        (["DATASETS.NAMES", "()"], r"DATASETS\.NAMES.*at least one"),
        (["DATASETS.NAMES", ""], r"DATASETS\.NAMES.*at least one"),
        (["INPUT.PROB", "1.5"], r"INPUT\.PROB.*between 0 and 1"),
        (["INPUT.RE_PROB", "-0.5"], r"INPUT\.RE_PROB.*between 0 and 1"),
        (["TEST.RE_RANKING_LAMBDA", "2"], r"TEST\.RE_RANKING_LAMBDA.*between 0 and 1"),
        (["INPUT.PIXEL_MEAN", "[0.5]"], r"INPUT\.PIXEL_MEAN.*3 numbers, each between 0 and 1"),
        (
            ["INPUT.PIXEL_STD", "[0.5, 0.5]"],
            r"INPUT\.PIXEL_STD.*3 numbers, each above 0",
        ),
        (["INPUT.PIXEL_STD", "[0.5, 0, 0.5]"], r"INPUT\.PIXEL_STD.*above 0"),
        (["SOLVER.STAGE2.CENTER_LOSS_WEIGHT", "0"], r"CENTER_LOSS_WEIGHT.*above 0"),
        (
            [*ON_DEVICE, "INPUT.JITTER_PROB", "0.1", "INPUT.AUGMIX_PROB", "0.1"],
            r"INPUT\.CACHE: .*INPUT\.JITTER_PROB, INPUT\.AUGMIX_PROB would.*INPUT\.CACHE to ram",
        ),
        ([*ON_DEVICE, "INPUT.GRAYSCALE_PROB", "1"], r"INPUT\.GRAYSCALE_PROB would have no effect"),
    ],
)
def test_options_that_cannot_work_are_refused(opts, message):
    with pytest.raises(ConfigError, match=message):
        load_cfg(None, opts)


@pytest.mark.parametrize("option", CHOICES)
def test_unknown_choice_names_the_choices(option):
    value = "3" if option == "MODEL.LAST_STRIDE" else "nonsense"
    with pytest.raises(ConfigError) as error:
        load_cfg(None, [option, value])
    assert option in str(error.value)
    assert str(CHOICES[option][0]) in str(error.value)


def is_number(value):
    """Whether a default is a number, or a list of numbers."""
    items = list(value) if isinstance(value, list | tuple) else [value]
    return bool(items) and all(type(item) in (int, float) for item in items)


def test_every_numeric_option_has_bounds_or_choices():
    cfg = load_cfg()
    numeric = {name for name in OPTIONS if is_number(lookup(cfg, name))}
    assert numeric - set(CHOICES) == set(BOUNDS)


@pytest.mark.parametrize(
    ("option", "side"),
    [(name, "low") for name in BOUNDS]
    + [(name, "high") for name, bounds in BOUNDS.items() if bounds.high < math.inf],
)
def test_number_outside_its_bounds_is_refused_with_option_value_and_bounds(option, side):
    bounds, default = BOUNDS[option], lookup(load_cfg(), option)
    is_list = isinstance(default, list | tuple)
    whole = isinstance(default[0] if is_list else default, int)
    step = 1 if whole else 1e-3
    value = bounds.low - step if side == "low" else bounds.high + step
    value = int(value) if whole else value
    opts = [option, str([value] * len(default) if is_list else value)]
    with pytest.raises(ConfigError) as error:
        load_cfg(None, opts)
    assert str(error.value).startswith(f"{option}: ")
    assert str(value) in str(error.value)
    assert str(error.value).endswith(f" should be {bounds}")


@pytest.mark.parametrize(
    ("option", "value", "bounds"),
    [
        ("SOLVER.STAGE2.GAMMA", "-1", "-1.0 should be above 0 and at most 1"),
        ("SOLVER.STAGE2.GAMMA", "0", "0.0 should be above 0 and at most 1"),
        ("SOLVER.WEIGHT_DECAY", "-1", "-1.0 should be between 0 and 10"),
        ("SOLVER.STAGE2.WEIGHT_DECAY_BIAS", "-1e-9", "-1e-09 should be between 0 and 10"),
        ("SOLVER.STAGE2.STEPS", "(-1,)", "(-1,) should be between 1 and 100,000"),
        ("SOLVER.STAGE1.LR_MIN", "-5", "-5.0 should be at least 0"),
        ("INPUT.PADDING", "1000000", "1000000 should be between 0 and 512"),
        ("SOLVER.STAGE2.MOMENTUM", "1", "1.0 should be at least 0 and below 1"),
        ("DSGL.DROPOUT", "1", "1.0 should be at least 0 and below 1"),
        ("INPUT.PIXEL_MEAN", "[123.7, 116.3, 103.5]", "each between 0 and 1"),
        ("INPUT.JITTER", "[0.1, 0.1, 0.1]", "4 numbers, each between 0 and 10"),
        ("INPUT.JITTER", "[0.1, 0.1, 0.1, 0.6]", "a hue of at most 0.5"),
        ("MODEL.SIE_COE", "-1", "-1.0 should be between 0 and 1,000"),
        ("SOLVER.STAGE2.BASE_LR", "-1e-9", "-1e-09 should be at least 0"),
        ("SOLVER.SEED", "9223372036854775808", "should be between 0 and 9,223,372,036,854,775,807"),
    ],
)
def test_value_that_would_ruin_a_run_is_refused_with_its_bounds(option, value, bounds):
    with pytest.raises(ConfigError) as error:
        load_cfg(None, [option, value])
    assert option.rpartition(".")[2] in str(error.value)
    assert bounds in str(error.value)


@pytest.mark.parametrize("option", ["SOLVER.STAGE2.GAMMA", "SOLVER.STAGE2.BIAS_LR_FACTOR"])
def test_shuffling_sampler_takes_any_batch_size(option):
    opts = ["SOLVER.STAGE2.IMS_PER_BATCH", "62", option, "0.5"]
    assert load_cfg(None, opts).SOLVER.STAGE2.IMS_PER_BATCH == 62


@pytest.mark.parametrize("place", ["auto", "none", "ram"])
def test_colour_jitter_works_with_images_from_files_and_ram(place):
    cfg = load_cfg(None, ["INPUT.CACHE", place, "INPUT.JITTER_PROB", "0.1"])
    assert (cfg["INPUT"]["CACHE"], cfg["INPUT"]["JITTER_PROB"]) == (place, 0.1)


def test_strides_may_differ_and_overlap():
    cfg = load_cfg(None, [*VIT, "MODEL.STRIDE_SIZE", "[12, 16]"])
    assert cfg.MODEL.STRIDE_SIZE == [12, 16]


@pytest.mark.parametrize(
    ("name", "patch"),
    [("ViT-B-16", 16), ("ViT-B-32", 32), ("ViT-L-14", 14), ("ViT-L-14-336", 14), ("RN50x4", None)],
)
def test_patch_size_is_read_from_the_name(name, patch):
    assert patch_size(name) == patch


def test_patch_size_is_read_from_the_model_config(tmp_path, tiny_clip_json):
    assert patch_size(tiny_clip_json) == 16
    resnet = tmp_path / "resnet.json"
    resnet.write_text(json.dumps({"vision_cfg": {"layers": [1, 1, 1, 1]}}))
    assert patch_size(str(resnet)) is None


@pytest.mark.parametrize("text", ["{", "[1, 2]", "3", "{}"])
def test_file_that_is_not_a_model_config_is_refused(tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"MODEL\.NAME.*broken\.json"):
        load_cfg(None, ["MODEL.NAME", str(path)])


DSGL = ("DSGL.ENABLED", "True")


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["DSGL.EPS", "0"], r"DSGL\.EPS: 0\.0 should be above 0 and below 1"),
        (["DSGL.EPS", "1"], r"DSGL\.EPS: 1\.0 should be above 0 and below 1"),
        (["DSGL.TEMPERATURE", "0"], r"DSGL\.TEMPERATURE: 0\.0 should be above 0 and at most 100"),
        (["DSGL.TAU_DIS", "0"], r"DSGL\.TAU_DIS: 0\.0 should be above 0 and at most 1"),
        (["DSGL.K1", "5"], r"DSGL\.K2: 6 should be at most DSGL\.K1, 5"),
        (
            ["MODEL.NAME", "resnet101", "DSGL.POOLING", "clip"],
            r"DSGL\.POOLING: clip is for CLIP's.*resnet101 takes gem, avg",
        ),
        (["SOLVER.STAGE0.MAX_EPOCHS", "1"], r"SOLVER\.STAGE0.*DSGL has one stage"),
        (["SOLVER.STAGE1.WEIGHT", "a.pth"], r"SOLVER\.STAGE1.*DSGL has one stage"),
        (["MODEL.SIE_CAMERA", "True"], r"MODEL\.SIE_CAMERA.*no side information"),
        (["MODEL.SIE_VIEW", "True"], r"MODEL\.SIE_VIEW.*no side information"),
        (["DATALOADER.SAMPLER", "dfgs_image"], r"dfgs_image needs identities; DSGL takes softmax"),
        ([*TRIPLET, "DATALOADER.NUM_INSTANCE", "10"], "64 with .* 10 is not a whole number of clu"),
        ([*TRIPLET, "DATALOADER.NUM_INSTANCE", "64"], "64 with .* 64 is not a .*, at least two"),
    ],
)
def test_dsgl_options_that_cannot_work_are_refused(opts, message):
    with pytest.raises(ConfigError, match=message):
        load_cfg(None, [*DSGL, *opts])


@pytest.mark.parametrize(
    "opts",
    [
        [
            "MODEL.ID_LOSS_WEIGHT",
            "0",
            "MODEL.TEXT_TOWER",
            "False",
        ],  # weights of losses that DSGL does not have
        ["SOLVER.STAGE2.IMS_PER_BATCH", "62"],  # shuffled
        [*TRIPLET, "DATALOADER.NUM_INSTANCE", "32"],
        ["DSGL.K1", "6"],
        ["MODEL.NAME", "ViT-B-16", "DSGL.POOLING", "clip"],
        ["MODEL.NAME", "resnet18", "INPUT.SIZE_TRAIN", "[130, 70]", "INPUT.SIZE_TEST", "[130, 70]"],
    ],
)
def test_dsgl_options_that_work_are_accepted(opts):
    assert load_cfg(None, [*DSGL, *opts]).DSGL.ENABLED


def test_imagenet_models_are_not_for_prompts():
    assert load_cfg(None, [*DSGL, "MODEL.NAME", "resnet50"]).MODEL.NAME == "resnet50"
    assert load_cfg(None, ["MODEL.NAME", "resnet50"]).MODEL.NAME == "RN50"  # CLIP-ReID's name
    with pytest.raises(
        ConfigError, match=r"MODEL\.NAME: resnet101 has no text encoder.*train\.py.*dsgl"
    ):
        load_cfg(None, ["MODEL.NAME", "resnet101"])
    baseline = load_cfg(None, ["MODEL.NAME", "resnet101", "MODEL.TEXT_TOWER", "False"])
    assert baseline.MODEL.NAME == "resnet101"
