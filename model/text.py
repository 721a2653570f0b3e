"""CLIP's text tower, run only on the tokens that affect the text feature."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from model.encoders.clip_text import TextTower


@dataclass(frozen=True, slots=True)
class PrefixStates:
    """Keys and values of a prompt's first words, per layer (1, heads, start, W / heads)."""

    keys: list[Tensor]
    values: list[Tensor]
    length: int


class TextEncoder(nn.Module):
    """The causal text transformer of CLIP.

    A token attends only to earlier tokens. Padding after the end token therefore has no effect and
    is not computed, and the words before the learned context, shared by all identities, are
    encoded once (`encode_prefix`). Both shortcuts are exact.

    Args:
        tower: its modules are reused under OpenAI's names.
    """

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        text = tower.module
        self.positional_embedding = text.positional_embedding
        self.text_projection = text.text_projection
        self.transformer = text.transformer
        self.ln_final = text.ln_final

    def encode_prefix(self, prefix: Tensor) -> PrefixStates:
        """Keys and values of the constant first words: (1, start, W) embeddings."""
        length = prefix.shape[1]
        x = prefix + self.positional_embedding[:length]
        keys, values = [], []
        for block in self.transformer.resblocks:
            x, key, value = _causal_block(block, x, None, None)
            keys.append(key)
            values.append(value)
        return PrefixStates(keys, values, length)

    def forward(self, words: Tensor, prefix: PrefixStates) -> Tensor:
        """Text features of prompts.

        Args:
            words: (B, T, W) embeddings after the prefix, the end token last.
            prefix: from `encode_prefix`.

        Returns:
            (B, E), not normalized.
        """
        stop = prefix.length + words.shape[1]
        x = words + self.positional_embedding[prefix.length : stop]
        for block, key, value in zip(
            self.transformer.resblocks, prefix.keys, prefix.values, strict=True
        ):
            x, _, _ = _causal_block(block, x, key, value)
        return self.ln_final(x[:, -1]) @ self.text_projection


def _causal_block(
    block: ResidualAttentionBlock, x: Tensor, past_key: Tensor | None, past_value: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, keys and values of one block for (B, T, W) tokens that follow cached ones."""
    attention = block.attn
    packed = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (
        part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for part in packed.chunk(3, dim=-1)
    )  # (B, heads, T, W / heads)
    if past_key is not None and past_value is not None:
        key = torch.cat([past_key.to(key.dtype).expand(len(x), -1, -1, -1), key], dim=2)
        value = torch.cat([past_value.to(value.dtype).expand(len(x), -1, -1, -1), value], dim=2)
    old = key.shape[2] - query.shape[2]
    hidden = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=x.device).triu(
        old + 1
    )
    # Written out: for a dozen tokens torch's fused kernels are slower, on a CPU far slower.
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
    mixed = scores.masked_fill(hidden, -torch.inf).softmax(-1).to(value.dtype) @ value
    x = x + block.ls_1(attention.out_proj(mixed.transpose(1, 2).flatten(2)))
    return x + block.ls_2(block.mlp(block.ln_2(x))), key, value
