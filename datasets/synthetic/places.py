"""The places of the drawn data sets: their people's clothes and their cameras' style."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]
RGB = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class CameraStyle:
    """The style that the cameras of a place share; each camera draws from the ranges."""

    walls: tuple[str, ...]  # keys of WALLS, by camera in turn
    floors: tuple[str, ...]  # keys of FLOORS, likewise
    air: RGB  # colour that the scene fades to
    haze: float  # how far it fades, 0 to 1; people stand out more
    tint: RGB = (1.0, 1.0, 1.0)  # mean gains of red, green and blue
    gain_spread: float = 0.03  # log standard deviation of a camera's gains around the tint
    saturation: Range = (0.85, 1.05)
    gamma: Range = (0.92, 1.1)  # above 1 darkens
    contrast: Range = (0.92, 1.05)
    brightness: Range = (-0.03, 0.03)
    blur: Range = (0.3, 0.8)  # Gaussian, in pixels of an image 128 pixels high
    noise: Range = (0.01, 0.03)  # standard deviation
    scale: Range = (0.9, 0.97)  # body height / image height
    occlusion: float = 0.08  # share of images with an obstacle in front of the person


def palette(colours: str) -> tuple[RGB, ...]:
    """Hexadecimal colours as RGB triples in 0..1."""
    return tuple(
        (int(c[:2], 16) / 255, int(c[2:4], 16) / 255, int(c[4:], 16) / 255) for c in colours.split()
    )


@dataclass(frozen=True, slots=True)
class Domain:
    """A place: the clothes of its people and the style of its cameras."""

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
    uppers=palette("1d1f24 2b3a67 8c1c28 5b6770 d9d6cc 3f5f3a")
    + palette("c9a227 6d4c3d 9db4c8 4a2545 e07b39 2a7f86"),
    lowers=palette("23252b 2f4266 6b7480 8a7a5c 4b3a2f c8c2b4"),
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
    uppers=palette("f2efe8 f4b6c2 b9dff0 fff2a8 c9b6e4 a8e0c0")
    + palette("e85d75 4f8fd0 f59e5c 8f8f99 7a3e8e 30343f"),
    lowers=palette("8fb0d9 e8dfcf 3a4a78 b08d9b f0f0f0 55545c"),
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
    uppers=palette("d7263d 1b998b f4d35e 2e6fd9 ff7f11 7cb518")
    + palette("f5f5f5 8338ec 1a1a1d 00a6d6 b5179e 9a6a3a"),
    lowers=palette("1c2a4a 7d8590 20201f c2a878 4d6b3c a33b3b"),
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
    uppers=palette("20242c 3b2f2a 1f3a5f 6e6e72 7b1e2b 9c8456")
    + palette("2f4f3e c7c1b1 d4e03a 58406b b5562b 486a86"),
    lowers=palette("17181c 2b2f45 54504c 3d2d24 7a6f5d 2e3f38"),
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
HARBOUR = Domain(
    name="harbour",
    uppers=palette("f2c230 e0672f 1c2f52 f0f0ec 2e8fa3 a32638")
    + palette("6b7f3a 97a6b0 3c2b23 5a4fa2 c48b5a 12151c"),
    lowers=palette("22304a 5d6a73 c9b48c 1a1b1e 3f6f8f 7c4a35"),
    patterned=0.6,
    bare=0.4,
    bags=0.55,
    hats=0.35,
    style=CameraStyle(
        walls=("concrete", "brick", "shop"),
        floors=("asphalt", "path", "pavement"),
        air=(0.62, 0.68, 0.74),
        haze=0.7,
        tint=(0.95, 1.0, 1.05),
        gain_spread=0.035,
        saturation=(0.85, 1.0),
        gamma=(0.9, 1.1),
        contrast=(0.85, 1.0),
        brightness=(-0.02, 0.06),
        blur=(0.3, 0.9),
        noise=(0.01, 0.03),
    ),
)
DOMAINS: dict[str, Domain] = {
    place.name: place for place in (STREET, MALL, CAMPUS, STATION, HARBOUR)
}


def find_domain(name: str) -> Domain:
    """The domain with this name.

    Raises:
        ValueError: no such domain; lists the known ones.
    """
    if name not in DOMAINS:
        raise ValueError(f"unknown domain {name!r}; known: {', '.join(DOMAINS)}")
    return DOMAINS[name]
