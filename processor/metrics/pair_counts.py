"""Genuine and impostor pairs counted by distance, and the error rates of thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NONE_ACCEPTED = -1.0  # a threshold below all distances


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Error rates when all pairs up to a distance are accepted as one identity.

    Attributes:
        threshold: the largest accepted distance; negative = nothing is accepted.
        far: false accept rate, the accepted share of the impostor pairs.
        tar: true accept rate, the accepted share of the genuine pairs.
    """

    threshold: float
    far: float
    tar: float


@dataclass(frozen=True, slots=True, eq=False)
class PairCounts:
    """Pairs by distance, in C ascending cells.

    Attributes:
        limits: (C,) float32, the largest distance of each cell.
        genuine: (C,) int64, pairs of one identity that are not junk.
        impostor: (C,) int64, pairs of two identities.
    """

    limits: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray

    @property
    def far(self) -> np.ndarray:
        """(C,) false accept rates of the limits as thresholds."""
        return self.impostor.cumsum() / self.impostor.sum()

    @property
    def tar(self) -> np.ndarray:
        """(C,) true accept rates of the limits as thresholds."""
        return self.genuine.cumsum() / self.genuine.sum()

    def at_far(self, rate: float) -> OperatingPoint:
        """The largest limit with at most this false accept rate."""
        return self._point(self._exceeding(rate) - 1)

    def equal_error(self) -> OperatingPoint:
        """The limit where false accept and false reject rates (1 - tar) are closest."""
        crossing = self._crossing()
        points = [self._point(place) for place in (crossing - 1, crossing)]
        return min(points, key=lambda point: abs(point.far - (1 - point.tar)))

    def decisive_cells(self, rates: Sequence[float]) -> np.ndarray:
        """Ascending cells that contain the results of `at_far` and `equal_error`."""
        return np.unique([*(self._exceeding(rate) for rate in rates), self._crossing()])

    def _exceeding(self, rate: float) -> int:
        """The first cell whose limit has a larger false accept rate."""
        return int(np.searchsorted(self.far, rate, side="right"))

    def _crossing(self) -> int:
        """The first cell whose limit has a false accept rate >= its false reject rate."""
        return int(np.argmax(self.far >= 1 - self.tar))

    def _point(self, place: int) -> OperatingPoint:
        if place < 0:
            return OperatingPoint(NONE_ACCEPTED, 0.0, 0.0)
        return OperatingPoint(
            float(self.limits[place]), float(self.far[place]), float(self.tar[place])
        )
