"""Curves of runs: the points drawn, from which lines, and their looks."""

import json
import math

import numpy as np
import pytest

from processor.pictures.curve_panels import Run, default_keys, mean_of_runs
from processor.pictures.curves import draw_curves
from processor.runtime.metrics_file import read_metrics_file

TIMES = {"images_per_second": 9.0, "seconds": 1.0}
RUN = [
    {"stage": 1, "epoch": 1, "loss": 3.0, "i2t": 2.0, "t2i": 1.0, "lr": 0.1, **TIMES},
    {"stage": 1, "epoch": 2, "loss": 2.0, "i2t": 1.5, "t2i": 0.5, "lr": 0.01, **TIMES},
    {"stage": 2, "epoch": 1, "loss": 5.0, "id": 5.0, "accuracy": 0.25, "lr": 0.1, "hits": 2.0},
    {"stage": 2, "epoch": 2, "loss": None, "id": None, "accuracy": 0.5, "lr": 0.0, "mAP": 0.75},
]
TWO_TARGETS = [
    {"stage": 2, "epoch": 0, "mAP": 0.15, "street/mAP": 0.1, "mall/mAP": 0.2},
    {"stage": 2, "epoch": 1, "loss": 1.0, "lr": 0.1, "hits": 4.0, "random_hits": 1.5},
    {"stage": 2, "epoch": 2, "loss": 1.0, "lr": 0.1, "hits": 3.0, "random_hits": 1.0}
    | {"mAP": 0.6, "street/mAP": 0.75, "mall/mAP": 0.45},
]
PROMPTS, IMAGES = "Stage 1: prompts", "Stage 2: image encoder"


def drawn(figure):
    """(stage title, axes' title) -> axes."""
    titles = {text.get_text() for text in figure.texts}
    assert {axes.get_label() for axes in figure.axes} <= titles
    return {(axes.get_label(), axes.get_title()): axes for axes in figure.axes}


def panels(figure):
    """(stage title, axes' title) -> [(x, y) of every curve]."""
    return {
        where: [(list(c.get_xdata()), list(c.get_ydata())) for c in axes.lines]
        for where, axes in drawn(figure).items()
    }


def draw(lines, *keys):
    return draw_curves({"a": Run(lines)}, keys)


def test_losses_come_between_loss_and_lr():
    keys = default_keys({"a": Run(RUN)})
    assert keys == ["loss", "i2t", "t2i", "id", "accuracy", "mAP", "hits", "lr"]
    assert default_keys({"a": Run(RUN[:2])}) == ["loss", "i2t", "t2i", "lr"]
    assert default_keys({"a": Run(TWO_TARGETS)}) == ["loss", "mAP", "hits", "lr"]


def test_every_stage_shows_its_quantities_in_words():
    found = panels(draw(RUN, *default_keys({"a": Run(RUN)})))
    assert [title for stage, title in found if stage == PROMPTS] == [
        *("total loss", "image-to-text loss", "text-to-image loss", "learning rate")
    ]
    assert found[PROMPTS, "image-to-text loss"] == [([1, 2], [2.0, 1.5])]
    assert found[IMAGES, "training accuracy [%]"] == [([1, 2], [25.0, 50.0])]
    assert found[IMAGES, "mAP [%]"] == [([2], [75.0])]
    (epochs, values), *_ = found[IMAGES, "identity loss"]
    assert epochs == [1, 2]
    assert values[0] == 5.0
    assert math.isnan(values[1])  # a value that was not finite is a gap


def test_every_target_has_a_curve_from_epoch_0():
    figure = draw(TWO_TARGETS, "mAP")
    title = "mAP [%], epoch 0 = before training"
    assert panels(figure) == {(IMAGES, title): [([0, 2], [10, 75]), ([0, 2], [20, 45])]}
    axes = drawn(figure)[IMAGES, title]
    assert axes.get_ylim()[0] == 0
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["street", "mall"]
    street, mall = axes.lines
    assert street.get_linestyle() != mall.get_linestyle()
    assert street.get_marker() != mall.get_marker()
    assert street.get_color() != mall.get_color()


def test_a_run_with_one_target_keeps_its_curve_next_to_a_run_with_two():
    one = [{"stage": 2, "epoch": 2, "loss": 1.0, "lr": 0.1, "mAP": 0.5}]
    figure = draw_curves({"two": Run(TWO_TARGETS), "one": Run(one)}, ["mAP"])
    (axes,) = drawn(figure).values()
    assert [list(line.get_ydata()) for line in axes.lines] == [[10, 75], [20, 45], [50]]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["street", "mall", "single target"]


