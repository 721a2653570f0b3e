"""The people of a drawn data set: families of look-alikes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datasets.synthetic.figures import BAGS, HAIRSTYLES, LOWERS, PATTERNS, Appearance
from datasets.synthetic.places import RGB, Domain

SKINS = ((0.95, 0.78, 0.67), (0.85, 0.64, 0.5), (0.66, 0.46, 0.33), (0.42, 0.28, 0.2))
HAIRS = ((0.1, 0.08, 0.07), (0.3, 0.19, 0.11), (0.72, 0.55, 0.3), (0.55, 0.53, 0.51))
SHOES = ((0.1, 0.1, 0.1), (0.9, 0.9, 0.88), (0.42, 0.26, 0.15), (0.7, 0.15, 0.15))


@dataclass(frozen=True, slots=True)
class Identity:
    """One person; a family is a group of look-alikes."""

    pid: int
    family: int
    appearance: Appearance


def draw_identities(domain: Domain, first_pid: int, count: int, seed: int) -> list[Identity]:
    """Draw `count` people in families of one to three.

    Every other member differs from the founder of its family in one attribute, so that two members
    differ in one or two.
    """
    rng = keyed_generator(seed, domain.name, "identities", first_pid)
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
    """Attributes in which family members may differ, all visible at 128 x 64 pixels."""
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
    """A random colour from the half of `colours` that differs most from all `others`."""
    distances = np.linalg.norm(np.array(colours)[:, None] - np.array(others), axis=2).min(axis=1)
    return colours[np.argsort(-distances, kind="stable")[rng.integers(len(colours) // 2)]]


def _change(who: Appearance, name: str, domain: Domain, rng: np.random.Generator) -> Appearance:
    """The appearance with one attribute changed."""
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


def keyed_generator(*key: object) -> np.random.Generator:
    """A random generator for each key, equal on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))
