"""Kill a tiny training run at random moments and resume it: python benchmarks/kills.py.

Runs are killed by SIGKILL or asked to stop by the other signals, resumed until they finish, and
compared bit for bit with a run that nothing disturbed. The program fails if a process ends with an
unexpected status or a traceback, or if a resumed run differs. Every second process loads its images
by two workers. Needs a system that can fork.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import processor.experiment  # noqa: F401 - imported once, before the forks
import train_clipreid
from datasets.synthetic.render import DatasetSize, render_dataset
from processor.runtime.signals import SIGNALS
from processor.tools.program import run_program

TINY_CLIP = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}
TIMING = ("seconds", "images_per_second", "plan_seconds", "graph_seconds")
LONGEST_RUN = 120  # seconds; a process that takes longer hangs


@dataclass
class Tally:
    """What the kills have led to."""

    sent: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    finished_runs: int = 0
    differing_runs: int = 0
    faults: list[str] = field(default_factory=list)


def options(folder: Path) -> list[str]:
    """Overrides of a run of both stages in a second or two, on people drawn into `folder`."""
    model = folder / "small.json"
    model.write_text(json.dumps(TINY_CLIP), encoding="utf-8")
    size = DatasetSize(24, 8, num_cameras=3, images_per_camera=2, seed=1)
    people = render_dataset("street", folder, size, size=(64, 32), num_workers=1)
    return [
        *("MODEL.NAME", str(model), "MODEL.PRETRAIN_CHOICE", "none", "MODEL.DEVICE", "cpu"),
        *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
        *("DATASETS.ROOT_DIR", str(people.parent), "DATASETS.NAMES", people.name),
        *("DATALOADER.SAMPLER", "dfgs_image", "DATALOADER.NUM_INSTANCE", "4"),
        *("SOLVER.STAGE1.MAX_EPOCHS", "6", "SOLVER.STAGE2.MAX_EPOCHS", "8", "SOLVER.AMP", "off"),
        *("SOLVER.STAGE2.IMS_PER_BATCH", "32", "SOLVER.STAGE2.EVAL_PERIOD", "2"),
        *("SOLVER.STAGE2.BASE_LR", "5e-4", "SOLVER.RESUME", "auto", "INPUT.CACHE", "none"),
    ]


def start(opts: Sequence[str], output: Path, log: Path, workers: int) -> int:
    """Train in a forked process; returns its id."""
    given = [*opts, "OUTPUT_DIR", str(output), "DATALOADER.NUM_WORKERS", str(workers)]
    return fork(lambda: train_clipreid.run(train_clipreid.Arguments(None, given)), log)


def fork(action: Callable[[], object], log: Path) -> int:
    """Run a program in a forked process group of its own, which needs no imports."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    with log.open("a", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    try:
        run_program(action)
        status = 0
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    os._exit(status)


def wait(child: int) -> int:
    """The exit status of a child, negative if a signal ended it; one that hangs is killed."""
    deadline = time.monotonic() + LONGEST_RUN
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def find_differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Places in a run's content where another run's differs in a bit."""
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [place]
    if isinstance(one, list | tuple):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if not isinstance(one, dict):
        return [] if one == other else [f"{place}: {one!r}, {other!r}"]
    keys = [key for key in one if key not in TIMING]
    if keys != [key for key in other if key not in TIMING]:
        return [f"{place}: other keys"]
    return [x for key in keys for x in find_differences(one[key], other[key], f"{place}/{key}")]


def content(folder: Path) -> dict[str, Any]:
    """What a finished run has computed."""
    saved = torch.load(folder / "last.pth", weights_only=True)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {
        "model": saved["model"],
        "training": saved["training"],
        "metrics": list(map(json.loads, lines)),
        "results": {key: results[key] for key in ("targets", "average")},
    }


def disturb(number: int, opts: Sequence[str], folder: Path, moment: float, tally: Tally) -> bool:
    """Start or resume a run and send it a signal; returns whether it finished before that."""
    log, workers = folder / "output.txt", 2 * (sum(tally.sent.values()) % 2)
    child = start(opts, folder / "run", log, workers)
    time.sleep(moment)
    name = signal.Signals(number).name
    os.killpg(child, number)
    status = wait(child)
    if status == 0:
        return True
    tally.sent[name] += 1
    metrics = folder / "run" / "metrics.jsonl"
    last = metrics.read_text(encoding="utf-8").splitlines()[-1:] if metrics.is_file() else []
    tally.stages[
        "before the first epoch's end"
        if not last
        else f"after an epoch of stage {json.loads(last[0])['stage']}"
    ] += 1
    expected = -number if number == signal.SIGKILL else 128 + number
    if status != expected:
        tally.faults.append(f"{name} after {moment:.2f} s: exit status {status}")
    printed = log.read_text(encoding="utf-8")
    log.unlink()
    if "Traceback" in printed:
        tally.faults.append(f"{name} after {moment:.2f} s: {printed[printed.index('Traceback') :]}")
    return False


def finish(opts: Sequence[str], folder: Path, straight: dict[str, Any], tally: Tally) -> None:
    """Let a run finish and compare it."""
    status = wait(start(opts, folder / "run", folder / "output.txt", 0))
    tally.finished_runs += 1
    if status:
        printed = (folder / "output.txt").read_text(encoding="utf-8")
        tally.faults.append(f"resumed to its end: exit status {status}\n{printed}")
    elif different := find_differences(straight, content(folder / "run")):
        tally.differing_runs += 1
        tally.faults.append(f"{len(different)} differences: {', '.join(different[:5])}")


def measure(numbers: Sequence[int], rng: random.Random, root: Path) -> Tally:
    """Send all signals; a run is resumed up to six times before it may finish."""
    opts, tally = options(root), Tally()
    started = time.monotonic()
    (root / "straight").mkdir()
    status = wait(start(opts, root / "straight" / "run", root / "straight" / "output.txt", 0))
    duration = time.monotonic() - started
    if status:
        raise RuntimeError((root / "straight" / "output.txt").read_text(encoding="utf-8"))
    straight = content(root / "straight" / "run")
    left = list(numbers)
    while left:
        folder = root / f"run{tally.finished_runs}"
        folder.mkdir()
        for _ in range(6):
            if not left or disturb(left[0], opts, folder, rng.uniform(0, duration), tally):
                break
            left.pop(0)
        finish(opts, folder, straight, tally)
    return tally


def main() -> None:
    """Print what was sent and what came of it; exit with status 1 after a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60, help="SIGKILLs")
    parser.add_argument("--signals", type=int, default=20, help="other signals")
    parser.add_argument("--seed", type=int, default=0, help="decides signals and moments")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the threads of torch would not survive a fork
    rng = random.Random(arguments.seed)
    numbers = [signal.SIGKILL] * arguments.kills
    numbers += [SIGNALS[i % len(SIGNALS)] for i in range(arguments.signals)]
    rng.shuffle(numbers)
    with TemporaryDirectory() as folder:
        tally = measure(numbers, rng, Path(folder))
    print(", ".join(f"{count} {name}" for name, count in sorted(tally.sent.items())))
    print(", ".join(f"{count} {where}" for where, count in sorted(tally.stages.items())))
    print(f"{tally.finished_runs} runs finished, {tally.differing_runs} of them differ")
    print(*tally.faults, sep="\n", end="\n" if tally.faults else "")
    sys.exit(1 if tally.faults or tally.differing_runs else 0)


if __name__ == "__main__":
    main()
