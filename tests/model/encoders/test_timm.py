"""timm's networks as encoders: their own features, at any size, with what ReID adds."""

import pytest
import timm
import torch
from torch import nn

from config import load_cfg
from model import build_model, build_unsupervised_model, load_weights
from model.attention import attention_maps, attention_methods
from model.encoders.kind import EncoderOptions
from model.encoders.timm_models import build_timm_backbone, find_timm_weights
from model.encoders.timm_network import TimmNetwork
from model.encoders.timm_vit import TimmViT

NETWORKS = (
    "resnet18",
    "tf_efficientnet_lite0",
    "mobilenetv3_small_100",
    "swin_tiny_patch4_window7_224",
    "convnext_atto",
    "eva02_tiny_patch14_224",
    "vit_tiny_patch16_224",
    "vit_small_patch14_dinov2",
)
BASELINE = ("MODEL.TEXT_TOWER", "False", "MODEL.PRETRAIN_CHOICE", "none")


def encoder_of(name, size=(112, 56), **options):
    stride = (14, 14) if "patch14" in name else (16, 16)
    torch.manual_seed(0)
    backbone = build_timm_backbone(
        f"timm/{name}", EncoderOptions(size, **{"stride": stride, "last_stride": 2, **options})
    )
    assert backbone.text is None
    return backbone.image_encoder.eval()


def images_of(size, count=2):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_the_networks_own(name):
    encoder, images = encoder_of(name), images_of((112, 56))
    features, maps = encoder(images), encoder.maps(images)
    torch.testing.assert_close(features.final, encoder.network(images), atol=1e-5, rtol=1e-5)
    assert features.final.shape == (2, encoder.width)
    assert features.projected.shape == (2, 0)
    assert maps.shape == (2, encoder.map_width, *encoder.grid)
    stages = encoder.network.forward_intermediates(images, indices=2, intermediates_only=True)
    assert features.last.shape == (2, stages[0].shape[1])


@torch.no_grad()
def test_pooled_maps_of_a_resnet_are_its_feature():
    encoder, images = encoder_of("resnet18"), images_of((112, 56))
    torch.testing.assert_close(encoder.maps(images).mean((2, 3)), encoder(images).final)
    layer3 = encoder.network.forward_intermediates(images, indices=2, intermediates_only=True)[0]
    assert torch.equal(encoder(images).last, layer3.mean((2, 3)))


@torch.no_grad()
def test_maps_are_the_patches_of_a_vit_row_by_row():
    encoder, images = encoder_of("vit_tiny_patch16_224", (64, 32)), images_of((64, 32))
    tokens = encoder.network.forward_features(images)
    assert encoder.grid == (4, 2)
    assert torch.equal(encoder.maps(images)[:, :, 3, 1], tokens[:, 1 + 3 * 2 + 1])
    seen = []
    handle = encoder.network.blocks[-1].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    features = encoder(images)
    handle.remove()
    assert torch.equal(features.last, seen[0][:, 0])
    assert torch.equal(features.final, tokens[:, 0])


