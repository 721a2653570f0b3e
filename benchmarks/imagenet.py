"""What ImageNet's weights are worth: python benchmarks/imagenet.py --weights resnet50.pth.

The baseline of configs/person/resnet50_bot.yml at 128 x 64 for a few epochs, from these weights and
from random ones, on drawn people and on data sets of yours. Prints mAP and Rank-1 before and after
training.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import load_cfg
from processor.experiment import train

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs" / "person" / "resnet50_bot.yml"
SIZE = "[128, 64]"


def main() -> None:
    """Train twice on every data set; print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="of MODEL.NAME")
    parser.add_argument("--data", nargs="+", default=["synthetic_street"], metavar="NAME")
    parser.add_argument("--root", default="../data", help="folder of the data sets")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "imagenet")
    arguments = parser.parse_args()
    starts = {"ImageNet": arguments.weights, "random": None}
    rows = []
    for name in arguments.data:
        for start, weights in starts.items():
            folder = arguments.folder / f"{Path(name).name}_{start}"
            run(folder, name, arguments, weights)
            before, after = (
                scores(folder / f"{file}.json") for file in ("results_before_training", "results")
            )
            rows.append(f"| {Path(name).name} | {start} | {before} | {after} |")
    print(f"\n| data | weights | before training | after {arguments.epochs} epochs |")
    print("|---|---|---|---|")
    print("\n".join(rows))


def run(folder: Path, data: str, arguments: argparse.Namespace, weights: Path | None) -> None:
    """A run; an existing one is not repeated."""
    if (folder / "results.json").is_file():
        return
    epochs = arguments.epochs
    options: dict[str, Any] = {
        "DATASETS.NAMES": data,
        "DATASETS.ROOT_DIR": arguments.root,
        "INPUT.SIZE_TRAIN": SIZE,
        "INPUT.SIZE_TEST": SIZE,
        "SOLVER.STAGE2.MAX_EPOCHS": epochs,
        "SOLVER.STAGE2.WARMUP_ITERS": max(1, epochs // 12),
        "SOLVER.STAGE2.STEPS": (round(0.6 * epochs), round(0.85 * epochs)),
        "SOLVER.STAGE2.EVAL_PERIOD": 1000,
        "MODEL.PRETRAIN_CHOICE": "clip" if weights else "none",
        "MODEL.PRETRAIN_PATH": str(weights or ""),
        "TEST.BEFORE_TRAINING": True,
        "OUTPUT_DIR": str(folder),
    }
    train(load_cfg(RECIPE, options))


def scores(file: Path) -> str:
    """The scores in percent, as mAP / Rank-1."""
    average = json.loads(file.read_text(encoding="utf-8"))["average"]
    return f"{100 * average['mAP']:.1f} / {100 * average['cmc']['1']:.1f}"


if __name__ == "__main__":
    main()
