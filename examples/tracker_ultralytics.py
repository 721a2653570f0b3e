"""A clipreid model in the trackers of ultralytics (BoT-SORT, Deep OC-SORT, TrackTrack).

    model = YOLO("yolo11n.pt")
    encoder = UltralyticsReID("runs/demo/last.pth")
    model.add_callback("on_predict_batch_start", encoder.attach)
    results = model.track("video.mp4", tracker="botsort.yaml", stream=True)

ultralytics is licensed under AGPL-3.0, as is a program that uses it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clipreid import Extractor


class UltralyticsReID:
    """What ultralytics' trackers call an encoder: boxes of a frame to features.

    Args:
        checkpoint: of the model.
        device: auto | cpu | cuda | cuda:1 | mps.
    """

    def __init__(self, checkpoint: str, device: str = "auto") -> None:
        self.extractor = Extractor(checkpoint, device, channels="bgr")

    def __call__(self, frame: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
        """(N, 4 or more) center x, center y, width, height of a BGR frame -> N features (D,)."""
        centers, half = boxes[:, :2], boxes[:, 2:4] / 2
        corners = np.concatenate([centers - half, centers + half], axis=1)
        return list(self.extractor.crops(frame, corners).numpy())

    def attach(self, predictor: Any) -> None:
        """Make the predictor's trackers use this encoder; `with_reid` in their YAML stays False."""
        for tracker in predictor.trackers:
            tracker.args.with_reid, tracker.args.model, tracker.encoder = True, "clipreid", self
