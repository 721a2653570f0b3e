"""Features of texts are those of the CLIP that training started from."""

import json

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from config import ConfigError, dump_cfg, load_cfg
from model import build_model
from model.build import build_pretrained_text
from processor.checkpoints.load import open_model
from processor.checkpoints.save import save_checkpoint
from processor.checkpoints.texts import encode_texts

TEXTS = ["a person in a red coat", "a person with a white backpack"]


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory, tiny_clip_file):
    """Weights of a tiny CLIP in a file of their own."""
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    state = torch.load(tiny_clip_file, weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(clip_file, tiny_opts, tmp_path_factory):
    """`checkpoint(*opts)` -> a file trained from these weights."""

    def save(*opts):
        cfg = load_cfg(None, [*tiny_opts, "MODEL.PRETRAIN_PATH", str(clip_file), *opts])
        model = build_model(cfg, 5, 2, 1)
        path = tmp_path_factory.mktemp("saved") / "last.pth"
        meta = {"num_classes": 5, "num_cameras": 2, "num_views": 1}
        save_checkpoint(path, model, dump_cfg(cfg), {**meta, "cameras": json.dumps({})})
        return str(path)

    return save


def encode(path, texts=TEXTS, opts=()):
    return encode_texts(texts, path, open_model(path, None, opts).cfg, opts)


def test_features_are_those_of_open_clips_tower(checkpoint, clip_file, tiny_opts):
    cfg = load_cfg(None, [*tiny_opts, "MODEL.PRETRAIN_PATH", str(clip_file)])
    with torch.no_grad():
        features = build_pretrained_text(cfg).encode(open_clip.tokenize(TEXTS))
        expected = features / features.norm(dim=1, keepdim=True)
    found = encode(checkpoint())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_baseline_has_them_too(checkpoint):
    plain = encode(checkpoint("MODEL.TEXT_TOWER", "False", "MODEL.ID_LOSS_WEIGHT", "1.0"))
    assert torch.equal(plain, encode(checkpoint()))


def test_another_text_tower_is_refused(checkpoint, clip_file, tmp_path):
    state = load_file(clip_file)
    state["text_projection"] = state["text_projection"] * 1.01
    save_file(state, tmp_path / "other.safetensors")
    opts = ["MODEL.PRETRAIN_PATH", str(tmp_path / "other.safetensors")]
    with pytest.raises(ConfigError, match=r"--text: .* was trained with another text tower"):
        encode(checkpoint(), opts=opts)


def test_moved_weights_are_named_by_the_option(checkpoint, clip_file, tmp_path):
    path = checkpoint()
    moved = tmp_path / "moved.safetensors"
    save_file(load_file(clip_file), moved)
    away = clip_file.rename(clip_file.with_name("away.safetensors"))
    try:
        with pytest.raises(FileNotFoundError, match=r"MODEL\.PRETRAIN_PATH: no weights file"):
            encode(path)
        found = encode(path, opts=["MODEL.PRETRAIN_PATH", str(moved)])
    finally:
        away.rename(clip_file)
    assert torch.equal(found, encode(path))


@pytest.mark.parametrize(("text", "length"), [("", 0), ("word " * 80, 80)])
def test_texts_that_do_not_fit_are_refused(checkpoint, text, length):
    with pytest.raises(ConfigError, match=rf"--text: .* has {length} tokens; expected 1 to 75"):
        encode(checkpoint(), [text])


def test_weights_without_a_text_tower_are_refused(checkpoint, clip_file, tmp_path):
    state = {x: t for x, t in load_file(clip_file).items() if x.startswith("visual.")}
    save_file(state, tmp_path / "images.safetensors")
    with pytest.raises(ValueError, match=r"images\.safetensors lacks .* of the text tower"):
        encode(checkpoint(), opts=["MODEL.PRETRAIN_PATH", str(tmp_path / "images.safetensors")])
