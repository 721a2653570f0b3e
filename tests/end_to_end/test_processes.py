"""Two torchrun processes give the result of one process, and stop together."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from config import load_cfg
from datasets.samplers.build import build_random_sampler
from datasets.sources import join_sources
from processor.runtime.signals import Interrupted
from processor.training.image_stage import ImageStage
from processor.training.plan import build_sources

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# Runs the command lines of a JSON file one after the other in the same processes. A signal comes
# just before the losses of a batch: {"signal", "to", "stage", "epoch", "batch"}.
RUNNER = """
import contextlib, json, os, runpy, signal, sys, time
from datetime import timedelta
from pathlib import Path
from processor.training.image_stage import ImageStage
from processor.runtime import distributed

start_epoch, losses = ImageStage.start_epoch, ImageStage.compute_losses


def send(event):
    number, to = signal.Signals[event["signal"]], event["to"]
    if distributed.rank() != (0 if to == "torchrun" else to):
        return
    noted = signal.getsignal(signal.SIGTERM).__self__
    Path(event["time"]).write_text(str(time.time()))
    os.kill(os.getppid() if to == "torchrun" else os.getpid(), number)
    while not noted.requested:
        time.sleep(0.01)


def expect(event):
    def start(stage, epoch, first_batch):
        stage.now = [stage.name, epoch, first_batch]
        return start_epoch(stage, epoch, first_batch)

    def watch(stage, batch):
        stage.now[2] += 1
        if stage.now == [event["stage"], event["epoch"], event["batch"]]:
            send(event)
        return losses(stage, batch)

    ImageStage.start_epoch, ImageStage.compute_losses = start, watch


def run(case, output):
    sys.argv = list(case["arguments"])
    ImageStage.start_epoch, ImageStage.compute_losses = start_epoch, losses
    if "event" in case:
        expect(case["event"])
    with contextlib.redirect_stdout(output):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as exit_:
            return exit_.code or 0
    return 0


folder = Path(sys.argv[1])
cases = json.loads((folder / "cases.json").read_text())
distributed.SPEAK_SECONDS, distributed.TIMEOUT = 0, timedelta(seconds=100)
with distributed.joined_processes():
    for name, case in cases.items():
        mark = f"{name}.{distributed.rank()}"
        with (folder / f"{mark}.txt").open("w") as output:
            status = run(case, output)
        (folder / f"{mark}.status").write_text(str(status))
"""


@pytest.fixture(scope="module")
def torchrun(each_key_once):
    """`torchrun("train_clipreid.py", ...)` runs a script in two processes."""

    def run(*arguments):
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"),
            *("--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", *each_key_once(*arguments)),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        environment.pop("REID_TRACEBACK", None)
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            output, _ = process.communicate(timeout=200)
        finally:
            if process.poll() is None:
                process.terminate()  # torchrun ends its processes
                process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, output)

    return run


@pytest.fixture(scope="module")
def run_cases(torchrun, each_key_once, tmp_path_factory):
    """`run_cases({name: case})` runs `RUNNER`; returns the finished program and its folder."""

    def run(cases):
        folder = tmp_path_factory.mktemp("cases")
        for case in cases.values():
            case["arguments"] = each_key_once(*case["arguments"])
            if "event" in case:
                case["event"]["time"] = str(folder / "time.txt")
        (folder / "cases.json").write_text(json.dumps(cases))
        (folder / "runner.py").write_text(RUNNER)
        return torchrun(folder / "runner.py", folder), folder

    return run


def metrics_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights_of(folder):
    return torch.load(folder / "last.pth", weights_only=True)["model"]


def training_of(folder):
    return torch.load(folder / "last.pth", weights_only=True)["training"]


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


MEASURED = {"seconds", "images_per_second", "plan_seconds", "graph_seconds"}
NEAR = {
    *("loss", "id", "triplet", "center", "i2t", "t2i", "mAP", "mINP"),
    *("memory", "disentangled", "relative_entropy"),
}
COARSE = {"accuracy", "rank1", "rank5", "rank10"}  # one image more or less may tip over


def assert_close_runs(one, two, exceptions=0.05):
    """The same metrics up to rounding, and close weights.

    A share of a tensor's elements may be off: Adam makes whole steps of rounding noise.
    """
    expected, found = metrics_of(one), metrics_of(two)
    assert [(x["stage"], x["epoch"]) for x in found] == [(x["stage"], x["epoch"]) for x in expected]
    for a, b in zip(expected, found, strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - MEASURED:
            tolerance = 1e-3 if key in NEAR else 0.05 if key in COARSE else 1e-9
            assert b[key] == pytest.approx(a[key], abs=tolerance), (a["stage"], a["epoch"], key)
    a, b = weights_of(one), weights_of(two)
    assert list(a) == list(b)
    for name, weight in a.items():
        off = (without_key_bias(name, b[name]) - without_key_bias(name, weight)).abs() > 1e-4
        assert off.float().mean() <= exceptions, name
    a, b = (results_of(folder)["average"]["mAP"] for folder in (one, two))
    assert b == pytest.approx(a, abs=1e-3)
    a, b = (torch.load(x / "last.pth", weights_only=True).get("ema", {}) for x in (one, two))
    assert list(a) == list(b)
    for name, weight in a.items():
        off = (without_key_bias(name, b[name]) - without_key_bias(name, weight)).abs() > 1e-4
        assert off.float().mean() <= exceptions, name


def without_key_bias(name, weight):
    """Attention does not depend on the keys' bias: its gradient is rounding noise."""
    if not name.endswith("in_proj_bias"):
        return weight
    queries, _, values = weight.chunk(3)
    return torch.cat([queries, values])


