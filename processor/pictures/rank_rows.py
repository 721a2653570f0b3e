"""Rank lists as rows of pictures: the query, then what it finds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from datasets.records import Sample
from processor.evaluation.rank_lists import RankEntry, RankList
from processor.evaluation.retrieval import Retrieval
from processor.pictures.sheet import Tile


@dataclass(frozen=True, slots=True)
class RankRow:
    """One query and the head of its ranking.

    Attributes:
        tiles: the query first.
        pid: its identity.
        result: what the first picture that counts is: "right", "wrong", or "none" where the gallery
            has no match, so that the query does not count; "" without identities.
        average_precision: of the whole ranking; None without a match or without identities.
    """

    tiles: tuple[Tile, ...]
    pid: int
    result: str
    average_precision: float | None


def rank_row(
    rank_list: RankList, retrieval: Retrieval, *, squared: bool, labelled: bool
) -> RankRow:
    """Frames and captions of a rank list.

    Args:
        rank_list: of a query of the retrieval.
        retrieval: the images.
        squared: the distances are squares, shown as their roots.
        labelled: the images have identities; False frames the query only.
    """
    query = retrieval.query[rank_list.query]
    tiles = [_query_tile(rank_list, query, labelled=labelled)]
    place = 0
    for entry in rank_list.entries:
        place += not entry.junk
        distance = math.sqrt(max(entry.distance, 0)) if squared else entry.distance
        rank = "junk" if entry.junk else str(place)
        sample = retrieval.gallery[entry.index]
        frame = _frame(entry) if labelled else None
        caption = _caption(f"{rank}: {distance:.4f}", sample, labelled=labelled)
        tiles.append(Tile(sample.path, caption, frame))
    if not labelled:
        return RankRow(tuple(tiles), query.pid, "", None)
    result = "none"
    if rank_list.average_precision is not None:
        result = _frame(next(entry for entry in rank_list.entries if not entry.junk))
    return RankRow(tuple(tiles), query.pid, result, rank_list.average_precision)


def _query_tile(rank_list: RankList, query: Sample, *, labelled: bool) -> Tile:
    lines = _caption("query", query, labelled=labelled)
    if labelled:
        score = rank_list.average_precision
        lines += ("no match" if score is None else f"AP {score:.1%}",)
        shown = sum(entry.junk for entry in rank_list.entries)
        if rank_list.num_junk:
            lines += (f"junk {shown} of {rank_list.num_junk}",)
    return Tile(query.path, lines, "query")


def _caption(first: str, sample: Sample, *, labelled: bool) -> tuple[str, ...]:
    ids = (f"pid {sample.pid} camid {sample.camid}",) if labelled else ()
    return (first, *ids, Path(sample.path).name)


def _frame(entry: RankEntry) -> str:
    if entry.junk:
        return "junk"
    return "right" if entry.match else "wrong"
