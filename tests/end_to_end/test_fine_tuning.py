"""A finished run's checkpoint as the start of another run, with labels or without."""

import json

import pytest

pytestmark = pytest.mark.slow

ONE_EPOCH = ("SOLVER.STAGE1.MAX_EPOCHS", "1", "SOLVER.STAGE2.MAX_EPOCHS", "1")


@pytest.fixture
def from_checkpoint(straight):
    return (
        *("MODEL.PRETRAIN_CHOICE", "clip", "MODEL.PRETRAIN_PATH", str(straight / "last.pth")),
        *("TEST.BEFORE_TRAINING", "True", *ONE_EPOCH),
    )


def average_mAP(file):  # noqa: N802 - as the field spells it
    return json.loads(file.read_text(encoding="utf-8"))["average"]["mAP"]


def test_fine_tuning_starts_at_the_checkpoints_scores(
    script, base_opts, straight, from_checkpoint, tmp_path
):
    finished = script("train_clipreid.py", *base_opts, *from_checkpoint, "OUTPUT_DIR", tmp_path)
    assert finished.status == 0, finished.output
    assert (
        f"pre-trained weights from {straight / 'last.pth'}: loaded BNNecks, image encoder, "
        "prompt words, text encoder; not loaded: classifiers, prompts "
    ) in " ".join(finished.output.split())
    assert "random weights" not in finished.output
    before = average_mAP(tmp_path / "results_before_training.json")
    assert before == average_mAP(straight / "results.json")
    assert before != average_mAP(tmp_path / "results.json")


def test_dsgl_starts_at_the_checkpoints_scores(
    script, base_opts, straight, from_checkpoint, tmp_path
):
    """With DSGL.POOLING clip, the new batch norm is the identity: features keep their direction."""
    finished = script(
        "train_dsgl.py",
        *(*base_opts, *from_checkpoint, "OUTPUT_DIR", tmp_path, "DSGL.POOLING", "clip"),
        *("DSGL.ITERS", "2", "DSGL.K1", "6", "DSGL.K2", "2", "SOLVER.STAGE2.IMS_PER_BATCH", "8"),
    )
    assert finished.status == 0, finished.output
    assert (
        f"pre-trained weights from {straight / 'last.pth'}: loaded image encoder; not loaded: "
        "BNNecks; ignored: classifiers, prompts, prompt words, text encoder "
    ) in " ".join(finished.output.split())
    before = average_mAP(tmp_path / "results_before_training.json")
    assert before == pytest.approx(average_mAP(straight / "results.json"), abs=1e-4)
