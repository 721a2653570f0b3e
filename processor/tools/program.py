"""Run a program: log, processes, and errors as one line."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from config import ConfigError, UnknownOptionError
from config.text import printable
from processor.runtime import distributed
from processor.runtime.log import Lines, program_log
from processor.runtime.shortages import explain_system_error
from processor.runtime.signals import Interrupted, ProgramStop
from processor.tools.environment import TRAINING_PACKAGES

logger = logging.getLogger(__name__)

LOST_WORKER = "DataLoader worker"  # in torch's error
TRACEBACK_VARIABLE = "REID_TRACEBACK"

# Errors that the user can fix, shown as one line, as are those that `is_user_error` and
# `explain_system_error` know. Anything else is a bug and keeps its traceback.
USER_ERRORS = (ConfigError, UnknownOptionError, MemoryError, ValueError)


def run_program(action: Callable[[], object]) -> None:
    """Run `action`; an error that the user can fix becomes one line and exit status 1.

    After SIGINT (Ctrl-C), SIGTERM, SIGHUP or SIGUSR1 the status is 130, 143, 129 or 138. A second
    SIGINT ends the process at once.
    """
    with distributed.joined_processes(), program_log(), ProgramStop() as stop:
        try:
            action()
            stop.check()  # the request may have come too late for the last step
        except Interrupted as request:
            logger.info("stopped by %s", request)
            sys.exit(request.status)
        except (*USER_ERRORS, OSError, RuntimeError) as error:
            if stop.requested and LOST_WORKER in str(error):  # before it could ignore the signal
                logger.info("stopped by %s; finished epochs are saved", stop.signal.name)
                sys.exit(Interrupted(stop.signal).status)
            known = explain_system_error(error)
            if (
                isinstance(error, RuntimeError)
                and known is None
                and distributed.is_lost_process(error)
            ):
                known = "another process of this run was killed or failed"
            if known is None and not is_user_error(error):
                raise
            if os.environ.get(TRACEBACK_VARIABLE):
                raise
            _let_first_process_speak()
            logger.error("%s", Lines(printable(str(known or error), keep_lines=True)))
            _free(error)
            if type(error) is ValueError:  # of this program or of a library
                logger.info("for the traceback set %s=1 in the environment", TRACEBACK_VARIABLE)
            sys.exit(1)
        except ModuleNotFoundError as error:
            name = (error.name or "").partition(".")[0]
            if name not in TRAINING_PACKAGES:
                raise
            _let_first_process_speak()
            logger.error(
                "this command needs %s, which is not installed: pip install %s; a light install "
                "only extracts and searches",
                name,
                TRAINING_PACKAGES[name],
            )
            sys.exit(1)


def is_user_error(error: BaseException) -> bool:
    """Whether the user can fix what an error tells."""
    # not above: many commands need neither images nor training
    from datasets.images.decode import BadImageError
    from processor.training.non_finite import NonFiniteLossError

    return isinstance(error, (*USER_ERRORS, BadImageError, NonFiniteLossError))


def _free(error: BaseException) -> None:
    """Free the data loaders in an error's traceback, whose workers then end immediately.

    A loader whose start was interrupted prints errors of its own, which tell nothing.
    """
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with suppress(Interrupted):  # the program ends anyway
            error.with_traceback(None)
            for cause in (error.__cause__, error.__context__):
                if cause is not None:
                    cause.with_traceback(None)
            gc.collect()
    finally:
        sys.unraisablehook = hook


def _let_first_process_speak() -> None:
    """Wait for the first process's report; torchrun may end this one meanwhile."""
    try:
        distributed.let_first_process_speak()
    except Interrupted as request:
        sys.exit(request.status)
