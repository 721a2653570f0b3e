"""The program reads every option, and only options that exist."""

import ast
from pathlib import Path

import pytest

from config.defaults import default_cfg
from config.legacy import NO_EFFECT
from config.options import flatten

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("datasets", "loss", "model", "processor", "solver")
KNOWN = [key for key, _ in flatten(default_cfg())]

# config.checks accepts one value only, so no code reads it.
SINGLE_CHOICE = {"MODEL.ID_LOSS_TYPE"}


class OptionReads(ast.NodeVisitor):
    """Collects attribute chains that start at a configuration, also through local names."""

    def __init__(self):
        self.aliases = [{}]
        self.reads = set()

    def visit_FunctionDef(self, node):
        self.aliases.append({})
        self.generic_visit(node)
        self.aliases.pop()

    def visit_Assign(self, node):
        chain = self.chain(node.value)
        for target in node.targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            for name in names:
                if isinstance(name, ast.Name):
                    self.aliases[-1][name.id] = chain
        self.generic_visit(node)

    def visit_Attribute(self, node):
        chain = self.chain(node)
        if chain and isinstance(node.ctx, ast.Load):
            self.reads.add(chain)
        self.generic_visit(node)

    def chain(self, node):
        """Dotted option name of an expression; "" for the configuration, None for others."""
        if isinstance(node, ast.Name):
            for scope in reversed(self.aliases):
                if node.id in scope:
                    return scope[node.id]
            return "" if node.id == "cfg" else None
        if isinstance(node, ast.Attribute):
            before = self.chain(node.value)
            if before is not None:
                return f"{before}.{node.attr}".lstrip(".")
            return "" if node.attr == "cfg" else None
        loads = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        return "" if loads and node.func.id in ("load_cfg", "load_cfg_text") else None


def options_read(source):
    visitor = OptionReads()
    visitor.visit(ast.parse(source))
    return visitor.reads


@pytest.fixture(scope="module")
def reads():
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    files += [*ROOT.glob("*.py")]
    files += [ROOT / "config" / name for name in ("samplers.py", "extra_losses.py")]
    return set().union(*(options_read(path.read_text(encoding="utf-8")) for path in files))


def test_search_finds_reads_only():
    source = '''
def build(cfg, self):
    """MODEL.DEVICE counts."""
    stage = cfg.SOLVER.STAGE1
    a, b = stage.BASE_LR, self.cfg.INPUT.PROB
    cfg.OUTPUT_DIR = "TEST.WEIGHT"
    name = load_cfg(None).MODEL.NAME
    def inner():
        return stage.LR_MIN

def other(stage):
    return stage.GAMMA
'''
    leaves = options_read(source) & set(KNOWN)
    assert leaves == {
        "INPUT.PROB",
        "MODEL.NAME",
        "SOLVER.STAGE1.BASE_LR",
        "SOLVER.STAGE1.LR_MIN",
    }


def test_every_option_is_read(reads):
    assert not set(KNOWN) - reads - SINGLE_CHOICE


def test_options_without_effect_are_not_read(reads):
    assert not reads & NO_EFFECT


def test_every_option_that_is_read_exists(reads):
    blocks = {key.rsplit(".", n)[0] for key in KNOWN for n in range(1, key.count(".") + 1)}
    methods = ("clone", "dump", "freeze", "defrost", "is_frozen", "merge_from_list")
    unknown = {
        name
        for name in reads - set(KNOWN) - blocks
        if name.rsplit(".", 1)[-1] not in methods and name.rsplit(".", 1)[0] not in KNOWN
    }
    assert not unknown


def test_options_without_effect_are_not_among_the_defaults():
    assert not set(KNOWN) & NO_EFFECT


def test_every_option_has_a_comment():
    lines = (ROOT / "config" / "defaults.py").read_text(encoding="utf-8").splitlines()
    for key in KNOWN:
        (line,) = [text for text in lines if text.startswith(f"_C.{key} = ")]
        assert len(line.rpartition("  # ")[2]) > 2, key
        assert "  # " in line, key
