"""A query and the head of its ranking, as captioned tiles for a page or a sheet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from datasets.records import Sample
from processor.evaluation.target import Retrieval
from processor.metrics.rank_lists import RankEntry, RankList
from processor.pictures.sheet import Row, Tile


@dataclass(frozen=True, slots=True)
class RankRow:
    """One query and the images found for it.

    Attributes:
        query: the query's tile.
        ranks: the nearest gallery images that count, rank 1 first.
        junk: the nearest junk images, apart from the ranks as they have none.
        identity: of the query, by name.
        result: "right" or "wrong" as the image at rank 1; "none" where the gallery has no match, so
            that the query does not count; "" without identities.
        average_precision: of the whole ranking; None without a match or without identities.
    """

    query: Tile
    ranks: tuple[Tile, ...]
    junk: tuple[Tile, ...]
    identity: str
    result: str
    average_precision: float | None

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles of the row."""
        return (self.query, *self.ranks, *self.junk)

    def on_sheet(self, top: int) -> Row:
        """The row of a sheet whose columns are the query, `top` ranks, and junk."""
        empty = (None,) * (top - len(self.ranks))
        return (self.query, *self.ranks, *empty, *self.junk)


def rank_row(
    rank_list: RankList, retrieval: Retrieval, *, squared: bool, labelled: bool
) -> RankRow:
    """Describe a rank list in frames and captions.

    Args:
        rank_list: of a query of the retrieval.
        retrieval: the images.
        squared: the distances are squares; their roots are shown.
        labelled: the images have identities; False shows file names and no right or wrong.
    """
    query = retrieval.query[rank_list.query]
    describe = _file_of
    if labelled:
        cameras = {sample.camid for sample in (*retrieval.query, *retrieval.gallery)}
        describe = _ids_of if len(cameras) > 1 else _pid_of
    ranks: list[Tile] = []
    junk: list[Tile] = []
    for entry in rank_list.entries:
        sample = retrieval.gallery[entry.index]
        distance = math.sqrt(max(entry.distance, 0)) if squared else entry.distance
        place = "junk" if entry.junk else f"rank {len(ranks) + 1}"
        caption = (place, f"distance {distance:.3f}", *describe(sample))
        tile = Tile(sample.path, caption, _frame(entry) if labelled else None)
        (junk if entry.junk else ranks).append(tile)
    scores = _describe_scores(rank_list, len(junk)) if labelled else ()
    result = ""
    if labelled:
        first = next(entry for entry in rank_list.entries if not entry.junk)
        result = "none" if rank_list.average_precision is None else _frame(first)
    return RankRow(
        query=Tile(query.path, ("query", *describe(query), *scores), "query"),
        ranks=tuple(ranks),
        junk=tuple(junk),
        identity=query.identity,
        result=result,
        average_precision=rank_list.average_precision if labelled else None,
    )


def _describe_scores(rank_list: RankList, shown_junk: int) -> tuple[str, ...]:
    """Average precision, the rank of the first match, and how much of the junk is shown."""
    lines: tuple[str, ...] = ("no match in the gallery",)
    if rank_list.average_precision is not None:
        score = f"AP {rank_list.average_precision:.1%}"
        lines = (score, f"first right: rank {rank_list.first_match:,}")
    if rank_list.num_junk:
        lines += (f"junk: {shown_junk} of {rank_list.num_junk}",)
    return lines


def _ids_of(sample: Sample) -> tuple[str, ...]:
    return (f"identity {sample.identity}", f"camera {sample.camera or 'unknown'}")


def _pid_of(sample: Sample) -> tuple[str, ...]:
    """Without the camera, as there is only one or it is unknown."""
    return (f"identity {sample.identity}",)


def _file_of(sample: Sample) -> tuple[str, ...]:
    """The file with its folder, of images without identities."""
    file = str(Path(*Path(sample.path).parts[-2:]))
    return (f"identity {sample.pid_name}", file) if sample.pid_name else (file,)


def _frame(entry: RankEntry) -> str:
    if entry.junk:
        return "junk"
    return "right" if entry.match else "wrong"
