"""Exports that change the features: made, measured on labelled data, refused if they cost much."""

from __future__ import annotations

import logging
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from config.options import lookup
from datasets.image_lists import read_image_lists
from datasets.images.build import build_evaluation_loader
from datasets.records import Sample
from model.network_files.embedder import NetworkFile
from processor.checkpoints.load import LoadedModel, open_model
from processor.checkpoints.quantize import convert_to_openvino, quantize_onnx
from processor.evaluation.build import OpenEvaluation, prepare_evaluation
from processor.runtime.files import atomic_file, write_json
from processor.runtime.log import Lines

logger = logging.getLogger(__name__)

CALIBRATION_IMAGES, CALIBRATION_BATCH = 256, 16
COMPARED_IMAGES = 256  # for cosines
BATCHES = (1, 7, 64)  # whose rows have to be equal
LARGEST_DIFFERENCE = 1e-4  # between rows of length 1
SPEEDS = (1, 32)  # images per batch
# Options of the checkpoint's evaluation that hold for its files, too.
_KEPT = (
    *("TEST.FEAT_NORM", "TEST.IGNORE_SAME_CAMERA", "TEST.MULTI_QUERY", "TEST.RE_RANKING"),
    *("TEST.CHUNK_MB", "TEST.IMS_PER_BATCH", "INPUT.ON_BAD_IMAGE", "DATALOADER.NUM_WORKERS"),
)
SECONDS = 2.0  # of measuring a speed


@dataclass(frozen=True, slots=True)
class Measured:
    """What a file costs and wins.

    Attributes:
        file: its name.
        megabytes: with the weights beside it.
        mAP: of every data set, in percent.
        drop: the largest of all data sets, of mAP against the float32 file, in points.
        cosine: the smallest and the mean cosine of its features to those of the float32 file.
        images_per_second: for batches of SPEEDS images.
        batch_difference: the largest difference between rows of length 1 in batches of BATCHES.
    """

    file: str
    megabytes: float
    mAP: dict[str, float]
    drop: float
    cosine: tuple[float, float]
    images_per_second: dict[int, float]
    batch_difference: float


@dataclass(frozen=True, slots=True)
class Request:
    """Files to make from a float32 ONNX file.

    Attributes:
        source: the float32 file.
        loaded: the checkpoint that it was exported from.
        data: names of labelled data sets; empty = the checkpoint's.
        images: for the ranges of activations; empty = the first gallery images of the data sets.
        max_drop: the most points of mAP that a file may lose.
    """

    source: Path
    loaded: LoadedModel
    data: Sequence[str]
    images: Sequence[str]
    max_drop: float


def export_measured(request: Request, int8: Path | None, openvino: Path | None) -> None:
    """Make the requested files, measure them, and write those that pass, each with a report.

    Raises:
        ValueError: a file loses more than `max_drop` points of mAP, or its rows depend on the
            batch; it is not written.
    """
    plain = _Subject.of(request.source, request)
    reference = plain.measure(None)
    results = []
    with TemporaryDirectory() as folder:
        for target, make in ((int8, _make_int8), (openvino, _make_openvino)):
            if target is None:
                continue
            made = Path(folder) / target.name
            make(request, plain, made)
            found = _Subject.of(made, request).measure(plain, reference)
            results.append((target, made, found))
            logger.info("%s", Lines(format_report([reference, *(x for _, _, x in results)])))
            _check(found, request.max_drop)
            _move(made, target)
            report = target.with_name(f"{target.name}.json")
            write_json(report, {"float32": asdict(reference), "this": asdict(found)})
            logger.info("written: %s, %.1f MB; report: %s", target, found.megabytes, report)


def _make_int8(request: Request, plain: _Subject, target: Path) -> None:
    quantize_onnx(request.source, target, plain.calibration_batches(request.images))


def _make_openvino(request: Request, plain: _Subject, target: Path) -> None:
    convert_to_openvino(request.source, target, plain.network.description)


def _check(found: Measured, max_drop: float) -> None:
    if not found.batch_difference <= LARGEST_DIFFERENCE:
        raise ValueError(
            f"{found.file}: not written, its rows differ by {found.batch_difference:.1e} between "
            f"batches of {', '.join(map(str, BATCHES))}"
        )
    if not found.drop <= max_drop:  # NaN fails too
        raise ValueError(
            f"{found.file}: not written, its mAP is {found.drop:.2f} points lower; allowed are "
            f"{max_drop} (--max_drop). More images for the ranges of activations may help: --images"
        )


def _move(made: Path, target: Path) -> None:
    """Put a file, and before it the weights beside it, into its place.

    A stop in between leaves weights without their network, not an earlier network on new weights.
    """
    weights = made.with_suffix(".bin")
    if weights.is_file():
        target.unlink(missing_ok=True)
        with atomic_file(target.with_name(weights.name)) as partial:
            shutil.copyfile(weights, partial)
    with atomic_file(target) as partial:
        shutil.copyfile(made, partial)


