"""How a program ends: with success, one line for the user, or a traceback."""

import pytest

from config import ConfigError, UnknownOptionError
from datasets.images.decode import BadImageError
from processor.runtime.signals import Interrupted
from processor.tools.program import run_program
from processor.training.epoch import NonFiniteLossError


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
def test_user_error_is_one_line_and_status_1(error, capsys, monkeypatch):
    monkeypatch.delenv("REID_TRACEBACK", raising=False)

    def action():
        raise error

    with pytest.raises(SystemExit) as exit_:
        run_program(action)
    assert exit_.value.code == 1
    printed = capsys.readouterr().out
    assert "error: set X to Y\n" in printed
    assert "Traceback" not in printed
    assert ("REID_TRACEBACK=1" in printed) == (type(error) is ValueError)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "error: not enough memory; close other programs"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "error: not enough memory:"),
        (
            OSError(28, "No space left on device", "/out/a"),
            "error: /out/a: No space left on device;",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "error: a worker",
        ),
    ],
)
def test_shortage_is_one_line_and_status_1(error, line, capsys):
    def action():
        raise error

    with pytest.raises(SystemExit) as exit_:
        run_program(action)
    assert exit_.value.code == 1
    printed = capsys.readouterr().out
    assert printed.startswith(line)
    assert printed.count("\n") == 1


def test_other_runtime_error_keeps_its_traceback():
    def action():
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError):
        run_program(action)


def test_traceback_on_request(monkeypatch):
    monkeypatch.setenv("REID_TRACEBACK", "1")

    def action():
        raise ConfigError("set X to Y")

    with pytest.raises(ConfigError):
        run_program(action)


def test_bug_keeps_its_traceback():
    def action():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_program(action)


@pytest.mark.parametrize(("error", "status"), [(Interrupted(), 143), (KeyboardInterrupt(), 130)])
def test_interrupted_run_has_its_own_status(error, status):
    def action():
        raise error

    with pytest.raises(SystemExit) as exit_:
        run_program(action)
    assert exit_.value.code == status


def test_success_logs_no_error(capsys):
    run_program(lambda: None)
    assert "error" not in capsys.readouterr().out
