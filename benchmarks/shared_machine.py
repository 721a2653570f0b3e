"""Training where other programs run: python benchmarks/shared_machine.py.

One short run of the demo's recipe alone, two at once, and one beside a program that keeps a core
busy, each with threads that sleep while they wait, as the entry scripts set it, and with threads
that wait busily, the default of GNU's OpenMP. Wall time of the whole commands, medians; the weights
of all runs must be equal. Needs Linux, where PyTorch comes with GNU's OpenMP.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from drawn_features import describe_machine, load, print_table

from config.machine import available_cores

ROOT = Path(__file__).resolve().parents[1]
WAITING = {
    "sleeping": {"OMP_WAIT_POLICY": "PASSIVE"},
    "busy": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "300000"},  # the count wins
}
SITUATIONS = {"alone": (1, False), "two at once": (2, False), "beside a busy program": (1, True)}
BUSY = "while True: pass"


def start(folder: Path, waiting: str, epochs: int) -> subprocess.Popen[bytes]:
    """Start a run that writes into a folder."""
    options = {
        "SOLVER.STAGE1.MAX_EPOCHS": epochs,
        "SOLVER.STAGE2.MAX_EPOCHS": epochs,
        "SOLVER.STAGE2.EVAL_PERIOD": epochs,
        "TEST.BEFORE_TRAINING": False,
        "OUTPUT_DIR": folder,
    }
    words = [str(word) for option in options.items() for word in option]
    recipe = ["--config_file", str(ROOT / "configs/demo/vit_tiny.yml")]
    variables = {key: value for key, value in os.environ.items() if "OMP_" not in key}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train_clipreid.py"), *recipe, *words],
        env={**variables, **WAITING[waiting]},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def measure(folders: Sequence[Path], waiting: str, epochs: int, *, busy: bool) -> float:
    """Seconds until as many runs as there are folders have ended; raises if one fails."""
    neighbour = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
    try:
        started = time.perf_counter()
        runs = [start(folder, waiting, epochs) for folder in folders]
        statuses = [run.wait() for run in runs]
        seconds = time.perf_counter() - started
    finally:
        if neighbour is not None:
            neighbour.kill()
    if any(statuses):
        raise RuntimeError(f"a run ended with status {max(statuses)}: see {folders[0]}/log.txt")
    return seconds


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The trained model."""
    model: dict[str, torch.Tensor] = torch.load(folder / "last.pth", weights_only=True)["model"]
    return model


def main() -> None:
    """Print the table; exit with status 1 if two runs differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="of each stage")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{describe_machine()}, {available_cores()} cores, {load()}\n")
    seconds: dict[tuple[str, str], list[float]] = {}
    differing = 0
    with TemporaryDirectory() as root:
        first = Path(root, "first")
        measure([first], "sleeping", arguments.epochs, busy=False)  # draws the people
        expected = weights(first)
        for number in range(arguments.repeats):
            for situation, (count, busy) in SITUATIONS.items():
                for waiting in WAITING:
                    name = f"{number}_{situation.replace(' ', '_')}_{waiting}"
                    folders = [Path(root, f"{name}_{i}") for i in range(count)]
                    taken = measure(folders, waiting, arguments.epochs, busy=busy)
                    seconds.setdefault((situation, waiting), []).append(taken)
                    for found in map(weights, folders):
                        equal = all(torch.equal(found[key], expected[key]) for key in expected)
                        differing += not equal
    median = {key: statistics.median(taken) for key, taken in seconds.items()}
    rows: list[tuple[str, ...]] = [("one run", "threads wait", "seconds", "relative to its share")]
    for (situation, waiting), taken in median.items():
        share = SITUATIONS[situation][0] * median["alone", "sleeping"]
        rows.append((situation, waiting, f"{taken:.1f}", f"{taken / share:.2f}"))
    print_table(*rows)
    print(f"\n{differing} runs differ from the first one.")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
