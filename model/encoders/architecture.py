"""open_clip model configs in JSON, checked before anything is built from them."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import timm
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

_PARTS: dict[str, Any] = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg}
_MOST = {
    "image_size": 2048,
    "patch_size": 256,
    "width": 8192,
    "heads": 256,
    "head_width": 8192,
    "layers": 200,
    "context_length": 4096,
    "vocab_size": 2**17,
    "embed_dim": 8192,
}
_MOST_TEXT_PARAMETERS = 500_000_000  # CLIP's largest text towers have 350 million


def parse_architecture(text: str, origin: str) -> dict[str, Any]:
    """A model config whose keys are known and whose numbers are in range.

    Args:
        text: JSON.
        origin: names it in errors.

    Raises:
        ValueError: not a model config, or one of a model to download.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{origin} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{origin} holds no model config, but {type(found).__name__}")
    _refuse_downloads(found, origin)
    missing = {"embed_dim", *_PARTS} - set(found)
    if missing:
        raise ValueError(f"{origin} lacks {', '.join(sorted(missing))}")
    for part, kind in _PARTS.items():
        known = {field.name for field in fields(kind)}
        if not isinstance(found[part], dict):
            raise ValueError(f"{origin}: {part} should be a block of options")
        for key, value in found[part].items():
            if key not in known:
                raise ValueError(f"{origin}: unknown key {part}.{key}")
            _check_number(key, value, f"{origin}: {part}.{key}")
    _check_number("embed_dim", found["embed_dim"], f"{origin}: embed_dim")
    _check_text_size(found["text_cfg"], origin)
    return found


def _refuse_downloads(found: dict[str, Any], origin: str) -> None:
    """Raise ValueError for towers that open_clip or timm would download."""
    for part in filter(lambda part: isinstance(found.get(part), dict), _PARTS):
        for key, value in found[part].items():
            of_hub = key == "timm_model_name" and not (
                isinstance(value, str) and timm.is_model(value)
            )
            if key.startswith("hf_") or of_hub or (key == "timm_model_pretrained" and value):
                raise ValueError(
                    f"{origin} names a model to download, which is never done for a model config: "
                    f"{part}.{key} is {value!r}; only CLIP's own towers and networks that timm has "
                    "are built"
                )


def _check_number(key: str, value: Any, name: str) -> None:
    """Raise ValueError if a size is not a whole number in range.

    A ResNet has four `layers`, and open_clip's configs give it the patch size null.
    """
    if key not in _MOST or (key == "patch_size" and value is None):
        return
    values = value if key == "layers" and isinstance(value, list) and len(value) == 4 else [value]
    for number in values:
        if type(number) is not int or not 1 <= number <= _MOST[key]:
            raise ValueError(
                f"{name} is {number!r}, expected a whole number from 1 to {_MOST[key]}"
            )


def _check_text_size(text: dict[str, Any], origin: str) -> None:
    default = CLIPTextCfg()
    width, layers = text.get("width", default.width), text.get("layers", default.layers)
    if layers * 12 * width**2 > _MOST_TEXT_PARAMETERS:
        raise ValueError(f"{origin}: text_cfg has {layers} layers of width {width}, too many")
