"""Stage 0: the image encoder before the prompts."""

import json

import pytest
import torch

from config import ConfigError, load_cfg
from processor.runtime.signals import Interrupted
from processor.training import trainer
from solver.build import build_image_schedule

PRIOR = ("SOLVER.STAGE0.MAX_EPOCHS", "2", "DATALOADER.SAMPLER", "dfgs_text")
TIMING = {"images_per_second", "seconds", "graph_seconds", "plan_seconds"}


def metrics_of(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in TIMING} for line in lines]


def weights_of(file):
    return torch.load(file, weights_only=True)["model"]


@pytest.fixture(scope="module")
def run(train_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    train_in(folder, *PRIOR)
    return folder


def test_stages_run_in_order(run):
    lines = metrics_of(run)
    assert [(line["stage"], line["epoch"]) for line in lines] == [
        (0, 1),
        (0, 2),
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert "i2t" not in lines[0]
    assert {"id", "triplet", "accuracy"} <= set(lines[0])
    assert "hits" not in lines[0]  # random identities
    assert "hits" in lines[-1]


def test_prior_stage_trains_only_the_image_encoder(run):
    (file,) = run.glob("*_stage0_2.pth")
    (after,) = run.glob("*_stage1_2.pth")
    prior, prompts = weights_of(file), weights_of(after)
    changed = {name for name in prior if not torch.equal(prior[name], prompts[name])}
    assert changed == {"prompt_learner.cls_ctx"}  # by stage 1
    last = weights_of(run / "last.pth")
    assert not torch.equal(prior["image_encoder.conv1.weight"], last["image_encoder.conv1.weight"])


@pytest.mark.parametrize("moment", [(0, 1, 1), (0, 2, 3), (1, 1, 1), (2, 1, 1)])
def test_resumes_bit_identically(run, train_in, tmp_path, monkeypatch, moment):
    original = trainer.train_epoch

    class Stop:
        left = moment[2]

        @property
        def requested(self):
            self.left -= 1
            return self.left < 0

    def stop_early(stage, epoch, meters, precision, stop, random_numbers=None):
        if (stage.name, epoch) != moment[:2]:
            return original(stage, epoch, meters, precision, stop, random_numbers)
        finished = original(stage, epoch, meters, precision, Stop(), random_numbers)
        stop.requested = True
        return finished

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train_epoch", stop_early)
        with pytest.raises(Interrupted):
            train_in(tmp_path, *PRIOR)
    train_in(tmp_path, *PRIOR, "SOLVER.RESUME", "auto")
    assert metrics_of(tmp_path) == metrics_of(run)
    one, other = weights_of(run / "last.pth"), weights_of(tmp_path / "last.pth")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert sorted(f.name for f in tmp_path.glob("*.pth")) == sorted(
        f.name for f in run.glob("*.pth")
    )


def test_learned_prompts_skip_the_prior_stage(run, train_in, tmp_path):
    (file,) = run.glob("*_stage1_2.pth")
    train_in(tmp_path, *PRIOR, "SOLVER.STAGE1.WEIGHT", str(file))
    assert [line["stage"] for line in metrics_of(tmp_path)] == [2, 2]
    assert metrics_of(tmp_path) == metrics_of(run)[4:]


def test_prompts_are_refused_for_a_run_stopped_in_the_prior_stage(
    run, train_in, tmp_path, monkeypatch
):
    (prompts,) = run.glob("*_stage1_2.pth")

    def stopped(*_):
        raise Interrupted

    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_close_epoch", stopped)
        with pytest.raises(Interrupted):
            train_in(folder, *PRIOR)
    with pytest.raises(ConfigError, match="stopped inside stage 0"):
        train_in(folder, *PRIOR, "SOLVER.RESUME", "auto", "SOLVER.STAGE1.WEIGHT", str(prompts))


def test_options_that_contradict_each_other_are_refused():
    no_triplet = ["MODEL.ID_LOSS_WEIGHT", "0", "MODEL.METRIC_LOSS_TYPE", "none"]
    with pytest.raises(ConfigError, match="ID_LOSS_WEIGHT: 0 leaves"):
        load_cfg(None, ["SOLVER.STAGE0.MAX_EPOCHS", "1", *no_triplet])
    load_cfg(None, no_triplet)  # image to text is left
    with pytest.raises(ConfigError, match="ID_LOSS_WEIGHT: 0 leaves"):
        load_cfg(None, ["MODEL.TEXT_TOWER", "False", *no_triplet])
    with pytest.raises(ConfigError, match=r"TRIPLET_FEATURES: .'middle'"):
        load_cfg(None, ["MODEL.TRIPLET_FEATURES", "('middle',)"])
    with pytest.raises(ConfigError, match=r"JITTER: .* 4 numbers"):
        load_cfg(None, ["INPUT.JITTER", "[0.1, 0.1]"])
    with pytest.raises(ConfigError, match="MUTUAL: a batch of gs_"):
        load_cfg(
            None,
            [
                *("DATALOADER.SAMPLER", "gs_image", "SOLVER.STAGE2.IMS_PER_BATCH", "64"),
                *("DATALOADER.DFGS.MUTUAL", "True"),
            ],
        )


def test_recipe_of_clip_dfgs_trains(train_in, tmp_path):
    """Its losses, augmentations and evaluation, on the tiny model."""
    train_in(
        tmp_path,
        *PRIOR,
        *("MODEL.ID_LOSS_WEIGHT", "0", "MODEL.TRIPLET_LOSS_WEIGHT", "2", "MODEL.NO_MARGIN", "True"),
        *("MODEL.TRIPLET_FEATURES", "('final', 'projected')", "TEST.FEAT_NORM", "False"),
        *("INPUT.NORMALIZATION", "instance", "INPUT.TEST_INTERPOLATION", "bicubic"),
        *("INPUT.GRAYSCALE_PROB", "0.1", "INPUT.JITTER_PROB", "0.1", "INPUT.AUGMIX_PROB", "0.6"),
        *("DATALOADER.DFGS.MUTUAL", "True", "DATALOADER.DFGS.ROTATE_DOMAINS", "True"),
        *("DATALOADER.DFGS.MAX_VISITS", "1"),
    )
    lines = metrics_of(tmp_path)
    assert "id" not in lines[0]
    assert set(lines[-1]) >= {"triplet", "i2t", "hits", "mAP"}
    assert not json.loads((tmp_path / "results.json").read_text())["protocol"]["normalized"]


SHARED = (*PRIOR, "SOLVER.STAGE0.SHARE_OPTIMIZER", "True", "SOLVER.STAGE2.STEPS", "(4,)")


@pytest.fixture(scope="module")
def shared_run(train_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    train_in(folder, *SHARED)
    return folder


def test_shared_schedule_goes_on_from_the_prior_stage(run, shared_run):
    """Two epochs of stage 0, so stage 2 has the rates of epochs 3 and 4, with a step at 4."""
    rates = [line["lr"] for line in metrics_of(shared_run) if line["stage"] != 1]
    assert rates == pytest.approx([5e-4, 5e-4, 5e-4, 5e-5])
    alone = [line["lr"] for line in metrics_of(run) if line["stage"] == 2]
    assert alone == pytest.approx([5e-4, 5e-4])


def test_shared_optimizer_keeps_its_moments(shared_run, run):
    def steps(folder):
        state = torch.load(folder / "last.pth", weights_only=True)["training"]["optimizers"][0]
        return {int(moments["step"]) for moments in state["state"].values()}

    batches = [line["batches"] for line in metrics_of(shared_run) if line["stage"] != 1]
    assert max(steps(shared_run)) == sum(batches)
    assert max(steps(run)) == sum(line["batches"] for line in metrics_of(run) if line["stage"] == 2)


@pytest.mark.parametrize("moment", [(0, 2, 3), (1, 1, 1), (2, 1, 1)])
def test_shared_optimizer_resumes_bit_identically(
    shared_run, train_in, tmp_path, monkeypatch, moment, stop_after
):
    original = trainer.train_epoch

    def stop_early(stage, epoch, meters, precision, stop, random_numbers=None):
        if (stage.name, epoch) != moment[:2]:
            return original(stage, epoch, meters, precision, stop, random_numbers)
        request = stop_after(moment[2])
        finished = original(stage, epoch, meters, precision, request, random_numbers)
        stop.requested = True
        return finished

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train_epoch", stop_early)
        with pytest.raises(Interrupted):
            train_in(tmp_path, *SHARED)
    train_in(tmp_path, *SHARED, "SOLVER.RESUME", "auto")
    assert metrics_of(tmp_path) == metrics_of(shared_run)
    one, other = weights_of(shared_run / "last.pth"), weights_of(tmp_path / "last.pth")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_shared_schedule_has_the_rates_of_the_release():
    """One schedule through stage 0 and stage 2: the published recipe drops in epochs 29 and 49."""
    cfg = load_cfg("configs/person/vit_dfgs_text.yml")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([{"params": [weight], "lr": 5e-6}])
    schedule = build_image_schedule(cfg, optimizer, cfg.SOLVER.STAGE0.MAX_EPOCHS)

    def rate(epoch):
        schedule.step(epoch)
        return optimizer.param_groups[0]["lr"]

    assert rate(1) == pytest.approx(5e-6 * (0.1 * 0.8 + 0.2))  # epoch 2 of 10 of the warm-up
    assert rate(9) == pytest.approx(5e-6)
    assert [rate(epoch) for epoch in (28, 29, 48, 49)] == pytest.approx([5e-6, 5e-7, 5e-7, 5e-8])
