"""A run that was stopped or killed and resumed ends with the weights of one that was not."""

import json
import os
import random
import shutil
import signal
import time

import pytest
import torch

from config import ConfigError
from processor import experiment
from processor.checkpoints.load import open_model
from processor.checkpoints.slim import save_slim
from processor.runtime.signals import Interrupted
from processor.training import build, trainer

pytestmark = pytest.mark.slow

AVERAGED = ("SOLVER.EMA", "0.8", "SOLVER.STAGE2.CHECKPOINT_PERIOD", "2")
TIMING = ("seconds", "images_per_second", "plan_seconds")
NUM_BATCHES = 3  # of an epoch, in both stages


@pytest.fixture(scope="module")
def averaged_run(train_in, tmp_path_factory):
    """Folder of an uninterrupted run that averages its weights."""
    folder = tmp_path_factory.mktemp("averaged")
    train_in(folder, *AVERAGED)
    return folder


@pytest.fixture
def stopped(monkeypatch, train_in, stop_after):
    """`stopped(folder, stage, epoch, batches, *opts)`: a run stopped after that many batches."""

    def run(folder, stage_name, stop_epoch, num_batches, *opts):
        def train_epoch(stage, epoch, meters, precision, stop, random_numbers=None):
            if (stage.name, epoch) != (stage_name, stop_epoch):
                return original(stage, epoch, meters, precision, stop, random_numbers)
            counted = stop_after(num_batches)
            finished = original(stage, epoch, meters, precision, counted, random_numbers)
            stop.requested = True
            return finished

        original = trainer.train_epoch
        with monkeypatch.context() as patch:
            patch.setattr(trainer, "train_epoch", train_epoch)
            with pytest.raises(Interrupted):
                train_in(folder, *opts)

    return run


def metrics_of(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in TIMING} for line in lines]


def checkpoint_of(folder, name="last.pth"):
    return torch.load(folder / name, weights_only=True)


