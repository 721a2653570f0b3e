"""Options inferred from the shapes of original files."""

import pytest
import torch

from config import load_cfg
from model.weights.translate import infer_options


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("ViT-B-16_stride16", ("ViT-B-16", [16, 16], False, True)),
        ("ViT-B-16_stride12_sie_cam6", ("ViT-B-16", [12, 12], True, True)),
        ("ViT-B-16_stride16_sie_cam6", ("ViT-B-16", [16, 16], True, True)),
        ("RN50_default", ("RN50", [16, 16], False, True)),
        ("ViT-B-16_baseline", ("ViT-B-16", [16, 16], False, False)),
        ("RN50_baseline", ("RN50", [16, 16], False, False)),
    ],
)
def test_options_follow_from_original_shapes(golden_json, variant, expected):
    contract = golden_json("state_dict_contract")[variant]
    state = {k: torch.empty(shape, device="meta") for k, (shape, _) in contract.items()}
    cfg = load_cfg(None, infer_options(state))
    found = (cfg.MODEL.NAME, cfg.MODEL.STRIDE_SIZE, cfg.MODEL.SIE_CAMERA, cfg.MODEL.TEXT_TOWER)
    assert found == expected
    sizes_and_deviation = (cfg.INPUT.SIZE_TRAIN, cfg.INPUT.SIZE_TEST, cfg.INPUT.PIXEL_STD)
    deviation = [0.229, 0.224, 0.225] if "RN50" in variant else [0.5] * 3
    assert sizes_and_deviation == ([256, 128], [256, 128], deviation)
    assert cfg.TEST.NECK_FEAT == "before"


@pytest.mark.parametrize(
    ("vit", "positions", "size", "stride"),
    [
        (True, 1 + 16 * 16, [256, 256], [16, 16]),
        (True, 1 + 21 * 21, [256, 256], [12, 12]),
        (True, 1 + 24 * 8, [384, 128], [16, 16]),
        (False, 1 + 16 * 16, [256, 256], [16, 16]),
        (False, 1 + 24 * 8, [384, 128], [16, 16]),
    ],
)
def test_image_size_and_stride_follow_from_positions(vit, positions, size, stride):
    embedding = "positional_embedding" if vit else "attnpool.positional_embedding"
    state = {
        "image_encoder.conv1.weight": torch.empty(768 if vit else 32, 3, 16, 16, device="meta"),
        f"image_encoder.{embedding}": torch.empty(positions, 768, device="meta"),
        "classifier.weight": torch.empty(576, 768, device="meta"),
    }
    if vit:
        state["image_encoder.class_embedding"] = torch.empty(768, device="meta")
    cfg = load_cfg(None, infer_options(state))
    found = (cfg.INPUT.SIZE_TRAIN, cfg.MODEL.STRIDE_SIZE)
    assert found == (size, stride)


def test_other_files_have_no_inferred_options(reid_state, tiny_clip_state):
    with pytest.raises(ValueError, match="not a CLIP-ReID checkpoint"):
        infer_options(tiny_clip_state)
    with pytest.raises(ValueError, match=r"neither ViT-B-16 nor RN50.*--config_file"):
        infer_options(reid_state)


def test_weights_without_positions_are_described_not_looked_up():
    for name in ("image_encoder.class_embedding", "image_encoder.other"):
        state = {"image_encoder.conv1.weight": torch.ones(32, 3, 3, 3)}
        state |= {"classifier.weight": torch.ones(5, 8), name: torch.ones(8)}
        with pytest.raises(ValueError, match=r"-1 positions is neither ViT-B-16 nor RN50"):
            infer_options(state)
