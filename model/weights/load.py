"""Loading weights into a model."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from torch import Tensor, nn

from model.clip_reid import CLIPReID
from model.reid_model import ReIDModel
from model.weights.foreign import describe_other
from model.weights.read import WeightsFile, read_weights_file
from model.weights.report import LoadReport
from model.weights.translate import translate_names

_ENCODER = "image_encoder."
# Tables with a row per identity, or per camera and viewpoint.
_ROWS = ("classifier.weight", "classifier_proj.weight", "prompt_learner.cls_ctx", "cv_embed")
_NECK = ("bottleneck.", "embedding.")
_CLIP_REID = ("classifier", "bottleneck_proj.")  # parts that only CLIPReID has


def load_weights(model: ReIDModel, path: str | Path, option: str = "") -> LoadReport:
    """Load a weights file of any known origin into the model.

    Position embeddings are resized to the model's grid. Skipped: class rows (classifiers, prompts)
    and the side-information table if their number of rows differs, and the neck if one of file and
    model was trained without labels. Everything else must fit.

    Raises:
        FileNotFoundError, ValueError: as `read_weights_file`.
        ValueError: a tensor does not fit; names it, both shapes and the option to change.
    """
    return load_file(model, read_weights_file(path, option), path)


def load_pretrained(model: ReIDModel, file: WeightsFile, path: str | Path) -> LoadReport:
    """`load_weights` for the start of a training run.

    Tables with a row per identity or camera are skipped: the file's rows belong to other
    identities and cameras, even if their number happens to be equal.
    """
    return load_file(model, file, path, skip=_ROWS)


def load_file(
    model: ReIDModel, file: WeightsFile, path: str | Path, skip: Collection[str] = ()
) -> LoadReport:
    """`load_weights` from a file already read; parameters in `skip` stay as they are."""
    if file.torchscript and any(isinstance(module, nn.GELU) for module in model.modules()):
        raise ValueError(
            f"{path} is an OpenAI archive, trained with QuickGELU, but MODEL.NAME builds "
            "plain GELU: set quick_gelu to true in the JSON model config"
        )
    return load_state(model, file.state, str(path), skip)


def load_state(
    model: ReIDModel, state: dict[str, Tensor], origin: str, skip: Collection[str] = ()
) -> LoadReport:
    """`load_file` from a state dict; `origin` names it in errors."""
    source, target = translate_names(state, model), model.state_dict()
    _check_encoder(source, target, origin)
    encoder = model.image_encoder
    positions = _ENCODER + encoder.position_embedding
    # Published grids are square, even if their number of patches happens to be the model's.
    published = not any(key.startswith(_ENCODER) for key in state)
    square = published and encoder.grid[0] != encoder.grid[1]
    same_kind = _is_clip_reid(source) == _is_clip_reid(target)
    copied: dict[str, Tensor] = {}
    reshaped, skipped = [], []
    for key in [key for key in target if key in source]:
        tensor, shape = source[key], target[key].shape
        same_columns = tensor.shape[1:] == shape[1:]
        same_width = 0 < tensor.ndim == len(shape) and tensor.shape[-1:] == shape[-1:]
        if key in skip or (key.startswith(_NECK) and not same_kind):
            skipped.append(key)
            continue
        if key == positions and same_width and (square or tensor.shape != shape):
            tensor = encoder.fit_positions(tensor)
            reshaped.append(key)
        elif tensor.shape != shape:
            if key not in _ROWS or not same_columns:
                raise ValueError(_shape_message(key, tensor, target[key], origin))
            skipped.append(key)
            continue
        _check_values(key, tensor, target[key], origin)
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


def _is_clip_reid(names: Iterable[str]) -> bool:
    return any(name.startswith(_CLIP_REID) for name in names)


def _check_encoder(source: dict[str, Tensor], target: dict[str, Tensor], origin: str) -> None:
    """Raise ValueError unless the file's image encoder is the model's."""
    names = {key for key in source if key.startswith(_ENCODER)}
    if not names:
        _refuse_other(source, origin)
        raise ValueError(
            f"{origin} holds no image encoder of CLIP, of CLIP-ReID or of MODEL.NAME; it starts "
            f"with {', '.join(list(source)[:4]) or 'nothing'}"
        )
    conv = f"{_ENCODER}conv1.weight"
    if conv in source and conv in target and source[conv].shape != target[conv].shape:
        raise ValueError(_shape_message(conv, source[conv], target[conv], origin))
    odd = names ^ {key for key in target if key.startswith(_ENCODER)}
    odd = {key for key in odd if not key.endswith("num_batches_tracked")}  # absent in old files
    if odd:
        _refuse_other(source, origin)
        raise ValueError(
            f"{origin}: its image encoder is not the one of MODEL.NAME; only one of the two has "
            f"{', '.join(sorted(odd)[:4])}"
        )


def _refuse_other(source: dict[str, Tensor], origin: str) -> None:
    """Raise ValueError for weights of an architecture that is known and not supported."""
    other = describe_other(source)
    if other:
        raise ValueError(
            f"{origin} holds {other}, which timm does not have; export it to ONNX where it was "
            "trained, and measure that file (TEST.WEIGHT model.onnx)"
        )


def _check_values(key: str, found: Tensor, wanted: Tensor, origin: str) -> None:
    """Raise ValueError for numbers of another kind, or that are not finite."""
    if found.is_floating_point() != wanted.is_floating_point():
        raise ValueError(
            f"{origin}: {key} holds {found.dtype} numbers, the model {wanted.dtype}; weights of "
            "integers or complex numbers cannot be used: save them as floats"
        )
    if found.is_floating_point() and not bool(found.to(wanted.dtype).isfinite().all()):
        raise ValueError(
            f"{origin}: {key} has values that are NaN or infinite; use a checkpoint from before "
            "the training diverged, or copy the file again"
        )


def _shape_message(key: str, found: Tensor, wanted: Tensor, origin: str) -> str:
    option = "MODEL.NAME"
    if key.startswith("prompt_learner."):
        option = "MODEL.PROMPT or MODEL.NAME"
    elif key.endswith("positional_embedding") and key.startswith(_ENCODER):
        option = "MODEL.NAME, MODEL.STRIDE_SIZE or INPUT.SIZE_TRAIN"
    elif key.startswith(_NECK):
        option = "MODEL.NAME, DSGL.POOLING or DSGL.EMBED_DIM"
    return (
        f"{origin}: {key} has shape {tuple(found.shape)} in the file and {tuple(wanted.shape)} in "
        f"the model; {option} does not describe this file"
    )
