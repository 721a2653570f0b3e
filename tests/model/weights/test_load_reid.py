"""Checkpoints of CLIP-ReID and of this project fill the model."""

import pytest
import torch
from torch import nn

from model import load_weights
from model.encoders.positions import resize_position_embedding
from model.weights.read import CHECKPOINT_FORMAT

CLASS_ROWS = ("classifier.weight", "classifier_proj.weight", "prompt_learner.cls_ctx")


@pytest.mark.parametrize("kind", ["plain", "module.", "state_dict", "model", "half", "own"])
def test_reid_file_fills_the_whole_model(
    tmp_path, build, built_tiny_reid, reid_state, golden, kind, save, assert_same
):
    content = dict(reid_state)
    if kind == "module.":
        content = {f"module.{key}": tensor for key, tensor in content.items()}
    elif kind in ("state_dict", "model"):
        content = {kind: content, "epoch": 60}
    elif kind == "half":
        content = {k: t.half() if t.is_floating_point() else t for k, t in content.items()}
    elif kind == "own":
        meta = {"num_classes": 10, "num_cameras": 6, "num_views": 1}
        content = {"format": CHECKPOINT_FORMAT, "model": content, "config": "{}", "meta": meta}
    model = build()
    report = load_weights(model, save(tmp_path, content))
    assert set(report.loaded) == set(reid_state)
    assert report.missing == report.unexpected == report.reshaped == report.skipped == ()
    assert str(report) == f"{len(reid_state)} tensors loaded"
    if kind == "half":
        return
    assert_same(model, reid_state)
    images = (torch.from_numpy(golden("tiny_vit_io")["images_u8"][:2]).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        assert torch.equal(model.embed(images), built_tiny_reid.embed(images))


def test_another_grid_is_resized_and_reported(tmp_path, build, save):
    overlapping = build("MODEL.STRIDE_SIZE", "[12, 12]")
    positions = overlapping.image_encoder.positional_embedding
    nn.init.normal_(positions)
    assert positions.shape == (211, 128)
    model = build()
    report = load_weights(model, save(tmp_path, overlapping.state_dict()))
    assert report.reshaped == ("image_encoder.positional_embedding",)
    expected = resize_position_embedding(positions.detach(), (16, 8), (21, 10))
    assert torch.equal(model.image_encoder.positional_embedding, expected)
    back = build("MODEL.STRIDE_SIZE", "[12, 12]")
    load_weights(back, save(tmp_path, model.state_dict()))
    expected = resize_position_embedding(expected, (21, 10), (16, 8))
    assert torch.equal(back.image_encoder.positional_embedding, expected)


@pytest.mark.parametrize("old", ["[256, 256]", "[256, 128]"])
def test_another_aspect_is_resized(tmp_path, build, old, save):
    other = build("INPUT.SIZE_TRAIN", old, "INPUT.SIZE_TEST", old)
    positions = other.image_encoder.positional_embedding
    nn.init.normal_(positions)
    new = "[256, 128]" if old == "[256, 256]" else "[256, 256]"
    model = build("INPUT.SIZE_TRAIN", new, "INPUT.SIZE_TEST", new)
    load_weights(model, save(tmp_path, other.state_dict()))
    old_grid, new_grid = other.image_encoder.grid, model.image_encoder.grid
    expected = resize_position_embedding(positions.detach(), new_grid, old_grid)
    assert torch.equal(model.image_encoder.positional_embedding, expected)


def test_rows_of_other_identities_are_skipped(tmp_path, build, reid_state, save, assert_same):
    model = build(num_classes=7)
    before = {key: t.clone() for key, t in model.state_dict().items()}
    report = load_weights(model, save(tmp_path, reid_state))
    assert report.skipped == tuple(sorted(CLASS_ROWS))
    assert_same(model, before, CLASS_ROWS)
    assert_same(model, reid_state, set(reid_state) - set(CLASS_ROWS))
    assert "3 skipped (classifier.weight, classifier_proj.weight, prompt_learner.cls_ctx)" in str(
        report
    )


def test_rows_of_other_cameras_are_skipped(tmp_path, build, save):
    camera = ["MODEL.SIE_CAMERA", "True"]
    path = save(tmp_path, build(*camera, num_cameras=6).state_dict())
    model = build(*camera, num_cameras=15)
    before = model.cv_embed.detach().clone()
    assert load_weights(model, path).skipped == ("cv_embed",)
    assert torch.equal(model.cv_embed, before)
    same = build(*camera, num_cameras=6)
    assert load_weights(same, path).skipped == ()
    assert load_weights(build(), path).unexpected == ("cv_embed",)


def test_baseline_and_full_model_load_each_others_files(
    tmp_path, build, reid_state, save, assert_same
):
    baseline = build("MODEL.TEXT_TOWER", "False")
    full = build()
    report = load_weights(full, save(tmp_path, baseline.state_dict()))
    assert all(key.startswith(("prompt_learner.", "text_encoder.")) for key in report.missing)
    assert {"prompt_learner.cls_ctx", "text_encoder.ln_final.bias"} <= set(report.missing)
    assert_same(full, baseline.state_dict())
    report = load_weights(baseline, save(tmp_path, reid_state))
    assert report.missing == ()
    assert "text_encoder.text_projection" in report.unexpected


def test_unsupervised_checkpoint_fills_the_whole_model(
    tmp_path, build_unsupervised, save, assert_same
):
    for number, opts in enumerate(([], ["DSGL.EMBED_DIM", "8"], ["MODEL.NAME", "resnet18"])):
        saved, model = build_unsupervised(*opts), build_unsupervised(*opts)
        state = {
            key: torch.rand_like(tensor) if tensor.is_floating_point() else tensor + 3
            for key, tensor in saved.state_dict().items()
        }
        report = load_weights(model, save(tmp_path, state, f"{number}.pth"))
        assert set(report.loaded) == set(state)
        assert report.missing == report.unexpected == report.skipped == report.reshaped == ()
        assert_same(model, state)


def test_neck_is_skipped_between_the_two_kinds_of_models(
    tmp_path, build, build_unsupervised, reid_state, save, assert_same
):
    """The neck of pooled maps has CLIP-ReID's width but other statistics."""
    model = build_unsupervised()
    before = {key: t.clone() for key, t in model.state_dict().items()}
    report = load_weights(model, save(tmp_path, reid_state))
    necks = [key for key in before if key.startswith("bottleneck.")]
    assert sorted(report.skipped) == sorted(necks)
    assert report.missing == ("pooling.p",)
    assert {"classifier.weight", "bottleneck_proj.weight"} <= set(report.unexpected)
    assert_same(model, before, necks)
    assert_same(model, reid_state, report.loaded)
    labelled = build()
    before = {key: t.clone() for key, t in labelled.state_dict().items()}
    state = {key: torch.rand_like(t.float()) for key, t in model.state_dict().items()}
    report = load_weights(labelled, save(tmp_path, state))
    assert sorted(report.skipped) == sorted(necks)
    assert report.unexpected == ("pooling.p",)
    assert_same(labelled, before, necks)
    assert_same(labelled, state, [key for key in report.loaded if "image_encoder" in key])
