"""Extraction by one process and by two: python benchmarks/extraction.py.

ViT-B/16 with random weights on drawn people, by whole commands of run.py extract: one process with
one thread, one with two, and two with one thread each, which write a shard each. The ways take
turns; medians. The joined file must equal that of one process with one thread.
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
PEOPLE = DatasetSize(8, 24, num_cameras=4, images_per_camera=4)
OPTS = ["MODEL.PRETRAIN_CHOICE", "none", "DATALOADER.NUM_WORKERS", "0", "TEST.IMS_PER_BATCH", "16"]
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


def extract(words: list[str], output: Path, processes: int, threads: int) -> tuple[float, float]:
    """Seconds until all features are written, and of joining; raises if a command fails."""
    started = time.perf_counter()
    words = ["extract", *words, "--output", str(output)]
    shares = [["--shard", f"{i}/{processes}"] for i in range(processes)] if processes > 1 else [[]]
    running = [run([*words, *share], threads) for share in shares]
    statuses = [child.wait() for child in running]
    written = time.perf_counter()
    if processes > 1:
        statuses.append(run([*words, "--join"], 1).wait())
    if any(statuses):
        raise RuntimeError("a command failed")
    return written - started, time.perf_counter() - written


def main() -> None:
    """Print the table; exit with status 1 if files differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{describe_machine()}, {load()}\n")
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    with TemporaryDirectory() as folder:
        root = Path(folder)
        cfg = load_cfg(ROOT / "configs/person/vit_clipreid.yml", OPTS)
        checkpoint = root / "last.pth"
        meta = {**SIZES, "cameras": "{}"}
        save_checkpoint(checkpoint, build_model(cfg, *SIZES.values()), dump_cfg(cfg), meta)
        images = render_dataset("street", root, PEOPLE, size=(256, 128))
        count = sum(1 for _ in images.rglob("*.jpg"))
        words = [str(checkpoint), str(images)]
        written = {}
        for number in range(arguments.repeats):
            for name, (processes, threads) in WAYS.items():
                output = root / f"{number}_{processes}_{threads}.npy"
                seconds[name].append(extract(words, output, processes, threads))
                written[name] = output.read_bytes()
    one, _, two = written.values()
    rows = [("way", "seconds", "images/s", "speed", "joining, seconds")]
    slowest = 0.0
    for name, taken in seconds.items():
        own, joining = map(statistics.median, zip(*taken, strict=True))
        slowest = slowest or own
        speeds = (f"{own:.1f}", f"{count / own:.1f}", f"{slowest / own:.2f}")
        rows.append((name, *speeds, f"{joining:.1f}" if WAYS[name][0] > 1 else ""))
    print(f"{count:,} images, with the start of the commands\n")
    print_table(*rows)
    print(f"\nThe joined file is {'equal' if one == two else 'NOT equal'} to one process's.")
    sys.exit(0 if one == two else 1)


if __name__ == "__main__":
    main()
