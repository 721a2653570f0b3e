"""The README.md of a published model: what it is, how to use it, what was measured."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from config.errors import ConfigError
from processor.results.escaping import escape_markdown
from processor.results.files import to_markdown

logger = logging.getLogger(__name__)

USAGE = """\
```python
import torch
from clipreid import Extractor

extractor = Extractor("hf://USER/MODEL")  # where it was published, or the path of this folder
features = extractor(["a.jpg", "b.jpg"])  # (2, D) float32, rows of length 1
distances = torch.cdist(features, features)  # Euclidean; smaller = more alike
```
"""
NOT_EVALUATED = "Not evaluated: no results came with the checkpoint.\n"
LICENSE = """\
Not stated by the export. Whoever publishes this model names one here and in the header
(`license:`); the training images and the pre-trained weights may restrict the choice.
"""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """What a card says about a model.

    Attributes:
        title: of the page.
        architecture: its name; empty = described in the weights file.
        image_size: (height, width) of the input in pixels.
        sources: training data sets.
        labels: whether it was trained with identity labels.
    """

    title: str
    architecture: str
    image_size: tuple[int, int]
    sources: tuple[str, ...]
    labels: bool


def write_card(model: PublishedModel, results: dict[str, Any] | None) -> str:
    """A model card with the hub's YAML header.

    Args:
        model: the facts.
        results: the content of a results.json; None = not evaluated.
    """
    header: dict[str, Any] = {
        "library_name": "clipreid",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["re-identification", "image-retrieval", "clip"],
    }
    evaluation = NOT_EVALUATED
    if results is not None:
        results = {**results, "checkpoint": Path(results["checkpoint"]).name}  # no folder of ours
        header["model-index"] = [{"name": model.title, "results": list(_entries(results))}]
        evaluation = to_markdown(results)
    sources = escape_markdown(", ".join(model.sources) or "unknown data")
    height, width = model.image_size
    architecture = model.architecture or "an architecture of its own"
    about = (
        f"An image re-identification model ({architecture}, inputs of {height}x{width} pixels),\n"
        f"trained on {sources} {'with' if model.labels else 'without'} identity labels.\n"
    )
    sections = [
        f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n",
        f"# {escape_markdown(model.title)}\n",
        about,
        f"## Use\n\nWith the package `clipreid`:\n\n{USAGE}",
        f"## Evaluation\n\n{evaluation}",
        f"## License\n\n{LICENSE}",
    ]
    return "\n".join(sections)


def find_results(
    checkpoint: Path, neck: str, given: Path | None = None, *, epoch: int | None = None
) -> dict[str, Any] | None:
    """The evaluation of a checkpoint.

    Args:
        checkpoint: its file.
        neck: TEST.NECK_FEAT of the features to publish.
        given: a results file; None = `results.json` next to the checkpoint, if it exists and is of
            this checkpoint, epoch and neck.
        epoch: of the checkpoint's weights; None = unknown.

    Returns:
        The content of the file, or None.

    Raises:
        ConfigError: the given file does not exist, holds no results or is of another checkpoint or
            neck.
    """
    path = given or checkpoint.with_name("results.json")
    if not path.is_file():
        if given:
            raise ConfigError(f"--results: no file {given}")
        return None
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        evaluated = (Path(results["checkpoint"]).stem, results["neck_feature"])
        list(_entries(results))
        to_markdown(results)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        if given:
            raise ConfigError(f"--results: {given} holds no results: {error!r}") from error
        logger.warning("%s holds no results, so none are published: %r", path, error)
        return None
    of_epoch = results.get("epoch", epoch)  # not in results of earlier versions
    if evaluated != (checkpoint.stem, neck):
        if given:
            raise ConfigError(
                f"--results: {given} is of {evaluated[0]}, features {evaluated[1]} the neck; "
                f"expected {checkpoint.stem}, {neck}"
            )
        return None
    if epoch in (None, of_epoch):
        return results
    if given:
        raise ConfigError(
            f"--results: {given} is of epoch {of_epoch}, and {checkpoint} of epoch {epoch}"
        )
    logger.warning(
        "%s is of epoch %s and these weights of epoch %s, so no results are published",
        path,
        of_epoch,
        epoch,
    )
    return None


def _entries(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The targets' scores as the hub's model index wants them, in percent."""
    for name, target in results["targets"].items():
        scores = {"mAP": target["mAP"], "Rank-1": target["cmc"]["1"]}
        yield {
            "task": {"type": "image-feature-extraction", "name": "Image re-identification"},
            "dataset": {"type": name, "name": name},
            "metrics": [
                {"type": key, "name": key, "value": round(100 * value, 2)}
                for key, value in scores.items()
            ],
        }
