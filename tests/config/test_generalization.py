"""Recipes of the cross-dataset protocols differ from their base only in the data sets."""

from pathlib import Path

import pytest

from config import load_cfg
from config.options import flatten
from datasets.registry import BENCHMARKS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FOLDER = CONFIGS / "generalization"
SMALL = ("prid", "grid", "viper", "ilids")

# file: sources, targets, USE_ALL, protocol; C3 = the recipe's flavour of CUHK03
FILES = {
    "protocol1": (("market1501", "cuhk02", "C3", "cuhk_sysu"), SMALL, True, "P1"),
    "protocol1_duke": (
        ("market1501", "dukemtmc", "cuhk02", "C3", "cuhk_sysu"),
        SMALL,
        True,
        "P1 with DukeMTMC",
    ),
    "protocol2_cuhk03": (("market1501", "msmt17", "cuhk_sysu"), ("C3",), False, "P2"),
    "protocol2_msmt17": (("market1501", "C3", "cuhk_sysu"), ("msmt17",), False, "P2"),
    "protocol2_market1501": (("msmt17", "C3", "cuhk_sysu"), ("market1501",), False, "P2"),
    "protocol3_cuhk03": (("market1501", "msmt17", "cuhk_sysu"), ("C3",), True, "P3"),
    "protocol3_msmt17": (("market1501", "C3", "cuhk_sysu"), ("msmt17",), True, "P3"),
    "protocol3_market1501": (("msmt17", "C3", "cuhk_sysu"), ("market1501",), True, "P3"),
    "single_market1501": (
        ("market1501",),
        ("msmt17", "dukemtmc", "C3"),
        False,
        "single source market1501",
    ),
    "single_msmt17": (
        ("msmt17",),
        ("market1501", "dukemtmc", "C3"),
        False,
        "single source msmt17",
    ),
    "single_dukemtmc": (
        ("dukemtmc",),
        ("market1501", "msmt17", "C3"),
        False,
        "single source dukemtmc",
    ),
    "single_cuhk03": (
        ("C3",),
        ("market1501", "msmt17", "dukemtmc"),
        False,
        "single source cuhk03",
    ),
}
# folder: recipe, flavour of CUHK03
RECIPES = {
    "clipreid": ("person/vit_clipreid.yml", "cuhk03"),
    "dfgs": ("person/vit_dfgs_text.yml", "cuhk03_labeled"),
}
ALL = [(recipe, file) for recipe in RECIPES for file in FILES]
DIFFERENT = {f"DATASETS.{key}" for key in ("NAMES", "TARGETS", "USE_ALL", "PROTOCOL")}


def load(recipe, file):
    return load_cfg(FOLDER / recipe / f"{file}.yml")


def test_every_file_is_tested():
    shipped = {(path.parent.name, path.stem) for path in FOLDER.rglob("*.yml")}
    assert shipped == set(ALL)


@pytest.mark.parametrize(("recipe", "file"), ALL)
def test_files_have_the_sources_and_targets_of_the_protocol(recipe, file):
    sources, targets, use_all, protocol = FILES[file]
    flavour = RECIPES[recipe][1]
    options = load(recipe, file).DATASETS
    names = {"C3": flavour}
    if recipe == "dfgs" and not use_all:  # CLIP-DFGS trains on list_train alone
        names["msmt17"] = "msmt17_train"
    assert tuple(names.get(name, name) for name in sources) == options.NAMES
    assert tuple(flavour if name == "C3" else name for name in targets) == options.TARGETS
    assert use_all == options.USE_ALL
    assert protocol == options.PROTOCOL


@pytest.mark.parametrize(("recipe", "file"), ALL)
def test_names_are_known_and_targets_are_not_sources(recipe, file):
    options = load(recipe, file).DATASETS
    assert set(options.NAMES + options.TARGETS) <= set(BENCHMARKS)
    datasets = [name.removesuffix("_labeled") for name in options.NAMES + options.TARGETS]
    assert len(set(datasets)) == len(datasets)


@pytest.mark.parametrize(("recipe", "file"), ALL)
def test_all_other_options_are_those_of_the_recipe(recipe, file):
    base = dict(flatten(load_cfg(CONFIGS / RECIPES[recipe][0])))
    own = dict(flatten(load(recipe, file)))
    assert own.pop("OUTPUT_DIR") == f"runs/{recipe}/{file}"
    base.pop("OUTPUT_DIR")
    assert {key for key in base if own[key] != base[key]} <= DIFFERENT
    assert own.keys() == base.keys()


@pytest.mark.parametrize("file", FILES)
def test_recipes_are_not_mixed_up(file):
    clipreid, dfgs = load("clipreid", file), load("dfgs", file)
    assert (clipreid.INPUT.SIZE_TRAIN, clipreid.DATALOADER.SAMPLER) == (
        [256, 128],
        "softmax_triplet",
    )
    assert (dfgs.INPUT.SIZE_TRAIN, dfgs.DATALOADER.SAMPLER) == ([224, 224], "dfgs_text")


@pytest.mark.parametrize(("recipe", "file"), ALL)
def test_files_are_short_and_name_the_flavour(recipe, file):
    lines = (FOLDER / recipe / f"{file}.yml").read_text(encoding="utf-8").splitlines()
    flavour = "labeled" if recipe == "dfgs" else "detected"
    assert len(lines) <= 10
    assert lines[1].startswith(f"# CUHK03: {flavour} boxes")
