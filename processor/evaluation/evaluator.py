"""Scores of a model on data sets: extract the features once, then rank every split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from torch import Tensor
from torch.utils.data import DataLoader

from datasets.checks.identities import require_test_images
from datasets.records import Batch, DataSplits, Sample
from model.embedder import Embedder
from processor.evaluation.protocol import Protocol
from processor.evaluation.target import Retrieval, Target, identities_of
from processor.features import FeatureTable, extract_features, ids_of_model
from processor.metrics.junk_rule import count_valid_queries
from processor.metrics.memory_limits import check_evaluation
from processor.metrics.normalize import normalize_in_place
from processor.results.report import EvaluationReport, TargetResult
from processor.runtime import distributed, gathering
from processor.runtime.precision import Precision
from processor.runtime.signals import StopRequest


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Scores models on targets.

    Attributes:
        targets: the data sets.
        protocol: how features become scores.
        loader: builds a loader of the given images, in order.
        precision: device and number format.
        stop: a request to stop, checked between batches.
    """

    targets: list[Target]
    protocol: Protocol
    loader: Callable[[Sequence[Sample]], DataLoader[Batch]]
    precision: Precision
    stop: StopRequest | None = None

    def __call__(self, model: Embedder) -> EvaluationReport:
        """Evaluate on every target.

        Raises:
            ValueError: a target has no valid query.
            MemoryError: a target is too large for the device.
        """
        return EvaluationReport([self._evaluate_target(model, target) for target in self.targets])

    def check(self) -> None:
        """Check that every target can be evaluated, without a model.

        Raises:
            ConfigError: see `Protocol.check`.
            ValueError: names the target that has no test images or no valid query, and why.
        """
        for target in self.targets:
            require_test_images(target.splits[0])
            for split in target.splits:
                junk_rule = self._junk_rule(split)
                ids = identities_of(split.query, split.gallery, ignore_same_camera=junk_rule)
                self.protocol.check(ids)
                try:
                    count_valid_queries(ids)
                except ValueError as error:
                    raise ValueError(f"evaluation on {target.name}: {error}") from None

    def retrieval(self, model: Embedder, target: Target) -> Retrieval:
        """Extract the features of a target's first split, ready to be ranked."""
        target = replace(target, splits=target.splits[:1])
        samples = _distinct_samples(target)
        table = self._extract(model, target, samples)
        self._scale(table)
        return self._retrieval(target.splits[0], table.features, _rows_by_path(samples, table))

    def score(self, target: Target, samples: Sequence[Sample], table: FeatureTable) -> TargetResult:
        """Score extracted features.

        Args:
            target: the data set.
            samples: its images, at least those of its splits.
            table: features of `samples`; images without features were broken and are left out. If
                the protocol normalizes features, these are normalized in place.
        """
        self._scale(table)
        rows = _rows_by_path(samples, table)
        first = self._retrieval(target.splits[0], table.features, rows)
        twins = first.count_twins()
        scores = [self.protocol.score(first)]
        for split in target.splits[1:]:
            scores.append(self.protocol.score(self._retrieval(split, table.features, rows)))
        return TargetResult(
            target.name,
            scores,
            target.notes,
            len(table.bad_images),
            target.fingerprint,
            {x.pid: x.pid_name for x in target.splits[0].query if x.pid_name},
            twins,
        )

    def _evaluate_target(self, model: Embedder, target: Target) -> TargetResult:
        samples = _distinct_samples(target)
        table = self._extract(model, target, samples)
        return distributed.from_first(lambda: self.score(target, samples, table))

    def _extract(self, model: Embedder, target: Target, samples: Sequence[Sample]) -> FeatureTable:
        # With the width known from the first batch, before memory for all rows is allocated.
        check_memory = cache(partial(self._check_memory, target, len(samples)))

        def encode(batch: Batch) -> Tensor:
            ids = ids_of_model(batch.camids, batch.viewids, target.cameras)
            features = model.embed(batch.images, *ids)
            check_memory(features.shape[1])
            return features

        was_training = model.training
        model.eval()
        try:
            return extract_features(
                encode,
                lambda own: self.loader(samples[own.start : own.stop]),
                len(samples),
                self.precision,
                title=target.name,
                stop=self.stop,
            )
        finally:
            model.train(was_training)

    def _check_memory(self, target: Target, num_images: int, dim: int) -> None:
        sizes = [(len(split.query), len(split.gallery)) for split in target.splits]
        memory, rerank = self.protocol.memory, self.protocol.rerank
        copies = gathering.copies_in_memory(memory.device)
        check_evaluation(target.name, sizes, num_images, dim, memory, rerank, copies=copies)

    def _scale(self, table: FeatureTable) -> None:
        if self.protocol.normalize:
            normalize_in_place(table.features)

    def _retrieval(self, split: DataSplits, features: Tensor, rows: dict[str, int]) -> Retrieval:
        query = [sample for sample in split.query if sample.path in rows]
        gallery = [sample for sample in split.gallery if sample.path in rows]
        for part, kept in (("query", query), ("gallery", gallery)):
            if not kept:
                raise ValueError(
                    f"evaluation on {split.name}: all {part} images are broken and were left out "
                    "(INPUT.ON_BAD_IMAGE skip)"
                )
        both = _take(features, [rows[sample.path] for sample in [*query, *gallery]])
        return Retrieval(
            query,
            gallery,
            both[: len(query)],
            both[len(query) :],
            self._junk_rule(split),
            split.single_gallery_shot,
        )

    def _junk_rule(self, split: DataSplits) -> bool:
        return self.protocol.ignore_same_camera and split.ignore_same_camera


def _distinct_samples(target: Target) -> list[Sample]:
    """Every image of the target's splits once: first the queries, then the galleries."""
    by_path: dict[str, Sample] = {}
    for split in target.splits:
        for sample in [*split.query, *split.gallery]:
            by_path.setdefault(sample.path, sample)
    return list(by_path.values())


def _rows_by_path(samples: Sequence[Sample], table: FeatureTable) -> dict[str, int]:
    """Row of every readable image's features."""
    return {samples[place].path: row for row, place in enumerate(table.indices.tolist())}


def _take(features: Tensor, rows: list[int]) -> Tensor:
    """Rows of (N, D) features; consecutive rows are not copied."""
    if rows and rows == list(range(rows[0], rows[0] + len(rows))):
        return features[rows[0] : rows[0] + len(rows)]
    return features[rows]
