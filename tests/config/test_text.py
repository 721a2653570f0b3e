"""Text and paths: read in any Unicode encoding, written back as they were, shown safely."""

import os
from pathlib import Path

import pytest

from config.text import check_text, decode, encode, expand_home, printable, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_with_a_mark_is_decoded(encoding):
    assert decode("Zoë 马\n".encode(encoding)) == "Zoë 马\n"


def test_big_endian_mark_is_known():
    assert decode(b"\xfe\xff" + "马".encode("utf-16-be")) == "马"


def test_any_bytes_come_back_as_they_were():
    content = bytes(range(256))
    assert encode(decode(content)) == content
    assert encode(os.fsdecode(content)) == content


def test_text_of_another_encoding_is_named_with_line_byte_and_remedy(tmp_path):
    file = tmp_path / "names.txt"
    file.write_bytes("a\nZoë\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r"names.txt, line 2: the byte 0xeb .*the file as UTF-8"):
        read_text(file)
    file.write_bytes("ab".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"names.txt, line 1: the byte 0x00"):
        read_text(file)
    file.write_bytes("ab".encode("utf-16") + b"c")
    with pytest.raises(ValueError, match=r"names.txt: .*save the file as UTF-8"):
        read_text(file)


def test_proper_text_is_returned_unchanged():
    assert check_text("Zoë\t马 \U0001f600\x1b", "here") == "Zoë\t马 \U0001f600\x1b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë 马 \U0001f469\u200d\U0001f52c", "Zoë 马 \U0001f469\u200d\U0001f52c"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nmAP: 99%", "a\\nmAP: 99%"),
        ("a\r\tb", "a\\r\\tb"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("txt\u202egpj.exe", "txt\\u202egpj.exe"),
        ("a\u2028b", "a\\u2028b"),
        (os.fsdecode(b"Jos\xe9"), "Jos\\xe9"),
        ("\ud800", "\\ud800"),
    ],
)
def test_nothing_hidden_is_left_in_printable_text(text, shown):
    assert printable(text) == shown
    printable(text).encode("utf-8")


def test_line_feeds_and_tabs_of_a_table_can_be_kept():
    assert printable("a\tb\n\x1b\r", keep_lines=True) == "a\tb\n\\x1b\\r"


def test_home_is_expanded_for_known_users_only(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert expand_home("~/data") == tmp_path / "data"
    assert expand_home("~nobody-here/data") == Path("~nobody-here/data")
    assert expand_home("data") == Path("data")