@torch.no_grad()
def test_overlapping_patches_and_positions():
    encoder = encoder_of("vit_tiny_patch16_224", (64, 32), stride=(12, 8))
    network, images = encoder.network, images_of((64, 32))
    assert encoder.grid == (5, 3)
    assert network.pos_embed.shape == (1, 1 + 15, 192)
    patch = images[:, :, 12:28, 8:24]  # row 1, column 1
    projection = network.patch_embed.proj
    by_hand = torch.einsum("bchw,dchw->bd", patch, projection.weight) + projection.bias
    tokens = network._pos_embed(network.patch_embed(images))
    expected = by_hand + network.pos_embed[0, 1 + 3 + 1]
    torch.testing.assert_close(tokens[:, 1 + 3 + 1], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_side_information_is_added_to_the_class_token():
    encoder, images = encoder_of("vit_tiny_patch16_224", (64, 32)), images_of((64, 32))
    plain, added = encoder(images), torch.randn(2, 192)
    with_sides = encoder(images, added)
    assert not torch.allclose(plain.final, with_sides.final)
    assert torch.equal(encoder(images, torch.zeros(2, 192)).final, plain.final)
    encoder.network.cls_token.data += added[:1]
    torch.testing.assert_close(encoder(images[:1]).final, with_sides.final[:1])


@torch.no_grad()
def test_side_information_without_a_class_token_is_added_to_all_patches():
    encoder = encoder_of("vit_medium_patch16_gap_240", (64, 32))
    images, added = images_of((64, 32), 1), torch.randn(1, 512)
    with_sides = encoder(images, added).final
    encoder.network.pos_embed.data += added
    torch.testing.assert_close(encoder(images).final, with_sides)
    assert attention_methods_of(encoder) is None


def attention_methods_of(encoder):
    return encoder.recorded_attention()


@torch.no_grad()
def test_recorded_attention_is_the_blocks_own():
    encoder, images = encoder_of("vit_tiny_patch16_224", (64, 32)), images_of((64, 32))
    layer = encoder.network.blocks[-1].attn
    seen = []
    handle = layer.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    plain = encoder(images).final
    with encoder.recorded_attention() as weights:
        recorded = encoder(images).final
    handle.remove()
    query, key, _ = layer.qkv(seen[0]).reshape(2, 9, 3, 3, 64).permute(2, 0, 3, 1, 4)
    by_hand = (query @ key.transpose(2, 3) / 8).softmax(-1).mean(1)
    assert len(weights) == 12
    torch.testing.assert_close(weights[-1], by_hand)
    torch.testing.assert_close(recorded, plain, atol=1e-5, rtol=1e-4)
    assert layer.fused_attn
    assert torch.equal(encoder(images).final, plain)


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("vit_small_patch14_reg4_dinov2", ("rollout", "class-token")),
        ("tf_efficientnet_lite0", ("grad-cam",)),
        ("swin_tiny_patch4_window7_224", ()),
    ],
)
def test_attention_maps_or_their_refusal(name, methods):
    stride = "[14, 14]" if "patch14" in name else "[16, 16]"
    size = ("INPUT.SIZE_TRAIN", "[112, 56]", "INPUT.SIZE_TEST", "[112, 56]")
    cfg = load_cfg(
        None, ["MODEL.NAME", f"timm/{name}", "MODEL.STRIDE_SIZE", stride, *size, *BASELINE]
    )
    model = build_model(cfg, 3, 1, 1).eval()
    assert attention_methods(model) == methods
    for method in methods:
        maps = attention_maps(model, images_of((112, 56)), method=method)
        assert maps.shape == (2, *model.image_encoder.grid)
        assert maps.min() >= 0
    if not methods:
        with pytest.raises(ValueError, match="this model supports no attention maps"):
            attention_maps(model, images_of((112, 56)), method="rollout")


@pytest.mark.parametrize("name", ["resnet18", "resnet26d", "resnet50"])
def test_last_stride_keeps_the_resolution_of_a_resnet(name):
    fine, coarse = encoder_of(name, (64, 32), last_stride=1), encoder_of(name, (64, 32))
    assert (fine.grid, coarse.grid) == ((4, 2), (2, 1))
    assert fine.maps(images_of((64, 32))).shape[2:] == (4, 2)


def test_maps_leave_the_networks_head_untrained():
    size = ("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]")
    name = ("MODEL.NAME", "timm/mobilenetv3_small_100")
    cfg = load_cfg(None, [*name, *size, "DSGL.ENABLED", "True", *BASELINE[2:]])
    model = build_unsupervised_model(cfg)
    assert model.bottleneck.weight.shape == (576,)  # of the maps, not of the head's 1024
    model(images_of((64, 32), 4)).sum().backward()
    for key, parameter in model.named_parameters():
        frozen = "conv_head" in key or key == "bottleneck.bias"
        assert (parameter.grad is None) == frozen == (not parameter.requires_grad), key


