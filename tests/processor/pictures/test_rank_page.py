"""Rank lists as a page that a browser shows complete, at any width, without any request."""

import json
import math
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from PIL import Image

from processor.pictures.rank_list import RankRow
from processor.pictures.rank_page import EMBEDDED_HEIGHT, SHOWN_HEIGHT, render_page
from processor.pictures.sheet import Tile
from processor.pictures.style import MARKS

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@pytest.fixture
def image(tmp_path):
    """`image(name, width)` writes a file of noise, 64 pixels high, and returns its path."""
    rng = np.random.default_rng(0)

    def write(name, width=32):
        path = tmp_path / name
        Image.fromarray(rng.integers(0, 255, (64, width, 3), dtype=np.uint8)).save(path)
        return str(path)

    return write


@pytest.fixture
def rows(image):
    """Two queries; the first has junk, the second one's file has a name that HTML has to escape."""
    found = RankRow(
        query=Tile(image("q0.png"), ("query", "identity 7"), "query"),
        ranks=(
            Tile(image("g2.png"), ("rank 1", "distance 0.500"), "right"),
            Tile(image("g1.png"), ("rank 2", "distance 1.200"), "wrong"),
        ),
        junk=(Tile(image("g0.png"), ("junk", "distance 0.100"), "junk"),),
        identity="7",
        result="right",
        average_precision=1.0,
    )
    missed = RankRow(
        query=Tile(image("q<b>&1.png"), ("query", "a<b>_c"), "query"),
        ranks=(
            Tile(image("g3.png"), ("rank 1", "distance 0.000"), "wrong"),
            Tile(image("g4.png"), ("rank 2", "distance 0.300"), "right"),
        ),
        junk=(),
        identity="Özil & <b>",
        result="wrong",
        average_precision=0.5,
    )
    return [found, missed]


@pytest.fixture
def page(rows):
    return render_page("set: the 2 best of 9", ["a fact", "1 < 2"], rows)


def test_page_holds_all_it_shows(page):
    """Images are embedded, a policy forbids requests, and no outside resource is named."""
    assert re.findall(r'src="(.{5})', page) == ["data:"] * 7
    assert "Content-Security-Policy" in page
    assert "default-src 'none'; img-src data:" in page
    assert not re.search(r"https?:|//[a-z]|@import|<link|url\(", page)
    assert "<h1>set: the 2 best of 9</h1>" in page
    assert "<li>1 &lt; 2</li>" in page
    assert "q&lt;b&gt;&amp;1.png" in page
    assert "a&lt;b&gt;_<wbr>c" in page
    assert "q<b>" not in page


def test_junk_stands_outside_the_ranks(page):
    ranks, strips = (
        re.findall(rf'<div class="{name}">(.*?)</div>(?=<div class="strip|</div></section)', page)
        for name in ("ranks", "strip")
    )
    assert [re.findall("rank \\d", part) for part in ranks] == [["rank 1", "rank 2"]] * 2
    assert 'class="junk"' not in "".join(ranks)
    assert [part.count("<figure") for part in strips] == [1]


def test_columns_are_as_wide_as_the_median_image(rows, image):
    assert "max(8rem, 82px" in render_page("t", [], rows)  # the least, as for a caption
    wide = tuple(Tile(image(f"w{i}.png", 128), ("rank", "0"), "wrong") for i in range(9))
    row = RankRow(rows[0].query, wide, (), "7", "wrong", 0.0)
    assert f"max(8rem, {2 * SHOWN_HEIGHT}px" in render_page("t", [], [row])


def test_without_identities_there_is_no_filter_and_no_legend(image):
    row = RankRow(
        query=Tile(image("q.png"), ("query", "q.png"), "query"),
        ranks=(Tile(image("g.png"), ("rank 1", "g.png")),),
        junk=(),
        identity="0",
        result="",
        average_precision=None,
    )
    page = render_page("folders", [], [row])
    assert "<select" not in page
    assert MARKS["right"].colour not in page
    assert '<div class="legend"></div>' in page


