"""Features of texts, to compare with the images of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from yacs.config import CfgNode

from config import ConfigError, with_options
from config.load import load_cfg_text
from model.build import build_pretrained_text
from model.weights.read import read_weights_file


@torch.no_grad()
def encode_texts(
    texts: Sequence[str], checkpoint: str, cfg: CfgNode, opts: Sequence[str] = ()
) -> Tensor:
    """(N, E) unit features of texts, comparable with the projected features of images.

    Training leaves CLIP's text tower as it is, and a checkpoint does not hold its word embeddings,
    so both are read from the weights that the training started from.

    Args:
        texts: in English, as CLIP was trained.
        checkpoint: the file of the model.
        cfg: the configuration that the model was rebuilt with.
        opts: overrides `KEY VALUE ...`; MODEL.PRETRAIN_PATH names the weights of the CLIP, else the
            checkpoint's configuration does, else those published for MODEL.NAME are taken.

    Raises:
        ConfigError: a text is empty or longer than the text tower's context, or the model was
            trained with another text tower.
        FileNotFoundError, ValueError: see `build_pretrained_text`.
    """
    file = read_weights_file(checkpoint)
    named = dict(zip(opts[::2], opts[1::2], strict=True)).get("MODEL.PRETRAIN_PATH", "")
    if not named and file.config:
        named = load_cfg_text(file.config, ["MODEL.NAME", cfg.MODEL.NAME]).MODEL.PRETRAIN_PATH
    pretrained = {"MODEL.PRETRAIN_CHOICE": "clip", "MODEL.PRETRAIN_PATH": named}
    tower = build_pretrained_text(with_options(cfg, pretrained))
    trained = file.state.get("text_encoder.text_projection")
    if trained is not None and not torch.equal(trained.float(), tower.module.text_projection):
        raise ConfigError(
            f"--text: {checkpoint} was trained with another text tower than that of "
            f"{named or cfg.MODEL.NAME}; name its CLIP's weights: MODEL.PRETRAIN_PATH FILE"
        )
    tokenizer = SimpleTokenizer(context_length=tower.context_length)
    for text in texts:
        length, most = len(tokenizer.encode(text)), tower.context_length - 2  # between two marks
        if not 1 <= length <= most:
            raise ConfigError(f"--text: {text!r} has {length} tokens; expected 1 to {most}")
    return F.normalize(tower.encode(tokenizer(list(texts))).float())
