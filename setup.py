"""The wheel holds everything below `clipreid`: installed, no other top-level name is ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGES = ("config", "datasets", "loss", "model", "processor", "solver")
SCRIPTS = ("run", "test_clipreid", "train", "train_clipreid", "train_dsgl")
IMPORT = re.compile(rf"^(\s*(?:from|import) )({'|'.join(PACKAGES + SCRIPTS)})\b", re.MULTILINE)


def move_below_clipreid(source: str) -> str:
    """Source code with its first-party imports renamed: `datasets.x` -> `clipreid.datasets.x`."""
    return IMPORT.sub(r"\1clipreid.\2", source)


def files_to_move() -> Iterator[Path]:
    """Code, recipes and data, relative to the root."""
    for folder in (*PACKAGES, "configs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                yield path.relative_to(ROOT)
    yield from (Path(f"{script}.py") for script in SCRIPTS)


class BuildBelowClipreid(build_py):
    """Adds the moved files to the package `clipreid`."""

    def run(self) -> None:
        super().run()
        package = Path(self.build_lib, "clipreid")
        for path in files_to_move():
            target = package / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / path).read_bytes())
        for path in package.rglob("*.py"):
            path.write_bytes(move_below_clipreid(path.read_bytes().decode()).encode())


setup(cmdclass={"build_py": BuildBelowClipreid})
