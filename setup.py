"""The wheel puts everything below `clipreid` and installs no other top-level package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # build tools do not

from clipreid.renaming import PACKAGES, SCRIPTS, move_below_clipreid  # noqa: E402


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
