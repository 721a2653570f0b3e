"""The learned prompts "A photo of a [X]1 [X]2 [X]3 [X]4 person." (CLIP-ReID, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import open_clip
import torch
from torch import Tensor, nn

NUM_CONTEXT_TOKENS = 4
PLACEHOLDER = "{context}"
_SPELLED_OUT = " ".join(["X"] * NUM_CONTEXT_TOKENS)


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A tokenized prompt sentence.

    Attributes:
        sentence: with `X X X X` in place of the learned context.
        tokens: (1, L) token ids, zero after the end.
        start: position of the first context token.
        end: position of the end token, whose output is the text feature.
    """

    sentence: str
    tokens: Tensor
    start: int
    end: int


def prompt_sentence(noun_or_sentence: str) -> str:
    """The prompt for a noun ("cow") or for a sentence with the placeholder {context}.

    Raises:
        ValueError: another placeholder, or more than one.
    """
    if noun_or_sentence.count(PLACEHOLDER) > 1:
        raise ValueError(f"MODEL.PROMPT: {noun_or_sentence!r} has {PLACEHOLDER} more than once")
    text = noun_or_sentence.strip().replace(PLACEHOLDER, _SPELLED_OUT)
    if "{" in text or "}" in text:
        raise ValueError(f"MODEL.PROMPT: {noun_or_sentence!r}: the placeholder is {PLACEHOLDER}")
    return text if _SPELLED_OUT in text else f"A photo of a {_SPELLED_OUT} {text}."


def tokenize_prompt(noun_or_sentence: str, context_length: int = 77) -> PromptTokens:
    """Tokenize a prompt and locate its learned part.

    Raises:
        ValueError: the sentence is longer than the text tower's context, or {context} is not a
            separate word.
    """
    sentence = prompt_sentence(noun_or_sentence)
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=context_length)
    length = len(tokenizer.encode(sentence)) + 2
    if length > context_length:
        raise ValueError(
            f"MODEL.PROMPT: {sentence!r} has {length} tokens; the text tower takes {context_length}"
        )
    tokens = tokenizer([sentence])
    before = sentence[: sentence.index(_SPELLED_OUT)]
    start = 1 + len(tokenizer.encode(before))
    if tokens[0, start : start + NUM_CONTEXT_TOKENS].tolist() != tokenizer.encode(_SPELLED_OUT):
        raise ValueError(
            f"MODEL.PROMPT: {PLACEHOLDER} must be a separate word in {noun_or_sentence!r}"
        )
    return PromptTokens(sentence, tokens, start, int(tokens.argmax()))


class PromptLearner(nn.Module):
    """Learned context tokens per identity, between constant words.

    Args:
        prompt: its constant words become buffers, saved with the model.
        token_embedding: CLIP's table (vocabulary, W).
        num_classes: identities C.

    The state dict has CLIP-ReID's names: `cls_ctx` (C, 4, W), `token_prefix` (1, start, W),
    `token_suffix` (1, L - start - 4, W).
    """

    token_prefix: Tensor
    token_suffix: Tensor

    def __init__(
        self, prompt: PromptTokens, token_embedding: nn.Embedding, num_classes: int
    ) -> None:
        super().__init__()
        self.prompt = prompt
        self.cls_ctx = nn.Parameter(
            torch.empty(num_classes, NUM_CONTEXT_TOKENS, token_embedding.embedding_dim)
        )
        nn.init.normal_(self.cls_ctx, std=0.02)
        prefix, suffix = self.constant_words(token_embedding.weight)
        self.register_buffer("token_prefix", prefix)
        self.register_buffer("token_suffix", suffix)

    def constant_words(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (1, start, W) before and (1, L - start - 4, W) after the context."""
        words = table.detach()[self.prompt.tokens]
        after = self.prompt.start + NUM_CONTEXT_TOKENS
        return words[:, : self.prompt.start].clone(), words[:, after:].clone()

    def check_ending(self, suffix: Tensor, origin: str) -> None:
        """Refuse constant words (1, ., W) whose sentence ends at another token.

        All rows after the end token are padding, hence equal.

        Raises:
            ValueError: names the file and MODEL.PROMPT.
        """
        rows = suffix[0]
        words = (rows != rows[-1]).any(1).nonzero().flatten()
        length = int(words[-1]) + 1 if len(words) else 0
        expected = self.prompt.end + 1 - self.prompt.start - NUM_CONTEXT_TOKENS
        if length != expected:
            raise ValueError(
                f"{origin}: its prompts end {length} tokens after the context, those of "
                f"{self.prompt.sentence!r} end after {expected}; set MODEL.PROMPT as the file was "
                "trained with"
            )

    def forward(self, labels: Tensor) -> Tensor:
        """(B,) labels -> (B, end + 1 - start, W) embeddings, first context token to end token."""
        ending = self.prompt.end + 1 - self.prompt.start - NUM_CONTEXT_TOKENS
        suffix = self.token_suffix[:, :ending].expand(len(labels), -1, -1)
        return torch.cat([self.cls_ctx[labels], suffix], dim=1)
