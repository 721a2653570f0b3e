"""Camera and viewpoint embeddings on the class token."""

import pytest
import torch

from config import load_cfg
from model import build_model

CAMERAS, VIEWS = 6, 3


@pytest.fixture(scope="module")
def build(tiny_opts):
    models = {}

    def build(*, camera=False, view=False, coefficient="3.0"):
        key = (camera, view, coefficient)
        if key not in models:
            opts = ["MODEL.SIE_CAMERA", str(camera), "MODEL.SIE_VIEW", str(view)]
            cfg = load_cfg(None, [*tiny_opts, *opts, "MODEL.SIE_COE", coefficient])
            model = build_model(cfg, num_classes=10, num_cameras=CAMERAS, num_views=VIEWS).eval()
            torch.nn.init.normal_(model.cv_embed)
            models[key] = model
        return models[key]

    return build


@pytest.fixture(scope="module")
def images(golden):
    images_u8 = torch.from_numpy(golden("tiny_vit_io")["images_u8"])
    return (images_u8.float() / 255 - 0.5) / 0.5


@pytest.fixture(scope="module")
def camids(golden):
    return torch.from_numpy(golden("tiny_vit_io")["cam"])


@pytest.fixture(scope="module")
def viewids(golden):
    return torch.from_numpy(golden("tiny_vit_io")["view"])


def rows(camera, view, camids, viewids):
    if camera and view:
        return camids * VIEWS + viewids
    return camids if camera else viewids


@pytest.mark.parametrize(
    ("camera", "view", "num_rows"), [(True, False, 6), (False, True, 3), (True, True, 18)]
)
def test_ids_select_their_row_of_the_table(build, images, camids, viewids, camera, view, num_rows):
    model = build(camera=camera, view=view, coefficient="1.5")
    assert model.cv_embed.shape == (num_rows, 128)
    with torch.no_grad():
        added = 1.5 * model.cv_embed[rows(camera, view, camids, viewids)]
        expected = model.image_encoder(images, added)
        found = model.encode_image(images, camids, viewids)
        without = model.encode_image(images)
    torch.testing.assert_close(found.last, expected.last)
    torch.testing.assert_close(found.projected, expected.projected)
    assert (found.projected - without.projected).abs().max() > 1e-3


def test_embedding_is_added_to_the_class_token_before_the_position(build, images, camids):
    model = build(camera=True)
    encoder = model.image_encoder
    image, camid = images[:1], camids[:1]
    with torch.no_grad():
        found = model.encode_image(image, camid).final
        before = encoder.class_embedding.clone()
        encoder.class_embedding += 3.0 * model.cv_embed[camid[0]]
        expected = model.encode_image(image).final
        encoder.class_embedding.copy_(before)
    torch.testing.assert_close(found, expected)


def test_nothing_is_added_without_ids(build, built_tiny_reid, images, camids, viewids):
    with torch.no_grad():
        expected = built_tiny_reid.encode_image(images).projected
        torch.testing.assert_close(build(camera=True).encode_image(images).projected, expected)
        # cameras and viewpoints share a table: both are required
        both = build(camera=True, view=True)
        for found in (
            both.encode_image(images),
            both.encode_image(images, camids),
            both.encode_image(images, None, viewids),
        ):
            torch.testing.assert_close(found.projected, expected)
        # ids without a row in the table have no effect
        found = build(camera=True).encode_image(images, None, viewids)
        torch.testing.assert_close(found.projected, expected)
        found = built_tiny_reid.encode_image(images, camids, viewids)
        torch.testing.assert_close(found.projected, expected)


@pytest.mark.parametrize(
    ("camera", "view", "unknown"),
    [
        (True, False, [(-1, 0), (6, 0), (99, 0), (-7, 0)]),
        (False, True, [(0, -1), (0, 3)]),
        (True, True, [(-1, 0), (0, -1), (0, 3), (6, 0), (5, 3), (-1, 3)]),
    ],
)
def test_unknown_ids_get_the_mean_embedding(build, images, camera, view, unknown):
    model = build(camera=camera, view=view)
    camids, viewids = torch.tensor(unknown).T
    batch = images[:1].expand(len(unknown), -1, -1, -1)
    with torch.no_grad():
        found = model.encode_image(batch, camids, viewids)
        mean = 3.0 * model.cv_embed.mean(0, keepdim=True)
        expected = model.image_encoder(batch, mean.expand(len(unknown), -1))
    torch.testing.assert_close(found.projected, expected.projected)


def test_known_and_unknown_cameras_mix_in_one_batch(build, images):
    model = build(camera=True)
    with torch.no_grad():
        together = model.embed(images[:3], torch.tensor([4, 77, 0]))
        for i, camid in enumerate([4, 77, 0]):
            alone = model.embed(images[i : i + 1], torch.tensor([camid]))
            torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


def test_gradients_reach_only_the_rows_used(build, images):
    model = build(camera=True)
    model.zero_grad()
    model.encode_image(images[:2], torch.tensor([1, 1])).projected.sum().backward()
    used = model.cv_embed.grad.abs().sum(1) > 0
    model.zero_grad()
    assert used.tolist() == [False, True, False, False, False, False]


def test_table_is_initialized_with_deviation_002(tiny_opts):
    cfg = load_cfg(None, [*tiny_opts, "MODEL.SIE_CAMERA", "True"])
    table = build_model(cfg, num_classes=2, num_cameras=200, num_views=1).cv_embed
    assert table.std().item() == pytest.approx(0.02, rel=0.05)
    assert table.requires_grad


def test_heads_are_initialized_as_the_originals(tiny_opts):
    reid = build_model(load_cfg(None, tiny_opts), num_classes=500, num_cameras=1, num_views=1)
    for classifier in (reid.classifier, reid.classifier_proj):
        assert classifier.bias is None
        assert classifier.weight.std().item() == pytest.approx(0.001, rel=0.05)
    for neck in (reid.bottleneck, reid.bottleneck_proj):
        assert (neck.eps, neck.momentum) == (1e-5, 0.1)
        assert not neck.bias.requires_grad
        assert neck.weight.requires_grad
        assert torch.equal(neck.weight, torch.ones_like(neck.weight))
        assert not neck.bias.any()


def test_model_without_necks_uses_raw_features(tiny_opts, images):
    cfg = load_cfg(None, [*tiny_opts, "MODEL.NECK", "no", "TEST.NECK_FEAT", "after"])
    reid = build_model(cfg, num_classes=4, num_cameras=1, num_views=1).eval()
    with torch.no_grad():
        features = reid.encode_image(images)
        descriptor = torch.cat([features.final, features.projected], dim=1)
        torch.testing.assert_close(reid.embed(images), descriptor)
        torch.testing.assert_close(reid(images).logits[0], reid.classifier(features.final))