def log_of(folder, name="log.txt"):
    """The log's lines without times and numbers; the folder that is written to is left out."""
    lines = (folder / name).read_text(encoding="utf-8").splitlines()
    texts = [re.sub(r"^[-0-9]+ [:0-9]+ ", "", line) for line in lines]
    texts = [text.replace(str(folder), "...") for text in texts]
    texts = [re.sub(r"[-+]?[0-9][0-9.,]*(e[-+]?[0-9]+)?", "#", text) for text in texts]
    return [" ".join(text.split()) for text in texts]


# ------------------------------------------------------------------------------ undisturbed runs


STAGES = (
    *("SOLVER.STAGE0.MAX_EPOCHS", "1", "DATALOADER.SAMPLER", "dfgs_image"),
    *("SOLVER.STAGE1.OPTIMIZER_NAME", "SGD", "SOLVER.STAGE1.BASE_LR", "0.1"),
    *("SOLVER.STAGE2.OPTIMIZER_NAME", "SGD", "SOLVER.STAGE2.BASE_LR", "0.01"),
    *("MODEL.ID_LOSS_WEIGHT", "0", "MODEL.METRIC_LOSS_TYPE", "triplet_center"),
    *("SOLVER.EMA", "0.9"),
)
SHUFFLED = (
    *("DATALOADER.SAMPLER", "softmax", "SOLVER.STAGE2.IMS_PER_BATCH", "14"),
    *("INPUT.ON_BAD_IMAGE", "skip", "MODEL.SIE_CAMERA", "True"),
)
CLUSTERS = (
    *("DSGL.POOLING", "gem", "DSGL.EPS", "0.7", "DSGL.K1", "8", "DSGL.K2", "3"),
    *("DSGL.MIN_SAMPLES", "2", "DSGL.ITERS", "4", "DATALOADER.NUM_INSTANCE", "3"),
    *("SOLVER.STAGE2.OPTIMIZER_NAME", "SGD", "SOLVER.STAGE2.BASE_LR", "0.01"),
    *("SOLVER.STAGE2.IMS_PER_BATCH", "15"),  # 7 for one process and 8 for the other
)
INFINITE = ("SOLVER.STAGE2.BASE_LR", "1e30", "SOLVER.STAGE2.OPTIMIZER_NAME", "SGD")


@pytest.fixture(scope="module")
def damaged(people, base_opts, tmp_path_factory):
    """Options of a copy of the data, with 4 images in an epoch's last batch, 2 of them broken.

    These two are the first process's whole share.
    """
    root = tmp_path_factory.mktemp("damaged")
    shutil.copytree(people, root / "damaged")
    opts = ["DATASETS.ROOT_DIR", str(root), "DATASETS.NAMES", "damaged"]
    cfg = load_cfg(None, [*base_opts, *opts, *SHUFFLED])
    data = join_sources(build_sources(cfg))
    plan = build_random_sampler(cfg, data, cfg.SOLVER.SEED)
    plan.set_epoch(1)
    *_, last = plan
    assert len(last) == 4
    for position in last[:2]:
        Path(data.samples[position].path).write_bytes(b"not an image")
    return opts


