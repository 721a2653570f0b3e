"""Parameters of the published releases of CLIP-DFGS, which disagree, by name."""

from __future__ import annotations

from typing import Any

_GRAPH = "DATALOADER.DFGS"


def _graph(neighbours: int, skip: int, *, shuffle: bool) -> dict[str, Any]:
    return {
        f"{_GRAPH}.NUM_NEIGHBOURS": neighbours,
        f"{_GRAPH}.SKIP": skip,
        f"{_GRAPH}.SHUFFLE": shuffle,
    }


PRESETS: dict[str, dict[str, Any]] = {
    "2024-10-image": _graph(15, 0, shuffle=False),
    "2024-10-text": _graph(10, 2, shuffle=True),
    "core-text": _graph(10, 0, shuffle=True),
    "2024-11-image": _graph(10, 0, shuffle=True),
    "2024-11-text": _graph(5, 1, shuffle=True),
    # Its distance also had a score of the domain, which needs a domain classifier: left out.
    "earlier-vit": _graph(10, 4, shuffle=False),
    "reimplementation": {**_graph(10, 2, shuffle=True), f"{_GRAPH}.REFRESH_PERIOD": 5},
}
"""DATALOADER.DFGS.PRESET -> values for the options that neither file nor overrides give."""
