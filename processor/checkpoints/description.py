"""The description of a model's features: weights and options they depend on."""

from __future__ import annotations

import hashlib

import torch

from config.free_options import is_free
from config.options import flatten
from model.embedder import Embedder
from model.encoders.clip import architecture_text
from model.network_files.embedder import NetworkFile
from processor.checkpoints.configuration import ARCHITECTURE
from processor.checkpoints.load import LoadedModel

_OPTIONS_WITHOUT_EFFECT = ("MODEL.TEXT_TOWER", "MODEL.PROMPT", "INPUT.SIZE_TRAIN")
# Options that earlier descriptions do not have, and the value that leaves features as they were.
_LATER = {"MODEL.PRETRAIN_TAG": "", "INPUT.CHANNELS": "rgb", "TEST.OUTPUT": ""}
_WEIGHTS_WITHOUT_EFFECT = ("text_encoder.", "prompt_learner.", "classifier")


def describe_features(loaded: LoadedModel) -> dict[str, str]:
    """Weights and options that features depend on; only features with equal ones compare.

    Returns:
        Options by name, and under "weights" a SHA-256 of the weights, or of a network file. Text
        encoder, prompts and classifiers do not count.
    """
    options = dict(flatten(loaded.cfg))
    options["MODEL.NAME"] = architecture_text(loaded.cfg.MODEL.NAME) or loaded.cfg.MODEL.NAME
    keys = [key for key in ARCHITECTURE if key not in {*_OPTIONS_WITHOUT_EFFECT, *_LATER}]
    keys += filter(is_free, options)
    return {
        "weights": _digest(loaded.model),
        **{key: str(options[key]) for key in [*keys, "TEST.NECK_FEAT"]},
        **{key: options[key] for key, default in _LATER.items() if options[key] != default},
    }


def _digest(model: Embedder) -> str:
    if isinstance(model, NetworkFile):
        return model.digest()
    digest = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        if not name.startswith(_WEIGHTS_WITHOUT_EFFECT):
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
