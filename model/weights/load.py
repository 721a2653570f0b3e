"""How the content of a weights file enters a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from model.clip_reid import CLIPReID
from model.encoders.clip_resnet import ResNetEncoder
from model.encoders.clip_vit import ViTEncoder
from model.encoders.positions import resize_position_embedding
from model.reid_model import ReIDModel
from model.weights.read import read_weights_file
from model.weights.report import LoadReport

_CLASS_ROWS = ("classifier.weight", "classifier_proj.weight", "prompt_learner.cls_ctx")
_SIDE_TABLE = "cv_embed"
_POSITIONS = (
    "image_encoder.positional_embedding",
    "image_encoder.attnpool.positional_embedding",
)
_NECK = ("bottleneck.", "embedding.")
_CLIP_REID = ("classifier", "bottleneck_proj.")  # parts that only CLIPReID has
_IMAGENET = {"conv1.weight", "layer1.0.conv1.weight"}
_TEXT_PARTS = ("transformer.", "positional_embedding", "ln_final.", "text_projection")
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "logit_scale", "attn_mask")


def load_weights(model: ReIDModel, path: str | Path, option: str = "") -> LoadReport:
    """Load a weights file of any known origin into the model.

    Position embeddings are resized to the model's grid. Class rows (classifiers, prompts) and the
    camera table are left alone when their number of rows differs, and so are necks between a model
    of CLIP-ReID and one trained without labels. Everything else must fit.

    Raises:
        FileNotFoundError, ValueError: as `read_weights_file`.
        ValueError: a tensor does not fit; names it, both shapes and the option to change.
    """
    file = read_weights_file(path, option)
    if file.torchscript and not _uses_quick_gelu(model):
        raise ValueError(
            f"{path} is an OpenAI archive, trained with QuickGELU, but MODEL.NAME builds "
            "plain GELU: set quick_gelu to true in the JSON model config"
        )
    return load_state(model, file.state, str(path))


def load_state(model: ReIDModel, state: dict[str, Tensor], origin: str) -> LoadReport:
    """`load_weights` on a state dict already read; `origin` names it in errors."""
    source = _reid_names(state, model)
    target = model.state_dict()
    _check_backbone(source, target, origin)
    same_kind = _is_clip_reid(source) == _is_clip_reid(target)
    encoder = model.image_encoder
    # ImageNet's ResNets have no position embeddings.
    grid = encoder.grid if isinstance(encoder, ViTEncoder | ResNetEncoder) else (1, 1)
    square = any("visual." in key for key in state)  # CLIP's own grid, whatever its number of rows
    copied: dict[str, Tensor] = {}
    reshaped, skipped = [], []
    for key in [key for key in target if key in source]:
        if key.startswith(_NECK) and not same_kind:
            skipped.append(key)
            continue
        tensor, shape = source[key], target[key].shape
        resize = key in _POSITIONS and square and grid[0] != grid[1]
        if tensor.shape != shape or resize:
            if key in _POSITIONS and tensor.shape[1:] == shape[1:]:
                tensor = _fit_positions(tensor, grid)
                reshaped.append(key)
            elif (key in _CLASS_ROWS or key == _SIDE_TABLE) and tensor.shape[1:] == shape[1:]:
                skipped.append(key)
                continue
            else:
                raise ValueError(_shape_message(key, tensor, target[key], origin))
        copied[key] = tensor.to(target[key].dtype)
    suffix = copied.get("prompt_learner.token_suffix")
    if suffix is not None and isinstance(model, CLIPReID) and model.prompt_learner is not None:
        model.prompt_learner.check_ending(suffix, origin)
    model.load_state_dict(copied, strict=False)
    return LoadReport(
        loaded=tuple(key for key in target if key in copied and key not in reshaped),
        missing=tuple(key for key in target if key not in source),
        unexpected=tuple(sorted(source.keys() - target.keys())),
        reshaped=tuple(sorted(reshaped)),
        skipped=tuple(sorted(skipped)),
    )


def _uses_quick_gelu(model: ReIDModel) -> bool:
    return not any(isinstance(module, nn.GELU) for module in model.modules())


def _is_clip_reid(names: Iterable[str]) -> bool:
    return any(name.startswith(_CLIP_REID) for name in names)


def _reid_names(state: dict[str, Tensor], model: ReIDModel) -> dict[str, Tensor]:
    """The state under CLIP-ReID's names; a plain CLIP fills the image and the text side."""
    state = {k: v for k, v in state.items() if k not in _NOT_WEIGHTS}
    if any(key.startswith("visual.") for key in state):
        return _names_of_clip(state, model)
    if state.keys() >= _IMAGENET:
        return {f"image_encoder.{k}": v for k, v in state.items() if not k.startswith("fc.")}
    return state


