"""The pids and camids of a retrieval's query and gallery images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from torch import Tensor

IdArray: TypeAlias = Tensor | np.ndarray | Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class Identities:
    """Ids of Q queries and G gallery images, and whether the junk rule applies to them.

    Attributes:
        query_pids: (Q,) int64.
        gallery_pids: (G,) int64.
        query_camids: (Q,) int64.
        gallery_camids: (G,) int64.
        ignore_same_camera: apply the junk rule; see `processor.metrics.junk_rule`.
        own_places: (Q,) place of the query's own image in the gallery, -1 = it is not there; None =
            no query is. The image itself is junk.
        pid_names: names of pids for messages; a pid without one is its number.
        camid_names: likewise.
    """

    query_pids: np.ndarray
    gallery_pids: np.ndarray
    query_camids: np.ndarray
    gallery_camids: np.ndarray
    ignore_same_camera: bool = True
    own_places: np.ndarray | None = None
    pid_names: Mapping[int, str] = field(default_factory=dict)
    camid_names: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def check(
        cls,
        query_pids: IdArray,
        gallery_pids: IdArray,
        query_camids: IdArray,
        gallery_camids: IdArray,
        *,
        ignore_same_camera: bool = True,
        sizes: tuple[int, int] | None = None,
    ) -> Identities:
        """Convert id arrays of any integer type; floats must be whole numbers.

        Args:
            query_pids: (Q,).
            gallery_pids: (G,).
            query_camids: (Q,).
            gallery_camids: (G,).
            ignore_same_camera: apply the junk rule.
            sizes: expected (Q, G); default: the numbers of pids.

        Raises:
            ValueError: names the array that has the wrong type, shape or length.
        """
        given = {
            "query_pids": query_pids,
            "gallery_pids": gallery_pids,
            "query_camids": query_camids,
            "gallery_camids": gallery_camids,
        }
        arrays = {name: _as_int64(name, values) for name, values in given.items()}
        num_query, num_gallery = sizes or (len(arrays["query_pids"]), len(arrays["gallery_pids"]))
        for name, array in arrays.items():
            side = name.split("_")[0]
            expected = num_gallery if side == "gallery" else num_query
            if len(array) != expected:
                raise ValueError(f"{name}: {len(array)} entries for {expected} {side} images")
        return cls(
            query_pids=arrays["query_pids"],
            gallery_pids=arrays["gallery_pids"],
            query_camids=arrays["query_camids"],
            gallery_camids=arrays["gallery_camids"],
            ignore_same_camera=ignore_same_camera,
        )


def _as_int64(name: str, values: IdArray) -> np.ndarray:
    array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind == "f" and bool((array == np.floor(array)).all()):
        array = array.astype(np.int64)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name}: expected one integer per image, got {array.dtype} {array.shape}")
    return array.astype(np.int64)
