"""Entry scripts: help without torch, errors about the command line."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from run import TOOLS

ROOT = Path(__file__).parents[3]
TRAINING = ("train.py", "train_clipreid.py")
SCRIPTS = (*TRAINING, "train_dsgl.py", "test_clipreid.py", "run.py")

HELP = """
import atexit, runpy, sys
sys.argv = sys.argv[1:]
atexit.register(lambda: print("torch is imported:", "torch" in sys.modules))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
WITHOUT_PACKAGES = """
import runpy, sys
sys.path = [path for path in sys.path if "site-packages" not in path]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_code(code, *words):
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words", [*((name,) for name in SCRIPTS), *(("run.py", name) for name in TOOLS)]
)
def test_help_does_not_import_torch(words):
    done = run_code(HELP, *words, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {' '.join(words)}")
    assert done.stdout.endswith("torch is imported: False\n")


@pytest.mark.parametrize("name", SCRIPTS)
def test_missing_packages_are_named_without_a_traceback(name):
    done = run_code(WITHOUT_PACKAGES, name, "--help")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.match(r"error: not installed for .*: torch, .*yacs", done.stderr)
    assert "pip install -r requirements.txt" in done.stderr


@pytest.fixture
def refuse(monkeypatch, capsys):
    """`refuse("train.py", "KEY", ...)` -> the output of a script that must exit with 1."""

    def run(name, *words):
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr("sys.argv", [name, *words])
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        assert exit_.value.code == 1
        return " ".join(capsys.readouterr().out.split())

    return run


@pytest.mark.parametrize("name", TRAINING)
def test_training_without_a_recipe_names_one(refuse, name):
    printed = refuse(name, "SOLVER.SEED", "1")
    (recipe,) = re.findall(r"--config_file is missing; .* --config_file (\S+)", printed)
    assert (ROOT / recipe).is_file()


@pytest.mark.parametrize("name", SCRIPTS[:-1])
def test_forgotten_config_file_flag_is_named(refuse, name):
    printed = refuse(name, "configs/person/vit_base.yml", "SOLVER.SEED", "1")
    assert "to use a config file: --config_file configs/person/vit_base.yml" in printed


@pytest.mark.parametrize(
    "command",
    [
        *((name,) for name in SCRIPTS[:-1]),
        ("run.py", "extract", "last.pth", "a.jpg"),
        ("run.py", "data-check", "viper"),
    ],
)
def test_option_typed_twice_is_named_with_both_values(refuse, command):
    printed = refuse(*command, "SOLVER.SEED", "1", "TEST.EVAL", "1", "SOLVER.SEED", "2")
    assert "SOLVER.SEED is given twice (from the command line): SOLVER.SEED 1 and" in printed
    assert "and SOLVER.SEED 2;" in printed


def test_list_of_data_sets_does_not_blame_overrides_of_the_program(refuse):
    words = ("DATASETS.TARGETS", "viper", "prid", "SOLVER.SEED")
    printed = refuse("test_clipreid.py", "TEST.WEIGHT", "gone.pth", *words)
    assert "overrides come in pairs KEY VALUE; 'SOLVER.SEED' has no value" in printed
    printed = refuse("test_clipreid.py", "TEST.WEIGHT", "gone.pth", *words[:-1])
    assert "gone.pth" in printed
    assert "viper" not in printed
