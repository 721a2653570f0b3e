"""A training that has diverged."""

from __future__ import annotations


class NonFiniteLossError(RuntimeError):
    """A loss became infinite or NaN; `paths` are the images of its batch."""

    def __init__(self, message: str, paths: list[str]) -> None:
        super().__init__(message)
        self.paths = paths
