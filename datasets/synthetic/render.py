"""Drawn ReID data sets: people at five places, saved in the Market-1501 layout."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import platform
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from config.machine import available_cores
from config.text import expand_home
from datasets.synthetic.cameras import Camera, draw_camera, draw_obstacle, draw_scene, expose
from datasets.synthetic.figures import Appearance, Array, Pose, draw_person
from datasets.synthetic.people import draw_identities, keyed_generator
from datasets.synthetic.places import DOMAINS, Domain, find_domain

logger = logging.getLogger(__name__)

DRAWING_VERSION = 2  # increase with every change that alters a pixel
MARKER = "complete.json"


@dataclass(frozen=True, slots=True)
class DatasetSize:
    """Size of a data set.

    Attributes:
        num_train_pids: identities in `bounding_box_train`.
        num_test_pids: identities in `query` and `bounding_box_test`.
        num_cameras: 2 to 9 cameras.
        images_per_camera: images per identity and camera, at least 2.
        seed: another seed gives other people and cameras.
    """

    num_train_pids: int = 100
    num_test_pids: int = 50
    num_cameras: int = 4
    images_per_camera: int = 4
    seed: int = 0


DEFAULTS = DatasetSize()
_END_OF_JPEG = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Shot:
    """One image to draw: identity, camera and file."""

    path: str  # relative to the folder of the data set
    pid: int
    camid: int
    number: int
    appearance: Appearance


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the images of a data set depend on."""

    domain: Domain
    size: DatasetSize
    height: int
    width: int


def plan_shots(plan: Plan) -> Iterator[Shot]:
    """All images of a data set: identities, then distractors (pid 0) and junk (pid -1)."""
    domain, size = plan.domain, plan.size
    first_test = size.num_train_pids + 1
    train = draw_identities(domain, 1, size.num_train_pids, size.seed)
    test = draw_identities(domain, first_test, size.num_test_pids, size.seed)
    for person in train + test:
        for camid in range(size.num_cameras):
            for number in range(size.images_per_camera):
                held_out = "query" if number == 0 else "bounding_box_test"
                folder = held_out if person.pid >= first_test else "bounding_box_train"
                yield _shot(folder, person.pid, camid, number, person.appearance)
    strangers = draw_identities(domain, 0, size.num_cameras * _num_strangers(size), size.seed)
    for index, stranger in enumerate(strangers):
        camid = index % size.num_cameras
        yield _shot("bounding_box_test", 0, camid, index, stranger.appearance)
        if index % 2:
            yield _shot("bounding_box_test", -1, camid, index, stranger.appearance)


