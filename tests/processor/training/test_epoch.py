"""One epoch: order of batches, meters, stopping, and non-finite losses."""

import logging

import pytest
import torch

from processor.runtime.precision import Precision
from processor.runtime.seeding import random_state
from processor.runtime.signals import StopRequest
from processor.training.epoch import EpochMeters, train_epoch
from processor.training.non_finite import NonFiniteLossError
from processor.training.stage import StageTiming, StepResult


def one_epoch(stage, precision, meters=None, stop=None, **options):
    meters = meters or EpochMeters()
    finished = train_epoch(stage, 1, meters, precision, stop or StopRequest(), **options)
    return finished, meters


def test_one_step_matches_a_hand_worked_case(toy_stage, float32):
    """w = 0, x = 1..4: loss 7.5, gradient -5, step 0.5."""
    stage = toy_stage(sizes=(4,))
    finished, meters = one_epoch(stage, float32)
    assert finished
    assert meters.means() == pytest.approx({"half": 3.75, "rest": 3.75, "accuracy": 0.5})
    assert stage.model.weight.item() == pytest.approx(0.5)


def test_after_step_runs_after_each_weight_update(toy_stage, float32):
    stage = toy_stage(sizes=(4, 1, 3))  # the batch of one image is left out
    one_epoch(stage, float32)
    assert stage.after_steps == [(True, True), (True, True)]


def test_means_are_weighted_by_the_images_of_a_batch():
    meters = EpochMeters()
    meters.add(StepResult({"id": torch.tensor(1.0)}, 3, {"accuracy": torch.tensor(0.0)}))
    meters.add(StepResult({"id": torch.tensor(5.0)}, 1, {"accuracy": torch.tensor(1.0)}))
    assert meters.means() == {"id": 2.0, "accuracy": 0.25}
    assert meters.loss_names == ["id"]
    assert meters.images == 4


def test_meters_continue_from_their_state(toy_stage, float32):
    _, meters = one_epoch(toy_stage(), float32)
    again = EpochMeters.from_state(meters.state_dict(), torch.device("cpu"))
    assert again.means() == meters.means()
    assert again.state_dict() == meters.state_dict()
    assert all(isinstance(v, float) for v in meters.state_dict()["sums"].values())


def test_broken_images_are_counted_and_a_batch_of_one_is_skipped(toy_stage, float32, caplog):
    stage = toy_stage(sizes=(4, 1, 0, 3))
    with caplog.at_level(logging.WARNING):
        finished, meters = one_epoch(stage, float32)
    assert finished
    assert [start for _, start in stage.seen] == [0, 5]
    assert (meters.images, meters.iteration, meters.bad_images) == (7, 4, 2)
    assert "broken1.jpg" in caplog.text
    assert "broken2.jpg" in caplog.text


def test_stop_ends_the_epoch_between_two_batches(toy_stage, float32, stop_after):
    stage = toy_stage(sizes=(4, 4, 2))
    finished, meters = one_epoch(stage, float32, stop=stop_after(2))
    assert not finished
    assert (meters.iteration, meters.images) == (2, 8)
    assert len(stage.seen) == 2


def test_stop_during_the_last_batch_still_finishes_the_epoch(toy_stage, float32, stop_after):
    finished, meters = one_epoch(toy_stage(sizes=(4, 4, 2)), float32, stop=stop_after(3))
    assert finished
    assert meters.iteration == 3


@pytest.mark.parametrize("stopped_after", [0, 1, 2])
def test_epoch_in_two_parts_equals_the_whole(toy_stage, float32, stop_after, stopped_after):
    torch.manual_seed(0)
    whole = toy_stage(noise=1.0)
    _, expected = one_epoch(whole, float32)

    torch.manual_seed(0)
    parts = toy_stage(noise=1.0)
    _, meters = one_epoch(parts, float32, stop=stop_after(stopped_after))
    saved = random_state()
    torch.manual_seed(999)
    finished, meters = one_epoch(parts, float32, meters, random_numbers=saved)
    assert finished
    assert parts.seen == whole.seen
    assert torch.equal(parts.model.weight, whole.model.weight)
    assert meters.means() == expected.means()


def test_nan_loss_names_iteration_and_images_and_leaves_weights_unchanged(toy_stage, float32):
    stage = toy_stage(sizes=(4, 4, 2), bad=1)
    with pytest.raises(NonFiniteLossError) as error:
        one_epoch(stage, float32)
    text = str(error.value)
    for part in ("stage 2", "epoch 1", "iteration 2", "nan", "image4.jpg", "SOLVER.AMP off"):
        assert part in text
    assert error.value.paths == [f"image{i}.jpg" for i in range(4, 8)]
    healthy = toy_stage(sizes=(4,))
    one_epoch(healthy, float32)
    assert torch.equal(stage.model.weight, healthy.model.weight)  # the bad step was not made


def test_infinite_loss_on_a_device_is_found_at_the_end_of_the_epoch(toy_stage, monkeypatch):
    """Where losses are not read at every step, the first bad one is still the one named."""

    class Elsewhere:
        type = "cuda"

    precision = Precision(None, torch.device("cpu"))
    monkeypatch.setattr(precision, "device", Elsewhere())
    monkeypatch.setattr(precision, "autocast", lambda: torch.autocast("cpu", enabled=False))
    stage = toy_stage(sizes=(4, 4, 2, 2), bad=1, timing=StageTiming(1, 100, 1))
    with pytest.raises(NonFiniteLossError, match="iteration 2") as error:
        one_epoch(stage, precision)
    assert error.value.paths[0] == "image4.jpg"
    assert len(stage.seen) == 4


def test_long_batches_are_abbreviated_in_the_message(toy_stage, float32):
    with pytest.raises(NonFiniteLossError, match=r"on 6 images \(image0\.jpg, .*, \.\.\.\)"):
        one_epoch(toy_stage(sizes=(6,), bad=0), float32)


def test_log_file_has_a_line_every_log_period(toy_stage, float32, caplog):
    stage = toy_stage(sizes=(4, 4, 4, 4, 4), timing=StageTiming(3, 2, 1))
    with caplog.at_level(logging.DEBUG, logger="processor.training.epoch"):
        one_epoch(stage, float32)
    lines = [record.getMessage() for record in caplog.records]
    assert [record.levelno for record in caplog.records] == [logging.DEBUG, logging.DEBUG]
    assert lines[0].startswith("stage 2 epoch 1/3 [2/5] half ")
    for part in ("rest ", "accuracy 0.500", "lr 0.1", "images/s"):
        assert part in lines[0]
