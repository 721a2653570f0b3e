"""Extraction by one process and by two: python benchmarks/extraction.py.

The demo's model on drawn people, by whole commands of run.py extract: one process with one thread,
one with two, and two with one thread each, which write a shard each and are joined. The ways take
turns; medians. The files must be equal where the threads are.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from drawn_features import describe_machine, load, print_table

from config import dump_cfg, load_cfg
from datasets.synthetic.render import DatasetSize, render_dataset
from model import build_model
from processor.checkpoints.save import save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"num_classes": 1, "num_cameras": 1, "num_views": 1}
PEOPLE = DatasetSize(16, 500, num_cameras=4, images_per_camera=4)
WAYS = {  # processes and threads of each
    "one process, one thread": (1, 1),
    "one process, two threads": (1, 2),
    "two processes, one thread": (2, 1),
}


def run(words: list[str], threads: int) -> subprocess.Popen[bytes]:
    """Start run.py."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *words],
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def extract(words: list[str], output: Path, processes: int, threads: int) -> float:
    """Seconds until the file is written; raises RuntimeError if a command fails."""
    started = time.perf_counter()
    words = ["extract", *words, "--output", str(output)]
    shares = [["--shard", f"{i}/{processes}"] for i in range(processes)] if processes > 1 else [[]]
    running = [run([*words, *share], threads) for share in shares]
    statuses = [child.wait() for child in running]
    if processes > 1:
        statuses.append(run([*words, "--join"], 1).wait())
    if any(statuses):
        raise RuntimeError("a command failed")
    return time.perf_counter() - started


def main() -> None:
    """Print the table; exit with status 1 if files differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{describe_machine()}, {load()}\n")
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    with TemporaryDirectory() as folder:
        root = Path(folder)
        cfg = load_cfg(ROOT / "configs/demo/vit_tiny.yml", ["DATALOADER.NUM_WORKERS", "0"])
        checkpoint = root / "last.pth"
        meta = {**SIZES, "cameras": "{}"}
        save_checkpoint(checkpoint, build_model(cfg, *SIZES.values()), dump_cfg(cfg), meta)
        images = render_dataset("street", root, PEOPLE)
        count = sum(1 for _ in images.rglob("*.jpg"))
        words = [str(checkpoint), str(images)]
        written = {}
        for number in range(arguments.repeats):
            for name, (processes, threads) in WAYS.items():
                output = root / f"{number}_{processes}_{threads}.npy"
                seconds[name].append(extract(words, output, processes, threads))
                written[name] = output.read_bytes()
    one, _, two = written.values()
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    slowest = medians["one process, one thread"]
    rows = [("way", "seconds", "images/s", "speed")]
    rows += [
        (name, f"{taken:.1f}", f"{count / taken:.0f}", f"{slowest / taken:.2f}")
        for name, taken in medians.items()
    ]
    print(f"{count:,} images, with the start of the commands and the joining\n")
    print_table(*rows)
    print(f"\nThe joined file is {'equal' if one == two else 'NOT equal'} to one process's.")
    sys.exit(0 if one == two else 1)


if __name__ == "__main__":
    main()
