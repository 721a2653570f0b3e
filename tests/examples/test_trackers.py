"""The tracker examples serve the interfaces of boxmot, ultralytics and supervision.

boxmot and ultralytics are large: where they are missing, stand-ins call the examples as
boxmot 25.0.0 and ultralytics 8.4.190 do.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clipreid import Extractor, Gallery, pool_tracklets
from examples.tracker_boxmot import BoxmotReID
from examples.tracker_ultralytics import UltralyticsReID


class ByAppearance:
    """Tracks that are matched by features alone: each keeps its first one."""

    def __init__(self):
        self.first = []

    def match(self, features):
        if not self.first:
            self.first = [feature / np.linalg.norm(feature) for feature in features]
        similarities = np.stack(features) @ np.stack(self.first).T
        return list(enumerate(similarities.argmax(axis=1)))


class BoxmotStandIn(ByAppearance):
    """Asks a ReID model as boxmot 25.0.0 does (`boxmot/trackers/common/appearance/live.py`)."""

    def __init__(self, reid_model):
        super().__init__()
        assert callable(reid_model.get_features)
        self.model = reid_model

    def update(self, detections, frame):
        features = np.asarray(self.model.get_features(detections[:, :4], frame), dtype=np.float32)
        assert features.ndim == 2
        assert len(features) == len(detections)
        assert np.isfinite(features).all()
        return self.match(features)


class UltralyticsStandIn(ByAppearance):
    """Asks an encoder as ultralytics 8.4.190 does (`ultralytics/trackers/bot_sort.py`)."""

    def __init__(self):
        super().__init__()
        self.args = SimpleNamespace(with_reid=False, model="auto")
        self.encoder = None

    def update(self, corners, frame):
        assert self.args.with_reid
        assert self.args.model != "auto"  # would pass features of the detector instead of the frame
        centers, sizes = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        boxes = np.concatenate([centers, sizes, np.arange(len(corners))[:, None]], axis=1)
        return self.match(self.encoder(frame, boxes))


def with_scores(boxes):
    """(N, 4) boxes with confidence 0.9 and class 0: (N, 6)."""
    rest = np.tile(np.float32([0.9, 0]), (len(boxes), 1))
    return np.concatenate([boxes, rest], axis=1).astype(np.float32)


def test_boxmot_interface_keeps_the_tracks(checkpoint, follow):
    tracker = BoxmotStandIn(BoxmotReID(checkpoint, "cpu"))
    first, second = follow(lambda frame, boxes: tracker.update(with_scores(boxes), frame))
    assert (len(first), len(second)) == (1, 1)
    assert first != second


@pytest.mark.parametrize("name", ["BotSort", "StrongSort", "DeepOcSort"])
def test_boxmot_trackers_ask_the_model_and_keep_the_tracks(checkpoint, follow, name):
    boxmot = pytest.importorskip("boxmot")
    model = BoxmotReID(checkpoint, "cpu")
    asked = []
    crops = model.extractor.crops
    model.extractor.crops = lambda frame, boxes: asked.append(len(boxes)) or crops(frame, boxes)
    tracker = getattr(boxmot, name)(reid_model=model)

    def update(frame, boxes):
        tracks = tracker.update(with_scores(boxes), frame)
        return [(row[7], row[4]) for row in tracks]  # number of the detection, track

    first, second = follow(update)
    assert (len(first), len(second)) == (1, 1)
    assert first != second
    assert asked == [2] * 12


def test_ultralytics_interface_keeps_the_tracks(checkpoint, follow):
    tracker = UltralyticsStandIn()
    UltralyticsReID(checkpoint, "cpu").attach(SimpleNamespace(trackers=[tracker]))
    first, second = follow(lambda frame, boxes: tracker.update(boxes, frame))
    assert (len(first), len(second)) == (1, 1)
    assert first != second


@pytest.mark.parametrize("name", ["botsort", "deepocsort", "tracktrack"])
def test_ultralytics_trackers_hold_the_models_features(checkpoint, video, name):
    pytest.importorskip("ultralytics")
    from ultralytics.engine.results import Boxes
    from ultralytics.trackers.track import TRACKER_MAP
    from ultralytics.utils import YAML, IterableSimpleNamespace
    from ultralytics.utils.checks import check_yaml

    options = IterableSimpleNamespace(**YAML.load(check_yaml(f"{name}.yaml")))
    tracker = TRACKER_MAP[name](options)
    encoder = UltralyticsReID(checkpoint, "cpu")
    encoder.attach(SimpleNamespace(trackers=[tracker]))
    for frame, boxes in video[:3]:
        tracks = tracker.update(Boxes(with_scores(boxes), frame.shape[:2]), frame, dets_del=None)
    assert len(tracks) == 2
    last = encoder.extractor.crops(*video[2]).numpy()
    held = np.stack([track.curr_feat for track in tracker.tracked_stracks])
    assert (held @ last.T).max(axis=1) == pytest.approx(1, abs=1e-5)


def test_features_are_those_of_the_boxes(checkpoint, video):
    frame, boxes = video[0]
    files = Extractor(checkpoint, "cpu")
    expected = files(
        [frame[top:bottom, left:right, ::-1] for left, top, right, bottom in boxes.astype(int)]
    )
    found = BoxmotReID(checkpoint, "cpu").get_features(boxes, frame)
    assert np.array_equal(found, expected.numpy())
    centers = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    found = UltralyticsReID(checkpoint, "cpu")(frame, centers)
    assert np.array_equal(np.stack(found), expected.numpy())


def test_supervision_tracks_get_names(checkpoint, video):
    sv = pytest.importorskip("supervision")
    from examples.tracker_supervision import add_features, name_tracks

    extractor = Extractor(checkpoint, "cpu", channels="bgr")
    seen = [
        add_features(extractor, frame, sv.Detections(boxes, tracker_id=np.array([7, 3])))
        for frame, boxes in video[:4]
    ]
    assert seen[0].data["features"].shape == (2, extractor.dim)
    gallery = Gallery()
    gallery.add(extractor.crops(*video[11])[:1], "first")
    pooled = pool_tracklets(
        np.concatenate([detections.data["features"] for detections in seen]), [7, 3] * 4
    )
    apart = torch.cdist(pooled, pooled)[0, 1].item()
    assert name_tracks(seen, gallery, apart / 2) == {3: None, 7: "first"}
