"""Draw image features of a few identities in a plane, with their learned prompts as stars."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from datasets.checks.outputs import refuse_inside_data
from datasets.sources import join_sources
from model import CLIPReID
from processor.checkpoints.load import LoadedModel, open_model
from processor.evaluation.build import prepare_evaluation
from processor.evaluation.identity_sample import (
    FewIdentities,
    Identity,
    choose_identities,
    extract_few,
    images_of_split,
    labels_of_identities,
)
from processor.evaluation.target import Target
from processor.pictures.embedding import Scene, draw_embedding
from processor.pictures.figure import save_figure
from processor.pictures.plane import (
    METHODS,
    project_to_plane,
    share_of_right_prompts,
    without_gap,
)
from processor.tools.command_line import place_file

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> None:
    """Extract features, project them, draw them.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_model`, `build_targets`,
            `choose_identities`.
    """
    path = place_file(arguments.output, arguments.checkpoint, f"embedding_{arguments.split}.png")
    train = arguments.split == "train"
    data = ["DATASETS.TARGETS", repr(tuple(arguments.data))] if arguments.data or train else []
    loaded = open_model(arguments.checkpoint, None, [*arguments.opts, *data])
    names = loaded.cfg.DATASETS.TARGETS or loaded.cfg.DATASETS.NAMES
    refuse_inside_data(path, "--output", names, loaded.cfg.DATASETS.ROOT_DIR)
    opened = prepare_evaluation(loaded)
    images = {
        target.name: images_of_split(target.splits[0], arguments.split, use_all=loaded.use_all)
        for target in opened.evaluator.targets
    }
    chosen = choose_identities(images, arguments.max_identities, arguments.seed)
    labels = find_prompts(loaded, opened.evaluator.targets) if train else {}
    model = opened.model.eval()
    few = extract_few(model, opened.evaluator, chosen, projected=bool(labels))
    people = list(dict.fromkeys(few.identities))
    notes = [
        "A point is an image; colour and fill tell identities apart. Images of one identity should "
        "lie together."
    ]
    if labels:
        assert isinstance(model, CLIPReID)  # it has prompts
        features, texts = without_gap(few.features, encode_prompts(model, people, labels))
        rows = torch.cat([features, texts])
        share = share_of_right_prompts(features, texts, few.identities, people)
        notes.append(
            "A star is a learned prompt; a line leads to the images of its identity. Of these "
            f"{len(people)} prompts, the right one is the nearest for {share:.0%} of the images."
        )
        feature = "projected image features and prompts' text features, each kind centred"
    else:
        rows, feature = few.features, "retrieval features"
        if opened.evaluator.protocol.normalize:
            rows, feature = torch.nn.functional.normalize(rows), f"{feature}, L2-normalized"
    notes.append(f"{METHODS[arguments.method]} of {Path(arguments.checkpoint).name}: {feature}.")
    scene = make_scene(few, rows, people if labels else [], arguments)
    kind = {"train": "training", "test": "test"}[arguments.split]
    title = f"{len(people)} identities of {', '.join(images)} ({kind} images)"
    figure = draw_embedding(scene, title=title, notes=notes)
    save_figure(figure, path)
    logger.info("written: %s", path)


def find_prompts(loaded: LoadedModel, targets: Sequence[Target]) -> dict[Identity, int]:
    """Labels of the identities if the model has learned their prompts, else nothing."""
    sources = {target.name: target.splits[0] for target in targets}
    if set(sources) == set(loaded.cameras):
        data = join_sources([sources[name] for name in loaded.cameras], use_all=loaded.use_all)
        if loaded.has_prompts_of(data):
            return labels_of_identities(data)
    logger.info("no learned prompts of %s: only images are drawn", ", ".join(sources))
    return {}


@torch.no_grad()
def encode_prompts(model: CLIPReID, people: list[Identity], labels: dict[Identity, int]) -> Tensor:
    """(M, E) text features of identities, on the CPU."""
    device = next(model.parameters()).device
    return model.encode_text(torch.tensor([labels[x] for x in people], device=device)).cpu()


def make_scene(
    few: FewIdentities, rows: Tensor, people: list[Identity], arguments: argparse.Namespace
) -> Scene:
    """Project images and, in the rows after them, prompts of `people`, and describe how to draw."""
    marks = few.domains
    if arguments.mark == "camera":
        several = len(set(few.domains)) > 1
        cameras = [f"camera {sample.camera or 'unknown'}" for sample in few.samples]
        pairs = zip(few.domains, cameras, strict=True)
        marks = [f"{name} {camera}" if several else camera for name, camera in pairs]
    plane = project_to_plane(rows, arguments.method, arguments.seed)
    paths = [sample.path for sample in few.samples]
    names = (sample.identity for sample in few.samples)
    named = dict(zip(few.identities, names, strict=True))
    return Scene(plane, few.identities, marks, paths, people, named)
