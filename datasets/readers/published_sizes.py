"""Published sizes of the benchmarks, and what a tree of another size looks like."""

from __future__ import annotations

from dataclasses import dataclass

from datasets.records import DataSplits

Choices = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PublishedCounts:
    """Sizes of one benchmark; several values where sources differ."""

    train_ids: Choices
    train_images: Choices
    query_ids: Choices
    query_images: Choices
    gallery_images: Choices


PUBLISHED: dict[str, PublishedCounts] = {
    "market1501": PublishedCounts((751,), (12_936,), (750,), (3_368,), (15_913,)),
    "dukemtmc": PublishedCounts((702,), (16_522,), (702,), (2_228,), (17_661,)),
    "occ_duke": PublishedCounts((702,), (15_618,), (519,), (2_210,), (17_661,)),
    "msmt17": PublishedCounts((1_041,), (32_621,), (3_060,), (11_659,), (82_161,)),
    "occ_reid": PublishedCounts((), (), (200,), (), ()),
    "p_dukemtmc": PublishedCounts((665,), (12_927,), (634,), (2_163,), ()),
    "cuhk01": PublishedCounts((971,), (3_884,), (), (), ()),
    "cuhk02": PublishedCounts((1_577,), (), (239,), (), ()),
    "cuhk03": PublishedCounts((767,), (7_365,), (700,), (1_400,), (5_332,)),
    "cuhk03_labeled": PublishedCounts((767,), (7_368,), (700,), (1_400,), ()),
    # Images differ from split to split; a test person may lack one view.
    "cuhk03_classic": PublishedCounts((1_367,), (), (), (), ()),
    "cuhk03_classic_labeled": PublishedCounts((1_367,), (), (), (), ()),
    "cuhk_sysu": PublishedCounts((11_934,), (34_574,), (), (), ()),
    "viper": PublishedCounts((316,), (632,), (316,), (316,), (316,)),
    "prid": PublishedCounts((100,), (200,), (100,), (100,), (649,)),
    "grid": PublishedCounts((125,), (250,), (125,), (125,), (900,)),
    # Training images depend on the split: identities have different numbers of images.
    "ilids": PublishedCounts((59,), (), (60,), (60,), (60,)),
    "sensereid": PublishedCounts((), (), (522,), (1_040,), (3_388, 3_338)),
    "randperson": PublishedCounts((8_000,), (), (), (), ()),
    "personx": PublishedCounts((410,), (9_840,), (856,), (5_136,), (30_816,)),
    "lpw": PublishedCounts((2_731,), (30_678,), (), (), ()),
    "airport": PublishedCounts((9_651,), (30_243,), (), (), ()),
    "veri_wild": PublishedCounts((30_671,), (277_797,), (3_000,), (), ()),
    "veri_wild_5000": PublishedCounts((30_671,), (277_797,), (5_000,), (), ()),
    "veri_wild_10000": PublishedCounts((30_671,), (277_797,), (10_000,), (), ()),
    "veri": PublishedCounts((575, 576), (37_778,), (200,), (1_678,), (11_579,)),
    # Query identities are those with more than one test image; the sources give none.
    "VehicleID": PublishedCounts((13_164,), (113_346, 110_178), (), (5_693,), (800,)),
    "VehicleID_1600": PublishedCounts((13_164,), (113_346, 110_178), (), (11_777,), (1_600,)),
    "VehicleID_2400": PublishedCounts((13_164,), (113_346, 110_178), (), (17_377,), (2_400,)),
}

LABELS: dict[str, str] = {
    "train_ids": "training identities",
    "train_images": "training images",
    "query_ids": "query identities",
    "query_images": "query images",
    "gallery_images": "gallery images",
}

KNOWN_DEVIATIONS: dict[tuple[str, str, int], str] = {
    ("market1501", "gallery_images", 13_115): "the 2,798 distractors (identity 0) are missing",
    ("market1501", "gallery_images", 515_913): "the 500k distractors are in bounding_box_test",
    ("msmt17", "train_images", 30_248): "only list_train, without the 2,373 images of list_val",
    ("msmt17", "train_images", 2_373): "only list_val, without the 30,248 images of list_train",
    ("cuhk03", "train_images", 7_368): "the labeled pictures",
    ("cuhk03", "gallery_images", 5_328): "the labeled pictures",
    ("cuhk03_labeled", "train_images", 7_365): "the detected pictures",
    ("grid", "gallery_images", 125): "the 775 distractors (identity 0) are missing",
    ("prid", "gallery_images", 100): "the 549 persons whom only camera b saw are missing",
    ("lpw", "train_images", 592_438): "the full set, not the slim one",
    ("veri", "train_images", 37_746): "a copy without the images that lack a viewpoint label",
    ("VehicleID", "query_images", 800): "query and gallery swapped",
    ("VehicleID_1600", "query_images", 1_600): "query and gallery swapped",
    ("VehicleID_2400", "query_images", 2_400): "query and gallery swapped",
}
"""(data set, quantity, value found) -> what such a tree is."""

LARGE_DISTRACTOR_SET = 400_000


def check_counts(splits: DataSplits) -> list[str]:
    """Warnings where a benchmark's size is not the published one; none for other names."""
    published = PUBLISHED.get(splits.name)
    if published is None:
        return []
    found = count(splits)
    warnings = []
    for quantity, label in LABELS.items():
        expected: Choices = getattr(published, quantity)
        if expected and found[quantity] not in expected:
            wanted = " or ".join(f"{value:,}" for value in expected)
            guess = _guess_reason(splits.name, quantity, expected[0], found[quantity])
            warnings.append(
                f"{splits.name}: {wanted} {label} expected, {found[quantity]:,} found{guess}"
            )
    twin = _find_twin(splits.name, found) if warnings else None
    if twin:
        warnings.append(
            f"{splits.name}: these are the counts of {twin}; is the folder the right one?"
        )
    return warnings


def count(splits: DataSplits) -> dict[str, int]:
    """The quantities of `PublishedCounts` as found."""
    return {
        "train_ids": len({sample.pid for sample in splits.train}),
        "train_images": len(splits.train),
        "query_ids": len({sample.pid for sample in splits.query}),
        "query_images": len(splits.query),
        "gallery_images": len(splits.gallery),
    }


def _guess_reason(name: str, quantity: str, expected: int, found: int) -> str:
    known = KNOWN_DEVIATIONS.get((name, quantity, found))
    if known is None and quantity == "gallery_images" and found > expected + LARGE_DISTRACTOR_SET:
        known = "a gallery with extra distractors"
    elif known is None and quantity.endswith("images") and found < expected:
        known = "an incomplete copy or a subset"
    return f": looks like {known}" if known else ""


def _find_twin(name: str, found: dict[str, int]) -> str | None:
    """Another benchmark whose training set or test set is the one found."""
    own = PUBLISHED[name]
    for other, published in PUBLISHED.items():
        for pair in (("train_ids", "train_images"), ("query_images", "gallery_images")):
            differs = any(getattr(published, part) != getattr(own, part) for part in pair)
            if differs and all(found[part] in getattr(published, part) for part in pair):
                return other
    return None
