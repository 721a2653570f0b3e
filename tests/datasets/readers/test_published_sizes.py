"""Published sizes, and the warnings about others."""

import pytest

from datasets.readers.published_sizes import LABELS, check_sizes
from datasets.records import DataSplits, Sample
from datasets.registry import BENCHMARKS


def make_samples(images, ids):
    return [Sample("", i % ids, 0) for i in range(images)]


def make_splits(name, **changes):
    counts = {part: getattr(BENCHMARKS[name].sizes, part) for part in LABELS}
    counts = {part: choices[0] if choices else 1 for part, choices in counts.items()} | changes
    for part in ("train", "query"):  # an unknown number of images: one of each identity
        counts[f"{part}_images"] = max(counts[f"{part}_images"], counts[f"{part}_ids"])
    return DataSplits(
        name,
        make_samples(counts["train_images"], counts["train_ids"]),
        make_samples(counts["query_images"], counts["query_ids"]),
        make_samples(counts["gallery_images"], 700),
    )


@pytest.mark.parametrize("name", BENCHMARKS)
def test_published_sizes_give_no_warning(name):
    assert check_sizes(make_splits(name), BENCHMARKS) == []


def test_published_values():
    market, msmt = BENCHMARKS["market1501"].sizes, BENCHMARKS["msmt17"].sizes
    assert (market.train_ids, market.train_images) == ((751,), (12_936,))
    assert (market.query_images, market.gallery_images) == ((3_368,), (15_913,))
    assert (msmt.train_images, msmt.query_images) == ((32_621,), (11_659,))
    assert BENCHMARKS["VehicleID_2400"].sizes.query_images == (17_377,)


@pytest.mark.parametrize("ids", [575, 576])
def test_every_published_alternative_is_accepted(ids):
    assert check_sizes(make_splits("veri", train_ids=ids), BENCHMARKS) == []
    assert check_sizes(make_splits("VehicleID", train_images=110_178), BENCHMARKS) == []


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "msmt17",
            {"train_images": 30_248},
            "32,621 training images expected, 30,248 found: looks like only list_train",
        ),
        (
            "market1501",
            {"gallery_images": 515_913},
            "515,913 found: looks like the 500k distractors",
        ),
        ("market1501", {"gallery_images": 450_000}, "looks like a gallery with extra distractors"),
        ("market1501", {"gallery_images": 13_115}, "2,798 distractors (identity 0) are missing"),
        ("veri", {"train_images": 37_746}, "without the images that lack a viewpoint label"),
        ("veri", {"train_ids": 500}, "575 or 576 training identities expected, 500 found"),
        ("VehicleID", {"query_images": 800}, "query and gallery swapped"),
        ("occ_duke", {"query_images": 2_000}, "incomplete copy or a subset"),
        ("occ_duke", {"query_images": 9_999}, "2,210 query images expected, 9,999 found"),
    ],
)
def test_warning_explains_a_deviation(name, changes, message):
    warning, *_ = check_sizes(make_splits(name, **changes), BENCHMARKS)
    assert warning.startswith(f"{name}: ")
    assert message in warning


@pytest.mark.parametrize(
    ("name", "actual"),
    [("market1501", "dukemtmc"), ("occ_duke", "dukemtmc"), ("VehicleID", "VehicleID_1600")],
)
def test_sizes_of_another_data_set_are_recognized(name, actual):
    found = make_splits(actual)
    warnings = check_sizes(DataSplits(name, found.train, found.query, found.gallery), BENCHMARKS)
    assert f"these are the sizes of {actual}" in warnings[-1]


def test_sibling_with_the_same_training_set_is_not_suggested():
    warnings = check_sizes(make_splits("VehicleID", query_images=5_000), BENCHMARKS)
    assert len(warnings) == 1


def test_own_data_is_not_checked():
    assert check_sizes(DataSplits("cows", [], [], []), BENCHMARKS) == []
