"""Write docs/options.md from the defaults, their comments and their bounds."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config.checks import CHOICES
from config.defaults import default_cfg
from config.options import OPTIONS, lookup
from config.ranges import BOUNDS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "options.md"
DEFAULTS = ROOT / "config" / "defaults.py"
SECTION = re.compile(r"# -+ (\w.*)")
OPTION = re.compile(r"_C\.([\w.]+) = .+?  # (.+)")
INTRODUCTION = """\
# Options

All options, as `KEY VALUE` on a command line or in a YAML file. A value outside its bounds is
refused before anything is read or written. `python docs/make_options.py` writes this page from
`config/defaults.py` and `config/ranges.py`; `config/checks.py` refuses
combinations that contradict each other.
"""
HEADER = "| option | default | bounds | meaning |\n|---|---|---|---|"


def read_comments() -> Iterator[tuple[str, str, str]]:
    """Section, option and meaning of every option, in the order of the defaults."""
    section, previous_is_blank, rows = "", True, list[list[str]]()
    for line in DEFAULTS.read_text(encoding="utf-8").splitlines():
        if found := SECTION.fullmatch(line):
            section = found[1]
        elif found := OPTION.fullmatch(line):
            rows.append([section, found[1], found[2]])
        elif line.startswith("# ") and rows and not previous_is_blank:
            rows[-1][2] += f" {line[2:]}"
        previous_is_blank = not line.strip()
    for section, name, meaning in rows:
        if name in OPTIONS:
            yield section, name, meaning


def describe_bounds(name: str) -> str:
    """The bounds or the choices of an option; empty for other text."""
    if name in CHOICES:
        return ", ".join(f"`{choice}`" for choice in CHOICES[name])
    if name in BOUNDS:
        return str(BOUNDS[name])
    return "`True`, `False`" if isinstance(lookup(default_cfg(), name), bool) else ""


def make_page() -> str:
    """The page as Markdown."""
    lines, last = [INTRODUCTION], ""
    for section, name, meaning in read_comments():
        if section != last:
            lines += ["" if last else None, f"## {section[0].upper()}{section[1:]}", "", HEADER]
            last = section
        default = lookup(default_cfg(), name)
        cells = (f"`{name}`", f"`{default!r}`", describe_bounds(name), meaning)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(line for line in lines if line is not None) + "\n"


def main() -> None:
    """Write the page, or exit with 1 if it differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the page is current")
    if not parser.parse_args().check:
        PAGE.write_text(make_page(), encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != make_page():
        sys.exit("docs/options.md is out of date: python docs/make_options.py")


if __name__ == "__main__":
    main()
