"""Arguments as CLIP-ReID's users type them, and how errors end a program."""

import pytest

from config import ConfigError, UnknownOptionError
from datasets.images import BadImageError
from processor.command_line import Arguments, parse_arguments, run
from processor.epoch import NonFiniteLossError
from processor.runtime.signals import Interrupted

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
    assert "ERROR processor.command_line: set X to Y\n" in printed
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
