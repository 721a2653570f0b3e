"""A clipreid model in the trackers of boxmot (BotSort, StrongSort, DeepOcSort, ...).

    from boxmot import BotSort

    tracker = BotSort(reid_model=BoxmotReID("runs/demo/last.pth"))
    for frame, detections in video:  # BGR; (N, 6): left, top, right, bottom, confidence, class
        tracks = tracker.update(detections, frame)  # left, top, right, bottom, track id, ...

boxmot is licensed under AGPL-3.0, as is a program that uses it.
"""

from __future__ import annotations

import numpy as np

from clipreid import Extractor


class BoxmotReID:
    """What boxmot calls a ReID model: boxes of a frame to features.

    Args:
        checkpoint: of the model.
        device: auto | cpu | cuda | cuda:1 | mps.
    """

    def __init__(self, checkpoint: str, device: str = "auto") -> None:
        self.extractor = Extractor(checkpoint, device, channels="bgr")

    def get_features(self, boxes: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """(N, 4) left, top, right, bottom in pixels of a BGR frame -> (N, D) unit features."""
        return self.extractor.crops(frame, boxes).numpy()
