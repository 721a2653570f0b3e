"""What loading a weights file did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What loading a weights file did, as parameter names.

    Attributes:
        loaded: copied as they are.
        missing: in the model, not in the file; left as they were.
        unexpected: in the file, not in the model; ignored.
        reshaped: position embeddings resized to the model's grid.
        skipped: rows of other identities or cameras, the neck of another kind of model; left as
            they were.
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
