"""Names of tracks in a video with roboflow's supervision, whatever tracker numbered them.

for frame, detections in video:  # BGR; sv.Detections with tracker_id
    seen.append(add_features(extractor, frame, detections))
names = name_tracks(seen, gallery, threshold)  # {1: "Moby", 2: None}
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import supervision as sv

from clipreid import Extractor, Gallery, pool_tracklets


def add_features(
    extractor: Extractor, frame: np.ndarray, detections: sv.Detections
) -> sv.Detections:
    """Detections of a frame with their features, (N, D), in `data["features"]`.

    Args:
        extractor: with the channel order of the frame: `Extractor(..., channels="bgr")`.
        frame: (H, W, 3) uint8.
        detections: boxes in pixels.
    """
    detections.data["features"] = extractor.crops(frame, detections.xyxy).numpy()
    return detections


def name_tracks(
    seen: Sequence[sv.Detections], gallery: Gallery, threshold: float
) -> dict[int, str | None]:
    """The name of every track, from the mean of its features; None = unknown."""
    merged = sv.Detections.merge(seen)
    tracks = np.unique(merged.tracker_id).tolist()
    pooled = pool_tracklets(merged.data["features"], merged.tracker_id)
    return dict(zip(tracks, gallery.identify(pooled, threshold), strict=True))
