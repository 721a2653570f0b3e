"""Plug-ins: Python files and modules of the user, and the tables that they add rows to."""

from __future__ import annotations

import hashlib
import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from config.errors import ConfigError
from config.text import encode, expand_home

Rows = list[tuple[dict[str, Any], str]]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plug-in that was imported.

    Attributes:
        sha256: of the file that was executed, in hexadecimal.
        rows: table and name of everything that it registered.
    """

    sha256: str
    rows: Rows


_IMPORTED: dict[Path, Plugin] = {}
_FILES: dict[str, Path] = {}  # of the names that `import_plugins` returned
_REGISTERED: Rows = []


def register(table: dict[str, Any], name: str, row: Any) -> None:
    """Add a row to a table of losses, encoders, data sets or samplers.

    Raises:
        ValueError: the name is taken.
    """
    if name in table:
        raise ValueError(f"the name {name!r} is registered already; choose another one")
    table[name] = row
    _REGISTERED.append((table, name))


def import_plugins(names: Sequence[str], folders: Sequence[Path]) -> tuple[str, ...]:
    """Import plug-ins that are not imported yet; a file that has changed is executed again.

    Args:
        names: files that end with .py, or importable modules.
        folders: where a file is looked for if it is not found from the working folder.

    Returns:
        The names, with each file's path as it was found.

    Raises:
        ConfigError: there is no such file or module, or importing it fails; names the line.
    """
    found = []
    for name in names:
        if name.endswith(".py"):
            path = _find_file(name, folders)
            _import_file(path)
            found.append(str(path))
            _FILES[str(path)] = path.resolve()  # the working folder may change
        else:
            _import_module(name)
            found.append(name)
    return tuple(found)


def describe_plugins(names: Sequence[str]) -> list[dict[str, str]]:
    """`{"path", "sha256"}` of imported plug-ins; the path of a module is its dotted name.

    Args:
        names: as `import_plugins` returns them.
    """
    files = {name: _FILES.get(name) or _module_file(name).resolve() for name in names}
    return [{"path": name, "sha256": _IMPORTED[file].sha256} for name, file in files.items()]


def _find_file(name: str, folders: Sequence[Path]) -> Path:
    places = [expand_home(name), *(folder / name for folder in folders)]
    for path in places:
        if path.is_file():
            return path
    tried = ", ".join(dict.fromkeys(map(str, places)))
    raise ConfigError(f"PLUGINS: no file {name}; looked for {tried}")


def _module_file(name: str) -> Path:
    first = len(_REGISTERED)
    try:
        spec = find_spec(name)  # imports the packages around it
    except ValueError:  # a malformed name
        spec = None
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            spec = None
        else:
            _remove(_REGISTERED[first:])
            what = f"{type(error).__name__}: {error}"
            raise ConfigError(f"PLUGINS: cannot import the package of {name}: {what}") from error
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ConfigError(
            f"PLUGINS: no module {name!r}; name one that can be imported, or a file that ends "
            "with .py"
        )
    return Path(spec.origin)


def _import_file(path: Path) -> None:
    """Execute a file, unless that has been done with the same content."""
    source = path.read_bytes()
    sha256 = hashlib.sha256(source).hexdigest()
    known = _IMPORTED.get(path.resolve())
    if known is not None and known.sha256 == sha256:
        return
    if known is not None:
        del _IMPORTED[path.resolve()]
        _remove(known.rows)
    _import(path, sha256, partial(_execute, path, source))


def _import_module(name: str) -> None:
    """Import a module; as always in Python, a change shows in a new process only."""
    path = _module_file(name)
    if path.resolve() not in _IMPORTED:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        _import(path, sha256, partial(importlib.import_module, name))


def _import(path: Path, sha256: str, run: Callable[[], object]) -> None:
    """Run the code of a plug-in and note what it registers; nothing stays if it fails."""
    first = len(_REGISTERED)
    import torch  # not above: a command's --help needs no torch

    # Parameters that a plug-in makes must be the same in every process and in a resumed run.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            run()
        except (Exception, SystemExit) as error:
            _remove(_REGISTERED[first:])
            raise ConfigError(
                f"PLUGINS: {path}{_line(error, path)}: {type(error).__name__}: {error}"
            ) from error
    _IMPORTED[path.resolve()] = Plugin(sha256, _REGISTERED[first:])


def _execute(path: Path, source: bytes) -> None:
    """Execute the content of a file as a module of its own."""
    digest = hashlib.sha256(encode(str(path.resolve()))).hexdigest()[:8]
    module = ModuleType(f"plugin_{path.stem}_{digest}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source, str(path), "exec"), module.__dict__)


def _line(error: BaseException, path: Path) -> str:
    """`, line N` of the file where an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f", line {lines[-1]}" if lines else ""


def _remove(rows: Rows) -> None:
    for table, name in rows:
        del table[name]
        _REGISTERED.remove((table, name))
