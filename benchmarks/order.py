"""Does the order of the papers come out on drawn people? python benchmarks/order.py --seeds 10-19.

Every seed draws its own people: one domain to train on, four that are never trained on. All
methods start from the demo's small CLIP and train stage 2 for the same number of iterations; those
with text share one stage 1. Prints mean and deviation of mAP and the paired difference to random
P x K batches with its 95 % interval, for the weights of the last step and for their average
(SOLVER.EMA). Runs in the folder are not repeated: two commands can share the seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic.render import DatasetSize, render_dataset

ROOT = Path(__file__).resolve().parents[1]
SOURCE, UNSEEN = "street", ("campus", "mall", "harbour", "station")
NUM_IDENTITIES, EPOCHS = 100, 20
DROPS = (0.6, 0.8, 0.93)  # shares of the epochs after which the rate drops
WEIGHTS = ("last", "averaged")
BEFORE = "CLIP, not trained"
REFERENCE = "CLIP-ReID, random P x K"


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        options: its overrides.
        batches: how many times as many batches its epochs have.
        prompts: it learns prompts first.
    """

    options: tuple[str, ...]
    batches: int = 1
    prompts: bool = True


P_X_K = ("DATALOADER.SAMPLER", "softmax_triplet")
WITHOUT_TEXT = ("MODEL.TEXT_TOWER", "False", "MODEL.ID_LOSS_WEIGHT", "1.0")


def walk(features: str, kind: str = "depth_first") -> Method:
    """DFGS."""
    own = ("DATALOADER.DFGS.FEATURES", features, "DATALOADER.DFGS.WALK", kind)
    return Method(("DATALOADER.SAMPLER", "dfgs_text", *own))


METHODS = {
    "baseline, random P x K": Method((*WITHOUT_TEXT, *P_X_K), prompts=False),
    REFERENCE: Method(P_X_K),
    "CLIP-ReID, GS": Method(("DATALOADER.SAMPLER", "gs_text"), batches=4),
    "CLIP-ReID, DFGS text": walk("text"),
    "CLIP-ReID, DFGS image": walk("image"),
    "CLIP-ReID, DFGS both": walk("both"),
    "CLIP-ReID, balanced text": walk("text", "balanced"),
}


def draw(domain: str, seed: int, folder: Path) -> str:
    """A data set of a seed; a target needs no people to train on."""
    train = NUM_IDENTITIES if domain == SOURCE else 1
    return str(render_dataset(domain, folder / "data", DatasetSize(train, 50, seed=seed)))


def train(folder: Path, *options: str) -> None:
    """A run in its own process; an existing run is not repeated."""
    if (folder / "results.json").is_file():
        return
    command = [sys.executable, "train_clipreid.py", "--config_file", "configs/demo/vit_tiny.yml"]
    command += [*options, "OUTPUT_DIR", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def run_seed(seed: int, folder: Path, extra: tuple[str, ...]) -> dict[str, dict[str, list[float]]]:
    """Method -> weights (last, averaged) -> mAP on the source and on the unseen domains."""
    data = {domain: draw(domain, seed, folder) for domain in (SOURCE, *UNSEEN)}
    common = ["DATASETS.NAMES", data[SOURCE], "DATASETS.TARGETS", repr(tuple(data.values()))]
    common += ["SOLVER.SEED", str(seed), "SOLVER.EMA", "0.99", *extra]
    scores = {}
    for name, method in METHODS.items():
        own = folder / str(seed) / name.replace(" ", "_").replace(",", "")
        options = [*common, *method.options, "TEST.BEFORE_TRAINING", str(not method.prompts)]
        epochs = max(1, round(EPOCHS / method.batches))
        options += ["SOLVER.STAGE2.MAX_EPOCHS", str(epochs), "SOLVER.STAGE2.EVAL_PERIOD", "1000"]
        options += ["SOLVER.STAGE2.STEPS", repr(tuple(round(epochs * x) for x in DROPS))]
        prompts = folder / str(seed) / "prompts.pth"
        if method.prompts and prompts.is_file():
            options += ["SOLVER.STAGE1.WEIGHT", str(prompts)]
        train(own, *options)
        if name == REFERENCE and not prompts.is_file():
            (stage1,) = own.glob("*_stage1_*.pth")
            prompts.symlink_to(stage1)
        results = json.loads((own / "results.json").read_text(encoding="utf-8"))
        scores[name] = {"last": read_scores(results), "averaged": read_scores(results["ema"])}
        if not method.prompts:
            before = (own / "results_before_training.json").read_text(encoding="utf-8")
            scores[BEFORE] = dict.fromkeys(WEIGHTS, read_scores(json.loads(before)))
    return scores


def read_scores(results: dict[str, Any]) -> list[float]:
    """The mAP of all targets, in percent."""
    return [100 * target["mAP"] for target in results["targets"].values()]


def main() -> None:
    """Print one Markdown table per kind of weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="10-19", help="FIRST-LAST")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "order")
    parser.add_argument("opts", nargs="*", help="KEY VALUE ... for all runs")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    folder = arguments.folder.resolve()
    runs = [run_seed(seed, folder, tuple(arguments.opts)) for seed in seeds]
    for weights in WEIGHTS:
        print(f"\n**{weights} weights, {len(runs)} seeds**\n")
        head = [f"seen: {SOURCE}", "minus random", *UNSEEN, "unseen", "minus random"]
        print(f"| method | {' | '.join(head)} |")
        print("|---|" + "---|" * len(head))
        references = [run[REFERENCE]["last"] for run in runs]
        for name in (BEFORE, *METHODS):
            rows = [run[name][weights] for run in runs]
            pairs = list(zip(rows, references, strict=True))
            seen, *unseen = zip(*rows, strict=True)
            cells = [
                describe(seen),
                interval([row[0] - other[0] for row, other in pairs]),
                *map(describe, unseen),
                describe([statistics.mean(row[1:]) for row in rows]),
                interval([statistics.mean(row[1:]) - statistics.mean(o[1:]) for row, o in pairs]),
            ]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def describe(values: Sequence[float]) -> str:
    """Mean and, of several values, deviation."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def interval(differences: Sequence[float]) -> str:
    """Mean and 95 % interval of paired differences (Student's t)."""
    mean, count = statistics.mean(differences), len(differences)
    if count == 1:
        return f"{mean:+.1f}"
    half = stats.t.ppf(0.975, count - 1) * statistics.stdev(differences) / count**0.5
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


if __name__ == "__main__":
    main()
