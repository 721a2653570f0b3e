"""Missing packages are named with the remedy; threads sleep while they wait."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config import machine
from processor.tools import environment

ROOT = Path(__file__).parents[3]
OPTIONAL = {"argcomplete", "faiss", "h5py", "onnx", "onnxruntime", "onnxscript"}
NETWORK_FILES = {"onnxruntime", "openvino"}  # imported when such a file is opened
OWN = {"config", "datasets", "loss", "model", "processor", "solver"}


def imported_packages():
    for package in OWN:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield node.module.partition(".")[0]


def test_all_packages_that_the_program_imports_are_checked():
    third_party = set(imported_packages()) - OWN - OPTIONAL - set(sys.stdlib_module_names)
    assert third_party <= {*environment.PACKAGES, *environment.TRAINING_PACKAGES}


def required_by(name):
    """Package -> its line in a requirements file."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {re.match(r"[\w-]+", line)[0]: line for line in lines if not line.startswith("#")}


def test_a_light_install_lacks_what_only_training_needs():
    every, light = required_by("requirements.txt"), required_by("requirements-light.txt")
    assert every.items() >= light.items()
    training = set(environment.TRAINING_PACKAGES.values())
    assert every.keys() - light.keys() == training | NETWORK_FILES
    assert len(light) == len(environment.PACKAGES)


def test_missing_packages_are_named_with_the_remedy(monkeypatch):
    environment.check_packages()
    monkeypatch.setattr(environment, "PACKAGES", ["sys", "no_such_package", "nor_this"])
    with pytest.raises(SystemExit) as exit_:
        environment.check_packages()
    for part in ("no_such_package, nor_this\n", "pip install -r requirements.txt", "activate"):
        assert part in exit_.value.code


PROGRAM = """
import {module} as program
program.build_parser()
import os, sys
print("torch" in sys.modules, os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize(
    "module", ["train", "train_clipreid", "train_dsgl", "test_clipreid", "run", "clipreid.command"]
)
@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_every_program_waits_passively_unless_told_otherwise(module, chosen):
    variables = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if chosen:
        variables["OMP_WAIT_POLICY"] = chosen
    printed = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)],
        env=variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.split() == ["False", chosen or "PASSIVE"]


@pytest.mark.parametrize(
    ("quota", "chosen", "threads"), [(3, None, "3"), (3, "5", "5"), (8, None, None)]
)
def test_threads_follow_a_quota_of_cores(monkeypatch, quota, chosen, threads):
    """Without a quota, OpenMP knows the cores, and torch may prefer fewer threads."""
    monkeypatch.setattr(machine, "affine_cores", lambda: 8)
    monkeypatch.setattr(machine, "available_cores", lambda: quota)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    environment.share_cores()
    assert os.environ.get("OMP_NUM_THREADS") == threads
