"""Original files: their parameter names as ours, and the options their shapes imply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from model.clip_reid import CLIPReID
from model.reid_model import ReIDModel
from model.weights.foreign import split_network, translate_network

_TEXT_PARTS = ("transformer.", "positional_embedding", "ln_final.", "text_projection")
_NOT_WEIGHTS = (
    *("input_resolution", "context_length", "vocab_size", "logit_scale", "logit_bias"),
    *("attn_mask", "text.attn_mask"),
)
# Beside other projects' networks: necks; SOLIDER's control of semantics and its norms of inner
# stages, for dense tasks.
_HEADS = ("bottleneck.", "semantic_embed_", "norm0.", "norm1.", "norm2.")
_POSITIONS = {
    "vit": "image_encoder.positional_embedding",
    "resnet": "image_encoder.attnpool.positional_embedding",
}

PATCH = 16  # pixels, of CLIP-ReID's ViT; a ResNet reduces its input as much
STRIDES = ((16, 16), (12, 12), (14, 14), (11, 11), (10, 10), (8, 8))  # most usual first
SIZES = ((256, 128), (256, 256), (384, 128), (224, 224), (384, 384))


@dataclass(frozen=True, slots=True)
class Grid:
    """The patches of an image: stride of the patches and (height, width) of the image."""

    stride: tuple[int, int]
    size: tuple[int, int]

    @property
    def rows(self) -> int:
        """Number of patches, one row of a position embedding each."""
        counts = [(s - PATCH) // t + 1 for s, t in zip(self.size, self.stride, strict=True)]
        return counts[0] * counts[1]

    def options(self) -> list[str]:
        """Overrides `KEY VALUE ...`."""
        size = str(list(self.size))
        stride = ["MODEL.STRIDE_SIZE", str(list(self.stride))]
        return [*stride, "INPUT.SIZE_TRAIN", size, "INPUT.SIZE_TEST", size]


def find_grid(
    rows: int, strides: Iterable[tuple[int, int]], sizes: Sequence[tuple[int, int]]
) -> Grid | None:
    """The first combination with that many patches, or None."""
    grids = (Grid(stride, size) for stride in strides for size in sizes)
    return next((grid for grid in grids if grid.rows == rows), None)


def options_told(state: dict[str, Tensor], now: Grid, *, side_information: bool) -> dict[str, str]:
    """Options that the shapes of a file without configuration contradict, with the file's values.

    Args:
        state: CLIP-ReID's parameter names to tensors.
        now: stride and image size of the configuration; a file that fits them tells nothing.
        side_information: whether the configuration has any.
    """
    told = []
    positions = state.get(_POSITIONS["vit"])
    conv = state.get("image_encoder.conv1.weight")
    usual = conv is not None and conv.shape[2:] == (PATCH, PATCH)
    if usual and positions is not None and len(positions) - 1 != now.rows:
        rows = len(positions) - 1
        grid = find_grid(rows, STRIDES, [now.size]) or find_grid(
            rows, [now.stride, *STRIDES], SIZES
        )
        told += grid.options() if grid else []
    if "cv_embed" in state and not side_information:
        told += ["MODEL.SIE_CAMERA", "True"]
    return dict(zip(told[::2], told[1::2], strict=True))


def translate_names(state: dict[str, Tensor], model: ReIDModel) -> dict[str, Tensor]:
    """A state dict under this project's names, which are CLIP-ReID's.

    A plain CLIP fills the image side and, if the model has one, the text side. The state dict of a
    bare image encoder, such as torchvision's ResNets, fills the encoder; what other ReID projects
    add to it, the neck and the classifier where names and shapes are ours.
    """
    state = {key: tensor for key, tensor in state.items() if key not in _NOT_WEIGHTS}
    if is_plain_clip(state):
        return _translate_clip(state, model)
    if any(key.startswith("image_encoder.") for key in state):
        return state
    network, rest = split_network(state)
    bare = model.image_encoder.published_state(translate_network(network))
    own = model.image_encoder.state_dict().keys()
    if not bare.keys() & own:
        return state
    known = (*_HEADS, *model.image_encoder.published_heads)
    heads = {key for key in bare if key not in own and _plain_head(key).startswith(known)}
    named = {f"image_encoder.{key}": tensor for key, tensor in bare.items() if key not in heads}
    return {**named, **{_plain_head(key): bare[key] for key in heads}, **rest}


def _plain_head(name: str) -> str:
    return name.removeprefix("network.")


def text_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The text side of a CLIP under OpenAI's names; some of open_clip keep it below `text.`."""
    return {
        key.removeprefix("text."): tensor
        for key, tensor in state.items()
        if not key.startswith("visual.")
    }


def is_plain_clip(state: dict[str, Tensor]) -> bool:
    """Whether a state dict has the names of OpenAI's CLIP."""
    return any(key.startswith("visual.") for key in state)


def _translate_clip(state: dict[str, Tensor], model: ReIDModel) -> dict[str, Tensor]:
    text = model.text_encoder if isinstance(model, CLIPReID) else None
    prompts = model.prompt_learner if isinstance(model, CLIPReID) else None
    tower = {key.removeprefix("visual."): x for key, x in state.items() if "visual." in key}
    tower = model.image_encoder.published_state(tower)
    renamed = {f"image_encoder.{key}": tensor for key, tensor in tower.items()}
    for key, tensor in text_state(state).items():
        if key.startswith(_TEXT_PARTS) and text is not None:
            renamed[f"text_encoder.{key}"] = tensor
        elif key == "token_embedding.weight" and prompts is not None:
            prefix, suffix = prompts.constant_words(tensor)
            renamed["prompt_learner.token_prefix"] = prefix
            renamed["prompt_learner.token_suffix"] = suffix
    return renamed


def infer_options(state: dict[str, Tensor]) -> list[str]:
    """Config overrides for the model of an original CLIP-ReID file, inferred from its shapes.

    Args:
        state: CLIP-ReID's parameter names to tensors.

    Returns:
        `KEY VALUE ...` for `config.load_cfg`.

    Raises:
        ValueError: not a CLIP-ReID checkpoint of a ViT-B/16 or RN50.
    """
    conv = state.get("image_encoder.conv1.weight")
    if conv is None or "classifier.weight" not in state:
        raise ValueError(
            "not a CLIP-ReID checkpoint: it starts with "
            f"{', '.join(list(state)[:4])} and lacks image_encoder.conv1.weight or "
            "classifier.weight"
        )
    vit = "image_encoder.class_embedding" in state
    name = {(True, 768): "ViT-B-16", (False, 32): "RN50"}.get((vit, conv.shape[0]))
    rows = len(state.get(_POSITIONS["vit" if vit else "resnet"], ())) - 1
    grid = find_grid(rows, STRIDES if vit else STRIDES[:1], SIZES) if name else None
    if name and grid:
        mean = "[0.5, 0.5, 0.5]" if vit else "[0.485, 0.456, 0.406]"
        deviation = "[0.5, 0.5, 0.5]" if vit else "[0.229, 0.224, 0.225]"
        options = ["MODEL.NAME", name, *grid.options()]
        options += ["INPUT.PIXEL_MEAN", mean, "INPUT.PIXEL_STD", deviation]
        options += ["MODEL.SIE_CAMERA", str("cv_embed" in state)]
        options += ["MODEL.TEXT_TOWER", str("prompt_learner.cls_ctx" in state)]
        return [*options, "TEST.NECK_FEAT", "before"]
    raise ValueError(
        f"an image encoder with conv1 {tuple(conv.shape)} and {rows} positions is neither ViT-B-16 "
        "nor RN50 at a usual image size; describe it with --config_file"
    )
