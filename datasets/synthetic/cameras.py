"""Camera effects on an image: scene, occlusion, colours, blur and noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import draw

from datasets.synthetic.places import RGB, CameraStyle

Array = NDArray[Any]  # float32
RESPONSE = ("saturation", "gamma", "contrast", "brightness", "blur", "noise", "scale")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """One camera, with values drawn from the style of its place."""

    gains: Array  # (3,)
    saturation: float
    gamma: float
    contrast: float
    brightness: float
    blur: float
    noise: float
    scale: float
    mirror: bool
    horizon: float  # row of the foot of the wall / image height
    heading: float  # yaw of passing people, radians
    wall: str
    floor: str


def draw_camera(style: CameraStyle, index: int, rng: np.random.Generator) -> Camera:
    """Draw camera number `index` of a place."""
    ranges = {name: getattr(style, name) for name in RESPONSE}
    return Camera(
        gains=_floats(style.tint) * _floats(np.exp(rng.normal(0, style.gain_spread, 3))),
        **{name: rng.uniform(*limits) for name, limits in ranges.items()},
        mirror=bool(rng.random() < 0.5),
        horizon=rng.uniform(0.6, 0.8),
        heading=rng.uniform(0, 2 * np.pi),
        wall=style.walls[index % len(style.walls)],
        floor=style.floors[index % len(style.floors)],
    )


def draw_scene(
    camera: Camera, style: CameraStyle, shape: tuple[int, int], rng: np.random.Generator
) -> Array:
    """The empty scene of a camera, (H, W, 3) in 0..1; images are crops of it."""
    height, width = shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) / height
    foot = camera.horizon + 0.03 * float(rng.normal())
    depth = np.maximum(rows - foot, 0.0) + 0.25
    wall = WALLS[camera.wall](rows, columns, rng)
    floor = FLOORS[camera.floor](1.2 / depth, (columns - columns.mean()) / depth, rng)
    scene = np.where((rows < foot)[..., None], wall, floor)
    scene *= 1 - 0.35 * np.exp(-np.abs(rows - foot) / 0.02)[..., None]
    scene += style.haze * (_floats(style.air) - scene)
    scene *= 1 + 0.12 * _clouds(shape, height / 4, rng)[..., None]
    return ndimage.gaussian_filter(scene, (height / 220, height / 220, 0)).astype(np.float32)


def draw_obstacle(canvas: Array, rng: np.random.Generator) -> None:
    """Draw a post, a box or a bush in front of the person, in place."""
    height, width = canvas.shape[:2]
    kind = rng.integers(3)
    colour = _floats(rng.choice(OBSTACLE_COLOURS))
    if kind == 0:
        left = int(rng.uniform(0.15, 0.75) * width)
        thick = int(rng.uniform(0.08, 0.16) * width)
        shade = 1 - 0.5 * np.linspace(-1, 1, thick, dtype=np.float32) ** 2
        canvas[:, left : left + thick] = (colour * shade[:, None])[: width - left]
    elif kind == 1:
        top, left = int(rng.uniform(0.62, 0.8) * height), int(rng.uniform(-0.3, 0.5) * width)
        box = canvas[top:, max(left, 0) : left + int(0.8 * width)]
        box[:] = colour * (1 - 0.25 * np.linspace(0, 1, len(box), dtype=np.float32)[:, None, None])
        box[: height // 50] *= 1.25
    else:
        for _ in range(30):
            row, column = rng.uniform(0.74, 1.0) * height, rng.uniform(0.0, 0.7) * width
            rr, cc = draw.disk((row, column), 0.03 * height, shape=(height, width))
            canvas[rr, cc] = _floats((0.16, 0.3, 0.12)) * rng.uniform(0.6, 1.4)


OBSTACLE_COLOURS = ((0.45, 0.45, 0.47), (0.3, 0.22, 0.16), (0.62, 0.6, 0.55), (0.2, 0.25, 0.3))


def expose(image: Array, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Apply the response of a camera.

    Args:
        image: (H, W, 3) linear image in 0..1; the result has this shape.
        camera: the camera.
        rng: draws exposure and noise.
    """
    blur = camera.blur * rng.uniform(0.7, 1.3) * image.shape[0] / 128
    image = ndimage.gaussian_filter(image, (blur, blur, 0), truncate=2.5)
    grey = (image * LUMA).sum(axis=-1, keepdims=True)  # not BLAS, whose rounding varies
    image = grey + camera.saturation * (image - grey)
    exposure = np.exp(rng.normal(0, 0.05) + rng.normal(0, 0.02, 3))
    gains = camera.gains * _floats(exposure)
    image = np.clip(image * gains, 0, 1) ** camera.gamma
    image = 0.5 + camera.contrast * (image - 0.5) + camera.brightness
    image += camera.noise * rng.standard_normal(image.shape, dtype=np.float32)
    if camera.mirror:
        image = image[:, ::-1]
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _floats(values: Any) -> Array:
    return np.array(values, dtype=np.float32)


