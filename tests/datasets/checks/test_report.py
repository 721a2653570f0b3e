"""Checks over several splits, the summary of a data set, and the report."""

from datasets.checks.data_sets import Use, check_data_set, summarize
from datasets.checks.fingerprint import TEST, TRAINING, describe_data, fingerprint
from datasets.checks.images import FileFacts
from datasets.checks.report import ERROR, SHOWN, WARNING, Fault, Findings, format_report
from datasets.records import DataSplits, Sample

USE = Use(
    trains=False, tests=True, image_size=(256, 128), ignore_same_camera=True, skip_bad_images=False
)


def split(train, query, gallery):
    """Images `<pid>.jpg` of camera 0, and of camera 1 in the gallery."""
    return DataSplits(
        "halves",
        [Sample(f"{pid}.jpg", pid, 0) for pid in train],
        [Sample(f"{pid}.jpg", pid, 0) for pid in query],
        [Sample(f"{pid}g.jpg", pid, 1) for pid in gallery],
    )


def facts(*broken):
    names = [f"{pid}{end}.jpg" for pid in range(5) for end in ("", "g")]
    return {
        name: FileFacts(0, 0, "", "torn") if name in broken else FileFacts(64, 32, name)
        for name in names
    }


def test_fault_of_several_splits_is_reported_once():
    first, second = split([0, 0], [1, 2], [1, 2]), split([0, 0], [3, 4], [3, 4])
    found = check_data_set([first, second, first], facts("0.jpg", "3.jpg"), USE)
    assert [(fault.kind, fault.where) for fault in found] == [
        ("unreadable file", ("0.jpg: torn",)),
        ("single identity", ("identity 0 (0.jpg)",)),
        ("unreadable file", ("0.jpg: torn", "3.jpg: torn")),
    ]


def test_summary_has_sizes_of_the_first_split_and_both_fingerprints():
    data = split([0, 0, 0, 1], [2], [2, 3])
    numbers = facts("0.jpg") | {"1.jpg": FileFacts(80, 20, "x"), "2.jpg": FileFacts(10, 30, "y")}
    other = split([4], [0], [0])
    assert summarize([data, other], numbers) == {
        **describe_data([data, other], TEST),
        "train_sha256": fingerprint([data], TRAINING),
        "ignore_same_camera": True,
        "images_per_identity": [1, 2, 3],
        "height": [10, 64, 80],
        "width": [20, 31, 32],
    }
    empty = summarize([split([], [], [])], {})
    assert empty["images_per_identity"] == empty["height"] == empty["width"] == []


def test_report_has_errors_first_and_cuts_long_lists():
    faults = [
        Fault(WARNING, "odd", "mine", "7 odd ones", tuple(f"{n}.jpg" for n in range(7)), "look"),
        Fault(ERROR, "broken", "mine", "1 broken one", ("x.jpg",), ""),
    ]
    data = split([0, 1], [2], [2])
    findings = Findings([summarize([data], facts())], faults)
    assert SHOWN == 5
    assert findings.errors == 1
    assert format_report(findings).splitlines() == [
        "halves",
        "  train          2 identities         2 images    1 cameras",
        "  query          1 identities         1 images    1 cameras",
        "  gallery        1 identities         1 images    1 cameras",
        "  images of a training identity: 1 to 1, median 1",
        "  height: 64 to 64 pixels, median 64",
        "  width: 32 to 32 pixels, median 32",
        "  matches from the query's own camera: left out",
        f"  training data {fingerprint([data], TRAINING)[:16]}",
        f"  test data {fingerprint([data], TEST)[:16]}",
        "ERROR broken: mine: 1 broken one",
        "    x.jpg",
        "WARNING odd: mine: 7 odd ones",
        *(f"    {n}.jpg" for n in range(5)),
        "    and 2 more",
        "  -> look",
        "errors: 1, warnings: 1",
    ]
