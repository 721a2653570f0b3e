"""Does the papers' ranking of methods hold on drawn people? benchmarks/order.py --seeds 10-19.

Every seed draws its own people: domains to train on, and others that are never trained on. All
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
EPOCHS = 20
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


@dataclass(frozen=True)
class Places:
    """Where a seed's people are drawn.

    Attributes:
        sources: domains to train on.
        unseen: domains that are only tested on.
        identities: people to train on at each source.
    """

    sources: tuple[str, ...]
    unseen: tuple[str, ...]
    identities: int

    def draw(self, seed: int, folder: Path) -> dict[str, str]:
        """Domain -> its data set of a seed; a target needs no people to train on."""
        sizes = dict.fromkeys(self.sources, self.identities) | dict.fromkeys(self.unseen, 1)
        return {
            domain: str(render_dataset(domain, folder / "data", DatasetSize(train, 50, seed=seed)))
            for domain, train in sizes.items()
        }

    def average(self, scores: Sequence[float]) -> tuple[float, float]:
        """Means over the sources and over the unseen domains."""
        count = len(self.sources)
        return statistics.mean(scores[:count]), statistics.mean(scores[count:])


def train(folder: Path, *options: str) -> None:
    """A run in its own process; an existing run is not repeated."""
    if (folder / "results.json").is_file():
        return
    command = [sys.executable, "train_clipreid.py", "--config_file", "configs/demo/vit_tiny.yml"]
    command += [*options, "OUTPUT_DIR", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def run_seed(
    seed: int, places: Places, folder: Path, extra: tuple[str, ...]
) -> dict[str, dict[str, list[float]]]:
    """Method -> weights (last, averaged) -> mAP on the sources and on the unseen domains."""
    data = places.draw(seed, folder)
    sources = tuple(data[source] for source in places.sources)
    common = ["DATASETS.NAMES", repr(sources), "DATASETS.TARGETS", repr(tuple(data.values()))]
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
    parser.add_argument("--sources", nargs="+", default=["street"], metavar="DOMAIN")
    parser.add_argument(
        "--unseen", nargs="+", default=["campus", "mall", "harbour", "station"], metavar="DOMAIN"
    )
    parser.add_argument("--identities", type=int, default=100, help="people of each source")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "order")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY VALUE", help="for all runs")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    folder = arguments.folder.resolve()
    places = Places(tuple(arguments.sources), tuple(arguments.unseen), arguments.identities)
    runs = [run_seed(seed, places, folder, tuple(arguments.set)) for seed in seeds]
    for weights in WEIGHTS:
        print(f"\n**{weights} weights, {len(runs)} seeds**\n")
        each = places.sources if len(places.sources) > 1 else ()  # one source is "seen" itself
        head = ["seen", "minus random", *each, *places.unseen, "unseen", "minus random"]
        print(f"| method | {' | '.join(head)} |")
        print("|---|" + "---|" * len(head))
        references = [places.average(run[REFERENCE]["last"]) for run in runs]
        for name in (BEFORE, *METHODS):
            rows = [run[name][weights] for run in runs]
            means = [places.average(row) for row in rows]
            pairs = list(zip(means, references, strict=True))
            seen, unseen = zip(*means, strict=True)
            cells = [
                describe(seen),
                interval([own[0] - other[0] for own, other in pairs]),
                *map(describe, list(zip(*rows, strict=True))[len(places.sources) - len(each) :]),
                describe(unseen),
                interval([own[1] - other[1] for own, other in pairs]),
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
