"""Look at what a model finds: queries with the first pictures of their rankings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from config.errors import ConfigError
from datasets.image_lists import read_image_lists
from datasets.records import DataSplits, Sample
from processor.checkpoints.load import open_model
from processor.evaluation.build import OpenEvaluation, open_evaluation, prepare_evaluation
from processor.evaluation.protocol import Protocol
from processor.evaluation.target import Retrieval, Target
from processor.metrics.rank_lists import ORDERS, Rankings, choose_queries, find_rankings
from processor.pictures.rank_list import rank_row, write_lists
from processor.runtime import distributed
from processor.runtime.files import make_folder
from processor.tools.command_line import (
    IMAGES,
    add_checkpoint,
    add_data,
    add_overrides,
    place_output,
    positive,
)

DESCRIPTION = "show what queries find, as an HTML page and as sheets of pictures"
MOST_JUNK = 3  # junk pictures in a row; the query's caption says how many there are
SEED = 0  # of random queries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py rank-list`."""
    add_checkpoint(parser)
    add_data(parser)
    parser.add_argument(
        "--query",
        nargs="+",
        metavar="IMAGES",
        help=f"instead of --data, pictures without identities to search with: {IMAGES}",
    )
    parser.add_argument(
        "--gallery", nargs="+", metavar="IMAGES", help="and those to search in, likewise"
    )
    parser.add_argument(
        "--output", metavar="FOLDER", help="default: rank_lists beside the checkpoint"
    )
    parser.add_argument(
        "--top", type=positive, default=10, metavar="N", help="pictures per query (default: 10)"
    )
    parser.add_argument(
        "--order",
        choices=ORDERS,
        help="which queries, by average precision (default: worst; without identities: random)",
    )
    parser.add_argument(
        "--queries", type=positive, default=20, metavar="N", help="how many (default: 20)"
    )
    parser.add_argument("--pid", nargs="+", metavar="PID", help="queries of these identities only")
    add_overrides(parser, "TEST.RE_RANKING True")


def run(arguments: argparse.Namespace) -> None:
    """Write `NAME_ORDER.html` and `NAME_ORDER_1.png`, ... for every data set.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_evaluation`; pooled queries; an
            identity without a query.
    """
    _check(arguments)
    labelled = arguments.query is None
    opened = _open(arguments)
    evaluator = opened.evaluator
    if evaluator.protocol.multi_query:
        raise ConfigError(
            "TEST.MULTI_QUERY: a rank list belongs to one picture; add TEST.MULTI_QUERY False"
        )
    order = arguments.order or ("worst" if labelled else "random")
    pids = _read_pids(arguments.pid)
    for target in evaluator.targets:
        _queries_of(target.splits[0].query, pids)  # says what is missing before the work
    output = place_output(arguments.output, arguments.checkpoint, "rank_lists")
    make_folder(output, "--output")
    for target in evaluator.targets:
        retrieval = evaluator.retrieval(opened.model, target)
        if not distributed.is_first():
            continue
        rankings = rank(retrieval, evaluator.protocol, arguments.top)
        among = _queries_of(retrieval.query, pids)
        scores = rankings.average_precision
        chosen = choose_queries(scores, order, arguments.queries, among, SEED)
        squared = evaluator.protocol.rerank is None
        lists = [rankings.rank_list(query) for query in chosen]
        rows = [rank_row(x, retrieval, squared=squared, labelled=labelled) for x in lists]
        facts = [
            _describe_data(target, retrieval),
            f"checkpoint: {arguments.checkpoint}",
            *(_describe_scores(rankings, retrieval) if labelled else ()),
            f"number below a picture: {describe_distance(evaluator.protocol)}",
        ]
        title = describe_order(order, len(chosen), len(among), pids)
        write_lists(output / f"{target.name}_{order}", f"{target.name}: {title}", facts, rows)


def _check(arguments: argparse.Namespace) -> None:
    """Raise ValueError for options that make no sense together."""
    if (arguments.query is None) != (arguments.gallery is None):
        given, missing = ("query", "gallery") if arguments.query else ("gallery", "query")
        raise ValueError(f"--{given} needs --{missing}: pictures to search with, and in")
    if arguments.query is None:
        return
    for option in ("data", "pid"):
        if getattr(arguments, option):
            raise ValueError(f"--{option}: only data sets have identities; leave out --query")
    if arguments.order not in (None, "random"):
        raise ValueError(
            f"--order {arguments.order}: pictures without identities have no right and wrong; "
            "leave it out"
        )


