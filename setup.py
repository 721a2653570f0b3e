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
        for path in (*files_to_move(), *(p.relative_to(ROOT) for p in ROOT.glob("clipreid/*.py"))):
            target = Path(self.build_lib) / path if path.parts[0] == "clipreid" else package / path
            target.parent.mkdir(parents=True, exist_ok=True)
            content = (ROOT / path).read_bytes()
            if path.suffix == ".py":
                content = move_below_clipreid(content.decode()).encode()
            target.write_bytes(content)


setup(cmdclass={"build_py": BuildBelowClipreid})
