"""Parameters have the original's names, shapes and order at full size."""

import pytest
import torch

from config import load_cfg
from model import build_model

VARIANTS = [
    "ViT-B-16_stride16",
    "ViT-B-16_stride16_sie_cam6",
    "ViT-B-16_stride12_sie_cam6",
    "RN50_default",
    "ViT-B-16_baseline",
    "RN50_baseline",
]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_state_dict_equals_the_originals(full_model, golden_json, variant):
    contract = golden_json("state_dict_contract")
    model = full_model(variant)
    found = {
        key: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        for key, tensor in model.state_dict().items()
    }
    expected = {
        key: [shape, dtype.removeprefix("torch.")]
        for key, (shape, dtype) in contract[variant].items()
    }
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS[:4])
def test_parameters_have_the_originals_order(full_model, golden_json, variant):
    expected = golden_json("state_dict_contract")[f"{variant}#param_order_requires_grad_initial"]
    found = [[name, p.requires_grad] for name, p in full_model(variant).named_parameters()]
    assert found == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "widths", "grid"),
    [("ViT-B-16", (768, 768, 512), (21, 10)), ("RN50", (1024, 2048, 1024), (16, 8))],
)
def test_full_size_features_have_their_widths(name, widths, grid):
    opts = ["MODEL.NAME", name, "MODEL.TEXT_TOWER", "False", "MODEL.PRETRAIN_CHOICE", "none"]
    opts += ["INPUT.SIZE_TRAIN", "[256, 128]", "INPUT.SIZE_TEST", "[256, 128]"]
    if name == "ViT-B-16":
        opts += ["MODEL.SIE_CAMERA", "True", "MODEL.STRIDE_SIZE", "[12, 12]"]
    reid = build_model(load_cfg(None, opts), num_classes=3, num_cameras=6, num_views=1).eval()
    assert reid.image_encoder.grid == grid
    with torch.inference_mode():
        output = reid(torch.randn(1, 3, 256, 128), torch.tensor([2]), torch.tensor([0]))
    assert tuple(feature.shape[1] for feature in output.features) == widths
    assert all(feature.isfinite().all() for feature in output.features)


@pytest.mark.slow
def test_full_size_attention_heads(full_model):
    vit, resnet = full_model("ViT-B-16_stride16"), full_model("RN50_default")
    assert {block.attn.num_heads for block in vit.image_encoder.transformer.resblocks} == {12}
    assert {block.attn.num_heads for block in vit.text_encoder.transformer.resblocks} == {8}
    assert resnet.image_encoder.attnpool.num_heads == 32
