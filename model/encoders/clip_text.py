"""Text towers of CLIPs: which ones prompts can be learned with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor, nn

_OTHER_BLOCKS = (
    *("block_type", "qk_norm", "scaled_cosine_attn", "scale_heads"),
    *("scale_attn_inner", "scale_attn", "scale_fc"),
)


@dataclass(frozen=True, slots=True)
class TextTower:
    """The text side of a CLIP.

    Attributes:
        module: with `token_embedding` (V, W), `positional_embedding` (L, W), `transformer`,
            `ln_final` and `text_projection` (W, E), all under OpenAI's names.
        encode: (N, L) token ids -> (N, E), not normalized.
    """

    module: Any
    encode: Callable[[Tensor], Tensor]

    @property
    def context_length(self) -> int:
        """L, tokens of a text."""
        return int(self.module.context_length)

    @classmethod
    def of(cls, clip: CLIP | CustomTextCLIP) -> TextTower:
        """The text tower of a model whose architecture `why_without_prompts` lets pass."""
        return cls(clip.text if isinstance(clip, CustomTextCLIP) else clip, clip.encode_text)

    def parameters_by_name(self) -> dict[str, Tensor]:
        """Its weights under OpenAI's names, without those of an image tower."""
        state: dict[str, Tensor] = self.module.state_dict()
        return {name: x for name, x in state.items() if not name.startswith(("visual.", "logit_"))}

    def load(self, state: dict[str, Tensor]) -> None:
        """Copy weights that have the names of `parameters_by_name`."""
        module: nn.Module = self.module
        module.load_state_dict(state, strict=False)


def why_without_prompts(architecture: dict[str, Any]) -> str:
    """Why prompts cannot be learned with an architecture's text tower; "" if they can.

    Prompts are learned token embeddings in front of an end token, read by a causal transformer:
    only then can the padding be left out and the constant first words be encoded once.
    """
    text = architecture["text_cfg"]
    pool = text.get("pool_type", "argmax")
    other = [key for key in _OTHER_BLOCKS if text.get(key)]
    reasons = {
        "its text tower is of Hugging Face's transformers": "hf_model_name" in text,
        "its text tower is not causal": text.get("no_causal_mask"),
        "its text tower reads a class token, not the end token (CoCa)": text.get("embed_cls"),
        f"its text tower pools {pool!r}, not the end token": pool != "argmax",
        "its tokenizer is not CLIP's": {"hf_tokenizer_name", "tokenizer_kwargs"} & text.keys(),
        "its text projection has a bias": text.get("proj_bias"),
        "it has no text projection": text.get("proj_type") == "none",
        f"its text tower has other blocks ({', '.join(other)})": other,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
