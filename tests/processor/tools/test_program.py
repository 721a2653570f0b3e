"""How a program ends: with success, one line for the user, or a traceback."""

import contextlib
import os
import signal

import pytest

from config import ConfigError, UnknownOptionError
from datasets.images.decode import BadImageError
from processor.runtime.signals import SIGNALS, Interrupted, StopRequest, stop_between_steps
from processor.tools.program import run_program
from processor.training.non_finite import NonFiniteLossError


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


STATUSES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGUSR1": 138}


@pytest.mark.parametrize(("name", "status"), STATUSES.items())
def test_interrupted_run_has_the_status_of_its_signal(name, status, capsys):
    def action():
        raise Interrupted(signal.Signals[name])

    with pytest.raises(SystemExit) as exit_:
        run_program(action)
    assert exit_.value.code == status
    assert capsys.readouterr().out == f"stopped by {name}\n"


@pytest.mark.parametrize(("name", "status"), STATUSES.items())
def test_signal_ends_the_program_where_no_loop_waits_for_a_step(name, status):
    def action():
        os.kill(os.getpid(), signal.Signals[name])
        raise AssertionError("not reached")

    with pytest.raises(SystemExit) as exit_:
        run_program(action)
    assert exit_.value.code == status


def test_signal_waits_for_the_end_of_a_step():
    finished = []

    def action():
        with stop_between_steps() as check:
            for step in range(5):
                if step == 2:
                    os.kill(os.getpid(), signal.SIGUSR1)
                finished.append(step)
                check()

    with pytest.raises(SystemExit) as exit_:
        run_program(action)
    assert (finished, exit_.value.code) == ([0, 1, 2], 138)


def test_signal_that_a_library_swallows_still_ends_the_program():
    def action():
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as exit_:
        run_program(action)
    assert exit_.value.code == 143


def test_worker_lost_to_the_signal_does_not_hide_it(capsys):
    def action():
        with StopRequest():
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("DataLoader worker (pid 5) is killed by signal: Terminated.")

    with pytest.raises(SystemExit) as exit_:
        run_program(action)
    assert exit_.value.code == 143
    assert capsys.readouterr().out == "stopped by SIGTERM; finished epochs are saved\n"


def test_worker_lost_without_a_signal_is_an_error_with_its_likely_cause(capsys):
    def action():
        raise RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed.")

    with pytest.raises(SystemExit) as exit_:
        run_program(action)
    assert exit_.value.code == 1
    assert "a worker process was killed, probably as memory ran out" in capsys.readouterr().out


def test_handlers_of_before_are_restored():
    before = [signal.getsignal(number) for number in SIGNALS]
    run_program(lambda: None)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_success_logs_no_error(capsys):
    run_program(lambda: None)
    assert "error" not in capsys.readouterr().out
