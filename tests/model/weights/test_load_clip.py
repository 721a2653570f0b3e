"""OpenAI's and open_clip's files fill the model."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from model import load_weights
from model.encoders.clip import build_clip
from model.encoders.positions import resize_position_embedding
from model.weights.read import read_weights_file


def assert_holds_clip(model, clip_state, tolerance=0.0):
    found = model.state_dict()
    pairs = {
        "image_encoder.conv1.weight": "visual.conv1.weight",
        "image_encoder.class_embedding": "visual.class_embedding",
        "image_encoder.proj": "visual.proj",
        "image_encoder.transformer.resblocks.2.mlp.c_fc.bias": (
            "visual.transformer.resblocks.2.mlp.c_fc.bias"
        ),
        "text_encoder.positional_embedding": "positional_embedding",
        "text_encoder.text_projection": "text_projection",
        "text_encoder.ln_final.weight": "ln_final.weight",
        "text_encoder.transformer.resblocks.1.attn.in_proj_weight": (
            "transformer.resblocks.1.attn.in_proj_weight"
        ),
    }
    for key, source in pairs.items():
        torch.testing.assert_close(found[key], clip_state[source], rtol=tolerance, atol=tolerance)
    words = clip_state["token_embedding.weight"][model.prompt_learner.prompt.tokens]
    for key, part in (("prefix", words[:, :5]), ("suffix", words[:, 9:])):
        found_words = found[f"prompt_learner.token_{key}"]
        torch.testing.assert_close(found_words, part, rtol=tolerance, atol=tolerance)
    grid = clip_state["visual.positional_embedding"].float()
    torch.testing.assert_close(
        found["image_encoder.positional_embedding"],
        resize_position_embedding(grid, (16, 8)),
        rtol=tolerance,
        atol=tolerance or 1e-7,
    )
    assert {tensor.dtype for tensor in found.values()} == {torch.float32, torch.int64}


def assert_clip_report(report):
    assert report.reshaped == ("image_encoder.positional_embedding",)
    assert report.skipped == report.unexpected == ()
    assert all(
        key.startswith(("classifier", "bottleneck")) or "cls_ctx" in key for key in report.missing
    )


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "kind", ["state dict", "archive", "open_clip.bin", "model.safetensors", "nested"]
)
def test_plain_clip_fills_image_and_text_side(
    tmp_path, build, tiny_clip_state, kind, half, save_archive, assert_same
):
    state = {k: t.half() if half else t for k, t in tiny_clip_state.items()}
    extras = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    path = tmp_path / kind.replace(" ", "_")
    if kind == "archive":
        numbers = {key: torch.tensor(value) for key, value in extras.items()}
        save_archive(state | numbers, path)
        assert read_weights_file(path).torchscript
    elif kind == "model.safetensors":
        safetensors.torch.save_file(state, path)
    elif kind == "nested":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        torch.save({**state, "attn_mask": torch.zeros(77, 77)}, path)
    model = build()
    before = {key: t.clone() for key, t in model.state_dict().items()}
    report = load_weights(model, path)
    assert_clip_report(report)
    assert_holds_clip(model, tiny_clip_state, tolerance=1e-3 if half else 0.0)
    assert_same(model, before, report.missing)
    assert "1 reshaped (image_encoder.positional_embedding)" in str(report)
    assert f"{len(report.loaded)} tensors loaded" in str(report)


def test_plain_clip_fills_a_baseline(build, tiny_clip_file):
    report = load_weights(build("MODEL.TEXT_TOWER", "False"), tiny_clip_file)
    assert_clip_report(report)
    assert all(key.startswith("image_encoder.") for key in report.loaded)


def test_clips_square_grid_is_resized_to_an_equal_number_of_positions(
    build, tiny_clip_state, tiny_clip_file
):
    model = build("INPUT.SIZE_TRAIN", "[448, 112]", "INPUT.SIZE_TEST", "[448, 112]")
    assert model.image_encoder.grid == (28, 7)  # 196 patches like CLIP's 14x14
    report = load_weights(model, tiny_clip_file)
    assert report.reshaped == ("image_encoder.positional_embedding",)
    expected = resize_position_embedding(tiny_clip_state["visual.positional_embedding"], (28, 7))
    assert torch.equal(model.image_encoder.positional_embedding, expected)


def test_archive_needs_quick_gelu(tmp_path, build, tiny_clip_json, tiny_clip_state, save_archive):
    architecture = json.loads(Path(tiny_clip_json).read_text())
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(architecture | {"quick_gelu": False}))
    archive = tmp_path / "ViT.pt"
    save_archive(tiny_clip_state, archive)
    with pytest.raises(ValueError, match=r"QuickGELU.*MODEL\.NAME.*quick_gelu"):
        load_weights(build("MODEL.NAME", str(plain)), archive)
    load_weights(build(), archive)


def test_archive_needs_quick_gelu_in_the_text_tower(
    tmp_path, build, tiny_resnet_json, save_archive
):
    architecture = json.loads(Path(tiny_resnet_json).read_text())
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(architecture | {"quick_gelu": False}))
    archive = tmp_path / "RN.pt"
    save_archive(build_clip(tiny_resnet_json).state_dict(), archive)
    with pytest.raises(ValueError, match="QuickGELU"):
        load_weights(build("MODEL.NAME", str(plain)), archive)
    report = load_weights(build("MODEL.NAME", tiny_resnet_json), archive)
    assert report.reshaped == ("image_encoder.attnpool.positional_embedding",)
    # a ResNet without a text tower has no GELU
    load_weights(build("MODEL.NAME", str(plain), "MODEL.TEXT_TOWER", "False"), archive)


@pytest.mark.parametrize("pooling", ["gem", "clip"])
def test_plain_clip_fills_only_the_encoder_without_labels(
    build_unsupervised, tiny_clip_state, tmp_path, pooling, save
):
    model = build_unsupervised("DSGL.POOLING", pooling)
    report = load_weights(model, save(tmp_path, tiny_clip_state))
    assert report.reshaped == ("image_encoder.positional_embedding",)
    assert report.unexpected == report.skipped == ()
    assert all(key.startswith("image_encoder.") for key in report.loaded)
    assert all(key.startswith(("bottleneck.", "pooling.")) for key in report.missing)
    assert torch.equal(model.image_encoder.proj, tiny_clip_state["visual.proj"])
