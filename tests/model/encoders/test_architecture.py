"""Model configs are checked before anything is built or downloaded."""

import copy
import json

import pytest

from model.encoders.architecture import parse_architecture

PLAIN = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 224, "layers": 3, "width": 128, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
}


def parse(**changes):
    tree = copy.deepcopy(PLAIN)
    for key, value in changes.items():
        block, _, name = key.partition("__")
        if name:
            tree[block][name] = value
        else:
            tree[block] = value
    return parse_architecture(json.dumps(tree), "FILE")


def test_plain_configs_pass():
    assert parse() == PLAIN
    assert parse(vision_cfg__patch_size=None)["vision_cfg"]["patch_size"] is None  # a ResNet's
    assert parse(vision_cfg__layers=[1, 2, 1, 2])["vision_cfg"]["layers"] == [1, 2, 1, 2]


@pytest.mark.parametrize(
    "key",
    [
        *("vision_cfg__timm_model_name", "vision_cfg__timm_model_pretrained"),
        *(
            "text_cfg__hf_model_name",
            "text_cfg__hf_tokenizer_name",
            "text_cfg__hf_model_pretrained",
        ),
    ],
)
def test_models_to_download_are_refused(key):
    with pytest.raises(ValueError, match=r"^FILE names a model to download.*hf-hub:a/b"):
        parse(**{key: "hf-hub:a/b"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_cfg__width": 10**9}, "vision_cfg.width is 1000000000, .* 1 to 8192"),
        ({"vision_cfg__width": -1}, "width is -1"),
        ({"vision_cfg__width": True}, "width is True"),
        ({"vision_cfg__width": 1.5}, "width is 1.5"),
        ({"vision_cfg__layers": 10**6}, "layers is 1000000"),
        ({"vision_cfg__layers": [1, 2, 1, 10**6]}, "layers is 1000000"),
        ({"vision_cfg__layers": [1, 2]}, r"layers is \[1, 2\]"),
        ({"vision_cfg__patch_size": 0}, "patch_size is 0"),
        ({"vision_cfg__image_size": [224, 224]}, "image_size is"),
        ({"vision_cfg__colour": 1}, "unknown key vision_cfg.colour"),
        ({"text_cfg__vocab_size": 10**12}, "vocab_size is"),
        ({"text_cfg__context_length": "77"}, "context_length is '77'"),
        ({"text_cfg": {"width": 8192, "layers": 200}}, "200 layers of width 8192, too many"),
        ({"text_cfg": [1]}, "text_cfg should be a block"),
        ({"embed_dim": None}, "embed_dim is None"),
    ],
)
def test_sizes_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=f"^FILE.*{message}"):
        parse(**change)


@pytest.mark.parametrize("text", ["", "[]", "5", "{}", "[" * 100_000, '{"embed_dim": 1}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match=r"^FILE "):
        parse_architecture(text, "FILE")
