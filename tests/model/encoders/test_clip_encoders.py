"""CLIP's image encoders with ReID's grid, stride and pooled features."""

import copy
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from config import load_cfg
from model import build_model
from model.encoders.clip import build_clip, build_clip_encoder
from model.encoders.kind import EncoderOptions
from model.encoders.positions import patch_grid, resize_position_embedding


@pytest.fixture
def resnet_tower(tiny_resnet_json):
    torch.manual_seed(0)
    tower = build_clip(tiny_resnet_json).visual.eval()
    with torch.no_grad():
        for module in tower.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.normal_(1, 0.1)
                module.running_mean.normal_(0, 0.1)
    return tower


def encoder_around(tower, image_size, stride=(16, 16), last_stride=1):
    return build_clip_encoder(tower, EncoderOptions(image_size, stride, last_stride)).eval()


# position embeddings


def test_resizing_to_the_same_grid_changes_nothing():
    embedding = torch.randn(1 + 14 * 14, 5)
    torch.testing.assert_close(resize_position_embedding(embedding, (14, 14)), embedding)


@pytest.mark.parametrize(
    ("old", "new"),
    [((14, 14), (16, 8)), ((14, 14), (21, 10)), ((16, 8), (21, 10)), ((21, 10), (16, 8))],
)
def test_resizing_is_bilinear(old, new):
    embedding = torch.randn(1 + old[0] * old[1], 3)
    found = resize_position_embedding(embedding, new, None if old[0] == old[1] else old)
    assert found.shape == (1 + new[0] * new[1], 3)
    assert torch.equal(found[0], embedding[0])
    for channel in range(3):
        grid = embedding[1:, channel].reshape(1, 1, *old)
        expected = F.interpolate(grid, size=new, mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[1:, channel], expected.flatten())


def test_resizing_matches_a_hand_worked_grid():
    embedding = torch.tensor([[9.0], [0.0], [1.0], [2.0], [3.0]])  # 2x2 grid
    found = resize_position_embedding(embedding, (2, 1))
    assert found.flatten().tolist() == [9.0, 0.5, 2.5]


def test_rows_that_do_not_fill_the_grid_are_refused():
    with pytest.raises(ValueError, match="210 position embeddings do not fill a 14x14 grid"):
        resize_position_embedding(torch.zeros(211, 3), (16, 8))
    with pytest.raises(ValueError, match="do not fill a 16x8"):
        resize_position_embedding(torch.zeros(211, 3), (16, 8), (16, 8))


@pytest.mark.parametrize(
    ("size", "stride", "grid"),
    [
        ((256, 128), (16, 16), (16, 8)),
        ((256, 128), (12, 12), (21, 10)),
        ((256, 256), (16, 16), (16, 16)),
        ((256, 256), (12, 12), (21, 21)),
        ((256, 128), (12, 16), (21, 8)),
        ((250, 120), (16, 16), (15, 7)),
        ((16, 16), (16, 16), (1, 1)),
    ],
)
def test_patch_grid(size, stride, grid):
    assert patch_grid(size, (16, 16), stride) == grid


@given(st.tuples(*[st.integers(8, 60)] * 2), st.tuples(*[st.integers(1, 8)] * 2))
def test_patch_grid_matches_the_convolution(size, stride):
    found = F.conv2d(torch.zeros(1, 1, *size), torch.zeros(1, 1, 8, 8), stride=stride)
    assert patch_grid(size, (8, 8), stride) == tuple(found.shape[2:])


def test_patch_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"INPUT\.SIZE_TRAIN.*smaller than a patch"):
        patch_grid((256, 12), (16, 16), (16, 16))
    with pytest.raises(ValueError, match=r"MODEL\.STRIDE_SIZE.*larger than the patch"):
        patch_grid((256, 128), (16, 16), (16, 17))


# ViT


