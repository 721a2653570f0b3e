"""Commands that need no model start without torch, whose import takes longer than they do."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
sys.argv = ["run.py", *sys.argv[1:]]
import run
try:
    run.main()
finally:
    print("with torch" if "torch" in sys.modules else "without torch")
"""


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["results"], ["curves"]])
def test_command_starts_without_torch(straight, tmp_path, words):
    if words == ["results"]:
        words = [*words, straight]
    if words == ["curves"]:
        words = [*words, straight, "--output", tmp_path / "curves.png"]
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "without torch"
