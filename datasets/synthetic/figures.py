"""Draw one person: appearance, pose, and body parts on a canvas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import draw

from datasets.synthetic.places import RGB

Array = NDArray[Any]  # float32
Point = tuple[float, float]

LOWERS = ("trousers", "shorts", "skirt")
HAIRSTYLES = ("short", "long", "bun", "bald")
BAGS = ("none", "backpack", "shoulder", "hand")
STRIPE = 0.075  # width of a stripe in body heights, about 8 of 128 pixels
BREADTH = 1.15  # people seen from above look broader

# Where a garment has its accent colour, by offset from the spine and height.
PATTERNS: dict[str, Callable[[Array, Array], NDArray[np.bool_]]] = {
    "plain": lambda *_: np.zeros(1, dtype=bool),
    "hoops": lambda _, y: (y // STRIPE) % 2 == 0,
    "stripes": lambda x, _: (x // (0.8 * STRIPE)) % 2 == 0,
    "checks": lambda x, y: (x // STRIPE + y // STRIPE) % 2 == 0,
    "block": lambda _, y: y < 0.665,
    "band": lambda _, y: np.abs(y - 0.69) < 0.055,
    "logo": lambda x, y: (np.abs(x) < 0.065) & (np.abs(y - 0.7) < 0.06),
}


@dataclass(frozen=True, slots=True)
class Appearance:
    """Appearance shared by all images of a person; colours are RGB in 0..1."""

    skin: RGB
    hair: RGB
    hairstyle: str  # one of HAIRSTYLES
    hat: RGB | None
    upper: RGB
    accent: RGB  # second colour of the upper garment, invisible if it is plain
    pattern: str  # a key of PATTERNS
    long_sleeves: bool
    lower_kind: str  # one of LOWERS
    lower: RGB
    shoes: RGB
    bag_kind: str  # one of BAGS
    bag: RGB
    girth: float  # body width, 1 is average
    stature: float  # body height, 1 is average


@dataclass(frozen=True, slots=True)
class Pose:
    """Pose and position in one image; angles in radians, positions in canvas pixels."""

    yaw: float  # heading: 0 towards the camera, pi away from it, pi / 2 to the right
    stride: float  # angle of the leading thigh; the sign selects the leg
    bend: float  # extra bend of knees and elbows
    lean: float  # sideways shift of the head per body height
    light: float  # from -1, lit from the left, to 1, from the right
    column: float  # of the spine
    row: float  # of the feet
    height: float  # of the body


@dataclass(frozen=True, slots=True)
class Fabric:
    """Cloth with a pattern in body coordinates."""

    colour: RGB
    accent: RGB
    pattern: str = "plain"

    def colours(self, x: Array, y: Array) -> Array:
        """Colours (N, 3) at offsets `x` from the spine and heights `y`, each (N,)."""
        accented = PATTERNS[self.pattern](x, y)
        colours = np.array((self.colour, self.accent), dtype=np.float32)
        return colours[accented.astype(np.intp)]


def plain(colour: RGB) -> Fabric:
    """Cloth, skin or leather of one colour."""
    return Fabric(colour, colour)


class Figure:
    """One person on a canvas; lengths are in body heights, heights start at the feet."""

    def __init__(self, canvas: Array, who: Appearance, pose: Pose) -> None:
        self.canvas, self.who, self.pose = canvas, who, pose
        self.cos, self.sin = float(np.cos(pose.yaw)), float(np.sin(pose.yaw))

    def draw(self) -> None:
        """Draw all parts from far to near."""
        near, far = (1, -1) if self.sin < 0 else (-1, 1)
        self._shadow()
        self._backpack(behind=True)
        self._arm(far)
        self._leg(far)
        self._leg(near)
        self._hips()
        if self.cos >= 0:
            self._hair_length()
        self._torso()
        self._head()
        self._backpack(behind=False)
        self._arm(near)
        self._side_bag()

    def project(self, lateral: float, height: float, forward: float) -> Point:
        """Image offset (x, y) of a body point."""
        return lateral * self.cos + forward * self.sin, height

    def spread(self, half_width: float, half_depth: float) -> float:
        """Half the visible width of a part with an elliptical cross section."""
        return float(np.hypot(half_width * self.cos, half_depth * self.sin)) * self.who.girth

    def fill(self, outline: list[Point], fabric: Fabric, roundness: float = 0.3) -> None:
        """Fill a polygon of (x, y) body points, shaded like a cylinder."""
        points = np.asarray(outline, dtype=np.float32)
        pose = self.pose
        columns = pose.column + (BREADTH * points[:, 0] + pose.lean * points[:, 1]) * pose.height
        rows = pose.row - points[:, 1] * pose.height
        rr, cc = draw.polygon(rows, columns, self.canvas.shape[:2])
        left, right = columns.min(), columns.max()
        rr32, cc32 = rr.astype(np.float32), cc.astype(np.float32)
        across = (cc32 - (left + right) / 2) * (2 / max(right - left, np.float32(2)))
        shade = 1 - roundness * across * across + 0.14 * pose.light * across
        height = (pose.row - rr32) / pose.height
        offset = ((cc32 - pose.column) / pose.height - pose.lean * height) / BREADTH
        self.canvas[rr, cc] = fabric.colours(offset, height) * shade[:, None]

    def limb(self, start: Point, end: Point, widths: Point, fabric: Fabric) -> None:
        """Draw a tapering rod with round ends; `widths` are the radii at `start` and `end`."""
        angle = np.arctan2(end[1] - start[1], end[0] - start[0])
        arcs = [(end, widths[1], angle), (start, widths[0], angle + np.pi)]
        outline = [
            (centre[0] + radius * np.cos(turn), centre[1] + radius * np.sin(turn))
            for centre, radius, facing in arcs
            for turn in facing + np.linspace(-np.pi / 2, np.pi / 2, 4)
        ]
        self.fill(outline, fabric)

    def oval(self, centre: Point, radii: Point, fabric: Fabric) -> None:
        """Draw an upright ellipse."""
        turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        points = np.array(centre) + np.array(radii) * np.stack([np.cos(turns), np.sin(turns)], 1)
        self.fill(points.tolist(), fabric)

    def _shadow(self) -> None:
        pose = self.pose
        radius = (0.03 * pose.height, 0.17 * pose.height)
        centre = (pose.row, pose.column + 0.08 * pose.light * pose.height)
        rr, cc = draw.ellipse(*centre, *radius, shape=self.canvas.shape[:2])
        self.canvas[rr, cc] *= 0.6

    def _leg(self, side: int) -> None:
        who, swing = self.who, side * self.pose.stride
        bend = max(0.0, -swing) + self.pose.bend
        shin = swing - bend
        forward = 0.24 * np.sin(swing), 0.24 * np.sin(swing) + 0.23 * np.sin(shin)
        knee_y = 0.5 - 0.24 * np.cos(swing)
        ankle_y = knee_y - 0.23 * np.cos(shin)
        hip = self.project(0.05 * side * who.girth, 0.5, 0.0)
        knee = self.project(0.055 * side * who.girth, knee_y, forward[0])
        ankle = self.project(0.055 * side * who.girth, ankle_y, forward[1])
        toe = self.project(0.065 * side * who.girth, ankle_y - 0.018, forward[1] + 0.07)
        cloth, skin, wide = plain(who.lower), plain(who.skin), who.girth
        self.limb(ankle, toe, (0.024, 0.02), plain(who.shoes))
        covered = who.lower_kind == "trousers"
        shin_width = 0.034 if covered else 0.027
        self.limb(knee, ankle, (0.042 * wide, shin_width), cloth if covered else skin)
        self.limb(hip, knee, (0.062 * wide, 0.046 * wide), cloth)

    def _hips(self) -> None:
        half, cloth = self.spread(0.108, 0.085), plain(self.who.lower)
        if self.who.lower_kind == "skirt":
            hem = half * 1.35
            self.fill([(-half, 0.54), (half, 0.54), (hem, 0.29), (-hem, 0.29)], cloth)
        else:
            self.fill([(-half, 0.54), (half, 0.54), (half * 0.9, 0.45), (-half * 0.9, 0.45)], cloth)

    def _torso(self) -> None:
        who = self.who
        shoulder, chest = self.spread(0.118, 0.062), self.spread(0.122, 0.082)
        waist, hem = self.spread(0.1, 0.078), self.spread(0.112, 0.085)
        half = [(0.035, 0.856), (shoulder, 0.825), (chest, 0.75), (waist, 0.6), (hem, 0.475)]
        outline = half + [(-x, y) for x, y in reversed(half)]
        self.fill(outline, Fabric(who.upper, who.accent, who.pattern))
        self.limb((0.0, 0.84), (0.012 * self.sin, 0.885), (0.03, 0.028), plain(who.skin))

    def _arm(self, side: int) -> None:
        who, swing = self.who, -0.8 * side * self.pose.stride
        pattern = "plain" if who.pattern == "logo" else who.pattern
        sleeve, skin = Fabric(who.upper, who.accent, pattern), plain(who.skin)
        elbow_y = 0.805 - 0.165 * np.cos(swing)
        raised = swing + self.pose.bend + 0.15
        reach = 0.165 * np.sin(swing), 0.165 * np.sin(swing) + 0.15 * np.sin(raised)
        shoulder = self.project(0.118 * side * who.girth, 0.8, 0.0)
        elbow = self.project(0.142 * side * who.girth, elbow_y, reach[0])
        wrist = self.project(0.138 * side * who.girth, elbow_y - 0.15 * np.cos(raised), reach[1])
        self.oval(wrist, (0.022, 0.03), skin)
        self.limb(elbow, wrist, (0.032, 0.024), sleeve if who.long_sleeves else skin)
        self.limb(shoulder, elbow, (0.042, 0.036), sleeve)
        if who.bag_kind == "hand" and side == 1:
            self._box((wrist[0], wrist[1] - 0.1), (self.spread(0.035, 0.085), 0.062))
            self.limb(wrist, (wrist[0], wrist[1] - 0.05), (0.008, 0.008), plain(who.bag))

    def _head(self) -> None:
        who, centre = self.who, (0.012 * self.sin, 0.935)
        hair = plain(who.skin if who.hairstyle == "bald" else who.hair)
        self.oval(centre, (0.056, 0.066), hair)
        if self.cos > -0.35:
            face = (centre[0] + 0.022 * self.sin, centre[1] - 0.014)
            self.oval(face, (0.046 * (0.7 + 0.3 * abs(self.cos)), 0.05), plain(who.skin))
            dark = plain((0.12, 0.09, 0.08))
            for eye in (-0.018, 0.018):
                x = face[0] + 0.012 * self.sin + eye * self.cos
                self.oval((x, face[1] + 0.01), (0.006, 0.006), dark)
        if self.cos < 0:
            self._hair_length()
        if who.hairstyle == "bun":
            self.oval((centre[0] - 0.035 * self.sin, 0.995), (0.028, 0.026), hair)
        if who.hat is not None:
            self._hat(centre[0], plain(who.hat))

    def _hair_length(self) -> None:
        if self.who.hairstyle == "long":
            x = -0.025 * self.sin
            sides = [(0.055, 0.95), (0.068, 0.86), (0.06, 0.78)]
            outline = [(x + a, b) for a, b in sides] + [(x - a, b) for a, b in reversed(sides)]
            self.fill(outline, plain(self.who.hair))

    def _hat(self, x: float, cloth: Fabric) -> None:
        crown = [(-0.06, 0.955), (-0.054, 0.99), (-0.025, 1.015), (0.025, 1.015), (0.054, 0.99)]
        self.fill([(x + a, b) for a, b in [*crown, (0.06, 0.955)]], cloth)
        if self.cos > -0.5:
            peak = x + 0.05 * self.sin
            self.limb((peak - 0.035, 0.955), (peak + 0.035, 0.955), (0.012, 0.012), cloth)

    def _backpack(self, *, behind: bool) -> None:
        if self.who.bag_kind != "backpack":
            return
        if behind == (self.cos >= 0):
            x, y = self.project(0.0, 0.7, -0.11)
            self._box((x, y), (self.spread(0.098, 0.06), 0.115))
        if not behind and self.cos > -0.3:
            for side in (-1, 1):
                top = self.project(0.075 * side, 0.84, 0.03)
                end = self.project(0.085 * side, 0.62, 0.06)
                self.limb(top, end, (0.016, 0.014), plain(self.who.bag))

    def _side_bag(self) -> None:
        if self.who.bag_kind != "shoulder":
            return
        top, hip = self.project(-0.08, 0.84, 0.0), self.project(0.125, 0.55, 0.02)
        self.limb(top, hip, (0.012, 0.012), plain(self.who.bag))
        self._box((hip[0], 0.52), (self.spread(0.06, 0.085), 0.068))

    def _box(self, centre: Point, half: Point) -> None:
        (x, y), (dx, dy) = centre, half
        outline = [(x - dx, y - dy), (x - dx, y + 0.7 * dy), (x - 0.7 * dx, y + dy)]
        outline += [(x + 0.7 * dx, y + dy), (x + dx, y + 0.7 * dy), (x + dx, y - dy)]
        self.fill(outline, plain(self.who.bag), roundness=0.2)


def draw_person(canvas: Array, who: Appearance, pose: Pose) -> None:
    """Draw a person onto `canvas` (H, W, 3), float RGB in 0..1, in place."""
    Figure(canvas, who, pose).draw()
