"""Runs whose batches hold look-alikes."""

import json

import pytest
import torch

from config import ConfigError, load_cfg
from processor.runtime.signals import Interrupted
from processor.training import trainer

TIMING = {"images_per_second", "seconds", "graph_seconds", "plan_seconds"}


def metrics_of(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in TIMING} for line in lines]


@pytest.mark.parametrize(
    ("sampler", "walk", "features"),
    [
        ("dfgs_text", "depth_first", ""),
        ("dfgs_image", "balanced", ""),
        ("dfgs_text", "greedy", "both"),
        ("gs_text", "depth_first", ""),
        ("gs_image", "depth_first", "both"),
    ],
)
def test_sampler_fills_batches_with_look_alikes(train_in, tmp_path, sampler, walk, features):
    options = (
        *("DATALOADER.DFGS.WALK", walk, "DATALOADER.DFGS.FEATURES", features),
        *("DATALOADER.DFGS.NUM_NEIGHBOURS", "5", "DATALOADER.DFGS.IMAGES_PER_ID", "2"),
    )
    report = train_in(tmp_path, "DATALOADER.SAMPLER", sampler, *options)
    for line in metrics_of(tmp_path)[2:]:
        assert line["hits"] > line["random_hits"]
        assert line["identity_coverage"] == 1
        assert line["domains"] == line["domains_per_batch"] == 1
        assert line["batches"] * 32 == line["images"]
        assert line["longest_stretch"] == line["batches"]
    assert report.average()["mAP"] > 0


@pytest.mark.parametrize("sampler", ["dfgs_image", "dfgs_text"])
@pytest.mark.parametrize("moment", [(1, 1), (2, 1)])
def test_run_with_a_graph_resumes_bit_identically(train_in, tmp_path, monkeypatch, sampler, moment):
    """Within an epoch the graph cannot be rebuilt: the encoder has changed."""
    options = ("DATALOADER.SAMPLER", sampler, "DATALOADER.DFGS.NUM_NEIGHBOURS", "5")
    train_in(tmp_path / "straight", *options)
    original = trainer.train_epoch

    class Stop:
        requested = False

    def stop_early(stage, epoch, meters, precision, stop, random_numbers=None):
        if (stage.name, epoch) != (2, moment[0]):
            return original(stage, epoch, meters, precision, stop, random_numbers)
        counted = Stop()
        losses = stage.compute_losses

        def counting(batch):
            counted.requested = meters.iteration >= moment[1]
            return losses(batch)

        stage.compute_losses = counting
        return original(stage, epoch, meters, precision, counted, random_numbers)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train_epoch", stop_early)
        with pytest.raises(Interrupted):
            train_in(tmp_path / "stopped", *options)
    train_in(tmp_path / "stopped", *options, "SOLVER.RESUME", "auto")
    one, other = (
        torch.load(tmp_path / name / "last.pth", weights_only=True)["model"]
        for name in ("straight", "stopped")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert metrics_of(tmp_path / "straight") == metrics_of(tmp_path / "stopped")


def test_text_graph_needs_prompts():
    with pytest.raises(ConfigError, match=r"DATALOADER.SAMPLER: dfgs_text needs learned prompts"):
        load_cfg(None, ["DATALOADER.SAMPLER", "dfgs_text", "MODEL.TEXT_TOWER", "False"])
