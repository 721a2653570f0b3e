"""Plug-ins that a checkpoint's model was trained with; they are named, never imported."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from yacs.config import CfgNode

from config.files import read_tree
from config.plugins import describe_plugins
from model.weights.read import WeightsFile

logger = logging.getLogger(__name__)


def trained_with(file: WeightsFile) -> dict[str, str]:
    """SHA-256 of the plug-ins of a file's run by name; empty where the file has none."""
    named = read_tree(file.config, "the checkpoint's configuration").get("PLUGINS") or ()
    named = [named] if isinstance(named, str) else named
    known = {x["path"]: x["sha256"] for x in json.loads(file.meta.get("plugins", "[]"))}
    return {**dict.fromkeys(map(str, named), ""), **known}


def explain_missing_plugins(file: WeightsFile, cfg: CfgNode) -> str:
    """What to add to the command line for the plug-ins that PLUGINS lacks; "" if it lacks none."""
    given = {Path(name).name for name in cfg.PLUGINS}
    missing = {k: v for k, v in trained_with(file).items() if Path(k).name not in given}
    if not missing:
        return ""
    described = [f"{name} (sha256 {sha})" if sha else name for name, sha in missing.items()]
    return (
        f"this checkpoint needs the plug-in {', '.join(described)}; give it: "
        f"PLUGINS {','.join([*cfg.PLUGINS, *missing])}"
    )


def warn_of_changed_plugins(file: WeightsFile, cfg: CfgNode) -> None:
    """Warn of plug-ins whose files have changed since the model was trained."""
    stored = {Path(name).name: sha for name, sha in trained_with(file).items()}
    for plugin in describe_plugins(cfg.PLUGINS):
        sha = stored.get(Path(plugin["path"]).name)
        if sha and sha != plugin["sha256"]:
            logger.warning(
                "PLUGINS: %s has changed since the model was trained: sha256 %s now, %s then",
                plugin["path"],
                plugin["sha256"],
                sha,
            )
