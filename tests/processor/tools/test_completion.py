"""Shell completion by argcomplete, called as its shell function calls the program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipreid.command import PROGRAMS
from run import TOOLS

ROOT = Path(__file__).parents[3]

COMPLETE = "from clipreid.command import main; main()"


@pytest.fixture
def complete(tmp_path, tmp_path_factory):
    """`complete("clipreid ex")` -> the words that a shell offers there; torch is too slow."""
    no_torch = tmp_path_factory.mktemp("no_torch")
    (no_torch / "torch.py").write_text("raise RuntimeError('torch is imported')\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "last.pth").touch()

    def run(line):
        answer = tmp_path / "answer"
        variables = {
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "PYTHONPATH": os.pathsep.join([str(no_torch), str(ROOT)]),
        }
        command = [sys.executable, "-c", COMPLETE]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return {word.strip() for word in answer.read_text(encoding="utf-8").split("\n")}

    return run


def test_commands_are_completed(complete):
    assert complete("clipreid ") >= {*PROGRAMS, *TOOLS}
    assert complete("clipreid ex") == {"export", "extract"}


def test_flags_are_completed(complete):
    assert complete("clipreid extract --o") == {"--output"}
    assert {"--config_file", "--lr", "--eps"} <= complete("clipreid dsgl --")


def test_choices_are_completed(complete):
    assert complete("clipreid search last.pth --index iv") == {"ivfpq"}


def test_files_are_completed(complete):
    assert complete("clipreid extract la") == {"last.pth"}
    assert complete("clipreid train --config_file fo") == {"folder/"}
