"""The plot of a verification shows its numbers and the rates of the threshold."""

import os
from functools import partial

import numpy as np
import pytest
from matplotlib.patches import StepPatch
from PIL import Image

from config.text import printable
from processor.metrics.distance import distmat_blocks
from processor.metrics.identities import Identities
from processor.metrics.verification import OperatingPoint, verify
from processor.metrics.working_memory import WorkingMemory
from processor.pictures.figure import save_figure
from processor.pictures.verification import describe_point, draw_verification
from processor.results.threshold import recommend


@pytest.fixture(scope="module")
def found():
    """100 queries, 100 gallery images of 10 identities: 1,000 genuine and 9,000 impostor pairs."""
    rng = np.random.default_rng(0)
    pids = np.arange(100) % 10
    same = pids[:, None] == pids
    distmat = np.where(same, rng.normal(0.3, 0.1, same.shape), rng.normal(1.0, 0.2, same.shape))
    distmat = distmat.clip(0.01).astype(np.float32)
    ids = Identities.check(pids, pids, np.zeros(100), np.ones(100))
    return verify(partial(distmat_blocks, distmat), ids, WorkingMemory())


def test_distances_and_rates_are_drawn(found, tmp_path):
    recommended = recommend(found, 1e-3)
    figure = draw_verification(found, recommended, "a title")
    left, right = figure.axes
    labels = left.get_legend_handles_labels()[1]
    assert labels == [
        "same identity: 1,000 pairs",
        "different identities: 9,000 pairs",
        f"recommended threshold {recommended.point.threshold:.4f}",
        "accepted pairs",
    ]
    (line,) = left.lines
    assert line.get_xdata()[0] == recommended.point.threshold
    (curve, *_) = right.lines
    far, tar = curve.get_xdata(), curve.get_ydata()
    for rate in (0.5, 0.05, 0.003):
        assert tar[np.searchsorted(far, rate, side="right") - 1] == found.counts.at_far(rate).tar
    labels = right.get_legend_handles_labels()[1]
    assert f"accepts {found.at_far[1e-2].tar:.1%} at 1% false accepts" in labels
    assert f"equal error rate {found.eer:.1%}" in labels
    assert "fewer than 30 false accepts: unreliable" in labels  # below 30 / 9,000
    figure.savefig(tmp_path / "plot.png")


def test_histograms_have_area_one(found):
    left, _ = draw_verification(found, recommend(found, 1e-3), "").axes
    histograms = [patch for patch in left.patches if isinstance(patch, StepPatch)]
    assert len(histograms) == 4  # filled and outlined, of both kinds of pairs
    for patch in histograms:
        values, edges, _ = patch.get_data()
        assert (values * np.diff(edges)).sum() == pytest.approx(1)


def test_plot_gives_the_rates_of_the_threshold(found):
    sentence = describe_point(OperatingPoint(threshold=0.0742, far=0.001, tar=0.0872))
    expected = "accepts 8.7% of the same-identity pairs at 0.1% false accepts."
    assert sentence == f"Threshold 0.0742 {expected}"
    recommended = recommend(found, 1e-2)
    figure = draw_verification(found, recommended, "a title")
    assert figure.get_suptitle() == f"a title\n{describe_point(recommended.point)}"


def test_without_a_recommendation_the_plot_says_why_and_has_no_line(found, tmp_path):
    figure = draw_verification(found, None, "a title")
    assert figure.get_suptitle().startswith("a title\nNo threshold recommended: the distances do")
    left, right = figure.axes
    assert len(left.lines) == 0
    labels = [*left.get_legend_handles_labels()[1], *right.get_legend_handles_labels()[1]]
    assert not [label for label in labels if "recommended" in label or label == "accepted pairs"]
    figure.savefig(tmp_path / "plot.png")


@pytest.mark.parametrize("title", ["a $x^{$ b", "$", os.fsdecode(b"Jos\xe9"), "a\x1b"])
def test_any_name_can_be_a_title(found, tmp_path, title):
    figure = draw_verification(found, recommend(found, 1e-3), title)
    save_figure(figure, tmp_path / "plot.png")
    assert figure.get_suptitle().startswith(printable(title))
    assert Image.open(tmp_path / "plot.png").width > 100
