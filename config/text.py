"""Text and paths: from the bytes of files and the file system, and back, and for people to read.

File names on Linux are bytes that need not be UTF-8. Python keeps the other bytes as surrogates;
`encode` gives the bytes back, `printable` shows them.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

ERRORS = "surrogateescape"  # file names on Linux need not be UTF-8

# UTF-32 comes first: its little-endian mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_FOREIGN = re.compile("[\0\udc80-\udcff]")  # a byte that is not UTF-8, or UTF-16 without a mark
# Control characters, separators of lines, and changes of the writing direction.
_HIDDEN = "\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNPRINTABLE = re.compile(f"[{_HIDDEN}]")
_UNPRINTABLE_BUT_LINES = re.compile(f"(?![\n\t])[{_HIDDEN}]")


def decode(content: bytes) -> str:
    """Text of UTF-8, UTF-16 or UTF-32; the latter two need a byte order mark.

    Bytes that are not UTF-8 become surrogates, which `check_text` finds.

    Raises:
        ValueError: damaged UTF-16 or UTF-32.
    """
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    return content.decode(encoding, ERRORS if encoding.startswith("utf-8") else "strict")


def encode(text: str) -> bytes:
    """The bytes of text or of a path; the inverse of `decode` for UTF-8."""
    return text.encode("utf-8", ERRORS)


def is_unicode(text: str) -> bool:
    """Whether a text or path holds no bytes of another encoding."""
    return _FOREIGN.search(text) is None


def check_text(text: str, place: str) -> str:
    """The text itself, if it is not of another encoding than `decode` knows.

    Raises:
        ValueError: names the place and the byte.
    """
    found = _FOREIGN.search(text)
    if found:
        raise ValueError(
            f"{place}: the byte 0x{ord(found[0]) & 0xFF:02x} is not UTF-8 text; save the file as "
            "UTF-8"
        )
    return text


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        ValueError: its encoding is unknown; names the file and the line.
    """
    try:
        text = decode(path.read_bytes())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {error}; save the file as UTF-8") from error
    for number, line in enumerate(text.splitlines(), start=1):
        check_text(line, f"{path}, line {number}")
    return text


def printable(text: str, *, keep_lines: bool = False) -> str:
    r"""Text for a terminal, log or page: nothing hidden, and nothing that cannot be encoded.

    Control characters and line feeds are shown as `\x1b` and `\n`, bytes that are not UTF-8 as
    `\xff`.

    Args:
        text: any.
        keep_lines: leave line feeds and tabs as they are.
    """
    return (_UNPRINTABLE_BUT_LINES if keep_lines else _UNPRINTABLE).sub(_show, text)


def _show(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return found[0].encode("unicode_escape").decode("ascii")


def expand_home(path: str | Path) -> Path:
    """The path with `~` and `~user` as shells expand them: an unknown user's stays as it is."""
    if not str(path).startswith("~"):  # Path would drop the ./ of ./~name
        return Path(path)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
