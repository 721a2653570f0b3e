"""The shortened text tower equals CLIP's on all 77 tokens."""

import pytest
import torch

from config import load_cfg
from model import build_model
from model.encoders.clip import build_clip
from model.encoders.clip_text import TextTower
from model.prompt import PromptLearner, tokenize_prompt
from model.text import TextEncoder


@pytest.fixture(scope="module")
def clip(tiny_clip_json, tiny_clip_state):
    torch.manual_seed(0)
    clip = build_clip(tiny_clip_json)
    clip.load_state_dict(tiny_clip_state)
    # the golden table is zero for most words
    torch.nn.init.normal_(clip.token_embedding.weight, std=0.05)
    return clip


def full_features(clip, prompts, labels):
    """All 77 tokens through open_clip's tower, as in the original."""
    prefix = prompts.token_prefix.expand(len(labels), -1, -1)
    suffix = prompts.token_suffix.expand(len(labels), -1, -1)
    x = torch.cat([prefix, prompts.cls_ctx[labels], suffix], dim=1)
    assert x.shape[1] == 77
    x = clip.transformer(x + clip.positional_embedding, attn_mask=clip.attn_mask)
    x = clip.ln_final(x)
    return x[:, prompts.prompt.end] @ clip.text_projection


@pytest.mark.parametrize(
    "noun", ["person", "vehicle", "white delivery van", "{context} seen from above"]
)
def test_features_and_gradients_equal_the_full_tower(clip, noun):
    prompts = PromptLearner(tokenize_prompt(noun), clip.token_embedding, num_classes=6)
    encoder = TextEncoder(TextTower.of(clip))
    labels = torch.tensor([5, 0, 3, 3])
    weights = torch.randn(4, 64)
    expected = full_features(clip, prompts, labels)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), prompts.cls_ctx)
    found = encoder(prompts(labels), encoder.encode_prefix(prompts.token_prefix))
    (gradient,) = torch.autograd.grad((found * weights).sum(), prompts.cls_ctx)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    # rounding errors scale with the largest entries
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-6 * wanted.abs().max().item())


def test_spelled_out_context_equals_clips_encode_text(clip):
    prompt = tokenize_prompt("person")
    prompts = PromptLearner(prompt, clip.token_embedding, num_classes=2)
    with torch.no_grad():
        prompts.cls_ctx.copy_(clip.token_embedding.weight[343].expand(2, 4, -1))
        encoder = TextEncoder(TextTower.of(clip))
        found = encoder(prompts(torch.arange(2)), encoder.encode_prefix(prompts.token_prefix))
        expected = clip.encode_text(prompt.tokens).expand(2, -1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_one_prefix_serves_every_batch(built_tiny_reid):
    with torch.no_grad():
        prefix = built_tiny_reid.encode_prefix()
        together = built_tiny_reid.encode_text(torch.arange(10), prefix)
        parts = [built_tiny_reid.encode_text(part, prefix) for part in torch.arange(10).split(3)]
    torch.testing.assert_close(torch.cat(parts), together, rtol=0, atol=1e-5)
    assert prefix.length == 5


def test_baseline_has_no_text_side(tiny_opts):
    cfg = load_cfg(None, [*tiny_opts, "MODEL.TEXT_TOWER", "False"])
    model = build_model(cfg, num_classes=3, num_cameras=1, num_views=1)
    assert not [key for key in model.state_dict() if key.startswith(("text", "prompt"))]
    for call in (model.encode_prefix, lambda: model.encode_text(torch.tensor([0]))):
        with pytest.raises(RuntimeError, match="baseline"):
            call()
