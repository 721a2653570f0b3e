"""The wheel and the facade `clipreid`: one import name, whatever lies around it."""

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import clipreid
from clipreid.command import PROGRAMS
from loss import register_loss
from processor.extractor import Extractor
from run import TOOLS

ROOT = Path(__file__).resolve().parents[1]
OURS = ("config", "datasets", "loss", "model", "processor", "solver")
EXAMPLES = sorted(ROOT.glob("examples/extra_*.py"))
SCRIPTS = ("run", "test_clipreid", "train", "train_clipreid", "train_dsgl")
SOURCES = (*OURS, "clipreid", "configs", "docs", "examples", "tests", "benchmarks")
BUILD = "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])('dist')"


def build(kind, folder):
    """Build `folder` with setuptools, without network; the path of the result."""
    command = [sys.executable, "-c", BUILD, f"build_{kind}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = (folder / "dist").glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return file


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the source, in which builds may leave files."""
    folder = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__", "golden", "images")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=None if name in OURS else ignore)
    for path in ROOT.iterdir():
        if path.is_file() and path.suffix in {".py", ".toml", ".txt", ".md", ".in", ""}:
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout):
    return build("wheel", checkout)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder like site-packages that holds the wheel, beside another project's `datasets`."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    (folder / "datasets").mkdir()
    (folder / "datasets" / "__init__.py").write_text("class SplitDict(dict): pass\n")
    return folder


@pytest.fixture
def python(installed, tmp_path):
    """`python(words)` runs an interpreter that sees the wheel, among a user's own modules."""
    for name in ("config", "loss", "model", "processor", "solver"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} of the user')\n")

    def run(*words):
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def imported_modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_file_of_the_wheel_is_below_clipreid(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"clipreid"}


def test_no_import_by_a_top_level_name_is_left(installed):
    left = {
        (path.name, module)
        for path in (installed / "clipreid").rglob("*.py")
        for module in imported_modules(ast.parse(path.read_text(encoding="utf-8")))
        if module.split(".")[0] in (*OURS, *SCRIPTS)
    }
    assert left == set()


def test_modules_are_not_imported_by_their_dotted_name():
    """`import a.b` binds `a`, which has another name in the wheel."""
    dotted = {
        (path.name, alias.name)
        for folder in (*OURS, ".")
        for path in (ROOT / folder).glob("**/*.py" if folder in OURS else "*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.split(".")[0] in OURS and alias.asname is None
    }
    assert {name for _, name in dotted} == {"processor.tools.environment"}


def test_recipes_and_data_are_in_the_wheel(installed):
    moved = {
        path.relative_to(installed / "clipreid")
        for path in installed.rglob("*.*")
        if path.is_relative_to(installed / "clipreid")
    }
    for folder in (*OURS, "configs"):
        source = {
            path.relative_to(ROOT)
            for path in (ROOT / folder).rglob("*.*")
            if path.is_file() and path.suffix != ".pyc"
        }
        assert source <= moved
    assert Path("processor/pictures/rank_page.html") in moved
    assert Path("processor/results/published.csv") in moved


def test_wheel_of_the_source_archive_is_that_of_the_checkout(checkout, wheel, tmp_path):
    with tarfile.open(build("sdist", checkout)) as file:
        file.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert (unpacked / "tests" / "test_package.py").is_file()
    assert (unpacked / "examples" / "extra_loss.py").is_file()
    (unpacked / "dist").mkdir()
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(build("wheel", unpacked)) as two:
        contents = [
            {name: file.read(name) for name in file.namelist() if not name.endswith("RECORD")}
            for file in (one, two)
        ]
    assert contents[0] == contents[1]


def test_other_modules_of_the_same_names_change_nothing(python):
    code = """
import sys, clipreid, datasets
assert "torch" not in sys.modules
assert datasets.SplitDict
scores = clipreid.evaluate_features([[1.0, 0]], [[1.0, 0], [0, 1.0]], [7], [7, 8], [0], [1, 1])
cfg = clipreid.load_cfg("configs/demo/vit_tiny.yml")
own = [name for name in sys.modules if name.split(".")[0] in {"config", "model", "loss", "solver"}]
print(scores.mAP, cfg.SOLVER.STAGE2.MAX_EPOCHS, clipreid.Extractor.__module__, own)
"""
    assert python("-c", code) == "1.0 20 clipreid.processor.extractor []\n"


def test_command_lists_and_runs_programs_and_tools(python):
    text = python("-m", "clipreid", "--help")
    assert all(f"    {name}" in text for name in (*PROGRAMS, *TOOLS))
    assert python("-m", "clipreid", "--version") == f"clipreid {clipreid.__version__}\n"
    for name in PROGRAMS:
        assert f"usage: clipreid {name} " in python("-m", "clipreid", name, "--help")
    assert "usage: clipreid results" in python("-m", "clipreid", "results", "--help")


def test_recipes_are_found_from_any_folder(python):
    code = "import clipreid; print(clipreid.load_cfg('configs/demo/generalization.yml').MODEL.NAME)"
    assert python("-c", code).strip().endswith("clipreid/configs/demo/tiny_vit.json")


def test_installed_package_imports_plugins(python):
    given = tuple(map(str, EXAMPLES))
    assert len(given) >= 4
    code = f"""
import clipreid
cfg = clipreid.load_cfg("configs/demo/vit_tiny.yml", {{"PLUGINS": {list(given)!r}}})
print(cfg.PLUGINS, clipreid.plugins.register_loss.__module__)
"""
    assert python("-c", code) == f"{given} clipreid.loss.extra\n"


def test_facade_of_a_checkout_is_the_checkout():
    assert clipreid.Extractor is Extractor
    assert clipreid.PREFIX == ""
    assert clipreid.plugins.register_loss is register_loss
    assert set(clipreid.__all__) <= set(dir(clipreid))
    with pytest.raises(AttributeError, match="module 'clipreid' has no attribute 'extractor_of'"):
        clipreid.extractor_of  # noqa: B018
