"""Hugging Face's CLIPModel loads like the OpenAI weights that it was made from."""

import pytest
import safetensors.torch
import torch

from model import load_weights
from model.weights.hugging_face import translate_hugging_face

OUTSIDE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
IN_LAYER = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


@pytest.fixture
def hugging_face_state(tiny_clip_state):
    """The tiny CLIP in transformers' layout, written down from its documentation."""
    state = {}
    for name, tensor in tiny_clip_state.items():
        if name == "visual.proj":
            state["visual_projection.weight"] = tensor.T.contiguous()
        elif name == "text_projection":
            state["text_projection.weight"] = tensor.T.contiguous()
        elif ".resblocks." in name or name.startswith("transformer.resblocks."):
            side = "vision_model" if name.startswith("visual.") else "text_model"
            number, inner = name.rpartition("resblocks.")[2].split(".", 1)
            layer = f"{side}.encoder.layers.{number}."
            if inner.startswith("attn.in_proj_"):
                kind = inner.removeprefix("attn.in_proj_")
                for part, values in zip("qkv", tensor.chunk(3), strict=True):
                    state[f"{layer}self_attn.{part}_proj.{kind}"] = values.clone()
            else:
                module, kind = inner.rsplit(".", 1)
                state[f"{layer}{IN_LAYER[module]}.{kind}"] = tensor
        elif name in OUTSIDE:
            state[OUTSIDE[name]] = tensor
    state["vision_model.embeddings.position_ids"] = torch.arange(197)[None]
    return state


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin", "folder", "old folder"])
def test_features_equal_those_of_openai_weights(
    tmp_path, build, tiny_clip_file, hugging_face_state, kind
):
    pickled = kind in ("pytorch_model.bin", "old folder")
    path = tmp_path / ("pytorch_model.bin" if pickled else "model.safetensors")
    (torch.save if pickled else safetensors.torch.save_file)(hugging_face_state, path)
    expected, found = build(), build()
    found.load_state_dict(expected.state_dict())
    original = load_weights(expected, tiny_clip_file)
    report = load_weights(found, tmp_path if "folder" in kind else path)
    assert (report.loaded, report.reshaped) == (original.loaded, original.reshaped)
    assert report.unexpected == ()
    images, labels = torch.randn(2, 3, 256, 128), torch.tensor([0, 1])
    with torch.no_grad():
        assert torch.equal(found.embed(images), expected.embed(images))
        assert torch.equal(found.encode_text(labels), expected.encode_text(labels))


def test_missing_keys_of_a_layer_are_named(hugging_face_state):
    del hugging_face_state["text_model.encoder.layers.1.self_attn.k_proj.bias"]
    with pytest.raises(ValueError, match=r"not text_model.encoder.layers.1.self_attn.k_proj.bias"):
        translate_hugging_face(hugging_face_state)
