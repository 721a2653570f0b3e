"""ReID models: built from a configuration, filled from weights files."""

from model.build import build_model, build_reid_model, build_unsupervised_model
from model.clip_reid import CLIPReID, TrainOutput
from model.encoders.image_encoder import ImageFeatures
from model.reid_model import ReIDModel
from model.unsupervised import UnsupervisedReID
from model.weights import LoadReport, load_weights

__all__ = [
    "CLIPReID",
    "ImageFeatures",
    "LoadReport",
    "ReIDModel",
    "TrainOutput",
    "UnsupervisedReID",
    "build_model",
    "build_reid_model",
    "build_unsupervised_model",
    "load_weights",
]
