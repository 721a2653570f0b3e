"""What a file in PLUGINS imports: the register functions, and the records and classes they take."""

from __future__ import annotations

from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample
from datasets.registry import register_dataset
from datasets.samplers.build import register_sampler
from datasets.samplers.options import SamplerOptions
from datasets.samplers.planner import EpochPlan, EpochPlanner, PKSampler
from datasets.sources import TrainingSet
from loss import LossInputs, LossOptions, register_loss
from model.encoders.image_encoder import ImageEncoder, ImageFeatures
from model.encoders.kind import Backbone, EncoderOptions
from model.encoders.registry import register_encoder

__all__ = [
    "Backbone",
    "DataSplits",
    "EncoderOptions",
    "EpochPlan",
    "EpochPlanner",
    "ImageEncoder",
    "ImageFeatures",
    "Layout",
    "LossInputs",
    "LossOptions",
    "PKSampler",
    "Sample",
    "SamplerOptions",
    "TrainingSet",
    "find_tree",
    "match_images",
    "register_dataset",
    "register_encoder",
    "register_loss",
    "register_sampler",
]
