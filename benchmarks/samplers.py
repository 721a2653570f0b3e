"""Does the sampler matter? Trains the demo with each of them: python benchmarks/samplers.py.

Same recipe, same number of iterations, several seeds. Prints mean and deviation of mAP on the
training domain and on an unseen one. The prior stage always uses random P x K batches. GS has about
four times as many batches in an epoch, so it gets a quarter of the epochs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("synthetic_street", "synthetic_campus")
GS_EPOCHS = ("SOLVER.STAGE2.MAX_EPOCHS", "7", "SOLVER.STAGE2.STEPS", "(4, 5, 6)")
VARIANTS = {
    "random P x K": ("DATALOADER.SAMPLER", "softmax_triplet"),
    "dfgs_text": ("DATALOADER.SAMPLER", "dfgs_text"),
    "dfgs_text, greedy": ("DATALOADER.SAMPLER", "dfgs_text", "DATALOADER.DFGS.WALK", "greedy"),
    "dfgs_image": ("DATALOADER.SAMPLER", "dfgs_image"),
    "gs_text": ("DATALOADER.SAMPLER", "gs_text", *GS_EPOCHS),
}


def train(options: tuple[str, ...], seed: int, folder: Path) -> dict[str, float]:
    """Scores (mAP) per target of a run; an existing run is not repeated."""
    results = folder / "results.json"
    if not results.is_file():
        command = [
            sys.executable,
            "train_clipreid.py",
            "--config_file",
            "configs/demo/vit_tiny.yml",
        ]
        command += ["DATASETS.TARGETS", str(TARGETS), "SOLVER.SEED", str(seed)]
        command += ["TEST.BEFORE_TRAINING", "False", "OUTPUT_DIR", str(folder), *options]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    targets = json.loads(results.read_text(encoding="utf-8"))["targets"]
    return {name: targets[name]["mAP"] for name in TARGETS}


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of every sampler")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "samplers")
    arguments = parser.parse_args()
    print("| sampler |", " | ".join(f"{name} mAP" for name in TARGETS), "|")
    print("|---|" + "---|" * len(TARGETS))
    for name, options in VARIANTS.items():
        folder = arguments.folder / name.replace(" ", "_").replace(",", "")
        runs = [
            train(options, seed, (folder / str(seed)).resolve())
            for seed in range(1, arguments.seeds + 1)
        ]
        cells = []
        for target in TARGETS:
            scores = [100 * run[target] for run in runs]
            deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
            cells.append(f"{statistics.mean(scores):.1f} ± {deviation:.1f}")
        print(f"| {name} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
