"""Missing packages are named with the remedy."""

import ast
import re
import sys
from pathlib import Path

import pytest

from processor.tools import environment

ROOT = Path(__file__).parents[3]
OPTIONAL = {"argcomplete", "faiss", "h5py", "onnx", "onnxruntime", "onnxscript"}
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


def test_requirements_are_those_of_the_package_with_training():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = [line for line in lines if line and not line.startswith("#")]
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(r"^(\w+) = (\[$.*?^\])", text, re.MULTILINE | re.DOTALL)
    stated = {name: ast.literal_eval(words) for name, words in lists}
    light, training = stated["dependencies"], stated["train"]
    assert sorted(light + training) == sorted(required)
    assert len(light) == len(environment.PACKAGES)
    assert len(training) == len(environment.TRAINING_PACKAGES)


def test_missing_packages_are_named_with_the_remedy(monkeypatch):
    environment.check_packages()
    monkeypatch.setattr(environment, "PACKAGES", ["sys", "no_such_package", "nor_this"])
    with pytest.raises(SystemExit) as exit_:
        environment.check_packages()
    for part in ("no_such_package, nor_this\n", "pip install -r requirements.txt", "activate"):
        assert part in exit_.value.code