@pytest.fixture(scope="module")
def odd(people, base_opts, tmp_path_factory):
    """Options of a copy of the data with an odd number of test images, one of them broken."""
    root = tmp_path_factory.mktemp("odd")
    shutil.copytree(people, root / "odd")
    opts = ["DATASETS.ROOT_DIR", str(root), "DATASETS.NAMES", "odd"]
    (source,) = build_sources(load_cfg(None, [*base_opts, *opts]))
    strangers = [Path(sample.path) for sample in source.gallery if sample.pid == 0]
    if (len(source.query) + len(source.gallery)) % 2 == 0:
        strangers.pop().unlink()
    strangers.pop().write_bytes(b"not an image")
    return [*opts, "INPUT.ON_BAD_IMAGE", "skip", "TEST.IMS_PER_BATCH", "5"]


@pytest.fixture(scope="module")
def one(script, base_opts, damaged, tmp_path_factory):
    """Folders of the runs of one process, by name."""
    folder = tmp_path_factory.mktemp("one")
    for name, opts in {"stages": STAGES, "shuffled": [*damaged, *SHUFFLED]}.items():
        output = ["OUTPUT_DIR", folder / name]
        finished = script("train_clipreid.py", *base_opts, *output, *opts)
        assert finished.status == 0, finished.output
    output = ["OUTPUT_DIR", folder / "clusters"]
    finished = script("train_dsgl.py", *base_opts, *output, *CLUSTERS)
    assert finished.status == 0, finished.output
    return folder


@pytest.fixture(scope="module")
def begun(train_in, tmp_path_factory):
    """Folder of a run that one process began and a SIGTERM stopped inside stage 2."""
    folder = tmp_path_factory.mktemp("begun")
    losses = ImageStage.compute_losses
    seen = []

    def watch(stage, batch):
        seen.append(batch)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(stage, batch)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ImageStage, "compute_losses", watch)
        with pytest.raises(Interrupted):
            train_in(folder)
    return folder


