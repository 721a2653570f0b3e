"""From MODEL, INPUT.SIZE_TRAIN, DSGL and TEST.NECK_FEAT to the model."""

import pytest
import torch
import torch.nn.functional as F

from model import CLIPReID, UnsupervisedReID, build_reid_model
from model.encoders.clip import build_clip, build_clip_backbone
from model.encoders.registry import register_encoder
from model.pooling import POOLINGS

DSGL = {"DSGL.ENABLED": True}


@pytest.fixture
def pixels():
    """Four normalized images."""
    return torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(1))


CAMERAS, VIEWS = torch.tensor([0, 2, 1, -1]), torch.tensor([1, 0, 1, 0])


# -------------------------------------------------------------------------------------- CLIP-ReID


def test_encoder_is_the_named_one_with_patches_of_the_stride(configure, model_of, pixels):
    model = model_of(configure({"MODEL.STRIDE_SIZE": [12, 8]}))
    assert isinstance(model, CLIPReID)
    assert model.image_encoder.conv1.stride == (12, 8)
    assert model.image_encoder.grid == (5, 3)
    assert len(model.image_encoder.positional_embedding) == 16
    assert (model.image_encoder.width, model.image_encoder.joint_width) == (64, 32)
    assert model.encode_image(pixels).final.shape == (4, 64)


def test_encoder_is_made_for_the_size_of_training_images(configure, model_of):
    size = {"INPUT.SIZE_TRAIN": [48, 64], "INPUT.SIZE_TEST": [48, 64]}
    assert model_of(configure(size)).image_encoder.grid == (3, 4)


@pytest.mark.parametrize(("stride", "grid"), [(1, (4, 2)), (2, (2, 1))])
def test_last_stride_of_a_resnet(configure, architectures, model_of, pixels, stride, grid):
    options = {"MODEL.NAME": architectures["resnet"], "MODEL.LAST_STRIDE": stride}
    model = model_of(configure(options)).eval()
    assert model.image_encoder.grid == grid
    assert model.image_encoder.maps(pixels).shape[2:] == grid


@pytest.mark.parametrize(("neck", "kind"), [("no", torch.nn.Identity), ("bnneck", None)])
def test_neck(configure, model_of, neck, kind):
    model = model_of(configure({"MODEL.NECK": neck}))
    for part in (model.bottleneck, model.bottleneck_proj):
        assert type(part) is (kind or torch.nn.BatchNorm1d)


@pytest.mark.parametrize("place", ["before", "after"])
def test_retrieval_features_are_taken_before_or_after_the_necks(configure, model_of, pixels, place):
    model = model_of(configure({"TEST.NECK_FEAT": place})).eval()
    for part in (model.bottleneck, model.bottleneck_proj):
        torch.nn.init.uniform_(part.running_mean)
    features = model.encode_image(pixels)
    parts = [features.final, features.projected]
    if place == "after":
        parts = [model.bottleneck(parts[0]), model.bottleneck_proj(parts[1])]
    assert torch.equal(model.embed(pixels), torch.cat(parts, 1))


@pytest.mark.parametrize("tower", [True, False])
def test_text_tower(configure, model_of, tower):
    model = model_of(configure({"MODEL.TEXT_TOWER": tower}))
    assert (model.text_encoder is not None) == tower
    assert (model.prompt_learner is not None) == tower
    if tower:
        assert model.prompt_learner.cls_ctx.shape == (14, 4, 32)


@pytest.mark.parametrize(
    ("prompt", "noun", "sentence"),
    [
        ("", "", "A photo of a X X X X person."),
        ("", "boat", "A photo of a X X X X boat."),
        ("cow", "boat", "A photo of a X X X X cow."),
        ("Seen here: {context} cow.", "", "Seen here: X X X X cow."),
    ],
)
def test_prompt(configure, prompt, noun, sentence):
    model = build_reid_model(configure({"MODEL.PROMPT": prompt}), 3, 2, 1, noun)
    assert model.prompt_learner.prompt.sentence == sentence


@pytest.mark.parametrize("camera", [True, False])
@pytest.mark.parametrize("view", [True, False])
@pytest.mark.parametrize("factor", [3.0, 0.5])
def test_side_information(configure, model_of, pixels, camera, view, factor):
    """Of three cameras and two viewpoints; the unknown camera has the mean embedding."""
    options = {"MODEL.SIE_CAMERA": camera, "MODEL.SIE_VIEW": view, "MODEL.SIE_COE": factor}
    model = model_of(configure(options)).eval()
    found = model.encode_image(pixels, CAMERAS, VIEWS).final
    if not (camera or view):
        assert model.cv_embed is None
        assert torch.equal(found, model.encode_image(pixels).final)
        return
    assert len(model.cv_embed) == (3 if camera else 1) * (2 if view else 1)
    rows = []
    for c, v in zip(CAMERAS.tolist(), VIEWS.tolist(), strict=True):
        place = (c * 2 + v if view else c) if camera else v
        unknown = camera and c < 0
        rows.append(model.cv_embed.mean(0) if unknown else model.cv_embed[place])
    expected = model.image_encoder(pixels, factor * torch.stack(rows)).final
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, model.encode_image(pixels).final)


