"""DSGL's model against its definition: normalize(BN(pool(maps)))."""

import copy

import pytest
import torch
import torch.nn.functional as F

from config import load_cfg
from model import UnsupervisedReID, build_reid_model, build_unsupervised_model
from model.build import build_model
from model.encoders.kind import EncoderOptions
from model.encoders.registry import find_encoder_kind
from model.pooling import GeneralizedMeanPooling, build_pooling
from processor.runtime import wrapping
from processor.runtime.wrapping import compile_encoder

SMALL = ["INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"]
RANDOM = [*SMALL, "MODEL.PRETRAIN_CHOICE", "none", "DSGL.ENABLED", "True"]
CPU_BFLOAT16 = {"device_type": "cpu", "dtype": torch.bfloat16}


def images_of(count=6):
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def encoders(tiny_clip_json, tiny_resnet_json):
    """The three families of image encoders by name; read-only."""
    torch.manual_seed(0)
    names = {"imagenet": "resnet18", "vit": tiny_clip_json, "resnet": tiny_resnet_json}
    return {
        kind: find_encoder_kind(name).build(name, EncoderOptions((64, 32))).image_encoder
        for kind, name in names.items()
    }


@pytest.fixture
def build(encoders):
    """`build("vit", "gem", embed_dim=8)` -> a model around a copy of an encoder."""

    def build(kind, pooling, **options):
        torch.manual_seed(1)
        encoder = copy.deepcopy(encoders[kind])
        pool = None if pooling == "clip" else build_pooling(pooling)
        model = UnsupervisedReID(encoder, pool, **options)
        with torch.no_grad():
            model.bottleneck.running_mean.normal_(0, 0.1)
            model.bottleneck.running_var.uniform_(0.5, 2)
            model.bottleneck.weight.uniform_(0.5, 2)
        return model.eval()

    return build


POOLED = {
    "gem": lambda maps: maps.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3),
    "avg": lambda maps: maps.mean((2, 3)),
    "max": lambda maps: maps.flatten(2).max(2).values,
    "avg+max": lambda maps: maps.mean((2, 3)) + maps.flatten(2).max(2).values,
}


def neck_of(model, pooled):
    neck = model.bottleneck
    return (pooled - neck.running_mean) / (neck.running_var + 1e-5).sqrt() * neck.weight


@torch.no_grad()
@pytest.mark.parametrize("pooling", POOLED)
@pytest.mark.parametrize("kind", ["imagenet", "vit", "resnet"])
def test_feature_is_the_normalized_batch_norm_of_pooled_maps(build, kind, pooling):
    model = build(kind, pooling)
    pooled = POOLED[pooling](model.image_encoder.maps(images_of()))
    torch.testing.assert_close(model.encode(images_of()), pooled)
    expected = neck_of(model, pooled)
    expected = expected / expected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(model.embed(images_of()), expected)
    torch.testing.assert_close(model(images_of()), expected)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_one_batch_norm_of_both_features_equals_one_each(build, kind):
    model = build(kind, "clip")
    encoded = model.image_encoder(images_of())
    width = encoded.final.shape[1]
    neck = model.bottleneck
    parts = [
        F.batch_norm(part, neck.running_mean[rows], neck.running_var[rows], neck.weight[rows])
        for part, rows in (
            (encoded.final, slice(None, width)),
            (encoded.projected, slice(width, None)),
        )
    ]
    expected = F.normalize(torch.cat(parts, dim=1))
    torch.testing.assert_close(model.embed(images_of()), expected)
    assert model.pooling is None


def test_clip_pooling_needs_a_joint_space(encoders):
    with pytest.raises(ValueError, match=r"DSGL\.POOLING: clip needs an encoder of CLIP; use gem"):
        UnsupervisedReID(encoders["imagenet"], None)


@torch.no_grad()
def test_embedding_precedes_the_batch_norm(build):
    model = build("imagenet", "avg", embed_dim=8)
    layer = model.embedding
    pooled = model.encode(images_of())
    expected = F.normalize(neck_of(model, pooled @ layer.weight.T + layer.bias))
    torch.testing.assert_close(model.embed(images_of()), expected)
    assert layer.weight.shape == (8, 512)
    assert layer.bias.abs().max() == 0
    # He et al. for the backward pass: variance 2 / outputs
    assert layer.weight.std().item() == pytest.approx((2 / 8) ** 0.5, rel=0.05)


def test_new_neck_is_the_identity_with_a_frozen_bias(encoders):
    model = UnsupervisedReID(encoders["imagenet"], build_pooling("gem"))
    assert model.embedding is None
    assert set(model.bottleneck.weight.tolist()) == {1.0}
    assert set(model.bottleneck.bias.tolist()) == {0.0}
    assert not model.bottleneck.bias.requires_grad
    assert model.bottleneck.weight.requires_grad
    names = [name for name in model.state_dict() if not name.startswith("image_encoder.")]
    assert names[:3] == ["pooling.p", "bottleneck.weight", "bottleneck.bias"]


def test_training_uses_batch_statistics(build):
    model = build("imagenet", "avg").train()
    torch.nn.init.ones_(model.bottleneck.weight)
    pooled = torch.randn(5, 512)
    before = model.bottleneck.running_mean.clone()
    found = model.head(pooled)
    expected = (pooled - pooled.mean(0)) / (pooled.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(found, F.normalize(expected))
    torch.testing.assert_close(model.bottleneck.running_mean, 0.9 * before + 0.1 * pooled.mean(0))


def test_dropout_acts_on_the_unit_feature_in_training_only(build):
    model = build("imagenet", "avg", dropout=0.25)
    torch.nn.init.ones_(model.bottleneck.weight)
    pooled = torch.randn(5, 512)
    torch.testing.assert_close(model.head(pooled).norm(dim=1), torch.ones(5))
    model.train()
    found = model.head(pooled)
    whole = F.normalize(F.batch_norm(pooled, None, None, training=True))
    kept = found != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.05)
    torch.testing.assert_close(found[kept], whole[kept] / 0.75)