@pytest.fixture(scope="module")
def two(run_cases, base_opts, straight, damaged, odd, begun, tmp_path_factory):
    """Folders of the runs of two processes and, in `log`, their output, by name."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(begun, folder / "resumed")
    shuffled = [*damaged, *SHUFFLED]

    def training(name, *opts, script="train_clipreid.py"):
        output = ["OUTPUT_DIR", folder / name]
        return {"arguments": [script, *base_opts, *output, *opts]}

    tested = ["TEST.WEIGHT", straight / "last.pth", *odd, "OUTPUT_DIR", folder / "tested"]
    event = {"signal": "SIGTERM", "to": 1, "stage": 2, "epoch": 1, "batch": 4}
    cases = {
        "stages": training("stages", *STAGES),
        "shuffled": training("shuffled", *shuffled),
        "clusters": training("clusters", *CLUSTERS, script="train_dsgl.py"),
        "tested": {"arguments": ["test_clipreid.py", *tested]},
        "resumed": training("resumed", "SOLVER.RESUME", "auto"),
        "stopped": {**training("stopped", *shuffled), "event": event},
        "infinite": training("infinite", *INFINITE),
    }
    finished, log = run_cases(cases)
    assert finished.returncode == 0, finished.stdout
    assert "Warning" not in finished.stdout
    log.rename(folder / "log")
    return folder


def status_of(two, name):
    return [int((two / "log" / f"{name}.{rank}.status").read_text()) for rank in (0, 1)]


def output_of(two, name):
    return [(two / "log" / f"{name}.{rank}.txt").read_text() for rank in (0, 1)]


def test_two_processes_train_three_stages_like_one(one, two):
    """With SGD, every gradient shows in the weights; the classifiers get none."""
    assert status_of(two, "stages") == [0, 0]
    assert_close_runs(one / "stages", two / "stages", exceptions=0)
    assert [line["stage"] for line in metrics_of(two / "stages")] == [0, 1, 1, 2, 2]
    assert metrics_of(two / "stages")[-1].keys() >= {"hits", "triplet", "center", "i2t"}
    a, b = (training_of(folder / "stages")["extra"]["center"] for folder in (one, two))
    assert list(a) == list(b)
    assert all(torch.allclose(a[name], b[name], rtol=0, atol=1e-4) for name in a)


def test_two_processes_train_dsgl_like_one(one, two):
    """Clusters, prototypes and features of all images are those of the global batches."""
    assert status_of(two, "clusters") == [0, 0]
    assert_close_runs(one / "clusters", two / "clusters", exceptions=0)
    a, b = (training_of(folder / "clusters")["extra"]["clusters"] for folder in (one, two))
    assert torch.equal(a["labels"], b["labels"])
    assert torch.allclose(a["prototypes"], b["prototypes"], rtol=0, atol=1e-4)
    assert torch.allclose(a["bank"]["features"], b["bank"]["features"], rtol=0, atol=1e-4)


def test_only_the_first_process_writes_and_logs(one, two):
    def files(folder):
        return sorted(path.name.partition(".tfevents")[0] for path in folder.iterdir())

    assert files(two / "stages") == files(one / "stages")
    text, of_the_other = output_of(two, "stages")
    assert of_the_other == ""
    assert "2 processes, cpu (" in " ".join(text.split())  # the terminal wraps the line
    expected = log_of(one / "stages")
    assert [line.replace("; # processes, ", "; ") for line in log_of(two / "stages")] == expected
    record = json.loads((two / "stages" / "run.json").read_text())
    assert record["processes"] == 2
    assert json.loads((one / "stages" / "run.json").read_text())["processes"] == 1


def test_uneven_last_batch_and_broken_images(one, two):
    """In the first epoch one process has no readable image of the last batch."""
    assert status_of(two, "shuffled") == [0, 0]
    assert_close_runs(one / "shuffled", two / "shuffled")
    stage2 = [line for line in metrics_of(two / "shuffled") if line["stage"] == 2]
    assert [(line["images"], line["bad_images"]) for line in stage2] == [(142, 2), (142, 2)]

    def named(folder):
        text = (folder / "log.txt").read_text()
        return sorted(re.findall(r"(?:epoch|trainer): skipped the broken image (.*)", text))

    assert len(named(two / "shuffled")) == 4
    assert named(two / "shuffled") == named(one / "shuffled")


def test_evaluation_of_an_odd_number_of_images(script, two, straight, odd, tmp_path):
    assert status_of(two, "tested") == [0, 0]
    alone = ["TEST.WEIGHT", straight / "last.pth", *odd, "OUTPUT_DIR", tmp_path]
    finished = script("test_clipreid.py", *alone)
    assert finished.status == 0, finished.output
    expected, found = results_of(tmp_path), results_of(two / "tested")
    assert found["targets"]["odd"]["bad_images"] == 1
    for scores in ("average", "targets"):
        a, b = expected.pop(scores), found.pop(scores)
        for name in ("mAP", "mINP"):
            a, b = a.get("odd", a), b.get("odd", b)
            assert b.pop(name) == pytest.approx(a.pop(name), abs=1e-6)
        assert a == b
    assert found == expected
    assert sorted(p.name for p in (two / "tested").iterdir()) == sorted(
        p.name for p in tmp_path.iterdir()
    )
    assert log_of(two / "tested", "test_log.txt") == log_of(tmp_path, "test_log.txt")


def test_run_of_one_process_resumes_with_two(straight, begun, two):
    assert training_of(begun)["meters"]["iteration"] == 2
    assert status_of(two, "resumed") == [0, 0]
    assert_close_runs(straight, two / "resumed")
    assert json.loads((two / "resumed" / "run_2.json").read_text())["processes"] == 2


def test_signal_to_one_process_stops_both_and_one_can_resume(one, two, damaged, train_in, tmp_path):
    """Processes exchange requests every ten batches, before the last, uneven batch."""
    assert status_of(two, "stopped") == [143, 143]
    text, of_the_other = output_of(two, "stopped")
    assert of_the_other == ""
    assert text.count("stopped in stage 2, epoch 1 after 10 batches") == 1
    saved = training_of(two / "stopped")
    assert (saved["finished"], saved["meters"]["iteration"]) == (False, 10)
    assert not (two / "stopped" / "results.json").exists()
    shutil.copytree(two / "stopped", tmp_path / "run")
    train_in(tmp_path / "run", *damaged, *SHUFFLED, "SOLVER.RESUME", "auto")
    assert_close_runs(one / "shuffled", tmp_path / "run")


def test_nan_loss_names_the_images_of_both_processes(script, base_opts, two, tmp_path):
    assert status_of(two, "infinite") == [1, 1]
    finished = script("train_clipreid.py", *base_opts, *INFINITE, "OUTPUT_DIR", tmp_path)
    assert finished.status == 1
    files = [folder / "non_finite_batch.json" for folder in (tmp_path, two / "infinite")]
    paths, of_two = (json.loads(file.read_text()) for file in files)
    assert len(paths) == 32
    assert of_two == paths
    assert f"on 32 images ({paths[0]}, " in output_of(two, "infinite")[0]


# --------------------------------------------------------------------------- sudden failures


def assert_no_traceback(output):
    """Except torchrun's own, which reports the failed processes."""
    assert "[rank" not in output
    assert output.count("Traceback") == output.count("in launch_agent")
    assert "Warning" not in output


