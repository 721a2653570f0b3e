"""The file behind the name of a model: a path, an exported folder, or a model on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import constants, snapshot_download

HUB = "hf://"
WEIGHTS, CONFIG = "model.safetensors", "config.yml"  # files of an exported folder
_PICKLED = "pytorch_model.bin"  # in older folders of Hugging Face
_HUB_NAME = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def locate_weights(name: str | Path) -> Path:
    """The weights file of a model; one on the hub is downloaded unless the cache has it.

    Only WEIGHTS and CONFIG are downloaded, neither of which can hold code.

    Args:
        name: a file, a folder of `run.py export --safetensors` or of Hugging Face, or `hf://user/model`,
            optionally with `@` and a revision.

    Raises:
        FileNotFoundError: the hub's model is neither in the cache nor downloadable.
        ValueError: a name after `hf://` that is not one of the hub.
    """
    if str(name).startswith(HUB):
        return _download(str(name)) / WEIGHTS
    path = Path(name)
    if not path.is_dir():
        return path
    pickled = path / _PICKLED
    return pickled if pickled.is_file() and not (path / WEIGHTS).is_file() else path / WEIGHTS


def _download(name: str) -> Path:
    """The folder of a hub's model in the cache."""
    match = _HUB_NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name}: expected hf://USER/MODEL or hf://USER/MODEL@REVISION")
    repository, revision = match.groups()
    try:
        folder = snapshot_download(repository, revision=revision, allow_patterns=[WEIGHTS, CONFIG])
    except Exception as error:  # of the network, the hub or the cache
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise FileNotFoundError(
            f"{name}: not in the cache {constants.HF_HUB_CACHE}, and the download failed "
            f"({reason}). Check the name, the connection, HF_HUB_OFFLINE and, for a private model, "
            f"the login; or download {WEIGHTS} and {CONFIG} of {repository} elsewhere and give "
            "their folder instead of the name"
        ) from error
    return Path(folder)