@pytest.mark.parametrize("saves", [True, False])
def test_blocks_are_computed_again_to_save_memory(configure, model_of, pixels, saves):
    model = model_of(configure({"MODEL.GRAD_CHECKPOINTING": saves}))
    calls = []
    first = model.image_encoder.transformer.resblocks[0]
    first.register_forward_pre_hook(lambda *_: calls.append(1))
    model.encode_image(pixels).final.sum().backward()
    assert len(calls) == (2 if saves else 1)


def test_pretrained_weights_are_those_of_the_file(configure, architectures, model_of, tmp_path):
    torch.manual_seed(99)
    clip = build_clip(architectures["vit"])
    torch.save(clip.state_dict(), tmp_path / "weights.pt")
    random = model_of(configure())
    options = {"MODEL.PRETRAIN_CHOICE": "clip", "MODEL.PRETRAIN_PATH": str(tmp_path / "weights.pt")}
    loaded = model_of(configure(options))
    for model, same in ((loaded, True), (random, False)):
        assert torch.equal(model.image_encoder.conv1.weight, clip.visual.conv1.weight) == same
        assert torch.equal(model.text_encoder.text_projection, clip.text_projection) == same


def test_named_encoder_and_its_published_weights(configure, architectures, model_of, tmp_path):
    built, asked = [], []
    torch.save(build_clip(architectures["vit"]).state_dict(), tmp_path / "toy.pt")

    def build(name, options):
        built.append((name, options.image_size))
        return build_clip_backbone(architectures["vit"], options)

    def find(name):
        asked.append(name)
        return tmp_path / "toy.pt"

    register_encoder("toy", build, find_weights=find)
    model = model_of(configure({"MODEL.NAME": "toy", "MODEL.PRETRAIN_CHOICE": "clip"}))
    assert built == [("toy", (64, 32))]
    assert asked == ["toy"]
    stored = torch.load(tmp_path / "toy.pt", weights_only=True)["visual.conv1.weight"]
    assert torch.equal(model.image_encoder.conv1.weight, stored)


def test_pretrained_weights_that_are_not_published_are_asked_for(configure, model_of):
    with pytest.raises(FileNotFoundError, match=r"MODEL\.PRETRAIN_PATH"):
        model_of(configure({"MODEL.PRETRAIN_CHOICE": "clip"}))


# -------------------------------------------------------------------------------------------- DSGL


@pytest.mark.parametrize("name", ["vit", "resnet"])
@pytest.mark.parametrize("pooling", ["gem", "avg", "max", "avg+max", "clip"])
@pytest.mark.parametrize("width", [0, 5])
def test_unit_feature(configure, architectures, model_of, pixels, name, pooling, width):
    options = {"MODEL.NAME": architectures[name], "DSGL.POOLING": pooling, "DSGL.EMBED_DIM": width}
    model = model_of(configure(DSGL, options)).eval()
    assert isinstance(model, UnsupervisedReID)
    if pooling == "clip":
        features = model.image_encoder(pixels)
        pooled = torch.cat([features.final, features.projected], 1)
        assert model.pooling is None
    else:
        assert type(model.pooling) is POOLINGS[pooling]
        maps = model.image_encoder.maps(pixels)
        pooled = {
            "gem": maps.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3),
            "avg": maps.mean((2, 3)),
            "max": maps.amax((2, 3)),
            "avg+max": maps.mean((2, 3)) + maps.amax((2, 3)),
        }[pooling]
    assert (model.embedding is not None) == bool(width)
    if width:
        pooled = model.embedding(pooled)
        assert pooled.shape == (4, 5)
    expected = F.normalize(model.bottleneck(pooled))
    torch.testing.assert_close(model.embed(pixels), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_dropout_of_the_unit_feature_in_training(configure, model_of, pixels, share):
    model = model_of(configure(DSGL, {"DSGL.DROPOUT": share})).train()
    zeros = (model(pixels) == 0).float().mean().item()
    assert zeros == pytest.approx(share, abs=0.15)
    assert not (model.eval()(pixels) == 0).any()


@pytest.mark.parametrize("frozen", [True, False])
def test_patch_convolution_is_frozen(configure, model_of, frozen):
    model = model_of(configure(DSGL, {"DSGL.FREEZE_PATCH_CONV": frozen}))
    assert model.image_encoder.conv1.weight.requires_grad != frozen
    others = [p for n, p in model.image_encoder.named_parameters() if "resblocks" in n]
    assert all(parameter.requires_grad for parameter in others)