@dataclass(frozen=True, slots=True)
class _Subject:
    """A network file with the evaluator of the data sets, which preprocesses as the file needs."""

    network: NetworkFile
    opened: OpenEvaluation

    @classmethod
    def of(cls, path: Path, request: Request) -> _Subject:
        cfg = request.loaded.cfg
        names = tuple(request.data) or cfg.DATASETS.TARGETS or cfg.DATASETS.NAMES
        opts = ["DATASETS.ROOT_DIR", cfg.DATASETS.ROOT_DIR, "DATASETS.TARGETS", repr(tuple(names))]
        opts += ["MODEL.DEVICE", "cpu"]
        opts += [x for key in _KEPT for x in (key, str(lookup(cfg, key)))]
        opened = prepare_evaluation(open_model(str(path), None, opts))
        opened.evaluator.check()
        assert isinstance(opened.model, NetworkFile)
        return cls(opened.model, opened)

    def images(self, count: int) -> Tensor:
        """(N, 3, H, W) of gallery images of all data sets, in the numbers that the file takes."""
        samples = [x for target in self.opened.evaluator.targets for x in target.splits[0].gallery]
        return self._load(samples, count)

    def calibration_batches(self, places: Sequence[str]) -> Iterator[np.ndarray]:
        """Batches in the file's input format, of given images or of gallery images."""
        images = self._read(places) if places else self.images(CALIBRATION_IMAGES)
        for batch in images.split(CALIBRATION_BATCH):
            yield self.network.as_input(batch)

    def _read(self, places: Sequence[str]) -> Tensor:
        cfg = self.opened.loaded.cfg
        lists = read_image_lists(places, cfg.DATASETS.ROOT_DIR)
        samples = [sample for found in lists for sample in found.samples]
        return self._load(samples, CALIBRATION_IMAGES)

    def _load(self, samples: Sequence[Sample], count: int) -> Tensor:
        """At most `count` images, from all of the list."""
        step = max(1, len(samples) // count)
        loader = build_evaluation_loader(self.opened.loaded.cfg, samples[::step][:count])
        return torch.cat([batch.images for batch in loader])

    def measure(self, plain: _Subject | None, reference: Measured | None = None) -> Measured:
        """The file's numbers, compared with the float32 file's."""
        report = self.opened.evaluator(self.network)
        scores = {target.name: 100 * target.scores()["mAP"] for target in report.targets}
        before = scores if reference is None else reference.mAP
        images = self.images(COMPARED_IMAGES)
        many = images.repeat(1 + max(BATCHES) // len(images), 1, 1, 1)[: max(BATCHES)]
        rows = self.network.embed(images[:COMPARED_IMAGES])
        others = rows if plain is None else plain.network.embed(plain.images(COMPARED_IMAGES))
        cosines = F.cosine_similarity(rows.double(), others.double())
        return Measured(
            self.network.path.name,
            self.network.megabytes,
            scores,
            max(before[name] - score for name, score in scores.items()),
            (float(cosines.min()), float(cosines.mean())),
            {size: self._speed(many[:size]) for size in SPEEDS},
            self._batch_difference(many),
        )

    def _batch_difference(self, images: Tensor) -> float:
        found = [
            F.normalize(torch.cat([self.network.embed(part) for part in images.split(size)]))
            for size in BATCHES
        ]
        return max(float((rows - found[0]).abs().max()) for rows in found)

    def _speed(self, images: Tensor) -> float:
        """Images per second, by the median of repeated batches."""
        return len(images) / median_seconds(lambda: self.network.embed(images), SECONDS)


def median_seconds(work: Callable[[], object], total: float) -> float:
    """The median duration of repetitions that take `total` seconds, after two to warm up."""
    durations: list[float] = []
    for _ in range(2):
        work()
    while sum(durations) < total or len(durations) < 5:
        started = time.perf_counter()
        work()
        durations.append(time.perf_counter() - started)
    return statistics.median(durations)


def format_report(found: Sequence[Measured]) -> str:
    """One line per file, the float32 file first."""
    names = list(found[0].mAP)
    speeds = [f"images/s of {size}" for size in SPEEDS]
    lines = [["file", "MB", *names, "drop", "cosine min", "mean", *speeds]]
    for one in found:
        cells = [one.file, f"{one.megabytes:.1f}"]
        cells += [f"{one.mAP[name]:.2f}" for name in names]
        cells += [f"{one.drop:+.2f}", *(f"{value:.4f}" for value in one.cosine)]
        for size, speed in one.images_per_second.items():
            cells.append(f"{speed:,.0f} ({speed / found[0].images_per_second[size]:.2f}x)")
        lines.append(cells)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ([x.ljust(width) for x, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)
