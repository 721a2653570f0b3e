"""What the shapes in an original CLIP-ReID file say about its model."""

from __future__ import annotations

from torch import Tensor

_POSITIONS = {
    "vit": "image_encoder.positional_embedding",
    "resnet": "image_encoder.attnpool.positional_embedding",
}


def infer_options(state: dict[str, Tensor]) -> list[str]:
    """Config overrides that describe the model of an original CLIP-ReID file, from its shapes.

    Args:
        state: CLIP-ReID's parameter names to tensors.

    Returns:
        `KEY VALUE ...` for `config.load_cfg`.

    Raises:
        ValueError: the file is no CLIP-ReID checkpoint of a ViT-B/16 or RN50.
    """
    conv = state.get("image_encoder.conv1.weight")
    if conv is None or "classifier.weight" not in state:
        raise ValueError(
            "no CLIP-ReID checkpoint: no image_encoder.conv1.weight and classifier.weight among "
            f"{', '.join(list(state)[:4])}"
        )
    vit = "image_encoder.class_embedding" in state
    name = {(True, 768): "ViT-B-16", (False, 32): "RN50"}.get((vit, conv.shape[0]))
    rows = len(state[_POSITIONS["vit" if vit else "resnet"]]) - 1
    strides = (16, 12, 14, 11, 10, 8) if vit else (16,)
    for stride in strides:
        for size in ((256, 128), (256, 256), (384, 128), (224, 224), (384, 384)):
            grid = [(s - 16) // stride + 1 for s in size]
            if name and grid[0] * grid[1] == rows:
                mean = "[0.5, 0.5, 0.5]" if vit else "[0.485, 0.456, 0.406]"
                deviation = "[0.5, 0.5, 0.5]" if vit else "[0.229, 0.224, 0.225]"
                options = ["MODEL.NAME", name, "MODEL.STRIDE_SIZE", f"[{stride}, {stride}]"]
                options += ["INPUT.SIZE_TRAIN", str(list(size)), "INPUT.SIZE_TEST", str(list(size))]
                options += ["INPUT.PIXEL_MEAN", mean, "INPUT.PIXEL_STD", deviation]
                options += ["MODEL.SIE_CAMERA", str("cv_embed" in state)]
                options += ["MODEL.TEXT_TOWER", str("prompt_learner.cls_ctx" in state)]
                return [*options, "TEST.NECK_FEAT", "before"]
    raise ValueError(
        f"an image encoder with conv1 {tuple(conv.shape)} and {rows} positions is neither ViT-B-16 "
        "nor RN50 at a usual image size; give --config_file"
    )
