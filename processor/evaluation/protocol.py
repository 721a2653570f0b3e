"""The protocol: how features become scores."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from config.errors import ConfigError
from processor.evaluation.multi_query import pool_queries
from processor.evaluation.target import Retrieval
from processor.metrics.checks import check_features
from processor.metrics.distance import DistanceSource, distance_blocks
from processor.metrics.identities import Identities
from processor.metrics.k_reciprocal import Reranking, place_of_sparse_rows
from processor.metrics.ranking import RetrievalMetrics, evaluate_blocks
from processor.metrics.reranking import rerank_blocks
from processor.metrics.single_shot import single_gallery_shot_cmc
from processor.metrics.working_memory import WorkingMemory
from processor.runtime.progress import Progress


@dataclass(frozen=True, slots=True)
class Protocol:
    """How features become scores.

    Attributes:
        normalize: L2-normalize features before comparing them.
        ignore_same_camera: apply the junk rule to the data sets that have one.
        memory: for one block of distances, on the device that holds the features.
        rerank: constants of k-reciprocal re-ranking; None = off.
        multi_query: one query per identity and camera, by the mean of its images' features; the
            numbers of queries in the results are of these.
    """

    normalize: bool = True
    ignore_same_camera: bool = True
    memory: WorkingMemory = field(default_factory=WorkingMemory)
    rerank: Reranking | None = None
    multi_query: bool = False

    def check(self, ids: Identities) -> None:
        """Raise ConfigError for options that need queries outside the gallery."""
        used = {"TEST.RE_RANKING": self.rerank is not None, "TEST.MULTI_QUERY": self.multi_query}
        for option, on in used.items():
            if on and ids.own_places is not None:
                raise ConfigError(f"{option}: queries are also in the gallery; set it False")

    def score(self, retrieval: Retrieval) -> RetrievalMetrics:
        """Rank the gallery of a split for every query and score the rankings.

        With `single_gallery_shot`, the CMC is computed on galleries of one image per identity.

        Raises:
            ValueError: NaN or infinite features, no query with a match.
            MemoryError: the ranking does not fit the memory.
        """
        query, ids = retrieval.query_features, retrieval.identities()
        if self.multi_query:
            pooled = pool_queries(query, ids, normalize=self.normalize)
            query, ids = pooled.features, pooled.ids
        distances, memory = self.distances(query, retrieval.gallery_features), self.memory
        if self.rerank is not None:
            memory = replace(memory, device=place_of_sparse_rows(memory.device))
        title = f"ranking {len(ids.gallery_pids):,} images for {len(ids.query_pids):,} queries"
        metrics = evaluate_blocks(_with_progress(distances, title), ids, memory)
        if retrieval.single_gallery_shot:
            metrics = replace(metrics, cmc=single_gallery_shot_cmc(distances, ids, memory))
        return metrics

    def distances(self, query: Tensor, gallery: Tensor) -> DistanceSource:
        """The distances by which to rank (Q, D) and (G, D) features; re-ranking runs here."""
        if self.rerank is None:
            return partial(distance_blocks, *check_features(query, gallery))
        return rerank_blocks(query, gallery, self.rerank, self.memory)

    def as_dict(self) -> dict[str, Any]:
        """The entry of results.json."""
        return {
            "normalized": self.normalize,
            "ignore_same_camera": self.ignore_same_camera,
            "rerank": list(astuple(self.rerank)) if self.rerank else None,
            "multi_query": self.multi_query,
        }


def _with_progress(distances: DistanceSource, title: str) -> DistanceSource:
    """The same distances, whose computation shows its progress."""
    return lambda rows: distances(iter(Progress(list(rows), title, "blocks")))
