"""Kill the processes of an extraction at random moments: python benchmarks/extraction_kills.py.

Two processes write a shard each. One of them is killed by SIGKILL at a random moment, its command
is repeated, and the shards are joined. Every second extraction is of tar files. The program fails
if a joined file differs in a byte from that of one process. Needs a system that can fork.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from kills import fork, options, wait

import run
from config import dump_cfg, load_cfg
from model import build_model
from processor.checkpoints.save import save_checkpoint
from processor.tools import extract  # noqa: F401 - imported once, before the forks
from processor.tools.command_line import parse_anywhere

SIZES = {"num_classes": 1, "num_cameras": 1, "num_views": 1}
ENDINGS = ("npy", "csv", "json")
NUM_TARS = 5


def make_data(root: Path) -> tuple[Path, Path, list[Path]]:
    """A small model, a folder of images, and the same images in tar files."""
    opts = options(root)
    cfg = load_cfg(None, [*opts, "TEST.IMS_PER_BATCH", "4", "DATALOADER.NUM_WORKERS", "0"])
    torch.manual_seed(0)
    checkpoint = root / "last.pth"
    meta = {**SIZES, "cameras": "{}"}
    save_checkpoint(checkpoint, build_model(cfg, *SIZES.values()), dump_cfg(cfg), meta)
    folder = Path(cfg.DATASETS.ROOT_DIR) / cfg.DATASETS.NAMES[0]
    images = sorted(folder.rglob("*.jpg"))
    tars = [root / f"{number:03d}.tar" for number in range(NUM_TARS)]
    for number, path in enumerate(tars):
        with tarfile.open(path, "w") as tar:
            for image in images[number::NUM_TARS]:
                tar.add(image, image.name)
    return checkpoint, folder, tars


def start(words: Sequence[str], log: Path) -> int:
    """Run a command in a forked process; returns its id."""
    arguments = parse_anywhere(run.build_parser(), words)
    return fork(lambda: run.run_tool(arguments), log)


def finish(words: Sequence[str], log: Path) -> None:
    """Run a command to its end; raises RuntimeError with its output if it fails."""
    if wait(start(words, log)):
        raise RuntimeError(log.read_text(encoding="utf-8"))


def disturb(words: Sequence[str], rng: random.Random, duration: float, log: Path) -> bool:
    """Run two shards, one of which is killed and repeated; returns whether it was still running."""
    commands = [[*words, "--shard", f"{number}/2"] for number in range(2)]
    rng.shuffle(commands)
    other, child = (start(command, log) for command in commands)
    time.sleep(rng.uniform(0, duration))
    os.kill(child, signal.SIGKILL)
    killed = wait(child) == -signal.SIGKILL
    finish(commands[1], log)
    if wait(other):
        raise RuntimeError(log.read_text(encoding="utf-8"))
    return killed


def main() -> None:
    """Print what was killed and what came of it; exit with status 1 after a difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the threads of torch would not survive a fork
    rng = random.Random(arguments.seed)
    kills = joined = differing = 0
    with TemporaryDirectory() as folder:
        root = Path(folder)
        log = root / "output.txt"
        checkpoint, images, tars = make_data(root)
        places = {"files": [str(images)], "tars": list(map(str, tars))}
        durations = {}
        for kind, given in places.items():
            started = time.monotonic()
            output = ["--output", str(root / f"straight_{kind}.npy")]
            finish(["extract", str(checkpoint), *given, *output], log)
            durations[kind] = time.monotonic() - started
        while kills < arguments.kills:
            kind = ("files", "tars")[joined % 2]
            words = ["extract", str(checkpoint), *places[kind]]
            words += ["--output", str(root / f"disturbed_{joined}.npy")]
            kills += disturb(words, rng, durations[kind] / 2, log)
            finish([*words, "--join"], log)
            pairs = [
                [root / f"{name}.{ending}" for name in (f"straight_{kind}", f"disturbed_{joined}")]
                for ending in ENDINGS
            ]
            differing += any(a.read_bytes() != b.read_bytes() for a, b in pairs)
            joined += 1
    print(f"{kills} kills, {joined} joined extractions, {differing} differ from one process's")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
