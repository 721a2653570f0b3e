"""The outcome of loading a weights file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Prefixes of parameter names -> the parts as the log names them.
PARTS = {
    "image_encoder.": "image encoder",
    "text_encoder.": "text encoder",
    "prompt_learner.token_": "prompt words",
    "prompt_learner.cls_ctx": "prompts",
    "classifier": "classifiers",
    "bottleneck": "BNNecks",
    "pooling.": "pooling",
    "embedding.": "embedding layer",
    "cv_embed": "side information",
}


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The outcome of loading a weights file, as parameter names.

    Attributes:
        loaded: copied unchanged.
        missing: in the model but not in the file; left unchanged.
        unexpected: in the file but not in the model; ignored.
        reshaped: position embeddings, resized to the model's grid.
        skipped: rows of other identities or cameras, or the neck of another kind of model; left
            unchanged.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    skipped: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for name in ("reshaped", "skipped", "missing", "unexpected"):
            keys = getattr(self, name)
            if keys:
                shown = ", ".join(keys[:4]) + (", ..." if len(keys) > 4 else "")
                parts.append(f"{len(keys)} {name} ({shown})")
        return "; ".join(parts)

    def summary(self) -> str:
        """One line by parts of the model: loaded, not loaded, ignored."""
        loaded = _parts(self.loaded + self.reshaped)
        left = [part for part in _parts(self.missing + self.skipped) if part not in loaded]
        ignored = [part for part in _parts(self.unexpected) if part not in loaded + left]
        sentences = [f"loaded {', '.join(loaded)}"]
        sentences += [f"not loaded: {', '.join(left)}"] if left else []
        sentences += [f"ignored: {', '.join(ignored)}"] if ignored else []
        sentences += ["position embeddings resized"] if self.reshaped else []
        return "; ".join(sentences)


def _parts(keys: Iterable[str]) -> list[str]:
    """The parts that parameter names belong to, in the order of the names."""
    found: dict[str, None] = {}
    for key in keys:
        part = next((part for prefix, part in PARTS.items() if key.startswith(prefix)), None)
        found[part or key.split(".")[0]] = None
    return list(found)
