"""Training images per second from files, from RAM and from the device: python benchmarks/input.py.

Draws people and loads the same augmented batches from every place of INPUT.CACHE, in turn, in one
process, without a model. An epoch is timed until its last batch is on the device; the first one,
which starts the workers, does not count. Batches from RAM are compared with those from files.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from yacs.config import CfgNode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import load_cfg
from datasets.images.build import build_training_images
from datasets.images.workers import limit_workers
from datasets.records import Batch
from datasets.samplers.build import build_train_sampler
from datasets.sources import TrainingSet, join_sources
from datasets.synthetic.render import DatasetSize, render_dataset
from processor.runtime.device import choose_device, describe_device
from processor.training.plan import build_sources

PLACES = ("none", "ram", "device")
CAMERAS, SHOTS = 4, 4


def read_arguments() -> argparse.Namespace:
    """Sizes and repeats of the measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--identities", type=int, default=64, help="with 16 images each")
    parser.add_argument("--height", type=int, default=128, help="of a file, twice its width")
    parser.add_argument("--batch", type=int, default=64, help="images in a batch")
    parser.add_argument("--workers", type=int, default=limit_workers(8), help="loader processes")
    parser.add_argument("--repeats", type=int, default=5, help="epochs that count")
    parser.add_argument("--opts", nargs="*", default=[], help="overrides, e.g. INPUT.RE_PROB 0")
    return parser.parse_args()


def draw_images(arguments: argparse.Namespace, root: Path) -> Path:
    """A folder of JPEG files in Market-1501's layout."""
    return render_dataset(
        "street",
        root,
        DatasetSize(arguments.identities, 1, num_cameras=CAMERAS, images_per_camera=SHOTS, seed=0),
        size=(arguments.height, arguments.height // 2),
    )


def configure(arguments: argparse.Namespace, folder: Path, place: str) -> CfgNode:
    """CLIP-ReID's input at 256 x 128 from a place."""
    return load_cfg(
        None,
        [
            *("INPUT.SIZE_TRAIN", "[256, 128]", "INPUT.SIZE_TEST", "[256, 128]"),
            *("DATASETS.ROOT_DIR", str(folder.parent), "DATASETS.NAMES", folder.name),
            *("DATALOADER.SAMPLER", "softmax", "DATALOADER.NUM_WORKERS", str(arguments.workers)),
            *("SOLVER.STAGE2.IMS_PER_BATCH", str(arguments.batch), "INPUT.CACHE", place),
            *arguments.opts,
        ],
        quiet=True,
    )


class Input:
    """The training input of a configuration."""

    def __init__(self, cfg: CfgNode, data: TrainingSet, device: torch.device) -> None:
        started = time.perf_counter()
        self.device = device
        images = build_training_images(cfg, data, device)
        self.loader = images.augmented(build_train_sampler(cfg, data))
        self.fill_seconds = time.perf_counter() - started

    def epoch(self, number: int) -> list[Batch]:
        """All batches of an epoch."""
        self.loader.batch_sampler.set_epoch(number)
        return list(self.loader)

    def images_per_second(self, number: int) -> float:
        """Of an epoch, until its last batch is on the device."""
        self.loader.batch_sampler.set_epoch(number)
        started = time.perf_counter()
        count = 0
        for batch in self.loader:
            count += len(batch.to(self.device))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return count / (time.perf_counter() - started)


def check_equal(files: Input, ram: Input) -> None:
    """Exit unless batches from RAM are bit-identical to those from files."""
    for one, other in zip(files.epoch(0), ram.epoch(0), strict=True):
        if not (torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)):
            raise SystemExit("batches from RAM differ from those from files")


def main() -> None:
    """Print one Markdown table."""
    arguments = read_arguments()
    device = choose_device("auto")
    with tempfile.TemporaryDirectory() as folder:
        images = draw_images(arguments, Path(folder))
        configurations = {place: configure(arguments, images, place) for place in PLACES}
        data = join_sources(build_sources(configurations["none"]))
        inputs = {place: Input(cfg, data, device) for place, cfg in configurations.items()}
        check_equal(inputs["none"], inputs["ram"])
        print(
            f"{describe_device(device)}, {arguments.workers} workers; {len(data.samples):,} images "
            f"of {arguments.height} x {arguments.height // 2} as 256 x 128, batches of "
            f"{arguments.batch}; from RAM = from files, bit for bit\n"
        )
        print("| INPUT.CACHE | seconds to fill | images/s, median | lowest to highest |")
        print("|---|---|---|---|")
        epochs = [
            [source.images_per_second(number) for source in inputs.values()]
            for number in range(arguments.repeats + 1)
        ]
        columns = zip(*epochs, strict=True)
        for (place, source), (_, *rates) in zip(inputs.items(), columns, strict=True):
            fill = f"{source.fill_seconds:.1f}" if place != "none" else "-"
            middle = f"{statistics.median(rates):,.0f}"
            print(f"| {place} | {fill} | {middle} | {min(rates):,.0f} to {max(rates):,.0f} |")


if __name__ == "__main__":
    main()