def _open(arguments: argparse.Namespace) -> OpenEvaluation:
    """The model with the test splits of data sets, or with two lists of pictures."""
    if arguments.query is None:
        return open_evaluation(arguments.checkpoint, arguments.opts, arguments.data)
    loaded = open_model(arguments.checkpoint, opts=arguments.opts)
    root = loaded.cfg.DATASETS.ROOT_DIR
    name = f"{_name_of(arguments.query)}_in_{_name_of(arguments.gallery)}"
    query = _read_pictures(arguments.query, root, pid=0)
    gallery = _read_pictures(arguments.gallery, root, pid=1)  # no picture is a match
    splits = DataSplits(name, [], query, gallery, ignore_same_camera=False)
    return prepare_evaluation(loaded, [Target(name, [splits])])


def _name_of(places: Sequence[str]) -> str:
    """A name for files, of the first of some places."""
    return Path(places[0]).resolve().stem.replace(":", "_")


def _read_pictures(places: Sequence[str], root: str, pid: int) -> list[Sample]:
    lists = read_image_lists(places, root)
    return [replace(sample, pid=pid) for images in lists for sample in images.samples]


def rank(retrieval: Retrieval, protocol: Protocol, top: int) -> Rankings:
    """Rank the gallery for all queries, as the evaluation does."""
    return find_rankings(
        protocol.distances(retrieval.query_features, retrieval.gallery_features),
        retrieval.identities(),
        protocol.memory,
        top=top,
        most_junk=MOST_JUNK,
    )


def _read_pids(words: Sequence[str] | None) -> list[int] | None:
    """The identities of --pid, or None."""
    try:
        return None if words is None else [int(word) for word in words]
    except ValueError as error:
        raise ValueError(f"--pid: expected numbers, got {' '.join(words or ())}") from error


def _queries_of(queries: Sequence[Sample], pids: Sequence[int] | None) -> list[int]:
    """Places of the queries of some identities; None = of all."""
    present = {sample.pid for sample in queries}
    for pid in pids or ():
        if pid not in present:
            some = ", ".join(map(str, sorted(present)[:10]))
            raise ValueError(f"--pid: no query has identity {pid}; the first that have one: {some}")
    wanted = present if pids is None else set(pids)
    return [place for place, sample in enumerate(queries) if sample.pid in wanted]


def describe_order(order: str, count: int, out_of: int, pids: Sequence[int] | None) -> str:
    """Which queries are shown and how they are ordered, in words."""
    queries = f"{out_of:,} queries"
    if pids is not None:
        queries += f" of identity {', '.join(map(str, pids))}"
    if order == "random":
        if count == out_of:
            return f"all {queries}"
        return f"{count} of {queries}, drawn at random (seed {SEED})"
    return f"the {count} {order} of {queries} by average precision, {order} first"


def _describe_data(target: Target, retrieval: Retrieval) -> str:
    several = f", split 1 of {len(target.splits)}" if len(target.splits) > 1 else ""
    sizes = f"{len(retrieval.query):,} queries, {len(retrieval.gallery):,} gallery pictures"
    return f"{target.name}: {sizes}{several}"


def _describe_scores(rankings: Rankings, retrieval: Retrieval) -> list[str]:
    """Score of all queries, and what does not count."""
    junk = "every gallery picture counts, those of the query's camera too"
    if retrieval.ignore_same_camera:
        junk = (
            "junk: gallery pictures of the query's identity and camera do not count; the "
            f"{MOST_JUNK} nearest are shown"
        )
    return [f"mAP of the {rankings.num_valid_queries:,} with a match: {rankings.mAP:.1%}", junk]


def describe_distance(protocol: Protocol) -> str:
    """What the numbers below pictures are, in words."""
    if protocol.rerank is not None:
        return "re-ranked distance"
    return f"Euclidean distance of {'L2-normalized ' if protocol.normalize else ''}features"