def test_recomputing_gives_the_same_gradients():
    plain = encoder_of("vit_tiny_patch16_224", (64, 32)).train()
    saving = encoder_of("vit_tiny_patch16_224", (64, 32), grad_checkpointing=True).train()
    saving.load_state_dict(plain.state_dict())
    for encoder in (plain, saving):
        encoder(images_of((64, 32))).final.square().sum().backward()
    for (key, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=key)
    with pytest.raises(ValueError, match=r"MODEL\.GRAD_CHECKPOINTING: .*batch norms"):
        encoder_of("resnet18", grad_checkpointing=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet19", r"MODEL\.NAME: timm has no model 'resnet19'; the nearest .*resnet18"),
        ("timm/resnet18.nobody", r"timm has no weights 'nobody' of resnet18; known: .*a1_in1k"),
        (
            "timm/efficientformer_l1",
            r"INPUT\.SIZE_TRAIN: .*\[64, 32\].*its own size is \[224, 224\]",
        ),
        ("timm/nest_tiny", r"INPUT\.SIZE_TRAIN: timm/nest_tiny cannot be built .*\[64, 32\]"),
    ],
)
def test_names_and_sizes_that_do_not_fit_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        build_timm_backbone(name, EncoderOptions((64, 32)))


def test_strides_are_for_plain_vits():
    with pytest.raises(ValueError, match=r"MODEL\.STRIDE_SIZE: \[12, 12\]; ResNet is not a plain"):
        encoder_of("resnet18", stride=(12, 12))
    with pytest.raises(ValueError, match=r"MODEL\.STRIDE_SIZE: .*larger than the patch"):
        encoder_of("vit_tiny_patch16_224", stride=(20, 20))


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "tf_efficientnet_lite0"])
def test_published_weights_fill_the_encoder(name, tmp_path):
    """A file of timm, with a classifier and at its own image size."""
    torch.manual_seed(5)
    published = timm.create_model(name, num_classes=10).eval()
    torch.save(published.state_dict(), tmp_path / "published.pth")
    opts = ("MODEL.NAME", f"timm/{name}", "MODEL.LAST_STRIDE", "2", *BASELINE)
    square = ("INPUT.SIZE_TRAIN", "[224, 224]", "INPUT.SIZE_TEST", "[224, 224]")
    model = build_model(load_cfg(None, [*opts, *square]), 3, 1, 1).eval()
    report = load_weights(model, tmp_path / "published.pth")
    assert report.reshaped == ()
    assert {key.split(".")[0] for key in report.unexpected} <= {"fc", "head", "classifier"}
    images = images_of((224, 224), 1)
    with torch.no_grad():
        features = published.forward_features(images)
        expected = published.forward_head(features, pre_logits=True)
        torch.testing.assert_close(model.encode_image(images).final, expected)


def test_published_positions_are_resized_from_a_square(tmp_path):
    published = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=(64, 64))
    torch.nn.init.normal_(published.pos_embed)
    torch.save({"teacher": published.state_dict()}, tmp_path / "dino.pth")
    opts = ("MODEL.NAME", "timm/vit_tiny_patch16_224", *BASELINE)
    # As many patches as the file has, in another shape.
    tall = ("INPUT.SIZE_TRAIN", "[128, 32]", "INPUT.SIZE_TEST", "[128, 32]")
    model = build_model(load_cfg(None, [*opts, *tall]), 3, 1, 1)
    report = load_weights(model, tmp_path / "dino.pth")
    assert report.reshaped == ("image_encoder.network.pos_embed",)
    table = model.image_encoder.network.pos_embed.detach()
    assert torch.equal(table[:, 0], published.pos_embed[:, 0])
    grid = published.pos_embed.detach()[0, 1:].unflatten(0, (4, 4)).permute(2, 0, 1)[None]
    resized = nn.functional.interpolate(grid, size=(8, 2), mode="bilinear", align_corners=False)
    torch.testing.assert_close(table[0, 1:], resized[0].flatten(1).T)


def test_own_checkpoint_keeps_its_positions(tmp_path):
    opts = ("MODEL.NAME", "timm/vit_tiny_patch16_224", *BASELINE)
    size = ("INPUT.SIZE_TRAIN", "[128, 32]", "INPUT.SIZE_TEST", "[128, 32]")
    model = build_model(load_cfg(None, [*opts, *size]), 3, 1, 1)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    other = build_model(load_cfg(None, [*opts, *size]), 3, 1, 1)
    report = load_weights(other, tmp_path / "own.pth")
    assert report.missing == report.unexpected == report.reshaped == report.skipped == ()
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key]), key


def test_cached_weights_are_found_by_tag(monkeypatch, tmp_path):
    asked = []

    def look(repository, file):
        asked.append((repository, file))
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr("model.encoders.timm_models.try_to_load_from_cache", look)
    found = find_timm_weights("timm/resnet50", "tv_in1k")
    assert found == find_timm_weights("timm/resnet50.tv_in1k") == tmp_path / "model.safetensors"
    assert asked == [("timm/resnet50.tv_in1k", "model.safetensors")] * 2


