"""Curves of runs: what is drawn, from which lines."""

import json
import math

import pytest

from processor.pictures.curves import default_keys, draw_curves
from processor.runtime.run_folder import read_metrics_file

TIMES = {"images_per_second": 9.0, "seconds": 1.0}
RUN = [
    {"stage": 1, "epoch": 1, "loss": 3.0, "i2t": 2.0, "t2i": 1.0, "lr": 0.1, **TIMES},
    {"stage": 1, "epoch": 2, "loss": 2.0, "i2t": 1.5, "t2i": 0.5, "lr": 0.01, **TIMES},
    {"stage": 2, "epoch": 1, "loss": 5.0, "id": 5.0, "accuracy": 0.25, "lr": 0.1, "hits": 2.0},
    {"stage": 2, "epoch": 2, "loss": None, "id": None, "accuracy": 0.5, "lr": 0.0, "mAP": 0.75},
]


def panels(figure):
    """(stage title, axes' title) -> [(x, y) of every curve]."""
    found = {}
    for part in figure.subfigs:
        for axes in part.axes:
            if axes.axison:
                curves = [(list(c.get_xdata()), list(c.get_ydata())) for c in axes.lines]
                found[part.get_suptitle(), axes.get_title()] = curves
    return found


def test_losses_stand_between_loss_and_lr():
    assert default_keys({"a": RUN}) == ["loss", "i2t", "t2i", "id", "accuracy", "mAP", "hits", "lr"]
    assert default_keys({"a": RUN[:2]}) == ["loss", "i2t", "t2i", "lr"]


def test_every_stage_shows_what_it_has():
    drawn = panels(draw_curves({"a": RUN}, default_keys({"a": RUN})))
    prompts, images = "stage 1: prompts", "stage 2: images"
    assert [title for stage, title in drawn if stage == prompts] == [
        *("loss, all together", "i2t", "t2i", "learning rate")
    ]
    assert drawn[prompts, "i2t"] == [([1, 2], [2.0, 1.5])]
    assert drawn[images, "accuracy [%]"] == [([1, 2], [25.0, 50.0])]
    assert drawn[images, "mAP [%]"] == [([2], [75.0])]
    (epochs, values), *_ = drawn[images, "id"]
    assert epochs == [1, 2]
    assert values[0] == 5.0
    assert math.isnan(values[1])  # a value that was not finite is a gap


def test_runs_keep_their_colours_where_one_has_nothing():
    figure = draw_curves({"a": RUN[:2], "b": RUN}, ["loss"])
    first, second = figure.subfigs
    colours = [[line.get_color() for line in part.axes[0].lines] for part in (first, second)]
    assert colours[0] == colours[1]
    assert len(set(colours[0])) == 2
    assert [len(line.get_xdata()) for line in second.axes[0].lines] == [0, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_stage_without_labels_is_drawn():
    line = {"stage": "dsgl", "epoch": 1, "loss": 1.0, "cluster": 1.0, "lr": 0.1}
    drawn = panels(draw_curves({"a": [line]}, ["cluster"]))
    assert drawn == {("DSGL: without labels", "cluster"): [([1], [1.0])]}


def test_too_many_runs_and_nothing_to_draw_are_errors():
    with pytest.raises(ValueError, match="9 runs: at most 8"):
        draw_curves({str(i): RUN for i in range(9)}, ["loss"])
    with pytest.raises(ValueError, match="no epoch's line has mINP"):
        draw_curves({"a": RUN}, ["mINP"])


def test_unfinished_line_is_left_out_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(RUN[0]) + "\n" + '{"stage": 1, "ep')
    assert read_metrics_file(path) == RUN[:1]
    path.write_text('{"stage": 1, "ep\n' + json.dumps(RUN[0]) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1: not JSON"):
        read_metrics_file(path)
