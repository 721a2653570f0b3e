"""All CLIPs of open_clip: which can learn prompts, whose GELU, towers of timm."""

import json

import pytest
import torch
from open_clip import get_model_config

from config import load_cfg
from model import build_model, load_weights
from model.build import build_pretrained_text
from model.encoders.clip import (
    build_clip,
    build_clip_backbone,
    clip_architecture,
    clip_names,
    find_clip_weights,
)
from model.encoders.clip_text import why_without_prompts
from model.encoders.kind import EncoderOptions

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
SIZE = ("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]")


def config_of(tower, *, custom=False, text=None, **vision):
    """A JSON model config with an image tower of timm."""
    vision = {"timm_model_name": tower, "timm_model_pretrained": False, "image_size": 224} | vision
    found = {"embed_dim": 24, "quick_gelu": False, "vision_cfg": vision, "text_cfg": text or TEXT}
    return json.dumps({**found, "custom_text": True} if custom else found)


TOWERS = {
    "linear head": config_of("resnet18", timm_pool="", timm_proj="linear"),
    "two layers": config_of("convnext_atto", timm_pool="", timm_proj="mlp"),
    "own classifier": config_of(
        "vit_tiny_patch16_224", custom=True, timm_pool="token", timm_proj=None
    ),
}


@pytest.mark.parametrize("tower", TOWERS)
def test_tower_of_timm_gives_open_clips_features(tower, tmp_path):
    torch.manual_seed(3)
    clip = build_clip(TOWERS[tower]).eval()
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    square = ("INPUT.SIZE_TRAIN", "[224, 224]", "INPUT.SIZE_TEST", "[224, 224]")
    opts = ["MODEL.NAME", TOWERS[tower], *square, "MODEL.PRETRAIN_CHOICE", "none"]
    model = build_model(load_cfg(None, [*opts, "MODEL.LAST_STRIDE", "2"]), 3, 1, 1).eval()
    report = load_weights(model, tmp_path / "clip.pt")
    assert report.unexpected == ()
    assert all(key.startswith(("classifier", "bottleneck", "prompt")) for key in report.missing)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        features = model.encode_image(images)
        torch.testing.assert_close(features.projected, clip.encode_image(images))
        words = model.prompt_learner.prompt.tokens
        model.prompt_learner.cls_ctx.copy_(
            text_of(clip).token_embedding.weight[343].expand(3, 4, -1)
        )
        expected = clip.encode_text(words).expand(3, -1)
        torch.testing.assert_close(model.encode_text(torch.arange(3)), expected)
    assert model.embed(images).shape == (2, model.image_encoder.width + 24)


def text_of(clip):
    return getattr(clip, "text", clip)


def test_texts_are_read_from_a_clip_that_keeps_them_apart(tmp_path):
    clip = build_clip(TOWERS["own classifier"]).eval()
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    opts = ["MODEL.NAME", TOWERS["own classifier"], *SIZE]
    cfg = load_cfg(None, [*opts, "MODEL.PRETRAIN_PATH", str(tmp_path / "clip.pt")])
    tokens = torch.zeros(1, 77, dtype=torch.long)
    tokens[0, :3] = torch.tensor([49406, 320, 49407])
    with torch.no_grad():
        torch.testing.assert_close(
            build_pretrained_text(cfg).encode(tokens), clip.encode_text(tokens)
        )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ({"no_causal_mask": True}, "not causal"),
        ({"embed_cls": True}, "class token"),
        ({"pool_type": "last"}, "pools 'last'"),
        ({"proj_bias": True}, "has a bias"),
        ({"proj_type": "none"}, "no text projection"),
        ({"qk_norm": True}, r"other blocks \(qk_norm\)"),
    ],
)
def test_text_towers_without_prompts_are_refused_with_the_reason(text, reason):
    vision = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64}
    name = json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": {**TEXT, **text}})
    opts = ["MODEL.NAME", name, *SIZE, "MODEL.PRETRAIN_CHOICE", "none"]
    with pytest.raises(
        ValueError, match=f"MODEL.NAME: .*cannot learn prompts: .*{reason}.*train.py"
    ):
        build_model(load_cfg(None, opts), 3, 1, 1)
    baseline = build_model(load_cfg(None, [*opts, "MODEL.TEXT_TOWER", "False"]), 3, 1, 1)
    assert baseline.embed(torch.randn(2, 3, 64, 32)).shape == (2, 64 + 24)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ViT-B-16", ""),
        ("ViT-L-14", ""),
        ("EVA02-B-16", ""),
        ("convnext_base_w", ""),
        ("ViTamin-B", ""),
        ("ViT-B-16-SigLIP2", "not causal"),
        ("MobileCLIP-S1", "not causal"),
        ("coca_ViT-B-32", "class token"),
        ("xlm-roberta-base-ViT-B-32", "transformers"),
        ("ViT-L-14-worldwide", "pools 'eos'"),
        ("ViT-H-14-worldwide", "pools 'eos'"),
    ],
)
def test_models_of_open_clip_that_can_learn_prompts(name, reason):
    found = why_without_prompts(get_model_config(name))
    assert reason in found
    assert bool(reason) == bool(found)


def test_most_models_of_open_clip_can_learn_prompts():
    able = [name for name in clip_names() if not why_without_prompts(get_model_config(name))]
    assert len(able) / len(clip_names()) > 0.5


@pytest.mark.parametrize(
    ("name", "tag", "quick"),
    [
        ("ViT-B-16", "", True),
        ("ViT-B-16", "openai", True),
        ("ViT-B-16", "laion2b_s34b_b88k", False),
        ("ViT-B-16", "dfn2b", True),
        ("ViT-B-16-quickgelu", "dfn2b", True),
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", False),
        ("ViT-H-14-quickgelu", "", True),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k", True),
        ("ViT-L-14", "laion2b_s32b_b82k", False),
        ("ViT-H-14", "laion2b_s32b_b79k", False),
        ("ViT-H-14", "", False),
    ],
)
def test_gelu_follows_the_tag(name, tag, quick):
    assert clip_architecture(name, tag)["quick_gelu"] is quick


def test_unknown_tag_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"MODEL\.PRETRAIN_TAG: .*'nobody' of ViT-L-14; known: .*laion2b"
    ):
        clip_architecture("ViT-L-14", "nobody")
    with pytest.raises(
        FileNotFoundError, match=r"set MODEL\.PRETRAIN_TAG to one of .*laion2b_s32b_b79k"
    ):
        find_clip_weights("ViT-H-14")


def test_cached_weights_are_found_by_tag(monkeypatch, tmp_path):
    def look(repository, file):
        wanted = ("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", "open_clip_model.safetensors")
        return str(tmp_path / "w") if (repository, file) == wanted else None

    monkeypatch.setattr("model.encoders.clip.try_to_load_from_cache", look)
    assert find_clip_weights("ViT-L-14", "laion2b_s32b_b82k") == tmp_path / "w"


@pytest.mark.parametrize("name", ["coca_ViT-B-32", "ViT-L-14-CLIPA"])
def test_vits_that_pool_are_refused(name):
    options = EncoderOptions((64, 64), stride=(14, 14))
    with torch.device("meta"), pytest.raises(ValueError, match="class token are supported"):
        build_clip_backbone(name, options)


def test_a_config_never_downloads():
    for vision in ({"timm_model_pretrained": True}, {"timm_model_name": "hf-hub:user/model"}):
        name = config_of("resnet18", **vision)
        with pytest.raises(ValueError, match="names a model to download"):
            clip_architecture(name)
