"""The tiny ReID model equals the original code with the same weights."""

import copy
import json

import numpy as np
import pytest
import torch

from config import load_cfg
from model import build_model
from model.encoders.clip import build_clip
from model.prompt import tokenize_prompt


@pytest.fixture(scope="module")
def arrays(golden):
    return {
        key: torch.from_numpy(a)
        for key, a in golden("tiny_vit_io").items()
        if a.dtype.kind in "iuf"
    }


@pytest.fixture(scope="module")
def images(arrays):
    return (arrays["images_u8"].float() / 255 - 0.5) / 0.5


def assert_near(found, expected, tolerance=1e-4):
    torch.testing.assert_close(found.detach().double(), expected.double(), rtol=0, atol=tolerance)


# images


def test_image_features_equal_the_originals(built_tiny_reid, arrays, images):
    with torch.no_grad():
        features = built_tiny_reid.encode_image(images)
    assert_near(features.last, arrays["enc/x11_cls"])
    assert_near(features.final, arrays["enc/x12_cls"])
    assert_near(features.projected, arrays["enc/xproj_cls"])
    # the feature stage 1 caches
    assert_near(features.projected, arrays["get_image"])


def test_image_features_are_class_tokens(built_tiny_reid, arrays, images):
    with torch.no_grad():
        features = built_tiny_reid.encode_image(images[:2])
    assert_near(features.last, arrays["enc/x11"][:, 0])
    assert_near(features.final, arrays["enc/x12"][:, 0])
    assert_near(features.projected, arrays["enc/xproj"][:, 0])


def test_position_embedding_equals_the_originals(built_tiny_reid, arrays):
    encoder = built_tiny_reid.image_encoder
    assert encoder.grid == (16, 8)
    assert_near(encoder.positional_embedding, arrays["posembed_16x8"], 1e-6)


@pytest.mark.parametrize("neck_feature", ["before", "after"])
def test_descriptor_equals_the_originals(built_tiny_reid, tiny_opts, arrays, images, neck_feature):
    cfg = load_cfg(None, [*tiny_opts, "TEST.NECK_FEAT", neck_feature])
    model = build_model(cfg, num_classes=10, num_cameras=1, num_views=1).eval()
    model.load_state_dict(built_tiny_reid.state_dict())
    with torch.no_grad():
        assert_near(model.embed(images), arrays[f"eval/{neck_feature}"])


def test_descriptor_is_independent_of_the_batch(built_tiny_reid, images):
    with torch.no_grad():
        together = built_tiny_reid.embed(images)
        alone = torch.cat([built_tiny_reid.embed(image[None]) for image in images])
    assert_near(alone, together, 1e-5)


# prompts


def test_prompt_tokens_equal_the_originals(built_tiny_reid, arrays):
    torch.testing.assert_close(tokenize_prompt("person").tokens, arrays["tokenized_prompt"])
    prompts = built_tiny_reid.prompt_learner
    assert torch.equal(prompts.token_prefix, arrays["token_prefix"])
    assert torch.equal(prompts.token_suffix, arrays["token_suffix"])


def test_prompt_embeddings_equal_the_originals(built_tiny_reid, arrays):
    prompts = built_tiny_reid.prompt_learner
    learned = prompts(arrays["labels"])
    whole = torch.cat([prompts.token_prefix.expand(6, -1, -1), learned], dim=1)
    assert whole.shape[1] == 12
    assert torch.equal(whole, arrays["text/prompts_labels"][:, :12])


def test_text_features_equal_the_originals(built_tiny_reid, arrays):
    with torch.no_grad():
        of_all = built_tiny_reid.encode_text(torch.arange(10))
        of_labels = built_tiny_reid.encode_text(arrays["labels"], built_tiny_reid.encode_prefix())
    assert_near(of_all, arrays["text/features_all10"])
    assert_near(of_labels, arrays["text/features_labels"])


def test_context_gradient_equals_the_originals(tiny_reid, arrays):
    tiny_reid.encode_text(arrays["labels"]).square().sum().backward()
    gradient = tiny_reid.prompt_learner.cls_ctx.grad
    assert_near(gradient, arrays["text/grad_cls_ctx_of_sumsq"])
    absent = sorted(set(range(10)) - set(arrays["labels"].tolist()))
    assert gradient[absent].abs().max() == 0


# training


@pytest.fixture(scope="module")
def trained_once(built_tiny_reid, images):
    """Computed in float64, so that the machine's rounding does not count.

    The recorded arrays are float32. Batch norms over six images amplify their rounding: a gradient
    of up to 13 is off by 3e-4.
    """
    model = copy.deepcopy(built_tiny_reid).double().train()
    output = model(images.double())
    loss = sum(
        (score * torch.linspace(-1, 1, score.numel()).double().reshape(score.shape)).sum()
        for score in output.logits
    )
    loss = loss + sum(feature.square().mean() for feature in output.features)
    loss.backward()
    return model, output, loss


def test_training_outputs_equal_the_originals(trained_once, arrays):
    _, output, loss = trained_once
    assert len(output.logits) == 2
    for index, score in enumerate(output.logits):
        assert_near(score, arrays[f"train/score{index}"])
    assert len(output.features) == 3
    for index, feature in enumerate(output.features):
        assert_near(feature, arrays[f"train/feat{index}"])
    assert_near(output.projected, arrays["train/image_features"])
    assert loss.item() == pytest.approx(arrays["train/probe_loss"].item(), abs=1e-5)


def test_training_gradients_equal_the_originals(trained_once, arrays):
    model, _, _ = trained_once
    parameters = dict(model.named_parameters())
    names = [key.removeprefix("train/grad/") for key in arrays if key.startswith("train/grad/")]
    assert len(names) == 6
    for name in names:
        expected = arrays[f"train/grad/{name}"]
        difference = (parameters[name].grad - expected).abs().max()
        assert difference < 5e-5 * expected.abs().max(), name


def test_gradient_norms_equal_the_originals(trained_once, golden):
    model, _, _ = trained_once
    expected = json.loads(golden("tiny_vit_io")["train/grad_norms_json"].item())
    found = {
        name: None if p.grad is None else p.grad.norm().item()
        for name, p in model.named_parameters()
    }
    assert found.keys() == expected.keys()
    without = {name for name, norm in expected.items() if norm is None}
    assert {name for name, norm in found.items() if norm is None} == without
    names = sorted(expected.keys() - without)
    np.testing.assert_allclose(
        [found[name] for name in names], [expected[name] for name in names], rtol=1e-5, atol=1e-5
    )


def test_running_statistics_equal_the_originals(trained_once, arrays):
    model, _, _ = trained_once
    state = model.state_dict()
    names = [key.removeprefix("train/after/") for key in arrays if key.startswith("train/after/")]
    assert len(names) == 4
    for name in names:
        assert_near(state[name], arrays[f"train/after/{name}"])
    assert state["bottleneck.num_batches_tracked"] == 1


def test_plain_clip_text_features_equal_the_originals(tiny_clip_json, tiny_clip_state, arrays):
    clip = build_clip(tiny_clip_json)
    assert not clip.load_state_dict(tiny_clip_state).missing_keys
    with torch.no_grad():
        assert_near(clip.encode_text(arrays["text_tokens"]), arrays["text/encode_text"])


def test_bfloat16_features_are_close(built_tiny_reid, arrays, images):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        descriptor = built_tiny_reid.embed(images).float()
        text = built_tiny_reid.encode_text(arrays["labels"]).float()
    for found, key in ((descriptor, "eval/before"), (text, "text/features_labels")):
        assert torch.cosine_similarity(found, arrays[key]).min() > 0.999
