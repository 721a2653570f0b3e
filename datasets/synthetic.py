"""The embedded ReID data sets: people of four places, drawn and saved in Market-1501 layout."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.cameras import (
    Camera,
    CameraStyle,
    draw_camera,
    draw_obstacle,
    draw_scene,
    expose,
)
from datasets.figures import (
    BAGS,
    HAIRSTYLES,
    LOWERS,
    PATTERNS,
    RGB,
    Appearance,
    Array,
    Pose,
    draw_person,
)

logger = logging.getLogger(__name__)

DRAWING_VERSION = 2  # raise it with any change that alters a pixel
MARKER = "complete.json"
SKINS = ((0.95, 0.78, 0.67), (0.85, 0.64, 0.5), (0.66, 0.46, 0.33), (0.42, 0.28, 0.2))
HAIRS = ((0.1, 0.08, 0.07), (0.3, 0.19, 0.11), (0.72, 0.55, 0.3), (0.55, 0.53, 0.51))
SHOES = ((0.1, 0.1, 0.1), (0.9, 0.9, 0.88), (0.42, 0.26, 0.15), (0.7, 0.15, 0.15))


def _palette(colours: str) -> tuple[RGB, ...]:
    """RGB triples in 0..1 of hexadecimal colours."""
    return tuple(
        (int(c[:2], 16) / 255, int(c[2:4], 16) / 255, int(c[4:], 16) / 255) for c in colours.split()
    )


@dataclass(frozen=True, slots=True)
class Domain:
    """A place: how its people dress and how its cameras see them."""

    name: str  # its data set is synthetic_<name>
    uppers: tuple[RGB, ...]  # colours of upper garments, bags and hats
    lowers: tuple[RGB, ...]
    patterned: float  # share of upper garments with a pattern
    bare: float  # share of people with short sleeves; half as many wear shorts or a skirt
    bags: float  # share of people with a bag
    hats: float
    style: CameraStyle


STREET = Domain(
    name="street",
    uppers=_palette("1d1f24 2b3a67 8c1c28 5b6770 d9d6cc 3f5f3a")
    + _palette("c9a227 6d4c3d 9db4c8 4a2545 e07b39 2a7f86"),
    lowers=_palette("23252b 2f4266 6b7480 8a7a5c 4b3a2f c8c2b4"),
    patterned=0.6,
    bare=0.3,
    bags=0.5,
    hats=0.15,
    style=CameraStyle(
        walls=("brick", "concrete", "shop", "hedge"),
        floors=("pavement", "asphalt"),
        air=(0.5, 0.5, 0.5),
        haze=0.65,
    ),
)
MALL = Domain(
    name="mall",
    uppers=_palette("f2efe8 f4b6c2 b9dff0 fff2a8 c9b6e4 a8e0c0")
    + _palette("e85d75 4f8fd0 f59e5c 8f8f99 7a3e8e 30343f"),
    lowers=_palette("8fb0d9 e8dfcf 3a4a78 b08d9b f0f0f0 55545c"),
    patterned=0.55,
    bare=0.65,
    bags=0.65,
    hats=0.05,
    style=CameraStyle(
        walls=("shop", "corridor"),
        floors=("tiles", "terrazzo", "tiles"),
        air=(0.72, 0.72, 0.72),
        haze=0.6,
        tint=(0.93, 1.0, 1.08),
        gain_spread=0.025,
        saturation=(0.75, 0.9),
        gamma=(0.85, 1.0),
        contrast=(0.82, 0.94),
        brightness=(0.03, 0.08),
        noise=(0.005, 0.015),
        scale=(0.92, 0.98),
        occlusion=0.05,
    ),
)
CAMPUS = Domain(
    name="campus",
    uppers=_palette("d7263d 1b998b f4d35e 2e6fd9 ff7f11 7cb518")
    + _palette("f5f5f5 8338ec 1a1a1d 00a6d6 b5179e 9a6a3a"),
    lowers=_palette("1c2a4a 7d8590 20201f c2a878 4d6b3c a33b3b"),
    patterned=0.65,
    bare=0.75,
    bags=0.7,
    hats=0.3,
    style=CameraStyle(
        walls=("trees", "hedge", "brick", "trees"),
        floors=("grass", "path"),
        air=(0.45, 0.55, 0.33),
        haze=0.7,
        tint=(1.04, 1.05, 0.94),
        saturation=(1.05, 1.2),
        gamma=(0.85, 1.0),
        contrast=(1.0, 1.12),
        brightness=(0.0, 0.05),
        blur=(0.2, 0.6),
        noise=(0.005, 0.02),
        scale=(0.9, 0.96),
    ),
)
STATION = Domain(
    name="station",
    uppers=_palette("20242c 3b2f2a 1f3a5f 6e6e72 7b1e2b 9c8456")
    + _palette("2f4f3e c7c1b1 d4e03a 58406b b5562b 486a86"),
    lowers=_palette("17181c 2b2f45 54504c 3d2d24 7a6f5d 2e3f38"),
    patterned=0.45,
    bare=0.1,
    bags=0.75,
    hats=0.3,
    style=CameraStyle(
        walls=("metro", "concrete", "metro", "corridor"),
        floors=("terrazzo", "asphalt"),
        air=(0.5, 0.46, 0.36),
        haze=0.6,
        tint=(1.1, 0.99, 0.78),
        saturation=(0.75, 0.92),
        gamma=(0.95, 1.15),
        contrast=(0.8, 0.92),
        brightness=(-0.06, -0.01),
        blur=(0.5, 1.0),
        noise=(0.025, 0.04),
    ),
)
DOMAINS: dict[str, Domain] = {place.name: place for place in (STREET, MALL, CAMPUS, STATION)}


@dataclass(frozen=True, slots=True)
class DatasetSize:
    """How much is drawn: identities per split, cameras, pictures per identity and camera."""

    num_train_pids: int = 100
    num_test_pids: int = 50
    num_cameras: int = 4
    images_per_camera: int = 4
    seed: int = 0


DEFAULTS = DatasetSize()


@dataclass(frozen=True, slots=True)
class Identity:
    """One person of a data set; a family is a group of near look-alikes."""

    pid: int
    family: int
    appearance: Appearance


def draw_identities(domain: Domain, first_pid: int, count: int, seed: int) -> list[Identity]:
    """Dress `count` people, in families of one to three.

    A family shares its founder's looks, each further member but for one attribute, so that any
    two of a family differ in one or two.
    """
    rng = _generator(seed, domain.name, "identities", first_pid)
    identities: list[Identity] = []
    family = 0
    while len(identities) < count:
        founder = _dress(domain, rng)
        changes = rng.permutation(_visible_changes(founder))[: rng.integers(3)]
        members = [founder, *(_change(founder, str(name), domain, rng) for name in changes)]
        for member in members[: count - len(identities)]:
            identities.append(Identity(first_pid + len(identities), family, member))
        family += 1
    return identities


def _visible_changes(who: Appearance) -> list[str]:
    """Attributes in which members of a family may differ: what a picture of 128 x 64 can show."""
    changes = ["upper", "pattern", "lower", "lower_kind", "bag_kind", "hat"]
    return changes if who.pattern == "plain" else [*changes, "accent"]


def _dress(domain: Domain, rng: np.random.Generator) -> Appearance:
    upper, hair = domain.uppers[rng.integers(len(domain.uppers))], HAIRS[rng.integers(len(HAIRS))]
    hat = _contrasting(domain.uppers, (hair,), rng)
    return Appearance(
        skin=SKINS[rng.integers(len(SKINS))],
        hair=hair,
        hairstyle=HAIRSTYLES[rng.choice(4, p=(0.45, 0.3, 0.13, 0.12))],
        hat=hat if rng.random() < domain.hats else None,
        upper=upper,
        accent=_contrasting(domain.uppers, (upper,), rng),
        pattern=tuple(PATTERNS)[rng.integers(1, 7)] if rng.random() < domain.patterned else "plain",
        long_sleeves=bool(rng.random() >= domain.bare),
        lower_kind=LOWERS[rng.integers(1, 3)] if rng.random() < domain.bare / 2 else "trousers",
        lower=domain.lowers[rng.integers(len(domain.lowers))],
        shoes=SHOES[rng.integers(len(SHOES))],
        bag_kind=BAGS[rng.integers(1, 4)] if rng.random() < domain.bags else "none",
        bag=_contrasting(domain.uppers, (upper,), rng),
        girth=round(float(rng.uniform(0.88, 1.2)), 2),
        stature=round(float(rng.uniform(0.92, 1.05)), 2),
    )


def _contrasting(colours: Sequence[RGB], others: Sequence[RGB], rng: np.random.Generator) -> RGB:
    """One of the half of `colours` that stands out most from all `others`."""
    distances = np.linalg.norm(np.array(colours)[:, None] - np.array(others), axis=2).min(axis=1)
    return colours[np.argsort(-distances, kind="stable")[rng.integers(len(colours) // 2)]]


def _change(who: Appearance, name: str, domain: Domain, rng: np.random.Generator) -> Appearance:
    """The same person but for one attribute."""
    choice: Any
    if name in ("pattern", "lower_kind", "bag_kind"):
        kinds = {"pattern": tuple(PATTERNS), "lower_kind": LOWERS, "bag_kind": BAGS}[name]
        choice = rng.choice([kind for kind in kinds if kind != getattr(who, name)]).item()
    elif name == "hat" and who.hat is not None:
        choice = None
    else:
        palette = domain.lowers if name == "lower" else domain.uppers
        others = {"lower": (who.lower,), "hat": (who.hair,)}.get(name, (who.upper, who.accent))
        choice = _contrasting(palette, others, rng)
    return replace(who, **{name: choice})


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture to draw: who, by which camera, and the file it becomes."""

    path: str  # below the folder of the data set
    pid: int
    camid: int
    number: int
    appearance: Appearance


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the pictures of one data set depend on."""

    domain: Domain
    size: DatasetSize
    height: int
    width: int


def plan_shots(plan: Plan) -> Iterator[Shot]:
    """All pictures of a data set: identities, then passers-by (pid 0) and bad crops (pid -1)."""
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
    """Distractors per camera: one for every five test identities, at least two."""
    return max(2, size.num_test_pids // 5)


def _shot(folder: str, pid: int, camid: int, number: int, appearance: Appearance) -> Shot:
    name = f"{'-1' if pid < 0 else f'{pid:04d}'}_c{camid + 1}s1_{number:06d}_00.jpg"
    return Shot(f"{folder}/{name}", pid, camid, number, appearance)


def _generator(*key: object) -> np.random.Generator:
    """A generator of its own for every key, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))


