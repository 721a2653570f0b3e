"""First-party modules below `clipreid`: in the wheel, and in a checkout that torch.hub loads."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import clipreid

PACKAGES = ("config", "datasets", "loss", "model", "processor", "solver")
SCRIPTS = ("run", "test_clipreid", "train", "train_clipreid", "train_dsgl")
_IMPORT = re.compile(rf"^(\s*(?:from|import) )({'|'.join(PACKAGES + SCRIPTS)})\b", re.MULTILINE)


def move_below_clipreid(source: str) -> str:
    """Source code with its first-party imports renamed: `datasets.x` -> `clipreid.datasets.x`."""
    return _IMPORT.sub(r"\1clipreid.\2", source)


def import_below_clipreid() -> None:
    """Let a checkout's modules be imported as an installed copy's, from `clipreid.processor` on.

    Top-level modules of other owners, such as Hugging Face `datasets`, then stay out of the way.
    """
    if not clipreid.PREFIX:
        sys.meta_path.insert(0, _CheckoutFinder())
        clipreid.PREFIX = f"{clipreid.__name__}."


class _CheckoutFinder(MetaPathFinder):
    """Finds `clipreid.processor` in the folder next to `clipreid`."""

    root = Path(__file__).resolve().parents[1]

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        package, *names = fullname.split(".")
        if package != clipreid.__name__ or not names or names[0] not in PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, [str(self.root.joinpath(*names[:-1]))], target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _RenamingLoader(spec.loader.name, spec.loader.path)
        return spec


class _RenamingLoader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        """The renamed source, compiled; cached bytecode has the imports as written."""
        source = move_below_clipreid(self.get_data(self.path).decode())
        return self.source_to_code(source.encode(), self.path)