CONTROLS = """
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
    reversed: choose("order", "worst"),
    sorted: choose("order", "pid"),
    named: choose("pid", "Özil & <b>"),
    every: choose("pid", ""),
    right: choose("result", "right"),
    message: document.getElementById("shown").textContent,
    none: choose("pid", "Özil & <b>"),
    junk: height("figure.junk"),
  };
  form.elements.junk.checked = false;
  choose("result", "");
  choose("pid", "");
  seen.hidden = height("figure.junk");
  report(seen);
"""


def look(page, folder, width, script):
    """The argument with which `script` calls report(...) once a page is loaded."""
    report = (
        "<script>const report = seen => document.documentElement.append(Object.assign("
        'document.createElement("pre"), { textContent: "SEEN" + JSON.stringify(seen) + "END" }));'
        f'addEventListener("load", () => {{ {script} }});</script>'
    )
    file = folder / "page.html"
    file.write_text(page.replace("</body>", report + "</body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'u'}"]
    done = subprocess.run(
        [BROWSER, *options, f"--window-size={width},900", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = re.search("SEEN({.*?})END", done.stdout)[1]
    return json.loads(unescape(found))


@needs_browser
def test_a_browser_shows_every_image_and_its_controls_work(page, tmp_path):
    seen = look(page, tmp_path, 1280, CONTROLS)
    assert seen["widths"] == [EMBEDDED_HEIGHT / 2] * 7
    assert seen["requests"] == []
    name = "Özil & <b>"
    assert (seen["first"], seen["worst"], seen["best"]) == (["7", name], [name, "7"], ["7", name])
    assert seen["sorted"] == ["7", name]
    assert seen["named"] == [name]
    assert seen["right"] == ["7"]
    assert seen["message"] == "1 of 2 queries shown"
    assert seen["none"] == []
    assert seen["hidden"] == [0]


LAYOUT = """
  const box = x => x.getBoundingClientRect();
  const inner = document.documentElement.clientWidth;
  report({
    inner,
    beyond: [...document.querySelectorAll("body *")].filter(x => box(x).right > inner + 1).length,
    lefts: [...document.querySelectorAll(".ranks")].map(x => [...x.children].map(y => box(y).left)),
    lines: [...document.querySelectorAll(".ranks")].map(
      x => new Set([...x.children].map(y => box(y).top)).size),
  });
"""


@needs_browser
@pytest.mark.parametrize("width", [1280, 700])
def test_ten_ranks_stand_in_columns_and_nothing_is_wider_than_the_window(
    rows, image, tmp_path, width
):
    """At 1,280 pixels ten ranks fit one line; a narrow window continues on the next."""
    name = "a_long_file_name_" * 4
    many = tuple(
        Tile(image(f"{i}.png"), (f"rank {i}", "distance 0.500", name), "wrong") for i in range(10)
    )
    full = [
        RankRow(row.query, many, junk, row.identity, "wrong", 0.0)
        for row, junk in zip(rows, (rows[0].junk * 3, ()), strict=True)
    ]
    seen = look(render_page("t " * 200, [name * 9], full), tmp_path, width, LAYOUT)
    assert seen["beyond"] == 0
    assert seen["lefts"][0] == seen["lefts"][1]
    expected = 1 if width == 1280 else math.ceil(10 / len(set(seen["lefts"][0])))
    assert seen["lines"] == [expected, expected]


def test_bytes_and_control_characters_of_names_are_shown(image, rows):
    name = os.fsdecode(b"\xe9") + "\x1b[31m"
    row = replace(rows[0], query=Tile(image("q0.png"), ("query", name), "query"), identity=name)
    page = render_page(name, [name], [row])
    page.encode("utf-8")
    assert "\x1b" not in page
    assert page.count("\\xe9\\x1b[31m") >= 4
