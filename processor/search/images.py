"""Images to extract features from, with what the model knows of their cameras."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import torch

from config.text import encode
from datasets.image_lists import ImageList
from datasets.records import UNKNOWN, Sample
from processor.checkpoints.cameras import cameras_of
from processor.extractor import Extractor
from processor.features import ids_of_model


@dataclass(frozen=True, slots=True)
class Images:
    """N images to extract features from.

    Attributes:
        samples: with pids and camids of their data sets; -1 = unknown.
        camids: (N,) rows of the model's camera table; -1 = unknown to the model.
        viewids: (N,) viewpoints, likewise.
    """

    samples: list[Sample]
    camids: list[int]
    viewids: list[int]

    def part(self, places: range) -> Images:
        """Some consecutive images."""
        chosen = slice(places.start, places.stop)
        return Images(self.samples[chosen], self.camids[chosen], self.viewids[chosen])

    def without(self, paths: Collection[str]) -> Images:
        """The images of other paths."""
        places = [i for i, sample in enumerate(self.samples) if sample.path not in paths]
        columns = ([column[i] for i in places] for column in (self.camids, self.viewids))
        return Images([self.samples[i] for i in places], *columns)

    def digest(self) -> str:
        """A hash that identifies the images and what the model knows of them."""
        columns = zip(self.samples, self.camids, self.viewids, strict=True)
        lines = sha256()
        for sample, camid, viewid in columns:
            line = f"{sample.path}\t{sample.identity}\t{sample.camera}\t{camid}\t{viewid}\n"
            lines.update(encode(line))
        return lines.hexdigest()


def join_lists(extractor: Extractor, lists: Sequence[ImageList]) -> Images:
    """Join lists of images; cameras are known in the data sets that the model was trained on.

    A name stands for the same identity or camera in all lists, under one number.

    Raises:
        ConfigError: see `cameras_of`.
    """
    samples: list[Sample] = []
    camids: list[int] = []
    viewids: list[int] = []
    for images in lists:
        cameras = None
        if images.dataset:
            cameras = cameras_of(extractor.cfg, images.dataset, extractor.cameras)
        own = (
            torch.tensor([sample.camid for sample in images.samples]),
            torch.tensor([sample.viewid for sample in images.samples]),
        )
        known = ids_of_model(*own, cameras)
        samples += images.samples
        camids += known[0].tolist()
        viewids += known[1].tolist()
    return Images(number_by_names(samples), camids, viewids)


def number_by_names(samples: Sequence[Sample], earlier: Sequence[Sample] = ()) -> list[Sample]:
    """The images, with one number for every name of an identity or camera.

    A name of `earlier` images keeps its number there; another one keeps its own, unless that is
    taken.
    """
    pids = _number({x.identity: x.pid for x in earlier}, [(x.identity, x.pid) for x in samples])
    camids = _number({x.camera: x.camid for x in earlier}, [(x.camera, x.camid) for x in samples])
    return [
        replace(
            sample,
            pid=pids[sample.identity],
            camid=camids[sample.camera],
            pid_name=sample.identity,
            camid_name=sample.camera,
        )
        for sample in samples
    ]


def _number(taken: dict[str, int], wanted: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Name -> number: the one taken, else the wanted one if free, else the next free one."""
    taken = {"": UNKNOWN, **taken}
    numbers = set(taken.values())
    highest = max(numbers)
    for name, number in wanted:
        if name not in taken:
            taken[name] = number if number not in numbers else highest + 1
            highest = max(highest, taken[name])
            numbers.add(taken[name])
    return taken
