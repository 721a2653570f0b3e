"""Show which gallery images a model finds for its queries, right and wrong ones marked."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from config.errors import ConfigError
from datasets.checks.outputs import refuse_inside_data
from datasets.image_lists import read_image_lists
from datasets.records import DataSplits, Sample, natural_order
from processor.checkpoints.load import open_model
from processor.evaluation.build import OpenEvaluation, open_evaluation, prepare_evaluation
from processor.evaluation.protocol import Protocol
from processor.evaluation.target import Retrieval, Target
from processor.metrics.rank_lists import Rankings, choose_queries, find_rankings
from processor.pictures.rank_list import RankRow, rank_row
from processor.pictures.rank_page import render_page
from processor.pictures.sheet import write_sheets
from processor.runtime import distributed
from processor.runtime.files import write_text
from processor.tools.arguments.rank_list import ROWS_PER_SHEET
from processor.tools.command_line import place_folder

logger = logging.getLogger(__name__)

DEFAULT_ORDERS = ("random", "worst")  # the usual case and the failures
MOST_JUNK = 3  # junk images in a row; the query's caption gives the total
SEED = 0  # of random queries


def run(arguments: argparse.Namespace) -> None:
    """Write `NAME_ORDER.html` for every data set and order; with --sheets `NAME_ORDER_1.png`, ....

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_evaluation`; pooled queries; an
            identity without a query.
    """
    _check(arguments)
    output = place_folder(arguments.output, arguments.checkpoint, "rank_lists")
    opened = _open(arguments)
    evaluator = opened.evaluator
    if evaluator.protocol.multi_query:
        raise ConfigError(
            "TEST.MULTI_QUERY: a rank list needs single queries; add TEST.MULTI_QUERY False"
        )
    for target in evaluator.targets:  # fails before the features are extracted
        _queries_of(target.splits[0].query, arguments.pid)
    refuse_inside_data(
        output, "--output", _places(arguments, opened), opened.loaded.cfg.DATASETS.ROOT_DIR
    )
    for target in evaluator.targets:
        retrieval = evaluator.retrieval(opened.model, target)
        if distributed.is_first():
            _write_lists(arguments, target, retrieval, evaluator.protocol, output)


def _write_lists(
    arguments: argparse.Namespace,
    target: Target,
    retrieval: Retrieval,
    protocol: Protocol,
    output: Path,
) -> None:
    """Write a page, and sheets if wanted, for every order."""
    labelled = arguments.query is None
    names = arguments.pid
    among = _queries_of(retrieval.query, names)
    rankings = rank(retrieval, protocol, arguments.top)
    facts = [
        _describe_rows(retrieval, labelled=labelled),
        _describe_data(target, retrieval),
        *([f"mAP over {rankings.num_valid_queries:,} queries: {rankings.mAP:.1%}"] * labelled),
        f"distance: {describe_distance(protocol)}",
        f"checkpoint: {arguments.checkpoint}",
    ]
    default = DEFAULT_ORDERS if labelled else DEFAULT_ORDERS[:1]
    for order in [arguments.order] if arguments.order else default:
        scores = rankings.average_precision
        chosen = choose_queries(scores, order, arguments.queries, among, SEED)
        rows = [
            rank_row(
                rankings.rank_list(query),
                retrieval,
                squared=protocol.rerank is None,
                labelled=labelled,
            )
            for query in chosen
        ]
        title = f"{target.name}: {describe_order(order, len(chosen), len(among), names)}"
        stem = output / f"{target.name}_{order}"
        page = stem.with_name(f"{stem.name}.html")
        write_text(page, render_page(title, facts, rows))
        logger.info("written: %s", page)
        if arguments.sheets:
            _write_sheets(stem, title, facts[0], rows)


def _write_sheets(stem: Path, title: str, note: str, rows: Sequence[RankRow]) -> None:
    top = max((len(row.ranks) for row in rows), default=0)
    tiles = [row.on_sheet(top) for row in rows]
    count = write_sheets(stem, tiles, title, notes=[note], rows_per_sheet=ROWS_PER_SHEET)
    logger.info("written: %s_1.png, sheets in all: %d", stem, count)


def _check(arguments: argparse.Namespace) -> None:
    """Raise ValueError for options that contradict each other."""
    if (arguments.query is None) != (arguments.gallery is None):
        given, missing = ("query", "gallery") if arguments.query else ("gallery", "query")
        raise ValueError(f"--{given} needs --{missing}: images to search with, and to search")
    if arguments.query is None:
        return
    for option in ("data", "pid"):
        if getattr(arguments, option):
            raise ValueError(f"--{option}: only data sets have identities; leave out --query")
    if arguments.order not in (None, "random"):
        raise ValueError(
            f"--order {arguments.order}: images without identities have no average precision; "
            "leave it out"
        )


def _places(arguments: argparse.Namespace, opened: OpenEvaluation) -> list[str]:
    """What is read, as named by the user or the configuration."""
    if arguments.query is not None:
        return [*arguments.query, *arguments.gallery]
    data = opened.loaded.cfg.DATASETS
    return list(data.TARGETS or data.NAMES)


def _open(arguments: argparse.Namespace) -> OpenEvaluation:
    """The model with the test splits of data sets, or with two lists of images."""
    if arguments.query is None:
        return open_evaluation(arguments.checkpoint, arguments.opts, arguments.data)
    loaded = open_model(arguments.checkpoint, opts=arguments.opts)
    root = loaded.cfg.DATASETS.ROOT_DIR
    name = f"{_name_of(arguments.query)}_in_{_name_of(arguments.gallery)}"
    query = _read_images(arguments.query, root, pid=0)
    gallery = _read_images(arguments.gallery, root, pid=1)  # so that no image is a match
    splits = DataSplits(name, [], query, gallery, ignore_same_camera=False)
    return prepare_evaluation(loaded, [Target(name, [splits])])


def _name_of(places: Sequence[str]) -> str:
    """A file name made from the first of some places."""
    return Path(places[0]).resolve().stem.replace(":", "_")


def _read_images(places: Sequence[str], root: str, pid: int) -> list[Sample]:
    lists = read_image_lists(places, root)
    samples = [sample for images in lists for sample in images.samples]
    return [replace(sample, pid=pid, pid_name=sample.identity) for sample in samples]


def rank(retrieval: Retrieval, protocol: Protocol, top: int) -> Rankings:
    """Rank the gallery for all queries, exactly as the evaluation does."""
    return find_rankings(
        protocol.distances(retrieval.query_features, retrieval.gallery_features),
        retrieval.identities(),
        protocol.memory,
        top=top,
        most_junk=MOST_JUNK,
    )


def _queries_of(queries: Sequence[Sample], names: Sequence[str] | None) -> list[int]:
    """Positions of the queries of some identities; None = of all."""
    present = {sample.identity for sample in queries}
    names = names and [_as_written(name, present) for name in names]
    for name in names or ():
        if name not in present:
            some = ", ".join(sorted(present, key=natural_order)[:10])
            raise ValueError(
                f"--pid: no query has identity {name}; the first that have one: {some}"
            )
    wanted = present if names is None else set(names)
    return [place for place, sample in enumerate(queries) if sample.identity in wanted]


def _as_written(name: str, present: set[str]) -> str:
    """A name; a number such as 0007 may be called 7, and 7 may be called 0007."""
    if name in present or not name.isdecimal():
        return name
    equal = [x for x in present if x.isdecimal() and int(x) == int(name)]
    return equal[0] if len(equal) == 1 else name


def describe_order(order: str, count: int, out_of: int, names: Sequence[str] | None) -> str:
    """Which queries are shown and in which order, in words."""
    queries = f"{out_of:,} queries"
    if names is not None:
        queries += f" of identity {', '.join(names)}"
    if order == "random":
        if count == out_of:
            return f"all {queries}"
        return f"{count} of {queries}, drawn at random (seed {SEED})"
    return f"the {count} {order} of {queries} by average precision, {order} first"


def _describe_rows(retrieval: Retrieval, *, labelled: bool) -> str:
    """How to read a row."""
    text = "each row: a query, then the gallery images most similar to it, nearest first"
    if labelled and not retrieval.ignore_same_camera:
        text += "; images from the query's own camera count too"
    return text


def _describe_data(target: Target, retrieval: Retrieval) -> str:
    several = f", split 1 of {len(target.splits)}" if len(target.splits) > 1 else ""
    sizes = f"{len(retrieval.query):,} queries, {len(retrieval.gallery):,} gallery images"
    return f"{target.name}: {sizes}{several}"


def describe_distance(protocol: Protocol) -> str:
    """The distance below the images, in words."""
    if protocol.rerank is not None:
        return "re-ranked (k-reciprocal)"
    return f"Euclidean, between {'L2-normalized ' if protocol.normalize else ''}features"