def test_batch_norm_uses_the_gathered_batch(build):
    model = build("imagenet", "avg").train()
    images = images_of()
    halves = [model.encode(images[:3]), model.encode(images[3:])]
    found = model(images[:3], gather=lambda own: torch.cat([own, halves[1]]))
    assert found.shape == (6, 512)
    expected = F.batch_norm(torch.cat(halves), None, None, model.bottleneck.weight, training=True)
    torch.testing.assert_close(found, F.normalize(expected), atol=1e-5, rtol=1e-4)


def test_cameras_are_ignored(build):
    model = build("vit", "gem")
    ids = torch.arange(6)
    assert torch.equal(model.embed(images_of()), model.embed(images_of(), ids, ids))


@pytest.mark.parametrize(("kind", "pooling"), [("imagenet", "max"), ("vit", "clip")])
def test_features_are_float32_unit_rows_under_autocast(build, kind, pooling):
    model = build(kind, pooling, embed_dim=16)
    with torch.autocast(**CPU_BFLOAT16):
        features = model(images_of())
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=1), torch.ones(6))


@pytest.mark.parametrize(
    ("kind", "pooling", "frozen"),
    [
        ("vit", "gem", {"image_encoder.proj"}),
        ("vit", "clip", set()),
        (
            "resnet",
            "avg",
            {
                "image_encoder.attnpool.positional_embedding",
                *(
                    f"image_encoder.attnpool.{part}_proj.{kind}"
                    for part in "qkvc"
                    for kind in ("weight", "bias")
                ),
            },
        ),
        ("resnet", "clip", set()),
        ("imagenet", "gem", set()),
    ],
)
def test_parameters_without_effect_on_the_feature_are_frozen(build, kind, pooling, frozen):
    """All others get a gradient, as DDP requires."""
    model = build(kind, pooling).train()
    off = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert off == {"bottleneck.bias"} | frozen
    (model(images_of()) * torch.randn(6, model.bottleneck.num_features)).sum().backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == off


# from a configuration


def test_configuration_selects_model_and_sizes(tiny_clip_json):
    opts = [*RANDOM, "MODEL.NAME", "resnet18", "DSGL.EMBED_DIM", "24", "DSGL.DROPOUT", "0.5"]
    model = build_reid_model(load_cfg(None, opts), 0, num_cameras=1, num_views=1)
    assert isinstance(model, UnsupervisedReID)
    assert isinstance(model.pooling, GeneralizedMeanPooling)
    assert model.bottleneck.num_features == 24
    assert model.dropout == 0.5
    assert model.image_encoder.maps(images_of(1)).shape == (1, 512, 4, 2)
    opts = [*RANDOM, "DSGL.ENABLED", "False", "MODEL.NAME", tiny_clip_json]
    labelled = build_reid_model(load_cfg(None, opts), 7, num_cameras=1, num_views=1)
    assert labelled.num_classes == 7


def test_last_stride_and_frozen_patch_convolution(tiny_clip_json):
    coarse = load_cfg(None, [*RANDOM, "MODEL.NAME", "resnet18", "MODEL.LAST_STRIDE", "2"])
    maps = build_unsupervised_model(coarse).image_encoder.maps(images_of(1))
    assert maps.shape == (1, 512, 2, 1)
    opts = [*RANDOM, "MODEL.NAME", tiny_clip_json, "DSGL.POOLING", "clip"]
    opts += ["DSGL.FREEZE_PATCH_CONV", "True", "MODEL.GRAD_CHECKPOINTING", "True"]
    model = build_unsupervised_model(load_cfg(None, opts))
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["image_encoder.conv1.weight", "bottleneck.bias"]
    assert model.image_encoder.grad_checkpointing


def test_checkpointed_maps_have_equal_gradients(tiny_clip_json):
    gradients = []
    for checkpointing in ("False", "True"):
        opts = [*RANDOM, "MODEL.NAME", tiny_clip_json]
        opts += ["MODEL.GRAD_CHECKPOINTING", checkpointing]
        torch.manual_seed(0)
        model = build_unsupervised_model(load_cfg(None, opts)).train()
        (model(images_of()) * torch.arange(128)).sum().backward()
        gradients.append(model.image_encoder.conv1.weight.grad)
    torch.testing.assert_close(*gradients)


def test_clip_weights_fill_the_encoder(tiny_opts, tiny_clip_state):
    model = build_unsupervised_model(load_cfg(None, [*tiny_opts, "DSGL.ENABLED", "True"]))
    labelled = build_model(load_cfg(None, tiny_opts), 3, num_cameras=1, num_views=1)
    assert torch.equal(model.image_encoder.conv1.weight, tiny_clip_state["visual.conv1.weight"])
    images = torch.randn(1, 3, 256, 128)
    with torch.no_grad():
        expected = labelled.encode_image(images)
        found = model.image_encoder(images)
    torch.testing.assert_close(found.final, expected.final)
    torch.testing.assert_close(found.projected, expected.projected)


def test_features_and_maps_are_compiled(build, monkeypatch):
    compiled = []

    def record(function, **_options):
        compiled.append(function.__name__)
        return function

    monkeypatch.setattr(wrapping.torch, "compile", record)
    for kind in ("vit", "resnet", "imagenet"):
        model = build(kind, "gem")
        expected = model.embed(images_of())
        compile_encoder(model)
        torch.testing.assert_close(model.embed(images_of()), expected)
    assert compiled == ["forward", "maps"] * 3