def test_missing_weights_name_every_way_out(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("model.encoders.timm_models.try_to_load_from_cache", lambda *_: None)

    def refuse(*_):
        raise OSError("offline")

    monkeypatch.setattr("model.encoders.timm_models.hf_hub_download", refuse)
    message = r"timm/resnet50\.tv_in1k failed \(OSError\); set MODEL\.PRETRAIN_PATH"
    with pytest.raises(FileNotFoundError, match=message):
        find_timm_weights("timm/resnet50.tv_in1k")


def test_kinds_of_encoders():
    assert isinstance(encoder_of("vit_tiny_patch16_224"), TimmViT)
    assert type(encoder_of("eva02_tiny_patch14_224")) is TimmNetwork


def test_overlapping_patches_of_fourteen_pixels():
    encoder = encoder_of("vit_small_patch14_dinov2", (252, 126), stride=(7, 7))
    assert encoder.grid == (35, 17)
    with torch.no_grad():
        assert encoder.maps(images_of((252, 126), 1)).shape == (1, 384, 35, 17)


@pytest.mark.parametrize("name", ["resnetblur18", "resnest14d", "res2net50_26w_4s", "skresnet18"])
def test_last_stride_of_resnets_with_pools(name):
    fine, coarse = encoder_of(name, (64, 32), last_stride=1), encoder_of(name, (64, 32))
    assert (fine.grid, coarse.grid) == ((4, 2), (2, 1))


def test_positions_on_another_grid_than_the_maps_are_not_resized():
    """Hiera's table has the patches of the first stage."""
    assert encoder_of("hiera_tiny_224", (64, 32)).position_embedding == ""
    assert encoder_of("eva02_tiny_patch14_224").position_embedding == "network.pos_embed"


@torch.no_grad()
def test_last_feature_of_a_network_that_pools_its_class_token():
    encoder, images = encoder_of("deit_tiny_distilled_patch16_224", (64, 32)), images_of((64, 32))
    stages = encoder.network.forward_intermediates(
        images, indices=2, norm=False, intermediates_only=True, return_prefix_tokens=True
    )
    assert torch.equal(encoder(images).last, stages[0][1][:, 0])


def test_heads_by_timms_own_names_are_left_out(tmp_path):
    published = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=10)
    torch.save(published.state_dict(), tmp_path / "deit.pth")
    opts = ("MODEL.NAME", "timm/deit_tiny_distilled_patch16_224", *BASELINE)
    size = ("INPUT.SIZE_TRAIN", "[224, 224]", "INPUT.SIZE_TEST", "[224, 224]")
    report = load_weights(
        build_model(load_cfg(None, [*opts, *size]), 3, 1, 1), tmp_path / "deit.pth"
    )
    assert {key.split(".")[0] for key in report.unexpected} == {"head", "head_dist"}


def test_patches_of_another_size_are_refused(tmp_path):
    published = timm.create_model("vit_tiny_patch16_224", num_classes=0, patch_size=8, img_size=64)
    torch.save(published.state_dict(), tmp_path / "patches.pth")
    size = ("INPUT.SIZE_TRAIN", "[64, 64]", "INPUT.SIZE_TEST", "[64, 64]")
    opts = ("MODEL.NAME", "timm/vit_tiny_patch16_224", *BASELINE, *size)
    with pytest.raises(ValueError, match=r"patch_embed\.proj\.weight has shape \(192, 3, 8, 8\)"):
        load_weights(build_model(load_cfg(None, opts), 3, 1, 1), tmp_path / "patches.pth")


def test_recomputing_maps():
    encoder = encoder_of("vit_tiny_patch16_224", (64, 32), grad_checkpointing=True).train()
    calls = []
    encoder.network.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    encoder.maps(images_of((64, 32))).sum().backward()
    assert len(calls) == 2  # once more in the backward pass


def test_tag_in_place_of_a_name():
    options = EncoderOptions((64, 32), tag="nobody")
    with pytest.raises(ValueError, match=r"timm has no weights 'nobody' of resnet18"):
        build_timm_backbone("timm/resnet18", options)