def test_hits_of_random_batches_are_dashed_on_an_axis_from_0():
    ((_, axes),) = drawn(draw(TWO_TARGETS, "hits")).items()
    sampler, random = axes.lines
    assert (list(sampler.get_ydata()), list(random.get_ydata())) == ([4.0, 3.0], [1.5, 1.0])
    assert (sampler.get_linestyle(), random.get_linestyle()) == ("-", "--")
    assert axes.get_ylim()[0] == 0
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["this sampler", "random batches"]


def test_runs_keep_their_colours_where_one_has_nothing():
    figure = draw_curves({"a": Run(RUN[:2]), "b": Run(RUN)}, ["loss"])
    colours = [[line.get_color() for line in axes.lines] for axes in figure.axes]
    assert len(set(colours[0])) == 2
    assert colours[1] == colours[0][1:]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    alone = draw(RUN, "loss")
    assert alone.legends == []
    assert "Training curves: a" in [text.get_text() for text in alone.texts]


def test_equal_runs_are_both_visible():
    """The lower curve of two equal ones is wider; curves that differ are equally wide."""
    other = [{**line, "loss": 9.0} for line in RUN]
    figure = draw_curves({"a": Run(RUN), "b": Run(RUN), "c": Run(other)}, ["loss"])
    for axes in figure.axes:
        below, above, different = axes.lines
        assert below.get_linewidth() >= above.get_linewidth() + 2
        assert below.get_color() != above.get_color()
        assert below.get_zorder() <= above.get_zorder()
        assert above.get_linewidth() == different.get_linewidth()


def test_mean_of_runs_is_taken_over_epochs_and_keys_that_all_have():
    second = [
        {**RUN[0], "i2t": 4.0, "loss": 4.0},
        {**RUN[1], "i2t": None, "loss": 8.0, "extra": 1.0},
    ]
    mean = mean_of_runs([RUN, second])
    first, last = mean.lines
    assert (first["stage"], first["epoch"], first["i2t"], first["loss"]) == (1, 1, 3.0, 3.5)
    assert last["loss"] == 5.0
    assert "i2t" not in last
    assert "extra" not in last
    assert [line["loss"] for line in mean.least] == [3.0, 2.0]
    assert [line["loss"] for line in mean.most] == [4.0, 8.0]


def test_mean_has_a_band_from_the_smallest_to_the_largest_value():
    second = [{**line, "loss": line["loss"] + 2} for line in RUN[:2]]
    figure = draw_curves({"mean of a, b": mean_of_runs([RUN[:2], second])}, ["loss"])
    (axes,) = drawn(figure).values()
    assert list(axes.lines[0].get_ydata()) == [4.0, 3.0]
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert {tuple(corner) for corner in corners} == {(1, 3), (1, 5), (2, 2), (2, 4)}
    assert np.ptp(corners[:, 1]) == 3


def test_stage_without_labels_is_drawn():
    line = {"stage": "dsgl", "epoch": 1, "loss": 1.0, "cluster": 1.0, "lr": 0.1}
    assert panels(draw([line], "cluster")) == {
        ("DSGL: training without labels", "cluster"): [([1], [1.0])]
    }


def test_too_many_runs_and_nothing_to_draw_are_errors():
    with pytest.raises(ValueError, match="9 runs: at most 8"):
        draw_curves({str(i): Run(RUN) for i in range(9)}, ["loss"])
    with pytest.raises(ValueError, match="no epoch's line has mINP"):
        draw(RUN, "mINP")


def test_unfinished_line_is_left_out_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(RUN[0]) + "\n" + '{"stage": 1, "ep')
    assert read_metrics_file(path) == RUN[:1]
    path.write_text('{"stage": 1, "ep\n' + json.dumps(RUN[0]) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1: not JSON"):
        read_metrics_file(path)


def test_axes_of_many_quantities_and_stages_lie_beside_each_other():
    stages = [(stage, epoch) for stage in (0, 1, 2) for epoch in (1, 2)]
    lines = [
        {"stage": stage, "epoch": epoch, **{f"q{i}": 1.0 * epoch for i in range(7)}}
        for stage, epoch in stages
    ]
    figure = draw_curves({"a": Run(lines)}, [f"q{i}" for i in range(7)])
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == 21
    for number, box in enumerate(boxes):
        assert 0 <= box.x0 < box.x1 <= 1
        assert 0 <= box.y0 < box.y1 <= 1
        for other in boxes[:number]:
            apart = box.x1 < other.x0 or box.x0 > other.x1 or box.y1 < other.y0 or box.y0 > other.y1
            assert apart


def test_shares_that_are_always_0_are_not_drawn_by_default():
    lines = [
        {"stage": 2, "epoch": epoch, "loss": 1.0, "id": 1.0, "odd": 0.0, "late": share, "lr": 0.1}
        for epoch, share in ((1, 0.0), (2, 0.5))
    ]
    assert default_keys({"a": Run(lines)}) == ["loss", "id", "late", "lr"]
    assert default_keys({"a": Run(lines[:1])}) == ["loss", "id", "lr"]
