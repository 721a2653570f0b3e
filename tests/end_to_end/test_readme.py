"""The commands of README and documentation, as written."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import train_clipreid
from config import load_cfg
from processor.tools.command_line import parse_anywhere, parse_arguments, split_overrides
from processor.tools.dsgl_flags import load_dsgl_recipe
from run import TOOLS, build_parser

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
USING = (ROOT / "docs/using.md").read_text(encoding="utf-8")
PAGES = [page.read_text(encoding="utf-8") for page in sorted(ROOT.glob("docs/*.md"))]


def lines_of(text):
    """Blocks of a page without a language, and all their lines."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    blocks = [block for language, block in fenced if not language]
    lines = [block.replace("\\\n", " ").splitlines() for block in blocks]
    return blocks, [line for block in lines for line in block]


def programs_of(lines):
    """Lines that start a script; torchrun starts the scripts that python starts."""
    started = [re.sub(r"^torchrun --nproc_per_node=\d+ ", "python ", line) for line in lines]
    return [line for line in started if line.startswith("python ")]


BLOCKS, LINES = lines_of(TEXT)
PAGE_LINES = [line for page in PAGES for line in lines_of(page)[1]]
PROGRAMS = programs_of(LINES)
PAGE_PROGRAMS = programs_of(PAGE_LINES)
TOOL_LINES = [x for x in (*LINES, *lines_of(USING)[1]) if x.startswith("python run.py")]
PAGE_TOOL_LINES = [x for x in PAGE_LINES if x.startswith("python run.py") and x not in TOOL_LINES]


def test_readme_shows_every_script():
    scripts = {line.split()[1] for line in PROGRAMS}
    training = {"train_clipreid.py", "train.py", "train_dsgl.py"}
    assert scripts == {*training, "test_clipreid.py", "run.py"}
    assert len([line for line in PROGRAMS if "train" in line.split()[1]]) >= 4


@pytest.mark.parametrize("line", dict.fromkeys([*TOOL_LINES, *PAGE_TOOL_LINES]))
def test_sub_command_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)[2:]
    parsed = parse_anywhere(build_parser(), words)
    load_cfg(None, split_overrides(getattr(parsed, "opts", []))[1])


def test_all_sub_commands_are_shown():
    assert {line.split()[2] for line in TOOL_LINES} == set(TOOLS)


def parse_program(line):
    """The script of a command, its arguments, and its configuration."""
    _, script, *words = shlex.split(line)
    assert (ROOT / script).is_file()
    parser = import_module(Path(script).stem).build_parser()
    if script == "train_dsgl.py":
        arguments = parse_anywhere(parser, words)
        return script, arguments, load_dsgl_recipe(arguments)
    arguments = parse_arguments(parser, words)
    return script, arguments, load_cfg(arguments.config_file, arguments.opts)


@pytest.mark.parametrize("line", [x for x in PROGRAMS if "run.py" not in x])
def test_command_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    script, arguments, cfg = parse_program(line)
    assert cfg.DSGL.ENABLED or script != "train_dsgl.py"
    typed = dict(zip(arguments.opts[::2], arguments.opts[1::2], strict=True))
    if "MODEL.STRIDE_SIZE" in typed:
        assert cfg.MODEL.STRIDE_SIZE == [12, 12]
        assert (cfg.MODEL.SIE_CAMERA, cfg.MODEL.SIE_COE) == (True, 1.0)
    if script == "test_clipreid.py" and "DATASETS.TARGETS" in typed:
        assert cfg.DATASETS.TARGETS == ("msmt17", "dukemtmc")
    if script == "test_clipreid.py":
        assert cfg.TEST.WEIGHT.endswith(".pth")
        if arguments.config_file:
            assert Path(cfg.TEST.WEIGHT).parent == Path(cfg.OUTPUT_DIR)


@pytest.mark.parametrize("line", dict.fromkeys(x for x in PAGE_PROGRAMS if "run.py" not in x))
def test_command_of_a_page_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    own = line.replace("my_losses.py", "examples/extra_loss.py")  # the page says how to make it
    if ".xml" in own:  # a network file's size is one option
        own = own.replace("INPUT.SIZE_TEST", 'INPUT.SIZE_TRAIN "[256, 128]" INPUT.SIZE_TEST')
    script, _, cfg = parse_program(own)
    assert cfg.TEST.WEIGHT.endswith((".pth", ".xml")) or script != "test_clipreid.py"
    assert cfg.DSGL.ENABLED or script != "train_dsgl.py"


def test_make_has_the_targets():
    targets = re.findall(
        r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    named = {line.split()[1] for line in LINES if line.startswith("make ")}
    assert named == {"demo", "demo-dsgl", "test"}
    assert named <= set(targets)


def test_demo_command_of_the_makefile_parses(monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"train_clipreid\.py (.*)", recipe)
    arguments = parse_arguments(train_clipreid.build_parser(), shlex.split(line))
    cfg = load_cfg(arguments.config_file, arguments.opts)
    assert cfg.DATASETS.NAMES == ("synthetic_street",)
    assert cfg.DATASETS.TARGETS == ("synthetic_street", "synthetic_campus")


def test_linked_files_exist():
    for text, folder in ((TEXT, ROOT), (USING, ROOT / "docs")):
        links = re.findall(r"\]\(([^)#:]+)\)", text)
        assert links
        assert [link for link in links if not (folder / link).exists()] == []


def test_folders_it_names_exist():
    tree = next(block for block in BLOCKS if block.startswith("config/"))
    folders = [line.split()[0] for line in tree.splitlines()]
    assert [folder for folder in folders if not (ROOT / folder).exists()] == []
