"""`run.py rank-list` shows the rankings that the evaluation scored."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from processor.evaluation.build import open_evaluation
from processor.metrics.distance import distance_blocks
from processor.tools.rank_list import describe_distance, rank

pytestmark = pytest.mark.slow

OVERRIDE = ("TEST.CHUNK_MB", "8")


@pytest.fixture(scope="module")
def opened(straight):
    """The trained model, its evaluator, and its test split with features."""
    opened = open_evaluation(str(straight / "last.pth"), [], [])
    (target,) = opened.evaluator.targets
    return SimpleNamespace(
        evaluator=opened.evaluator, retrieval=opened.evaluator.retrieval(opened.model, target)
    )


def test_first_ranks_agree_with_the_scores_of_the_run(opened, straight):
    results = json.loads((straight / "results.json").read_text(encoding="utf-8"))
    (scores,) = results["targets"].values()
    rankings = rank(opened.retrieval, opened.evaluator.protocol, top=3)
    assert rankings.mAP == pytest.approx(scores["mAP"], abs=1e-9)
    assert rankings.num_valid_queries == scores["num_valid_queries"]
    firsts = []
    for query in range(len(opened.retrieval.query)):
        found = rankings.rank_list(query)
        if found.average_precision is not None:
            firsts.append(next(entry.match for entry in found.entries if not entry.junk))
    assert sum(firsts) / len(firsts) == pytest.approx(scores["cmc"]["1"], abs=1e-12)


def test_distances_equal_those_of_the_evaluation(opened):
    query, gallery = opened.retrieval.query_features, opened.retrieval.gallery_features
    (block,) = distance_blocks(query, gallery, iter([slice(0, len(query))]))
    exact = torch.cdist(query.double(), gallery.double()).square()
    rankings = rank(opened.retrieval, opened.evaluator.protocol, top=5)
    for number in range(len(query)):
        for entry in rankings.rank_list(number).entries:
            for expected in (block.values, exact):
                value = float(expected[number, entry.index])
                assert entry.distance == pytest.approx(value, abs=1e-6)


def test_reranked_lists_agree_with_reranked_scores(straight):
    opened = open_evaluation(str(straight / "last.pth"), ["TEST.RE_RANKING", "True"], [])
    (target,) = opened.evaluator.targets
    (metrics,) = opened.evaluator(opened.model).targets[0].splits
    retrieval = opened.evaluator.retrieval(opened.model, target)
    rankings = rank(retrieval, opened.evaluator.protocol, top=2)
    assert rankings.mAP == pytest.approx(metrics.mAP, abs=1e-9)
    assert "re-ranked" in describe_distance(opened.evaluator.protocol)


def test_page_and_sheets(straight, script, tmp_path):
    name = next(iter(json.loads((straight / "results.json").read_text())["targets"]))
    (tmp_path / f"{name}_best_7.png").write_bytes(b"of an earlier, longer list")
    done = script(
        *("run.py", "rank-list", straight / "last.pth", "--order", "best", "--queries", 7),
        *("--top", 4, "--output", tmp_path, "--sheets"),
    )
    assert done.status == 0, done.output
    page = (tmp_path / f"{name}_best.html").read_text(encoding="utf-8")
    assert "the 7 best of" in page
    assert "best first" in page
    assert page.count('<section class="row"') == 7
    sheets = sorted(path.name for path in tmp_path.glob(f"{name}_*.png"))
    assert sheets == [f"{name}_best_1.png", f"{name}_best_2.png"]
    assert Image.open(tmp_path / sheets[0]).width > 4 * 90


def test_default_is_a_page_of_random_and_a_page_of_worst_queries(straight, script, tmp_path):
    name = next(iter(json.loads((straight / "results.json").read_text())["targets"]))
    arguments = ("run.py", "rank-list", straight / "last.pth", "--queries", 5)
    done = script(*arguments, "--output", tmp_path)
    assert done.status == 0, done.output
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{name}_random.html", f"{name}_worst.html"]
    random, worst = ((tmp_path / x).read_text(encoding="utf-8") for x in names)
    assert "drawn at random" in random
    assert "worst first" in worst
    scores = [float(score) for score in re.findall('data-ap="(.+?)"', worst)]
    assert len(scores) == 5
    assert scores == sorted(scores)


def test_first_right_rank_of_a_query_is_that_of_the_evaluation(opened):
    rankings = rank(opened.retrieval, opened.evaluator.protocol, top=len(opened.retrieval.gallery))
    for query in range(len(opened.retrieval.query)):
        found = rankings.rank_list(query)
        ranked = [entry for entry in found.entries if not entry.junk]
        matches = [place for place, entry in enumerate(ranked, start=1) if entry.match]
        assert found.first_match == (matches[0] if matches else None)


def test_queries_of_an_identity(straight, opened, script, tmp_path):
    pid = opened.retrieval.query[0].identity
    count = sum(sample.identity == pid for sample in opened.retrieval.query)
    arguments = ("run.py", "rank-list", straight / "last.pth", "--output", tmp_path)
    called = int(pid)  # 25 of 0025
    done = script(*arguments, "--order", "random", "--queries", 99, "--pid", called, *OVERRIDE)
    assert done.status == 0, done.output
    (page,) = tmp_path.glob("*_random.html")
    text = page.read_text(encoding="utf-8")
    assert text.count('<section class="row"') == text.count(f'data-pid="{pid}"') == count
    assert f"all {count} queries of identity {called}" in text


def test_folders_without_identities(straight, people, script, tmp_path):
    """Nothing is right or wrong, and only the requested number of queries is shown."""
    folders = {"query": people / "query", "gallery": people / "bounding_box_test"}
    done = script(
        *("run.py", "rank-list", straight / "last.pth", "--output", tmp_path, "--queries", 3),
        *("--query", folders["query"], "--gallery", folders["gallery"], "--top", 2),
    )
    assert done.status == 0, done.output
    page = (tmp_path / "query_in_bounding_box_test_random.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 3 * (1 + 2)
    assert page.count('<figure class="query"') == 3
    assert "drawn at random" in page
    assert "query/" in page
    for word in ("same identity", "different identity", "mAP", "identity 0", "junk:"):
        assert word not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pid", "987654"), "--pid: no query has identity 987654; the first that have one: "),
        (("--pid", "x", "TEST.CHUNK_MB", "8"), "--pid: no query has identity x; the first that"),
        (("TEST.MULTI_QUERY", "True"), "TEST.MULTI_QUERY: a rank list needs single queries"),
        (("--data", "nowhere"), "unknown data set 'nowhere'"),
        (("--query", "."), "--query needs --gallery"),
        (("--gallery", "."), "--gallery needs --query"),
        (("--query", ".", "--gallery", ".", "--pid", "1"), "--pid: only data sets have identities"),
        (("--query", ".", "--gallery", ".", "--order", "best"), "--order best: images without"),
        (("--query", "nowhere", "--gallery", "."), "'nowhere' is not a file, folder"),
    ],
)
def test_mistakes_are_named(straight, script, tmp_path, arguments, message):
    done = script("run.py", "rank-list", straight / "last.pth", "--output", tmp_path, *arguments)
    assert done.status == 1
    assert message in done.output