def assert_same(one, other, where=""):
    """Equal to the last bit, through containers."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}/{place}")
    elif torch.is_tensor(one):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def assert_same_run(one, other):
    """Two folders hold the same weights, optimizer states, metrics, results and files."""
    a, b = checkpoint_of(one), checkpoint_of(other)
    assert_same(dict(a["model"]), dict(b["model"]))
    assert_same(dict(a.get("ema", {})), dict(b.get("ema", {})))
    for part in ("stage", "epoch", "finished", "optimizers", "scaler", "extra"):
        assert_same(a["training"][part], b["training"][part], part)
    assert metrics_of(one) == metrics_of(other)
    kept = sorted(path.name for path in one.glob("*.pth"))
    assert sorted(path.name for path in other.glob("*.pth")) == kept
    for name in kept:
        assert_same(
            dict(checkpoint_of(one, name)["model"]), dict(checkpoint_of(other, name)["model"]), name
        )
    results = [json.loads((folder / "results.json").read_text()) for folder in (one, other)]
    assert results[0] == results[1]


MOMENTS = {
    "before the first batch": (1, 1, 0),
    "in stage 1": (1, 1, 2),
    "in a later epoch of stage 1": (1, 2, 1),
    "after the last batch of stage 1": (1, 2, NUM_BATCHES),
    "before the first batch of stage 2": (2, 1, 0),
    "in stage 2": (2, 1, 2),
    "between two epochs of stage 2": (2, 1, NUM_BATCHES),
    "in the last epoch": (2, 2, 1),
    "after the last batch": (2, 2, NUM_BATCHES),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_and_resumed_run_is_bit_identical(straight, stopped, train_in, tmp_path, moment):
    stopped(tmp_path, *MOMENTS[moment])
    assert not (tmp_path / "results.json").exists()
    train_in(tmp_path, "SOLVER.RESUME", "auto")
    assert_same_run(straight, tmp_path)


@pytest.mark.parametrize("moment", [(2, 1, 2), (2, 1, NUM_BATCHES), (1, 2, 1)])
def test_averaged_weights_are_bit_identical(averaged_run, stopped, train_in, tmp_path, moment):
    stopped(tmp_path, *moment, *AVERAGED)
    train_in(tmp_path, *AVERAGED, "SOLVER.RESUME", "auto")
    assert_same_run(averaged_run, tmp_path)


def test_averaged_weights_are_evaluated_kept_and_chosen(averaged_run, tmp_path):
    """Beside the others, in every file since stage 2, and by TEST.EMA."""
    results = json.loads((averaged_run / "results.json").read_text())
    last = checkpoint_of(averaged_run)
    assert last["ema"].keys() < last["model"].keys()
    assert any(not torch.equal(x, last["model"][name]) for name, x in last["ema"].items())
    assert "ema" not in checkpoint_of(averaged_run, "small_stage1_2.pth")
    assert "averaged weights" in (averaged_run / "log.txt").read_text()
    assert ", averaged weights |" in (averaged_run / "results.md").read_text()
    assert metrics_of(averaged_run)[-1]["ema/mAP"] == results["ema"]["average"]["mAP"]
    for name in ("last.pth", "small_2.pth", "best.pth"):
        loaded = [
            open_model(str(averaged_run / name), None, ["TEST.EMA", str(value)])
            for value in (True, False)
        ]
        found = [dict(one.model.state_dict()) for one in loaded]
        content = checkpoint_of(averaged_run, name)
        assert_same(found[0], {**content["model"], **content["ema"]})
        assert_same(found[1], dict(content["model"]))
    scores = experiment.evaluate(
        None,
        ["TEST.WEIGHT", averaged_run / "last.pth", "TEST.EMA", "True", "OUTPUT_DIR", tmp_path],
    )
    assert scores.average()["mAP"] == pytest.approx(results["ema"]["average"]["mAP"], abs=1e-6)
    save_slim(tmp_path / "slim.pth", str(averaged_run / "last.pth"), None, ["TEST.EMA", "True"])
    slim = open_model(str(tmp_path / "slim.pth")).model.state_dict()
    assert all(torch.equal(slim[name], last["ema"].get(name, x)) for name, x in slim.items())


def test_averaged_weights_that_are_not_there_are_missed(straight):
    with pytest.raises(ConfigError, match=r"TEST\.EMA: .*last\.pth has no averaged weights"):
        open_model(str(straight / "last.pth"), None, ["TEST.EMA", "True"])


def test_run_stopped_three_times_is_bit_identical(straight, stopped, train_in, tmp_path):
    stopped(tmp_path, 1, 1, 1)
    stopped(tmp_path, 1, 1, 1, "SOLVER.RESUME", "auto")
    stopped(tmp_path, 2, 2, 2, "SOLVER.RESUME", "auto")
    train_in(tmp_path, "SOLVER.RESUME", "auto")
    assert_same_run(straight, tmp_path)


def test_resume_from_a_path_writes_elsewhere(straight, stopped, train_in, tmp_path):
    stopped(tmp_path / "one", 2, 1, 1)
    train_in(tmp_path / "two", "SOLVER.RESUME", str(tmp_path / "one" / "last.pth"))
    one, two = checkpoint_of(straight), checkpoint_of(tmp_path / "two")
    assert_same(dict(one["model"]), dict(two["model"]))
    assert metrics_of(tmp_path / "two") == metrics_of(straight)[2:]
    assert not checkpoint_of(tmp_path / "one")["training"]["finished"]

    train_in(tmp_path / "three", "SOLVER.RESUME", str(tmp_path / "one"))  # the folder alone
    assert_same(dict(one["model"]), dict(checkpoint_of(tmp_path / "three")["model"]))


CENTER = ("MODEL.METRIC_LOSS_TYPE", "triplet_center")
PLUGIN = ("PLUGINS", "examples/extra_loss.py", "MODEL.EXTRA_LOSSES", "cosine,0.5,length,0.1")
VARIANTS = {
    "centers": CENTER,
    "losses of a plug-in": PLUGIN,
    "SGD": ("SOLVER.STAGE1.OPTIMIZER_NAME", "SGD", "SOLVER.STAGE2.OPTIMIZER_NAME", "SGD"),
    "AdamW": ("SOLVER.STAGE1.OPTIMIZER_NAME", "AdamW", "SOLVER.STAGE2.OPTIMIZER_NAME", "AdamW"),
    "bf16": ("SOLVER.AMP", "bf16"),
    "shuffled": ("DATALOADER.SAMPLER", "softmax"),
    "workers": ("DATALOADER.NUM_WORKERS", "2"),
    "images in RAM": ("INPUT.CACHE", "ram", "DATALOADER.NUM_WORKERS", "2"),
    "images on the device": ("INPUT.CACHE", "device"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_resumes(stopped, train_in, tmp_path, variant):
    """One run stopped at the end of stage 1 and again within stage 2."""
    opts = VARIANTS[variant]
    train_in(tmp_path / "a", *opts)
    stopped(tmp_path / "b", 1, 2, NUM_BATCHES, *opts)
    stopped(tmp_path / "b", 2, 1, 2, *opts, "SOLVER.RESUME", "auto")
    train_in(tmp_path / "b", *opts, "SOLVER.RESUME", "auto")
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_a_loss_that_draws_random_numbers_resumes(stopped, train_in, tmp_path):
    plugin = tmp_path / "noise.py"
    plugin.write_text(
        "from torch import nn\nfrom clipreid.plugins import register_loss\n\n"
        "class Noise(nn.Module):\n"
        "    def forward(self, features, labels):\n"
        "        return nn.functional.dropout(features).square().mean()\n\n"
        'register_loss("noise", Noise())\n'
    )
    opts = ("PLUGINS", str(plugin), "MODEL.EXTRA_LOSSES", "noise,0.5", "INPUT.CACHE", "none")
    train_in(tmp_path / "a", *opts)
    stopped(tmp_path / "b", 2, 1, 2, *opts)
    train_in(tmp_path / "b", *opts, "SOLVER.RESUME", "auto")
    assert_same_run(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("opts", [(), CENTER, PLUGIN])
def test_run_killed_between_the_stages_is_bit_identical(train_in, monkeypatch, tmp_path, opts):
    """Only stage 1 is saved; stage 2 repeats its first draws."""

    class Killed(Exception):  # noqa: N818 - stands for a signal
        pass

    def killed(*_arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(build, "build_image_stage", killed)
        with pytest.raises(Killed):
            train_in(tmp_path / "b", *opts)
    train_in(tmp_path / "a", *opts)
    train_in(tmp_path / "b", *opts, "SOLVER.RESUME", "auto")
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_finished_run_is_only_evaluated_again(straight, train_in, tmp_path):
    shutil.copytree(straight, tmp_path / "run")
    weights = (tmp_path / "run" / "last.pth").read_bytes()
    train_in(tmp_path / "run", "SOLVER.RESUME", "auto")
    assert (tmp_path / "run" / "last.pth").read_bytes() == weights
    assert_same_run(straight, tmp_path / "run")
    assert not list((tmp_path / "run").glob("previous_*"))


def test_finished_run_continues_with_more_epochs(straight, train_in, tmp_path):
    shutil.copytree(straight, tmp_path / "run")
    train_in(tmp_path / "run", "SOLVER.RESUME", "auto", "SOLVER.STAGE2.MAX_EPOCHS", "3")
    train_in(tmp_path / "whole", "SOLVER.STAGE2.MAX_EPOCHS", "3")
    assert metrics_of(tmp_path / "run") == metrics_of(tmp_path / "whole")
    one, two = (checkpoint_of(tmp_path / name) for name in ("run", "whole"))
    assert_same(dict(one["model"]), dict(two["model"]))


def test_auto_without_a_checkpoint_starts_a_new_run(straight, train_in, tmp_path):
    train_in(tmp_path, "SOLVER.RESUME", "auto")
    assert_same_run(straight, tmp_path)


def test_missing_checkpoint_is_an_error(train_in, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"SOLVER\.RESUME: no file .*gone\.pth"):
        train_in(tmp_path, "SOLVER.RESUME", str(tmp_path / "gone.pth"))


def test_checkpoint_without_optimizer_is_an_error(straight, train_in, tmp_path):
    with pytest.raises(ValueError, match=r"holds weights only.* SOLVER\.STAGE1\.WEIGHT"):
        train_in(tmp_path, "SOLVER.RESUME", str(straight / "small_2.pth"))


def test_checkpoint_of_other_identities_is_an_error(straight, train_in, tmp_path):
    """The classifier has 24 rows, the data another number of identities."""
    from PIL import Image

    for pid in range(20):
        for number in range(4):
            path = tmp_path / "others" / f"{pid}" / f"a_c{number % 2}_{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 16), (pid * 9, number * 30, 50)).save(path)
    opts = [
        *("DATASETS.ROOT_DIR", str(tmp_path), "DATASETS.NAMES", "others"),
        *("SOLVER.RESUME", str(straight / "last.pth")),
    ]
    with pytest.raises(ValueError, match=r"of 144 images 144 are gone .* 40 are new"):
        train_in(tmp_path / "run", *opts)
    with pytest.raises(ValueError, match=r"SOLVER\.RESUME: .* another run.*classifier") as error:
        train_in(tmp_path / "run", *opts, "SOLVER.RESUME_CHANGED_DATA", "True")
    assert "skipped" in str(error.value)


@pytest.mark.parametrize(
    "options",
    [CENTER, ("SOLVER.STAGE2.OPTIMIZER_NAME", "SGD"), ("SOLVER.STAGE2.LARGE_FC_LR", "True")],
)
def test_checkpoint_of_other_optimizers_is_an_error(straight, train_in, tmp_path, options):
    shutil.copytree(straight, tmp_path / "run")
    with pytest.raises(ValueError, match=r"SOLVER\.RESUME: .* other optimizers or losses"):
        train_in(
            tmp_path / "run",
            *("SOLVER.RESUME", "auto", "SOLVER.STAGE2.MAX_EPOCHS", "3", *options),
        )


def test_two_stage_checkpoint_cannot_resume_a_baseline(straight, train_in, tmp_path):
    with pytest.raises(ValueError, match=r"SOLVER\.RESUME: .* another run: .*unexpected"):
        train_in(
            tmp_path,
            *("SOLVER.RESUME", str(straight / "last.pth"), "MODEL.TEXT_TOWER", "False"),
        )


def test_resumed_model_is_not_evaluated_as_before_training(stopped, train_in, tmp_path):
    """Evaluation before training is of the model before training, or is left out."""
    stopped(tmp_path / "one", 2, 2, 1)
    train_in(
        tmp_path / "two",
        *("SOLVER.RESUME", str(tmp_path / "one"), "TEST.BEFORE_TRAINING", "True"),
    )
    assert not (tmp_path / "two" / "results_before_training.json").exists()


def test_evaluation_before_training_survives_a_stop(stopped, train_in, tmp_path):
    opts = ("TEST.BEFORE_TRAINING", "True")
    stopped(tmp_path, 2, 1, 1, *opts)
    before = (tmp_path / "results_before_training.json").read_bytes()
    train_in(tmp_path, *opts, "SOLVER.RESUME", "auto")
    assert (tmp_path / "results_before_training.json").read_bytes() == before


def test_run_resumed_with_other_targets_still_ends_with_its_table(
    stopped, train_in, people, tmp_path
):
    stopped(tmp_path, 2, 1, 1, "TEST.BEFORE_TRAINING", "True")
    shutil.copytree(people, tmp_path / "copy")
    targets = f"('{people}', '{tmp_path / 'copy'}')"
    report = train_in(tmp_path, "SOLVER.RESUME", "auto", "DATASETS.TARGETS", targets)
    assert [target.name for target in report.targets] == [people.name, "copy"]
    assert "results\ntarget" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_stop_during_extraction_leaves_a_resumable_folder(
    straight, train_in, monkeypatch, tmp_path
):
    class Impatient(experiment.StopRequest):
        def __init__(self):
            super().__init__()
            self.requested = True

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "StopRequest", Impatient)
        with pytest.raises(Interrupted):
            train_in(tmp_path)
    assert not (tmp_path / "last.pth").exists()
    train_in(tmp_path, "SOLVER.RESUME", "auto")
    assert_same_run(straight, tmp_path)


# --------------------------------------------------------------------- in a separate process


LONG = (
    *("SOLVER.STAGE1.MAX_EPOCHS", "3", "SOLVER.STAGE2.MAX_EPOCHS", "24"),
    *("SOLVER.STAGE2.EVAL_PERIOD", "100"),
)


@pytest.fixture(scope="module")
def long_straight(train_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    train_in(folder, *LONG)
    return folder


def wait_for(process, folder, text, seconds=90):
    """Until the log holds the text or the process ends."""
    log = folder / "log.txt"
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if log.is_file() and text in log.read_text(encoding="utf-8"):
            return
        time.sleep(0.005)


def test_killed_process_resumes_bit_identically(
    start_script, script, base_opts, long_straight, tmp_path
):
    """SIGKILL at a random moment of either stage, then SOLVER.RESUME auto."""
    arguments = [*base_opts, *LONG, "OUTPUT_DIR", str(tmp_path), "SOLVER.RESUME", "auto"]
    for text in ("stage 1 epoch 1/3 done", "stage 2 epoch 1/24 done"):
        process = start_script("train_clipreid.py", *arguments)
        wait_for(process, tmp_path, text)
        time.sleep(random.uniform(0, 0.2))
        process.kill()
        process.wait()
        assert process.returncode == -signal.SIGKILL, process.stdout.read()
        assert not (tmp_path / "results.json").exists()
    finished = script("train_clipreid.py", *arguments)
    assert finished.status == 0, finished.output
    assert_same_run(long_straight, tmp_path)


def test_signal_saves_and_exits_with_its_status(
    start_script, script, base_opts, long_straight, tmp_path
):
    """The signal reaches the workers too, as on a terminal or when a cluster ends a job."""
    arguments = [*base_opts, *LONG, "OUTPUT_DIR", str(tmp_path), "SOLVER.RESUME", "auto"]
    process = start_script("train_clipreid.py", *arguments, "DATALOADER.NUM_WORKERS", 2)
    wait_for(process, tmp_path, "stage 2 epoch 1/24 done")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not (tmp_path / "results.json").exists()
    saved = checkpoint_of(tmp_path)["training"]
    assert saved["stage"] == 2
    assert saved["epoch"] < 24
    finished = script("train_clipreid.py", *arguments)
    assert finished.status == 0, finished.output
    assert "resumed: stage 2" in finished.output
    assert_same_run(long_straight, tmp_path)


def test_refused_start_leaves_the_earlier_run_in_place(straight, train_in, tmp_path):
    shutil.copytree(straight, tmp_path / "run")
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    with pytest.raises(FileNotFoundError):
        train_in(tmp_path / "run", "DATASETS.NAMES", "market1501")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


def test_prompts_and_an_unfinished_stage_1_are_refused_together(
    straight, stopped, train_in, tmp_path
):
    stopped(tmp_path / "run", 1, 1, 1)
    prompts = ("SOLVER.STAGE1.WEIGHT", str(straight / "small_stage1_2.pth"))
    with pytest.raises(ConfigError, match=r"SOLVER.STAGE1.WEIGHT.*stopped inside stage 1"):
        train_in(tmp_path / "run", "SOLVER.RESUME", "auto", *prompts)


def test_changed_learning_rate_applies_on_resume_and_is_logged(stopped, train_in, tmp_path, caplog):
    stopped(tmp_path / "run", 2, 1, 1)
    with caplog.at_level("WARNING"):
        train_in(tmp_path / "run", "SOLVER.RESUME", "auto", "SOLVER.STAGE2.BASE_LR", "1e-4")
    assert (
        "SOLVER.STAGE2.BASE_LR changed from 0.0005 to 0.0001 since the run stopped" in caplog.text
    )
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["lr"] == pytest.approx(1e-4)


def test_finished_run_that_is_started_again_keeps_its_averaged_scores(
    averaged_run, train_in, tmp_path
):
    shutil.copytree(averaged_run, tmp_path / "run")
    before = json.loads((tmp_path / "run" / "results.json").read_text())
    train_in(tmp_path / "run", *AVERAGED, "SOLVER.RESUME", "auto")
    after = json.loads((tmp_path / "run" / "results.json").read_text())
    assert after["ema"]["average"] == before["ema"]["average"]