def errors_in(output):
    return [line for line in output.splitlines() if line.startswith("error: ")]


def test_killed_process_ends_the_job_and_one_process_can_resume(
    run_cases, base_opts, straight, train_in, tmp_path
):
    """The kill comes in the middle of an epoch, after a finished one."""
    arguments = ["train_clipreid.py", *base_opts, "OUTPUT_DIR", tmp_path]
    event = {"signal": "SIGKILL", "to": 1, "stage": 2, "epoch": 2, "batch": 2}
    finished, folder = run_cases({"killed": {"arguments": arguments, "event": event}})
    assert time.time() - float((folder / "time.txt").read_text()) < 60
    assert finished.returncode == 1
    assert_no_traceback(finished.stdout)
    assert "another process of this run was killed" in (folder / "killed.0.txt").read_text()
    saved = training_of(tmp_path)
    assert (saved["stage"], saved["epoch"], saved["finished"]) == (2, 1, True)
    assert not (tmp_path / "results.json").exists()
    train_in(tmp_path, "SOLVER.RESUME", "auto")
    assert_close_runs(straight, tmp_path)


def test_sigterm_to_torchrun_saves(run_cases, base_opts, straight, train_in, tmp_path):
    arguments = ["train_clipreid.py", *base_opts, "OUTPUT_DIR", tmp_path]
    event = {"signal": "SIGTERM", "to": "torchrun", "stage": 2, "epoch": 1, "batch": 2}
    finished, folder = run_cases({"ended": {"arguments": arguments, "event": event}})
    assert time.time() - float((folder / "time.txt").read_text()) < 60
    assert "got signal: 15" in finished.stdout  # torchrun's own end
    assert_no_traceback(finished.stdout)
    text = (folder / "ended.0.txt").read_text()
    assert text.splitlines()[-1].endswith("stopped by SIGTERM")
    assert "from last.pth, if there is one: SOLVER.RESUME auto" in text
    assert (folder / "ended.1.txt").read_text() == ""
    saved = training_of(tmp_path)
    assert (saved["stage"], saved["epoch"], saved["finished"]) == (2, 1, True)
    assert [line["stage"] for line in metrics_of(tmp_path)] == [1, 1]  # not evaluated yet
    train_in(tmp_path, "SOLVER.RESUME", "auto")
    assert_close_runs(straight, tmp_path)


def test_indivisible_batches_are_reported_once(torchrun, base_opts, tmp_path):
    """All processes exit; one reports the error."""
    wrong = ["SOLVER.STAGE2.IMS_PER_BATCH", "36", "OUTPUT_DIR", tmp_path / "run"]
    finished = torchrun("train_clipreid.py", *base_opts, *wrong)
    assert finished.returncode == 1
    (error,) = errors_in(finished.stdout)
    assert "9 identities per batch do not divide among 2 processes" in error
    assert "SOLVER.STAGE2.IMS_PER_BATCH" in error
    assert_no_traceback(finished.stdout)
    assert not (tmp_path / "run").exists()


def test_broken_image_of_one_process_ends_both(torchrun, base_opts, people, tmp_path):
    shutil.copytree(people, tmp_path / "damaged")
    broken = sorted((tmp_path / "damaged" / "bounding_box_train").glob("*.jpg"))[-1]
    broken.write_bytes(b"not an image")
    opts = ["DATASETS.ROOT_DIR", tmp_path, "DATASETS.NAMES", "damaged"]
    finished = torchrun("train_clipreid.py", *base_opts, *opts, "OUTPUT_DIR", tmp_path / "run")
    assert finished.returncode == 1
    own, *others = errors_in(finished.stdout)
    assert f"cannot decode the image {broken}" in own
    assert all("another process of this run" in line for line in others)
    assert_no_traceback(finished.stdout)


def test_two_processes_extract_the_file_of_one(torchrun, script, straight, people, tmp_path):
    arguments = ["extract", straight / "last.pth", people, "TEST.IMS_PER_BATCH", "16", "--output"]
    assert script("run.py", *arguments, tmp_path / "one.npy").status == 0
    both = torchrun("run.py", *arguments, tmp_path / "two.npy")
    assert both.returncode == 0, both.stdout
    for ending in ("npy", "csv", "json"):
        files = [tmp_path / f"{name}.{ending}" for name in ("one", "two")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert not (tmp_path / "two.shards").exists()