def _clouds(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Array:
    """Smooth noise with unit standard deviation."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return (noise / noise.std()).astype(np.float32)


def _grain(colour: RGB, shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> Array:
    """A rough surface: one colour with fine and coarse noise."""
    noise = 0.5 * _clouds(shape, 1.0, rng) + 0.5 * _clouds(shape, 5.0, rng)
    return _floats(colour) * (1 + strength * noise[..., None])


def _grid(rows: Array, columns: Array, period: tuple[float, float], line: float) -> NDArray:
    """Mask of the joints of a grid with a (rows, columns) period."""
    return (rows % period[0] < line * period[0]) | (columns % period[1] < line * period[1])


def _varied(colours: Array, cells: Array, strength: float) -> Array:
    """Vary the brightness of grid cells by a hash of their numbers."""
    noise = np.modf(np.abs(np.sin(cells * 12.9898) * 43758.5))[0].astype(np.float32)
    return colours * (1 + strength * (noise[..., None] - 0.5))


def _brick(rows: Array, columns: Array, rng: np.random.Generator) -> Array:
    course = np.floor(rows / 0.05)
    shifted = columns + 0.06 * (course % 2)
    wall = _grain((0.5, 0.29, 0.22), rows.shape, 0.06, rng)
    wall = _varied(wall, course * 57 + np.floor(shifted / 0.12), 0.4)
    joints = _grid(rows, shifted, (0.05, 0.12), 0.1)
    return np.where(joints[..., None], _floats((0.55, 0.5, 0.45)), wall)


def _concrete(rows: Array, columns: Array, rng: np.random.Generator) -> Array:
    wall = _grain((0.52, 0.52, 0.5), rows.shape, 0.07, rng)
    wall[_grid(rows, columns, (0.33, 0.5), 0.03)] *= 0.6
    return wall


def _shop(rows: Array, columns: Array, rng: np.random.Generator) -> Array:
    """Shop windows with colourful goods between light pillars."""
    shelf, stack = np.floor(rows / 0.14), np.floor(columns / 0.09)
    cells = (shelf * 131 + stack * 7).astype(int) % 97
    wares = rng.uniform(0.35, 0.95, (97, 3)).astype(np.float32)[cells]
    window = 0.45 * wares + 0.4
    window[_grid(rows, columns, (0.14, 0.09), 0.25)] *= 0.75
    pillar = (columns % 0.6 < 0.1) | (rows < 0.08)
    return np.where(pillar[..., None], _floats((0.86, 0.86, 0.84)), window)


def _corridor(rows: Array, columns: Array, rng: np.random.Generator) -> Array:
    wall = _grain((0.78, 0.77, 0.72), rows.shape, 0.02, rng)
    door = (columns % 0.8 < 0.32) & (rows > 0.14)
    wall = np.where(door[..., None], _floats((0.5, 0.42, 0.36)), wall)
    wall[(columns % 0.8 < 0.02) & (rows > 0.14)] *= 0.6
    wall[np.abs(rows - 0.45) < 0.015] *= 0.75
    return wall


def _hedge(rows: Array, columns: Array, rng: np.random.Generator) -> Array:
    leaves = _clouds(rows.shape, 1.6, rng) + _clouds(columns.shape, 6.0, rng)
    return _floats((0.2, 0.36, 0.13)) * (1 + 0.25 * leaves[..., None])


def _trees(rows: Array, columns: Array, rng: np.random.Generator) -> Array:
    crown = _hedge(rows, columns, rng)
    sky = _floats((0.66, 0.78, 0.9)) * np.ones((*rows.shape, 1), np.float32)
    lawn = _grain((0.38, 0.52, 0.22), rows.shape, 0.08, rng)
    edge = 0.28 + 0.08 * _clouds(rows.shape, 12.0, rng)
    scene = np.where((rows < 0.5)[..., None], np.where((rows > edge)[..., None], crown, sky), lawn)
    trunk = ((columns + 0.1) % 0.45 < 0.04) & (rows > 0.3)
    scene[trunk] = (0.3, 0.22, 0.15)
    return scene


def _metro(rows: Array, columns: Array, rng: np.random.Generator) -> Array:
    """Glazed tiles with a poster band."""
    wall = _varied(_grain((0.6, 0.56, 0.42), rows.shape, 0.02, rng), np.floor(rows / 0.08), 0.1)
    wall[_grid(rows, columns, (0.08, 0.08), 0.1)] *= 0.75
    posters = rng.uniform(0.25, 0.65, (23, 3)).astype(np.float32)
    poster = posters[np.floor(columns / 0.55).astype(int) % 23]
    inside = (columns % 0.55 < 0.36) & (np.abs(rows - 0.33) < 0.19)
    return np.where(inside[..., None], poster, wall)


def _ground(colour: RGB, strength: float, joint: float, period: float) -> Callable[..., Array]:
    """A floor texture: rough ground of one colour, with joints if `joint` > 0."""

    def surface(rows: Array, columns: Array, rng: np.random.Generator) -> Array:
        floor = _grain(colour, rows.shape, strength, rng)
        floor = _varied(floor, np.floor(rows / period) * 31 + np.floor(columns / period), joint)
        if joint:
            floor[_grid(rows, columns, (period, period), 0.08)] *= 0.75
        return floor

    return surface


WALLS: dict[str, Callable[[Array, Array, np.random.Generator], Array]] = {
    "brick": _brick,
    "concrete": _concrete,
    "shop": _shop,
    "corridor": _corridor,
    "hedge": _hedge,
    "trees": _trees,
    "metro": _metro,
}
FLOORS = {
    "asphalt": _ground((0.33, 0.33, 0.35), 0.1, 0.0, 1.0),
    "pavement": _ground((0.55, 0.53, 0.5), 0.05, 0.15, 0.35),
    "tiles": _ground((0.8, 0.79, 0.77), 0.015, 0.1, 0.3),
    "grass": _ground((0.34, 0.48, 0.2), 0.14, 0.0, 1.0),
    "path": _ground((0.68, 0.6, 0.47), 0.08, 0.0, 1.0),
    "terrazzo": _ground((0.5, 0.46, 0.38), 0.08, 0.08, 0.5),
}
