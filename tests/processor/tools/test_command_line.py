"""Arguments as CLIP-ReID's users type them, and how errors end a program."""

import argparse

import pytest

from config import ConfigError, UnknownOptionError
from datasets.images.decode import BadImageError
from processor.runtime.signals import Interrupted
from processor.tools.command_line import Arguments, parse_anywhere, parse_arguments, run
from processor.training.epoch import NonFiniteLossError

pytestmark = pytest.mark.usefixtures("own_log")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ([], Arguments(None, [])),
        (["--config_file", "a.yml"], Arguments("a.yml", [])),
        (["--config-file=a.yml"], Arguments("a.yml", [])),
        (["--config_file", ""], Arguments(None, [])),
        (
            ["--config_file", "a.yml", "MODEL.STRIDE_SIZE", "[12, 12]", "SOLVER.SEED", "1"],
            Arguments("a.yml", ["MODEL.STRIDE_SIZE", "[12, 12]", "SOLVER.SEED", "1"]),
        ),
        (["TEST.WEIGHT", "x.pth"], Arguments(None, ["TEST.WEIGHT", "x.pth"])),
        (["--local_rank", "0", "SOLVER.SEED", "-1"], Arguments(None, ["SOLVER.SEED", "-1"])),
    ],
)
def test_arguments(typed, expected):
    assert parse_arguments("A program.", typed) == expected


def test_unknown_flag_is_refused(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_arguments("A program.", ["--gpu", "0"])
    assert exit_.value.code == 2
    assert "--gpu" in capsys.readouterr().err


@pytest.fixture
def tools():
    """A parser of two sub-commands; the second one takes no options of the configuration."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    train.add_argument("--file", required=True)
    train.add_argument("--dry_run", action="store_true")
    train.add_argument("opts", nargs="*")
    commands.add_parser("list").add_argument("--all", action="store_true")
    return parser


@pytest.mark.parametrize(
    ("typed", "opts"),
    [
        ("train --file a.yml", []),
        ("train --file a.yml A 1 B 2 --dry_run", ["A", "1", "B", "2"]),
        ("train --dry_run --file a.yml A 1 B 2", ["A", "1", "B", "2"]),
        ("train --file a.yml A 1 --dry_run B 2", ["A", "1", "B", "2"]),
        ("train A 1 --file a.yml B 2 --dry_run C 3", ["A", "1", "B", "2", "C", "3"]),
        ("train --file a.yml A -1 --dry_run B -.5", ["A", "-1", "B", "-.5"]),
        ("train --file a.yml A --dry_run", ["A"]),
    ],
)
def test_options_on_both_sides_of_the_flags(tools, typed, opts):
    parsed = parse_anywhere(tools, typed.split())
    assert (parsed.opts, parsed.file) == (opts, "a.yml")
    assert parsed.dry_run == ("--dry_run" in typed)


def test_a_list_of_words_ends_before_an_option_of_the_configuration():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", default=[])
    parser.add_argument("--top", type=int, nargs="+")
    parser.add_argument("opts", nargs="*")
    typed = "TEST.CHUNK_MB 9 --data a MODEL.jpg b SOLVER.SEED 1 MODEL.NAME x --top 3"
    parsed = parse_anywhere(parser, typed.split())
    assert parsed.data == ["a", "MODEL.jpg", "b"]
    assert parsed.opts == ["TEST.CHUNK_MB", "9", "SOLVER.SEED", "1", "MODEL.NAME", "x"]
    assert parsed.top == [3]
    assert parse_anywhere(parser, []).data == []


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("train --file a.yml A 1 --gpu 0 B 2", "--gpu"),
        ("train --gpu --file a.yml A 1", "--gpu"),
        ("train --file a.yml A 1 --dry_run B 2 -x --gpu=0", "-x --gpu=0"),
        ("list --all A 1", "A 1"),
    ],
)
def test_what_is_no_option_is_refused(tools, typed, named, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_anywhere(tools, typed.split())
    assert exit_.value.code == 2
    assert capsys.readouterr().err.endswith(f"unrecognized arguments: {named}\n")


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("set X to Y"),
        UnknownOptionError("set X to Y"),
        BadImageError("set X to Y"),
        NonFiniteLossError("set X to Y", []),
        FileNotFoundError("set X to Y"),
        ValueError("set X to Y"),
    ],
)
def test_error_of_the_user_is_one_line_and_status_1(error, capsys, monkeypatch):
    monkeypatch.delenv("REID_TRACEBACK", raising=False)

    def action():
        raise error

    with pytest.raises(SystemExit) as exit_:
        run(action)
    assert exit_.value.code == 1
    printed = capsys.readouterr().out
    assert "ERROR processor.tools.command_line: set X to Y\n" in printed
    assert "Traceback" not in printed
    assert ("REID_TRACEBACK=1" in printed) == (type(error) is ValueError)


def test_traceback_on_request(monkeypatch):
    monkeypatch.setenv("REID_TRACEBACK", "1")

    def action():
        raise ConfigError("set X to Y")

    with pytest.raises(ConfigError):
        run(action)


def test_defect_keeps_its_traceback():
    def action():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(action)


@pytest.mark.parametrize(("error", "status"), [(Interrupted(), 0), (KeyboardInterrupt(), 130)])
def test_status_of_an_interrupted_run(error, status):
    def action():
        raise error

    with pytest.raises(SystemExit) as exit_:
        run(action)
    assert exit_.value.code == status


def test_success_returns(capsys):
    run(lambda: None)
    assert "ERROR" not in capsys.readouterr().out
