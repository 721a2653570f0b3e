"""Packages that only some commands need."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class MissingPackageError(ValueError):
    """A package that only some commands need is not installed."""


def import_optional(package: str, purpose: str, remedy: str) -> Any:
    """A module, imported when it is needed.

    Args:
        package: its name.
        purpose: what needs it, and what else that needs, for the error message.
        remedy: how to install it.

    Raises:
        MissingPackageError: it is not installed; names the remedy.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"the package {package} is not installed; {purpose}: {remedy}"
        ) from error
