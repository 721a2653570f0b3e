"""Captions of drawn people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from datasets.synthetic.figures import Appearance
from datasets.synthetic.people import HAIRS, SKINS
from datasets.synthetic.places import RGB, palette

# Name -> its shades; a colour has the name of the shade that is nearest by CIEDE2000.
COLOURS = {
    "black": palette("1c1c20"),
    "white": palette("f3f2ee"),
    "grey": palette("76787c"),
    "light grey": palette("b8b8ba"),
    "navy": palette("24304f"),
    "blue": palette("2f68c8 486a9a"),
    "light blue": palette("a6c8e6"),
    "teal": palette("2a7f86"),
    "turquoise": palette("12a8cc"),
    "dark green": palette("2f4a38"),
    "green": palette("2a9660 74a832"),
    "light green": palette("a6dcbe"),
    "olive": palette("5f6a34"),
    "yellow": palette("ecd050 d0b02c d4e03a fff0a0"),
    "beige": palette("d4c8ac"),
    "khaki": palette("968458"),
    "brown": palette("694a38 3f2e26 9a6a3a"),
    "orange": palette("ea8030 b85c30"),
    "red": palette("d02c3c e85d75"),
    "dark red": palette("822030"),
    "pink": palette("f0a8b8 b48c9c"),
    "purple": palette("703a84 8338ec 4a2848 b5179e"),
    "lilac": palette("c4b2e2"),
}
HAIR_COLOURS = dict(
    zip(("black", "brown", "blond", "grey"), ((hair,) for hair in HAIRS), strict=True)
)
SKIN_COLOURS = dict(
    zip(("fair", "tanned", "brown", "dark"), ((skin,) for skin in SKINS), strict=True)
)
HAIRSTYLES = {"short": "short {} hair", "long": "long {} hair", "bun": "{} hair in a bun"}
# The upper garment with its pattern: {0} the garment's colour, {1} the accent's, {2} the garment.
PATTERNS = {
    "plain": ("{0} {2}", "plain {0} {2}"),
    "hoops": ("{0} and {1} hooped {2}", "{0} {2} with {1} hoops"),
    "stripes": ("{0} and {1} striped {2}", "{0} {2} with {1} stripes"),
    "checks": ("{0} and {1} checked {2}", "{0} {2} with {1} checks"),
    "block": ("{0} {2} with a {1} lower half", "{2} that is {0} above and {1} below"),
    "band": ("{0} {2} with a {1} band", "{0} {2} with a {1} band across the chest"),
    "logo": ("{0} {2} with a {1} logo", "{0} {2} with a {1} print"),
}
UPPERS = {
    True: ("shirt", "long-sleeved shirt", "sweater"),
    False: ("T-shirt", "short-sleeved shirt"),
}
LOWERS = {"trousers": ("trousers", "pants"), "shorts": ("shorts",), "skirt": ("skirt",)}
BAGS = {"backpack": ("backpack",), "shoulder": ("shoulder bag",), "hand": ("handbag", "bag")}
HATS = ("hat", "cap")
PERSONS = ("a {} person", "a photo of a {} person", "a {} pedestrian")
# Probability that a caption tells an attribute; garments are always told.
SHARES = {"hair": 0.8, "bag": 0.9, "hat": 0.9, "skin": 0.3, "shoes": 0.4, "build": 0.4}


def caption(who: Appearance, rng: np.random.Generator) -> str:
    """A caption such as "a person with grey hair in a red shirt and black trousers".

    Garments, their colours and their pattern are always told, other attributes with the
    probabilities in `SHARES`. What is not there, a bag or a hat, is not mentioned.

    Args:
        who: the person.
        rng: draws the wording and what is left out.
    """
    told = {name for name, share in SHARES.items() if rng.random() < share}

    def pick(words: Sequence[str]) -> str:
        return words[int(rng.integers(len(words)))]

    build = _build(who.girth) if "build" in told else ""
    looks = [_hair(who)] if "hair" in told else []
    looks += [f"{name_colour(who.skin, SKIN_COLOURS)} skin"] if "skin" in told else []
    upper = pick(PATTERNS[who.pattern]).format(
        name_colour(who.upper), name_colour(who.accent), pick(UPPERS[who.long_sleeves])
    )
    lower = f"{name_colour(who.lower)} {pick(LOWERS[who.lower_kind])}"
    clothes = [_with_article(upper), _with_article(lower) if lower.endswith("skirt") else lower]
    clothes += [f"{name_colour(who.shoes)} shoes"] if "shoes" in told else []
    text = " ".join(pick(PERSONS).format(build).split())
    text += f" with {_list(looks)}" if looks else ""
    text += f" {pick(('in', 'wearing'))} {_list(clothes)}"
    if who.hat is not None and "hat" in told:
        text += (
            f", {pick(('with', 'wearing'))} {_with_article(f'{name_colour(who.hat)} {pick(HATS)}')}"
        )
    if who.bag_kind != "none" and "bag" in told:
        bag = _with_article(f"{name_colour(who.bag)} {pick(BAGS[who.bag_kind])}")
        text += f", {pick(('with', 'carrying'))} {bag}"
    return text


def name_colour(colour: RGB, names: Mapping[str, Sequence[RGB]] = COLOURS) -> str:
    """The name of the shade that is nearest to a colour by CIEDE2000."""
    shades = [(name, shade) for name, shades in names.items() for shade in shades]
    return _nearest(colour, tuple(shades))


@cache
def _nearest(colour: RGB, shades: tuple[tuple[str, RGB], ...]) -> str:
    lab = rgb2lab(np.array([shade for _, shade in shades])[None])
    distances = deltaE_ciede2000(rgb2lab(np.array(colour)[None, None]), lab)[0]
    return shades[distances.argmin()][0]


def _hair(who: Appearance) -> str:
    if who.hairstyle == "bald":
        return "a bald head"
    return HAIRSTYLES[who.hairstyle].format(name_colour(who.hair, HAIR_COLOURS))


def _build(girth: float) -> str:
    """A word for the width of a body; empty for an average one."""
    return "slim" if girth < 0.96 else "broad" if girth > 1.12 else ""


def _with_article(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def _list(things: Sequence[str]) -> str:
    """Things joined by commas and "and"."""
    return " and ".join(filter(None, (", ".join(things[:-1]), things[-1])))