def _names_of_clip(state: dict[str, Tensor], model: ReIDModel) -> dict[str, Tensor]:
    text = model.text_encoder if isinstance(model, CLIPReID) else None
    prompts = model.prompt_learner if isinstance(model, CLIPReID) else None
    renamed = {}
    for key, tensor in state.items():
        if key.startswith("visual."):
            renamed[key.replace("visual.", "image_encoder.", 1)] = tensor
        elif key.startswith(_TEXT_PARTS) and text is not None:
            renamed[f"text_encoder.{key}"] = tensor
        elif key == "token_embedding.weight" and prompts is not None:
            prefix, suffix = prompts.constant_words(tensor)
            renamed["prompt_learner.token_prefix"] = prefix
            renamed["prompt_learner.token_suffix"] = suffix
    return renamed


def _check_backbone(source: dict[str, Tensor], target: dict[str, Tensor], origin: str) -> None:
    """The file's image encoder must be the model's; raises ValueError."""
    conv = "image_encoder.conv1.weight"
    if conv not in source:
        raise ValueError(
            f"{origin} holds no image encoder of CLIP, CLIP-ReID or an ImageNet ResNet; it starts "
            f"with {', '.join(list(source)[:4]) or 'nothing'}"
        )
    if source[conv].shape != target[conv].shape:
        raise ValueError(_shape_message(conv, source[conv], target[conv], origin))
    names = {
        side: {key for key in tensors if key.startswith("image_encoder.")}
        for side, tensors in (("file", source), ("model", target))
    }
    odd = sorted(names["file"] ^ names["model"])
    odd = [key for key in odd if not key.endswith("num_batches_tracked")]
    if odd:
        raise ValueError(
            f"{origin}: the image encoder is not the one of MODEL.NAME; "
            f"only one of the two has {', '.join(odd[:4])}"
        )


def _fit_positions(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize position embeddings whose own grid is unknown: a square, else the nearest aspect."""
    embedding = embedding.float()
    patches = len(embedding) - 1
    if round(patches**0.5) ** 2 == patches:
        return resize_position_embedding(embedding, grid)
    aspect = grid[0] / grid[1]
    factors = [(patches // c, c) for c in range(1, patches + 1) if patches % c == 0]
    old = min(factors, key=lambda f: abs(torch.tensor(f[0] / f[1] / aspect).log().item()))
    return resize_position_embedding(embedding, grid, old)


def _shape_message(key: str, found: Tensor, wanted: Tensor, origin: str) -> str:
    option = "MODEL.NAME"
    if key.startswith("prompt_learner."):
        option = "MODEL.PROMPT or MODEL.NAME"
    elif key in _POSITIONS:
        option = "MODEL.NAME, MODEL.STRIDE_SIZE or INPUT.SIZE_TRAIN"
    elif key.startswith(_NECK):
        option = "MODEL.NAME, DSGL.POOLING or DSGL.EMBED_DIM"
    return (
        f"{origin}: {key} has shape {tuple(found.shape)} in the file and {tuple(wanted.shape)} in "
        f"the model; {option} does not describe this file"
    )
