"""Links, anchors and public names in the documentation."""

import ast
import importlib
import re
from pathlib import Path

import pytest
import yaml

from clipreid import __version__

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ (.*)", re.MULTILINE)


def read_prose(page):
    """The page's text without code."""
    return CODE.sub("", page.read_text(encoding="utf-8"))


def find_anchors(page):
    """The anchors of a page's headings, as code hosts and the site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in HEADING.findall(text)]
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def links_of(page):
    """Targets of a page's links and images."""
    return [link or image for link, image in LINK.findall(read_prose(page))]


def broken_links(page):
    """Relative links of a page whose file or anchor does not exist."""
    for link in links_of(page):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in find_anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_anchors_exist(page):
    assert list(broken_links(page)) == []


def test_link_check_finds_broken_links(tmp_path):
    page = tmp_path / "page.md"
    links = '[a](#one-two) [b](#three) [c](none.md) [d](page.md#one-two)\n<img src="x.png">'
    page.write_text(f"# One `two`\n{links}\n")
    assert list(broken_links(page)) == ["#three", "none.md", "x.png"]


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_site_does_not_link_outside_docs(page):
    outside = [link for link in links_of(page) if link.startswith("..")]
    assert outside == []


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    assert set(re.findall(r"(\w+\.md)", nav)) == {page.name for page in ROOT.glob("docs/*.md")}


def test_documented_names_can_be_imported():
    names = re.findall(r"^::: ([\w.]+)", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert len(names) > 20
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def names_in(file):
    """Functions, classes, methods and module constants of a Python file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_architecture_names_what_its_files_define():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| `([\w/]+\.py)` \| `(\w+)` \|", text)
    assert len(rows) > 40
    assert [(file, name) for file, name in rows if name not in names_in(ROOT / file)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    text = page.read_text(encoding="utf-8")
    rooms = "benchmarks|config|configs|datasets|docs|examples|loss|model|processor|solver|tests"
    named = re.findall(rf"`((?:{rooms})/[\w/.]+\.(?:py|yml|json|md|csv))`", text)
    created = re.findall(r"Save it as `([^`]+)`", text)
    assert [x for x in named if not (ROOT / x).is_file() and x not in created] == []


def test_citation_names_the_released_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