@lru_cache(maxsize=16)
def _place(plan: Plan, camid: int) -> tuple[Camera, Array]:
    """A camera and the empty scene before it, three pictures wide."""
    rng = _generator(plan.size.seed, plan.domain.name, "camera", camid)
    camera = draw_camera(plan.domain.style, camid, rng)
    height, width = 2 * plan.height, 2 * plan.width
    return camera, draw_scene(camera, plan.domain.style, (height + height // 8, 3 * width), rng)


def draw_shot(plan: Plan, shot: Shot) -> Image.Image:
    """One picture, `plan.height` x `plan.width` pixels; it depends on its arguments alone."""
    rng = _generator(plan.size.seed, plan.domain.name, shot.pid, shot.camid, shot.number)
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
    if shot.pid < 0:  # a detection that missed most of the person
        column = pose.column + width * rng.choice((-0.5, 0.5))
        pose = replace(pose, column=column, row=1.5 * pose.row, height=1.5 * body)
    draw_person(canvas, shot.appearance, pose)
    if rng.random() < plan.domain.style.occlusion:
        draw_obstacle(canvas, rng)
    smooth = 0.5 * (canvas[::2] + canvas[1::2])
    return Image.fromarray(expose(0.5 * (smooth[:, ::2] + smooth[:, 1::2]), camera, rng))


def _save_shots(folder: Path, plan: Plan, shots: list[Shot]) -> None:
    for shot in shots:
        draw_shot(plan, shot).save(folder / shot.path, quality=90)


def _save_all(folder: Path, plan: Plan, shots: list[Shot], num_workers: int) -> None:
    """Save the shots, in `num_workers` processes where that pays and is allowed."""
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
    *,
    num_train_pids: int,
    num_test_pids: int,
    num_cameras: int,
    images_per_camera: int,
    seed: int,
    size: tuple[int, int] = (128, 64),
    num_workers: int | None = None,
) -> Path:
    """Draw a data set in the Market-1501 layout, or find it where it was drawn before.

    Training identities are numbered from 1, test identities follow. The first picture of a test
    identity and camera is a query, the others form the gallery, with distractors (pid 0) and junk
    (pid -1). The same arguments give the same bytes, whatever `num_workers` is.

    Args:
        domain: a `Domain` or one of the names in `DOMAINS`.
        root: where the folder of the data set is put.
        num_train_pids: identities in `bounding_box_train`.
        num_test_pids: identities in `query` and `bounding_box_test`.
        num_cameras: 2 to 9 cameras.
        images_per_camera: pictures of each identity by each camera, at least 2.
        seed: another seed gives other people before other cameras.
        size: (height, width) in pixels.
        num_workers: drawing processes; as many as there are cores if None.

    Returns:
        The folder that holds `bounding_box_train`, `query` and `bounding_box_test`.

    Raises:
        ValueError: for an unknown domain or impossible counts.
    """
    domain = find_domain(domain) if isinstance(domain, str) else domain
    counts = DatasetSize(num_train_pids, num_test_pids, num_cameras, images_per_camera, seed)
    plan = Plan(domain, counts, *size)
    _check(plan)
    parameters = json.dumps({"drawing_version": DRAWING_VERSION, **asdict(plan)}, indent=1)
    folder = root / f"{domain.name}_{hashlib.sha256(parameters.encode()).hexdigest()[:12]}"
    shots = list(plan_shots(plan))
    if _is_complete(folder, parameters, shots):
        return folder
    logger.info("drawing %d images of synthetic people into %s", len(shots), folder)
    draft = root / f".{folder.name}.{uuid.uuid4().hex}"
    try:
        for part in ("bounding_box_train", "query", "bounding_box_test"):
            (draft / part).mkdir(parents=True)
        _save_all(draft, plan, shots, num_workers or os.cpu_count() or 1)
        (draft / MARKER).write_text(parameters, encoding="utf-8")
        if not _is_complete(folder, parameters, shots):  # another process may have been faster
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
    except OSError:
        if not _is_complete(folder, parameters, shots):
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def synthetic_folder(name: str) -> Path:
    """The folder of `synthetic_<domain>` at its default size, drawn into the cache on first use.

    The cache is `$REID_CACHE/synthetic`, or `~/.cache/clipreid/synthetic`.

    Raises:
        ValueError: for a name that is not `synthetic_<domain>`.
    """
    prefix, _, domain = name.partition("_")
    if prefix != "synthetic" or domain not in DOMAINS:
        known = ", ".join(f"synthetic_{known}" for known in DOMAINS)
        raise ValueError(f"unknown synthetic data set {name!r}; known: {known}")
    cache = os.environ.get("REID_CACHE") or "~/.cache/clipreid"
    return render_dataset(domain, Path(cache).expanduser() / "synthetic", **asdict(DEFAULTS))


def find_domain(name: str) -> Domain:
    """The domain of that name.

    Raises:
        ValueError: if there is none; the text lists the known ones.
    """
    if name not in DOMAINS:
        raise ValueError(f"unknown domain {name!r}; known: {', '.join(DOMAINS)}")
    return DOMAINS[name]


def _check(plan: Plan) -> None:
    size = plan.size
    if min(size.num_train_pids, size.num_test_pids) < 1:
        raise ValueError("num_train_pids and num_test_pids must be at least 1")
    if size.num_train_pids + size.num_test_pids > 9999:
        raise ValueError("num_train_pids + num_test_pids must be at most 9999: names have 4 digits")
    if not 2 <= size.num_cameras <= 9:
        raise ValueError("num_cameras must be 2 to 9: a query needs a second, names have one digit")
    if size.images_per_camera < 2:
        raise ValueError("images_per_camera must be at least 2: one query and one for the gallery")
    if min(plan.height, plan.width) < 16:
        raise ValueError("size must be at least 16 x 16 pixels")


def _is_complete(folder: Path, parameters: str, shots: list[Shot]) -> bool:
    """Whether `folder` was drawn to the end with these parameters and nothing was lost since."""
    marker = folder / MARKER
    if not marker.is_file() or marker.read_text(encoding="utf-8") != parameters:
        return False
    found = {path.relative_to(folder).as_posix() for path in folder.glob("*/*.jpg")}
    return found == {shot.path for shot in shots}
