"""Rank lists as rows, and as a page that a browser shows without asking anybody for anything."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.records import Sample
from processor.evaluation.target import Retrieval
from processor.metrics.rank_lists import RankEntry, RankList
from processor.pictures.rank_list import rank_row, render_page
from processor.pictures.style import MARKS

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
NO_FEATURES = torch.empty(0, 1)


@pytest.fixture
def retrieval(tmp_path):
    """Two queries (pids 7 and 8), four gallery pictures; one name that HTML has to escape."""
    rng = np.random.default_rng(0)
    names = ["q0.png", "q<b>&1.png", "g0.png", "g1.png", "g2.png", "g3.png"]
    ids = [(7, 0), (8, 1), (7, 0), (8, 0), (7, 1), (9, 2)]
    samples = []
    for name, (pid, camid) in zip(names, ids, strict=True):
        Image.fromarray(rng.integers(0, 255, (64, 32, 3), dtype=np.uint8)).save(tmp_path / name)
        samples.append(Sample(str(tmp_path / name), pid, camid))
    return Retrieval(samples[:2], samples[2:], NO_FEATURES, NO_FEATURES, ignore_same_camera=True)


FOUND = RankList(
    0,
    (
        RankEntry(0, 0.01, match=True, junk=True),
        RankEntry(2, 0.25, match=True, junk=False),
        RankEntry(1, 1.44, match=False, junk=False),
    ),
    1.0,
    num_junk=4,
)
MISSED = RankList(
    1,
    (
        RankEntry(3, -1e-9, match=False, junk=False),
        RankEntry(1, 0.09, match=True, junk=False),
    ),
    0.5,
    num_junk=0,
)


def test_rows_say_what_the_lists_say(retrieval):
    row = rank_row(FOUND, retrieval, squared=True, labelled=True)
    assert [tile.frame for tile in row.tiles] == ["query", "junk", "right", "wrong"]
    assert [tile.path for tile in row.tiles[1:]] == [retrieval.gallery[i].path for i in (0, 2, 1)]
    assert row.tiles[0].caption == ("query", "pid 7 camid 0", "q0.png", "AP 100.0%", "junk 1 of 4")
    captions = [tile.caption for tile in row.tiles[1:]]
    assert captions[0] == ("junk: 0.1000", "pid 7 camid 0", "g0.png")
    assert captions[1] == ("1: 0.5000", "pid 7 camid 1", "g2.png")
    assert captions[2] == ("2: 1.2000", "pid 8 camid 0", "g1.png")
    assert (row.pid, row.result, row.average_precision) == (7, "right", 1.0)


def test_distances_that_are_no_squares_are_shown_as_they_are(retrieval):
    row = rank_row(MISSED, retrieval, squared=False, labelled=True)
    assert [tile.caption[0] for tile in row.tiles] == ["query", "1: -0.0000", "2: 0.0900"]
    row = rank_row(MISSED, retrieval, squared=True, labelled=True)
    assert [tile.caption[0] for tile in row.tiles] == ["query", "1: 0.0000", "2: 0.3000"]


def test_a_query_without_a_match_has_no_result(retrieval):
    unmatched = RankList(0, FOUND.entries[2:], None, 0)
    row = rank_row(unmatched, retrieval, squared=True, labelled=True)
    assert (row.result, row.average_precision) == ("none", None)
    assert "no match" in row.tiles[0].caption


def test_without_identities_nothing_is_right_or_wrong(retrieval):
    row = rank_row(MISSED, retrieval, squared=True, labelled=False)
    assert [tile.frame for tile in row.tiles] == ["query", None, None]
    assert row.tiles[1].caption == ("1: 0.0000", "g3.png")
    assert (row.result, row.average_precision) == ("", None)
    page = render_page("folders", [], [row])
    assert "<select" not in page
    assert MARKS["right"].colour not in page


@pytest.fixture
def page(retrieval):
    rows = [rank_row(x, retrieval, squared=True, labelled=True) for x in (FOUND, MISSED)]
    return render_page("set: the 2 best of 9", ["a fact", "1 < 2"], rows)


def test_the_page_holds_all_it_shows(page):
    """Pictures are inside, a policy forbids requests, and nothing outside is named."""
    assert re.findall(r'src="(.{5})', page) == ["data:"] * 7
    assert "Content-Security-Policy" in page
    assert "default-src 'none'; img-src data:" in page
    assert not re.search(r"https?:|//[a-z]|@import|<link|url\(", page)
    assert "<h1>set: the 2 best of 9</h1>" in page
    assert "<li>1 &lt; 2</li>" in page
    assert "q&lt;b&gt;&amp;1.png" in page
    assert "q<b>" not in page


LOOK = """
<script>
addEventListener("load", () => {
  const shown = () => [...document.querySelectorAll(".row:not([hidden])")].map(r => r.dataset.pid);
  const choose = (name, value) => {
    form.elements[name].value = value;
    form.dispatchEvent(new Event("change"));
    return shown();
  };
  const height = s => [...document.querySelectorAll(s)].map(x => x.getBoundingClientRect().height);
  const seen = {
    widths: [...document.images].map(image => image.naturalWidth),
    requests: performance.getEntriesByType("resource").map(x => x.name)
      .filter(name => !name.startsWith("data:")),
    first: shown(),
    worst: choose("order", "worst"),
    best: choose("order", "best"),
    right: choose("result", "right"),
    message: document.getElementById("shown").textContent,
    none: choose("pid", "8"),
    junk: height("figure.junk"),
  };
  form.elements.junk.checked = false;
  choose("result", "");
  choose("pid", "");
  seen.hidden = height("figure.junk");
  document.documentElement.append(Object.assign(document.createElement("pre"),
    { textContent: "SEEN" + JSON.stringify(seen) + "END" }));
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed to look at the page with")
def test_a_browser_shows_every_picture_and_its_controls_work(page, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", LOOK + "</body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'u'}"]
    done = subprocess.run(
        [BROWSER, *options, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    seen = json.loads(re.search("SEEN({.*?})END", done.stdout)[1].replace("&amp;", "&"))
    assert seen["widths"] == [96] * 7
    assert seen["requests"] == []
    assert (seen["first"], seen["worst"], seen["best"]) == (["7", "8"], ["8", "7"], ["7", "8"])
    assert seen["right"] == ["7"]
    assert seen["message"] == "1 of 2 queries shown"
    assert seen["none"] == []
    assert seen["hidden"] == [0]


def test_the_template_is_part_of_the_package():
    pyproject = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"processor.pictures" = ["*.html"]' in pyproject