def _num_strangers(size: DatasetSize) -> int:
    """Distractors per camera: one per five test identities, at least two."""
    return max(2, size.num_test_pids // 5)


def _shot(folder: str, pid: int, camid: int, number: int, appearance: Appearance) -> Shot:
    name = f"{'-1' if pid < 0 else f'{pid:04d}'}_c{camid + 1}s1_{number:06d}_00.jpg"
    return Shot(f"{folder}/{name}", pid, camid, number, appearance)


@lru_cache(maxsize=16)
def _place(plan: Plan, camid: int) -> tuple[Camera, Array]:
    """A camera and its empty scene, three images wide."""
    rng = keyed_generator(plan.size.seed, plan.domain.name, "camera", camid)
    camera = draw_camera(plan.domain.style, camid, rng)
    height, width = 2 * plan.height, 2 * plan.width
    return camera, draw_scene(camera, plan.domain.style, (height + height // 8, 3 * width), rng)


def draw_shot(plan: Plan, shot: Shot) -> Image.Image:
    """Draw one image of `plan.height` x `plan.width` pixels; depends only on its arguments."""
    rng = keyed_generator(plan.size.seed, plan.domain.name, shot.pid, shot.camid, shot.number)
    camera, scene = _place(plan, shot.camid)
    height, width = 2 * plan.height, 2 * plan.width
    top = rng.integers(scene.shape[0] - height + 1)
    left = rng.integers(scene.shape[1] - width + 1)
    canvas = scene[top : top + height, left : left + width].copy()
    body = camera.scale * rng.uniform(0.95, 1.05) * shot.appearance.stature * height
    pose = Pose(
        yaw=camera.heading + rng.choice((0.0, np.pi)) + rng.normal(0, 0.5),
        stride=rng.uniform(-0.5, 0.5),
        bend=rng.uniform(0, 0.25),
        lean=rng.normal(0, 0.02),
        light=rng.uniform(-1, 1),
        column=rng.normal(0.5, 0.035) * width,
        row=rng.normal(0.5, 0.15) * (height - body) + body,
        height=body,
    )
    if shot.pid < 0:  # a detection that misses most of the person
        column = pose.column + width * rng.choice((-0.5, 0.5))
        pose = replace(pose, column=column, row=1.5 * pose.row, height=1.5 * body)
    draw_person(canvas, shot.appearance, pose)
    if rng.random() < plan.domain.style.occlusion:
        draw_obstacle(canvas, rng)
    smooth = 0.5 * (canvas[::2] + canvas[1::2])
    return Image.fromarray(expose(0.5 * (smooth[:, ::2] + smooth[:, 1::2]), camera, rng))


def draw_people(count: int, domain: str = "street") -> list[Image.Image]:
    """The first images of `synthetic_<domain>`, 128 x 64 pixels, without writing files."""
    plan = Plan(find_domain(domain), DEFAULTS, 128, 64)
    return [draw_shot(plan, shot) for shot in islice(plan_shots(plan), count)]


def _save_shots(folder: Path, plan: Plan, shots: list[Shot]) -> None:
    for shot in shots:
        draw_shot(plan, shot).save(folder / shot.path, quality=90)


def _save_all(folder: Path, plan: Plan, shots: list[Shot], num_workers: int) -> None:
    """Draw and save, in `num_workers` processes if possible."""
    if num_workers > 1 and not multiprocessing.current_process().daemon:
        parts = [shots[i::num_workers] for i in range(num_workers)]
        try:
            with ProcessPoolExecutor(num_workers) as pool:
                list(pool.map(_save_shots, [folder] * len(parts), [plan] * len(parts), parts))
        except (BrokenProcessPool, OSError) as error:
            logger.warning("drawing in one process, the worker processes failed: %s", error)
        else:
            return
    _save_shots(folder, plan, shots)


def render_dataset(
    domain: Domain | str,
    root: Path,
    counts: DatasetSize,
    *,
    size: tuple[int, int] = (128, 64),
    num_workers: int | None = None,
) -> Path:
    """Draw a data set in the Market-1501 layout, unless it has been drawn before.

    Training identities are numbered from 1, test identities follow. The first image of a test
    identity and camera is a query, the others are in the gallery, with distractors (pid 0) and junk
    (pid -1). Equal arguments give equal bytes, for any `num_workers`.

    Args:
        domain: a `Domain`, or a name in `DOMAINS`.
        root: parent of the folder to write.
        counts: identities, cameras and images.
        size: (height, width) in pixels.
        num_workers: processes; None = number of cores.

    Returns:
        The folder that holds `bounding_box_train`, `query` and `bounding_box_test`.

    Raises:
        ValueError: an unknown domain, or impossible counts.
    """
    domain = find_domain(domain) if isinstance(domain, str) else domain
    plan = Plan(domain, counts, *size)
    _check(plan)
    parameters = json.dumps({"drawing_version": DRAWING_VERSION, **asdict(plan)}, indent=1)
    folder = root / f"{domain.name}_{hashlib.sha256(parameters.encode()).hexdigest()[:12]}"
    shots = list(plan_shots(plan))
    if _is_complete(folder, parameters, shots):
        return folder
    logger.info("drawing %d images of synthetic people into %s", len(shots), folder)
    _remove_abandoned(root, folder.name)
    draft = root / f".{folder.name}.{_host()}-pid{os.getpid()}-{uuid.uuid4().hex}"
    try:
        for part in ("bounding_box_train", "query", "bounding_box_test"):
            (draft / part).mkdir(parents=True)
        _save_all(draft, plan, shots, num_workers or available_cores())
        (draft / MARKER).write_text(parameters, encoding="utf-8")
        if not _is_complete(folder, parameters, shots):  # else another process was faster
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
    except OSError:
        if not _is_complete(folder, parameters, shots):
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def synthetic_folder(name: str) -> Path:
    """The folder of `synthetic_<domain>` at its default size, drawn to the cache on first use.

    The cache is `$REID_CACHE/synthetic`, or `~/.cache/clipreid/synthetic`.

    Raises:
        ValueError: the name is not `synthetic_<domain>`.
    """
    prefix, _, domain = name.partition("_")
    if prefix != "synthetic" or domain not in DOMAINS:
        known = ", ".join(f"synthetic_{known}" for known in DOMAINS)
        raise ValueError(f"unknown synthetic data set {name!r}; known: {known}")
    cache = os.environ.get("REID_CACHE") or "~/.cache/clipreid"
    return render_dataset(domain, expand_home(cache) / "synthetic", DEFAULTS)


def _check(plan: Plan) -> None:
    size = plan.size
    if min(size.num_train_pids, size.num_test_pids) < 1:
        raise ValueError("num_train_pids and num_test_pids must be at least 1")
    if size.num_train_pids + size.num_test_pids > 9999:
        raise ValueError("num_train_pids + num_test_pids must be at most 9999: names have 4 digits")
    if not 2 <= size.num_cameras <= 9:
        raise ValueError("num_cameras must be 2 to 9: queries need a second, names have one digit")
    if size.images_per_camera < 2:
        raise ValueError("images_per_camera must be at least 2: one query and one for the gallery")
    if min(plan.height, plan.width) < 16:
        raise ValueError("size must be at least 16 x 16 pixels")


def _is_complete(folder: Path, parameters: str, shots: list[Shot]) -> bool:
    """Whether `folder` was drawn completely with these parameters and still has all files."""
    marker = folder / MARKER
    if not marker.is_file() or marker.read_text(encoding="utf-8") != parameters:
        return False
    found = {path.relative_to(folder).as_posix() for path in folder.glob("*/*.jpg")}
    wanted = {shot.path for shot in shots}
    return found == wanted and all(_is_whole(folder / path) for path in wanted)


def _is_whole(path: Path) -> bool:
    """Whether a JPEG has its last two bytes; a power failure leaves empty or short files."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - len(_END_OF_JPEG), 0))
        return file.read() == _END_OF_JPEG


def _remove_abandoned(root: Path, name: str) -> None:
    """Remove drafts of a data set whose processes have ended on this machine."""
    for draft in root.glob(f".{name}.*"):
        host, _, pid = draft.name.removeprefix(f".{name}.").partition("-pid")
        pid = pid.partition("-")[0]
        if host == _host() and pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(draft, ignore_errors=True)


def _host() -> str:
    return "".join(x for x in platform.node() if x.isalnum())
