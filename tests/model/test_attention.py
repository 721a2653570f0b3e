"""Attention maps: weights of the forward pass, maps as the papers define them."""

import pytest
import torch
from torch import nn

from config import load_cfg
from model import build_model, build_unsupervised_model
from model.attention import (
    attention_maps,
    attention_methods,
    attention_rollout,
    grad_cam,
)


@pytest.fixture(scope="module")
def strided(tiny_opts):
    """A ViT with overlapping patches and camera embeddings."""
    opts = [*tiny_opts, "MODEL.STRIDE_SIZE", "[12, 10]", "MODEL.SIE_CAMERA", "True"]
    torch.manual_seed(0)
    return build_model(load_cfg(None, opts), 4, 3, 1).eval()


@pytest.fixture(scope="module")
def resnet(tiny_resnet_json):
    opts = [
        *("MODEL.NAME", tiny_resnet_json, "MODEL.PRETRAIN_CHOICE", "none"),
        *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
    ]
    torch.manual_seed(0)
    return build_model(load_cfg(None, opts), 4, 3, 1).eval()


def images(count=2, size=(256, 128)):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def test_recorded_weights_equal_the_blocks_own(tiny_reid):
    """Weights recomputed from the block's queries and keys, output from its values."""
    block = tiny_reid.image_encoder.transformer.resblocks[-1]
    seen = {}
    hooks = [
        block.ln_1.register_forward_hook(lambda _, __, output: seen.update(tokens=output)),
        block.attn.register_forward_hook(lambda _, __, output: seen.update(output=output[0])),
    ]
    with torch.no_grad():
        tiny_reid.embed(images())
        fused = seen["output"]
        with tiny_reid.image_encoder.recorded_attention() as weights:
            tiny_reid.embed(images())
        attention = block.attn
        packed = seen["tokens"] @ attention.in_proj_weight.T + attention.in_proj_bias
        query, key, value = (
            part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for part in packed.chunk(3, dim=-1)
        )
        by_head = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1)
        output = attention.out_proj((by_head @ value).transpose(1, 2).flatten(2))
    for hook in hooks:
        hook.remove()
    assert len(weights) == 3
    torch.testing.assert_close(weights[-1], by_head.mean(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(output, fused, atol=1e-5, rtol=0)


def test_recording_leaves_features_unchanged_and_ends(strided):
    encoder, camids = strided.image_encoder, torch.tensor([0, -1])
    with torch.no_grad():
        plain = strided.embed(images(), camids)
        with encoder.recorded_attention() as weights:
            recorded = strided.embed(images(), camids)
        torch.testing.assert_close(recorded, plain, atol=1e-5, rtol=0)
        again = strided.embed(images(), camids)
    tokens = 1 + encoder.grid[0] * encoder.grid[1]
    assert [part.shape for part in weights] == [(2, tokens, tokens)] * 3
    torch.testing.assert_close(weights[0].sum(2), torch.ones(2, tokens))
    assert torch.equal(again, plain)


def test_recording_ends_after_a_failed_forward_pass(tiny_reid):
    with pytest.raises(RuntimeError), tiny_reid.image_encoder.recorded_attention() as weights:
        tiny_reid.embed(torch.zeros(1, 3, 8, 8))
    tiny_reid.embed(images(1))
    assert weights == []


def test_rollout_matches_a_hand_worked_case():
    """Two tokens, two blocks: A1 = [[.75, .25], [0, 1]], A2 = [[.5, .5], [.5, .5]]."""
    first = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    second = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    assert attention_rollout([first, second]).tolist() == [[0.375, 0.625]]


def test_rollout_equals_the_product_of_all_blocks():
    weights = [torch.rand(3, 6, 6).softmax(-1) for _ in range(4)]
    product = torch.eye(6).expand(3, 6, 6)
    for matrix in weights:
        product = (matrix + torch.eye(6)) / 2 @ product
    rollout = attention_rollout(weights)
    torch.testing.assert_close(rollout, product[:, 0])
    torch.testing.assert_close(rollout.sum(1), torch.ones(3))


@pytest.mark.parametrize("method", ["rollout", "class-token"])
def test_vit_maps_have_the_patch_grid(strided, method):
    camids = torch.tensor([0, 2])
    maps = attention_maps(strided, images(), camids, method=method)
    assert maps.shape == (2, 21, 12) == (2, *strided.image_encoder.grid)
    assert maps.min() >= 0
    assert bool((maps.flatten(1).sum(1) < 1).all())  # the class token keeps the rest
    alone = attention_maps(strided, images()[:1], camids[:1], method=method)
    torch.testing.assert_close(alone, maps[:1])
    without = attention_maps(strided, images(), method=method)
    assert not torch.allclose(maps, without)  # side information reaches the class token


def test_class_token_map_follows_the_rows_of_the_image(tiny_reid):
    """A last block whose keys mark one patch attends to that patch alone."""
    encoder = tiny_reid.image_encoder
    rows, columns = encoder.grid
    place = (3, 5)
    attention = encoder.transformer.resblocks[-1].attn

    def point(_, arguments, options):
        tokens = torch.zeros_like(arguments[0])
        tokens[:, 1 + place[0] * columns + place[1]] = 100.0
        return (torch.ones_like(tokens), tokens, tokens), options

    width = attention.embed_dim
    with torch.no_grad():
        attention.in_proj_bias.zero_()
        attention.in_proj_weight.copy_(torch.eye(width).repeat(3, 1))
    hook = attention.register_forward_pre_hook(point, with_kwargs=True)
    maps = attention_maps(tiny_reid, images(1), method="class-token")
    hook.remove()
    assert maps.shape == (1, rows, columns)
    assert maps[0][place] == pytest.approx(1.0)
    assert maps.sum() == pytest.approx(1.0)


class Square(nn.Module):
    """Two-channel images as maps; the descriptor is (mean of map 1, twice the mean of map 2)."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Identity()

    def embed(self, images):
        return self.layer(images).mean((2, 3)) * torch.tensor([1.0, 2.0])


def test_grad_cam_matches_a_hand_worked_case():
    """f = (m1, 2 m2); the gradient at a position is f1 / n for map 1 and 2 f2 / n for map 2."""
    model = Square()
    maps = torch.tensor([[[[1.0, 3.0]], [[-4.0, 2.0]]]])  # means 2 and -1, f = (2, -2)
    found = grad_cam(lambda: model.embed(maps), model.layer)
    expected = [1.0 * 1.0 - 2.0 * -4.0, 1.0 * 3.0 - 2.0 * 2.0]  # weights 2 / 2 and 2 * -2 / 2
    assert expected == [9.0, -1.0]
    assert found.tolist() == [[[9.0, 0.0]]]


def test_grad_cam_of_a_resnet_equals_gradients_of_the_whole_network(resnet):
    """Image by image; no gradients are left on the parameters."""
    batch = images(3, (64, 32))
    kept = {}
    hook = resnet.image_encoder.layer4.register_forward_hook(
        lambda _, __, output: kept.update(maps=output)
    )
    expected = []
    for image in batch:
        feature = resnet.embed(image[None])
        (gradient,) = torch.autograd.grad(feature.square().sum() / 2, kept["maps"])
        expected.append((gradient.mean((2, 3))[0, :, None, None] * kept["maps"][0]).sum(0).relu())
    hook.remove()
    with torch.no_grad():
        found = attention_maps(resnet, batch, method="grad-cam")
    assert found.shape == (3, *resnet.image_encoder.grid)
    torch.testing.assert_close(found, torch.stack(expected))
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in resnet.parameters())


def test_methods_depend_on_the_encoder(tiny_reid, resnet):
    assert attention_methods(tiny_reid) == ("rollout", "class-token")
    assert attention_methods(resnet) == ("grad-cam",)
    with pytest.raises(ValueError, match="grad-cam: this model supports rollout and class-token"):
        attention_maps(tiny_reid, images(1), method="grad-cam")
    with pytest.raises(ValueError, match="rollout: this model supports grad-cam"):
        attention_maps(resnet, images(1, (64, 32)), method="rollout")


def test_pooled_patch_tokens_have_no_attention_maps(tiny_clip_json):
    opts = ["DSGL.ENABLED", "True", "MODEL.PRETRAIN_CHOICE", "none"]
    opts += ["INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"]

    def build(*more):
        return build_unsupervised_model(load_cfg(None, [*opts, *more])).eval()

    pooled = build("MODEL.NAME", tiny_clip_json, "DSGL.POOLING", "gem")
    assert attention_methods(pooled) == ()
    with pytest.raises(ValueError, match="rollout: this model supports no attention maps"):
        attention_maps(pooled, torch.randn(2, 3, 64, 32), method="rollout")
    token = build("MODEL.NAME", tiny_clip_json, "DSGL.POOLING", "clip")
    assert attention_maps(token, torch.randn(2, 3, 64, 32), method="rollout").shape == (2, 4, 2)
    resnet = build("MODEL.NAME", "resnet18")
    assert attention_maps(resnet, torch.randn(2, 3, 64, 32), method="grad-cam").shape == (2, 4, 2)
