"""Names from data, escaped for Markdown and CSV: shown literally, never interpreted."""

from __future__ import annotations

import re
from typing import Any

from config.text import printable

_MARKDOWN = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;"})
_FORMULA = re.compile(r"[=+\-@\t\r]")  # how a cell begins that spreadsheets compute


def escape_markdown(text: str) -> str:
    """Text for a line or a table cell of Markdown, without HTML, links and images."""
    return printable(text).translate(_MARKDOWN).replace("](", "]&#40;")


def markdown_code(text: str) -> str:
    """Text as code, between more backticks than it holds in a row."""
    text = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def csv_cell(value: Any) -> Any:
    """A value for a cell of a CSV file: text that begins like a formula gets an apostrophe."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(value) else text
