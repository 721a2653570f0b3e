"""Captions of drawn people: what they tell, how they word it, what they leave out."""

import re
from dataclasses import replace

import numpy as np
import pytest

from datasets.synthetic import caption
from datasets.synthetic import captions as module
from datasets.synthetic.captions import COLOURS, HAIR_COLOURS, SKIN_COLOURS, name_colour
from datasets.synthetic.figures import BAGS, LOWERS, PATTERNS, Appearance
from datasets.synthetic.people import draw_identities
from datasets.synthetic.places import DOMAINS

WHO = Appearance(
    skin=(0.42, 0.28, 0.2),
    hair=(0.55, 0.53, 0.51),
    hairstyle="bun",
    hat=(0.9, 0.5, 0.2),
    upper=(0.8, 0.15, 0.2),
    accent=(0.95, 0.95, 0.95),
    pattern="stripes",
    long_sleeves=True,
    lower_kind="skirt",
    lower=(0.1, 0.1, 0.12),
    shoes=(0.4, 0.26, 0.18),
    bag_kind="hand",
    bag=(0.2, 0.4, 0.8),
    girth=0.9,
    stature=1.0,
)


@pytest.fixture
def tell(monkeypatch):
    """`tell(who, **shares)` -> 60 captions; attributes are told unless a share says otherwise."""

    def write(who, **shares):
        monkeypatch.setattr(module, "SHARES", dict.fromkeys(module.SHARES, 1.0) | shares)
        rng = np.random.default_rng(0)
        return [caption(who, rng) for _ in range(60)]

    return write


def test_caption_tells_everything_it_may_tell(tell):
    pattern = (
        r"(a|a photo of a) slim (person|pedestrian) with grey hair in a bun and dark skin "
        r"(in|wearing) a (red and white striped (shirt|long-sleeved shirt|sweater)"
        r"|red (shirt|long-sleeved shirt|sweater) with white stripes), a black skirt and brown "
        r"shoes, (with|wearing) an orange (hat|cap), (with|carrying) a blue (handbag|bag)"
    )
    texts = tell(WHO)
    assert [text for text in texts if not re.fullmatch(pattern, text)] == []
    assert len(set(texts)) > 30


def test_captions_mention_only_what_is_drawn(tell):
    bare = replace(WHO, hat=None, bag_kind="none", pattern="plain", girth=1.0, hairstyle="bald")
    pattern = (
        r"(a|a photo of a) (person|pedestrian) with a bald head and dark skin (in|wearing) a "
        r"(plain )?red (shirt|long-sleeved shirt|sweater), a black skirt and brown shoes"
    )
    assert [text for text in tell(bare) if not re.fullmatch(pattern, text)] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hair", " hair "),
        ("skin", " skin"),
        ("shoes", " shoes"),
        ("build", " slim "),
        ("hat", " orange "),
        ("bag", " blue "),
    ],
)
def test_an_attribute_is_left_out_by_its_share(tell, name, words):
    assert sum(words in text for text in tell(WHO, **{name: 0.0})) == 0
    half = sum(words in text for text in tell(WHO, **{name: 0.5}))
    assert 15 < half < 45


def test_garments_are_always_told(tell):
    texts = tell(WHO, **dict.fromkeys(module.SHARES, 0.0))
    assert all("red" in text and "white" in text and "a black skirt" in text for text in texts)
    assert all(" with grey" not in text and "orange" not in text for text in texts)


@pytest.mark.parametrize("kind", LOWERS)
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("bag", BAGS)
def test_every_kind_has_its_words(tell, kind, pattern, bag):
    words = {
        "plain": "red",
        "hoops": "hoop",
        "stripes": "strip",
        "checks": "check",
        "block": "white (lower half|below)",
        "band": "white band",
        "logo": "white (logo|print)",
        "trousers": "black (trousers|pants)",
        "shorts": "black shorts",
        "skirt": "a black skirt",
        "backpack": "blue backpack",
        "shoulder": "blue shoulder bag",
        "hand": "blue (hand)?bag",
        "none": "",
    }
    texts = tell(replace(WHO, lower_kind=kind, pattern=pattern, bag_kind=bag, long_sleeves=False))
    for text in texts:
        assert all(re.search(words[value], text) for value in (kind, pattern, bag)), text
        assert re.search("T-shirt|short-sleeved shirt", text)


def test_equal_generators_write_equal_captions():
    people = draw_identities(DOMAINS["mall"], 1, 20, 0)
    one, other = (
        [caption(person.appearance, np.random.default_rng(3)) for person in people]
        for _ in range(2)
    )
    assert one == other


def test_colours_are_named_by_the_nearest_shade():
    for name, shades in COLOURS.items():
        assert {name_colour(shade) for shade in shades} == {name}
    assert name_colour((0.55, 0.53, 0.51), HAIR_COLOURS) == "grey"
    assert name_colour((0.7, 0.5, 0.4), SKIN_COLOURS) == "brown"
    assert name_colour((0.0, 0.0, 0.3)) == "navy"
    assert name_colour((1.0, 1.0, 1.0)) == "white"


def test_look_alikes_have_different_captions_where_names_differ():
    """Two colours can share a name: then words do not tell these people apart."""
    people = [person.appearance for person in draw_identities(DOMAINS["campus"], 1, 100, 0)]
    texts = [caption(who, np.random.default_rng(0)) for who in people]
    assert len(set(texts)) > 90
