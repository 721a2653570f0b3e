"""Signals are recorded, and a loop stops between two steps."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from processor.runtime.signals import SIGNALS, Interrupted, StopRequest, stop_between_steps

ROOT = Path(__file__).parents[3]
SECOND_CTRL_C = """
import os, signal, time
from processor.runtime.signals import ProgramStop, StopRequest, stop_between_steps
with ProgramStop(), {block}:
    os.kill(os.getpid(), signal.SIGINT)
    print("one", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("two", flush=True)
"""


@pytest.fixture
def quiet():
    """All SIGNALS do nothing; yields those that came through."""
    seen = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda got, _: seen.append(got))
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_is_recorded_and_raised_by_the_check(number, quiet):
    with StopRequest() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        assert (stop.requested, stop.signal) == (True, number)
        with pytest.raises(Interrupted) as error:
            stop.check()
    assert error.value.status == 128 + number
    assert quiet == []


def test_later_signals_do_not_change_the_status(quiet):
    with StopRequest() as stop:
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert stop.signal == signal.SIGUSR1
    assert quiet == [signal.SIGINT]  # the "second" one: the user insists


def test_second_ctrl_c_of_another_program_is_its_own(quiet):
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        assert quiet == []
        os.kill(os.getpid(), signal.SIGINT)
        assert quiet == [signal.SIGINT]


@pytest.mark.parametrize("block", ["StopRequest()", "stop_between_steps()"])
def test_second_ctrl_c_ends_a_program_at_once(block):
    command = [sys.executable, "-c", SECOND_CTRL_C.format(block=block)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "one\n", "")


@pytest.mark.usefixtures("quiet")
def test_handlers_are_restored():
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopRequest(), StopRequest():
        assert all(signal.getsignal(number) not in before for number in SIGNALS)
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.usefixtures("quiet")
def test_ignored_signal_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.requested
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("quiet")
def test_outside_the_main_thread_no_handler_changes():
    before = [signal.getsignal(number) for number in SIGNALS]
    seen = []

    def listen():
        with StopRequest() as stop:
            seen.append([signal.getsignal(number) for number in SIGNALS])
            stop.check()

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.usefixtures("quiet")
def test_inner_request_reaches_the_outer_one():
    with StopRequest() as outer:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGHUP)
        assert (outer.requested, outer.signal) == (True, signal.SIGHUP)


def test_forked_worker_ignores_the_signals_it_inherits(quiet):
    with StopRequest() as stop:
        child = os.fork()
        if not child:
            for number in SIGNALS:
                os.kill(os.getpid(), number)
            os._exit(int(stop.requested))
        assert os.waitpid(child, 0)[1] == 0
    assert quiet == []


def test_steps_of_a_loop_in_another_program_leave_its_signals_alone(quiet):
    with stop_between_steps() as check:
        os.kill(os.getpid(), signal.SIGTERM)
        check()
    assert quiet == [signal.SIGTERM]
