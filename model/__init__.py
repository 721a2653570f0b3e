"""CLIP-ReID models, built from a configuration and filled from weights files."""

from model.build import build_model
from model.clip_reid import CLIPReID, TrainOutput
from model.vision import ImageFeatures
from model.weights import LoadReport, load_weights

__all__ = ["CLIPReID", "ImageFeatures", "LoadReport", "TrainOutput", "build_model", "load_weights"]
