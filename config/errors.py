"""Errors of the configuration."""

from __future__ import annotations


class ConfigError(ValueError):
    """A value of the wrong type, or options that do not fit each other."""


class UnknownOptionError(KeyError):
    """An option that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])