@pytest.mark.parametrize(
    ("stride", "grid"), [((12, 12), (21, 10)), ((12, 16), (21, 8)), ((16, 11), (16, 11))]
)
def test_vit_with_other_strides_equals_its_definition(
    tiny_clip_json, tiny_clip_state, stride, grid
):
    clip = build_clip(tiny_clip_json)
    clip.load_state_dict(tiny_clip_state)
    tower = copy.deepcopy(clip.visual)
    encoder = encoder_around(clip.visual, (256, 128), stride)
    assert encoder.grid == grid
    assert encoder.positional_embedding.shape == (1 + grid[0] * grid[1], 128)
    images = torch.randn(2, 3, 256, 128)
    with torch.no_grad():
        found = encoder(images)
        patches = F.conv2d(images, tower.conv1.weight, stride=stride).flatten(2).transpose(1, 2)
        x = torch.cat([tower.class_embedding.expand(2, 1, -1), patches], dim=1)
        x = tower.ln_pre(x + resize_position_embedding(tower.positional_embedding, grid))
        for block in tower.transformer.resblocks[:-1]:
            x = block(x)
        final = tower.ln_post(tower.transformer.resblocks[-1](x))[:, 0]
    torch.testing.assert_close(found.last, x[:, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.final, final, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.projected, final @ tower.proj, rtol=0, atol=1e-5)


@torch.no_grad()
def test_vit_maps_hold_the_patches_row_by_row(tiny_clip_json, tiny_clip_state):
    clip = build_clip(tiny_clip_json)
    clip.load_state_dict(tiny_clip_state)
    encoder = encoder_around(clip.visual, (64, 48))
    images = torch.randn(2, 3, 64, 48)
    patches = encoder.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([encoder.class_embedding.expand(2, 1, -1), patches], dim=1)
    x = encoder.ln_pre(x + encoder.positional_embedding)
    for block in encoder.transformer.resblocks:
        x = block(x)
    x = encoder.ln_post(x)
    found = encoder.maps(images)
    assert found.shape == (2, 128, 4, 3)
    for row in range(4):
        for column in range(3):
            torch.testing.assert_close(found[:, :, row, column], x[:, 1 + row * 3 + column])
    torch.testing.assert_close(encoder(images).final, x[:, 0])


def test_vit_at_its_native_size_equals_clip(tiny_clip_json, tiny_clip_state):
    clip = build_clip(tiny_clip_json).eval()
    clip.load_state_dict(tiny_clip_state)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = clip.encode_image(images)
        found = encoder_around(clip.visual, (224, 224))(images).projected
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_gelu_follows_the_model_config(tiny_clip_json):
    architecture = json.loads(Path(tiny_clip_json).read_text())
    kinds = {}
    for quick in (True, False, None):
        architecture["quick_gelu"] = quick
        if quick is None:
            del architecture["quick_gelu"]
        clip = build_clip(json.dumps(architecture))
        blocks = [*clip.visual.transformer.resblocks, *clip.transformer.resblocks]
        kinds[quick] = {type(block.mlp.gelu).__name__ for block in blocks}
    assert kinds == {True: {"QuickGELU"}, False: {"GELU"}, None: {"QuickGELU"}}


# ResNet


@pytest.mark.parametrize("last_stride", [1, 2])
def test_resnet_features_equal_open_clips_modules(resnet_tower, last_stride):
    original = copy.deepcopy(resnet_tower)
    encoder = encoder_around(resnet_tower, (256, 128), last_stride=last_stride)
    grid = (16, 8) if last_stride == 1 else (8, 4)
    assert encoder.grid == grid
    images = torch.randn(2, 3, 256, 128)
    with torch.no_grad():
        found = encoder(images)
        layer3 = original.layer3(original.layer2(original.layer1(original.stem(images))))
        if last_stride == 1:  # without the anti-aliasing pools, the stride is 1
            original.layer4[0].avgpool = torch.nn.Identity()
            original.layer4[0].downsample[0] = torch.nn.Identity()
        layer4 = original.layer4(layer3)
        pool = original.attnpool
        resized = resize_position_embedding(pool.positional_embedding, grid)
        pool.positional_embedding = torch.nn.Parameter(resized)
        pooled = pool(layer4)
    assert layer4.shape[2:] == grid
    torch.testing.assert_close(found.last, layer3.mean((2, 3)), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.final, layer4.mean((2, 3)), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.projected, pooled, rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(encoder.maps(images), layer4, rtol=0, atol=1e-5)
    assert [x.shape[1] for x in (found.last, found.final, found.projected)] == [128, 256, 64]
    assert (encoder.width, encoder.joint_width) == (256, 64)


def test_resnet_at_its_native_stride_and_size_equals_clip(resnet_tower):
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = resnet_tower(images)
        found = encoder_around(resnet_tower, (224, 224), last_stride=2)(images).projected
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_resnet_keeps_parameter_names_and_order(resnet_tower):
    names = list(resnet_tower.state_dict())
    encoder = encoder_around(resnet_tower, (256, 128))
    assert list(encoder.state_dict()) == names


def test_resnet_refuses_sizes_off_its_stride(resnet_tower):
    with pytest.raises(ValueError, match=r"INPUT\.SIZE_TRAIN.*multiples of 32"):
        encoder_around(resnet_tower, (272, 128), last_stride=2)


def test_clip_reid_with_a_resnet_has_its_shapes(tiny_resnet_json):
    opts = ["MODEL.NAME", tiny_resnet_json, "MODEL.PRETRAIN_CHOICE", "none"]
    opts += ["INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"]
    reid = build_model(load_cfg(None, opts), num_classes=5, num_cameras=2, num_views=1).eval()
    images = torch.randn(3, 3, 64, 32)
    output = reid(images)
    assert [tuple(x.shape) for x in output.logits] == [(3, 5), (3, 5)]
    assert [x.shape[1] for x in output.features] == [128, 256, 64]
    assert reid.embed(images).shape == (3, 320)
    assert reid.encode_text(torch.arange(5)).shape == (5, 64)


def test_resnet_ignores_side_information_with_a_warning(tiny_resnet_json, caplog):
    opts = ["MODEL.NAME", tiny_resnet_json, "MODEL.PRETRAIN_CHOICE", "none"]
    cfg = load_cfg(None, [*opts, "MODEL.SIE_CAMERA", "True"])
    reid = build_model(cfg, num_classes=5, num_cameras=2, num_views=1).eval()
    assert reid.cv_embed is None
    assert "MODEL.SIE_CAMERA" in caplog.text
    images = torch.randn(1, 3, 384, 128)
    assert torch.equal(reid.embed(images), reid.embed(images, torch.tensor([1])))
