"""Draw the README's overview of the synthetic data sets: domains x identities x cameras."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic.people import Identity, draw_identities
from datasets.synthetic.places import DOMAINS, Domain
from datasets.synthetic.render import DEFAULTS, Plan, Shot, draw_shot
from processor.pictures.style import FAINT_INK, INK, PAPER
from processor.pictures.text import LINE, write_lines

NUM_IDENTITIES = 4
TILE = (100, 200)  # (width, height) of an image on the sheet
MARGIN, GAP, BELOW = 20, 32, 5  # around the sheet, between identities, below a caption
HEADING, CAPTION = 26, 21  # font sizes
ADVICE = [
    "Four images in a row show one identity, seen by cameras 1 to 4: pose, colours and background "
    "change, the clothes stay.",
    "Look-alikes differ in one or two details only. Each data set has its own clothes, background "
    "and light.",
]
DETAILS = {  # of `Appearance`, in words
    "upper": "colour of the shirt",
    "accent": "second colour of the shirt",
    "pattern": "pattern of the shirt",
    "lower": "colour of the trousers or skirt",
    "lower_kind": "trousers, shorts or skirt",
    "bag_kind": "bag",
    "hat": "hat",
}


def choose_identities(domain: Domain) -> list[Identity]:
    """Two look-alikes first, then people of other families."""
    people = draw_identities(domain, 1, DEFAULTS.num_train_pids, DEFAULTS.seed)
    twin = next(b for a, b in pairwise(people) if a.family == b.family)
    family = [person for person in people if person.family == twin.family][:2]
    founders = {p.family: p for p in reversed(people) if p.family > twin.family}
    others = [founders[key] for key in sorted(founders)]
    return (family + others)[:NUM_IDENTITIES]


def describe(person: Identity, first: Identity) -> list[str]:
    """The pid; of a look-alike also whom it resembles and what differs."""
    lines = [f"identity {person.pid}"]
    if person is first or person.family != first.family:
        return lines
    differing = [
        DETAILS.get(field.name, field.name)
        for field in fields(person.appearance)
        if getattr(person.appearance, field.name) != getattr(first.appearance, field.name)
    ]
    name = f"identity {person.pid}, look-alike of identity {first.pid}"
    return [name, "differs in: " + "; ".join(differing)]


def draw_row(sheet: Image.Image, top: int, domain: Domain) -> None:
    """Paste one domain's images below its name and their captions."""
    write_lines(sheet, (MARGIN, top), [f"synthetic_{domain.name}"], HEADING)
    plan = Plan(domain, DEFAULTS, 128, 64)
    group = DEFAULTS.num_cameras * TILE[0] + GAP
    people = choose_identities(domain)
    captions = top + round(LINE * HEADING)
    for column, person in enumerate(people):
        left = MARGIN + column * group
        lines = describe(person, people[0])
        write_lines(sheet, (left, captions), lines, CAPTION, FAINT_INK)
        for camid in range(DEFAULTS.num_cameras):
            shot = Shot("", person.pid, camid, 0, person.appearance)
            tile = draw_shot(plan, shot).resize(TILE, Image.Resampling.LANCZOS)
            place = (left + camid * TILE[0], captions + round(2 * LINE * CAPTION) + BELOW)
            sheet.paste(tile, place)


def draw_sheet() -> Image.Image:
    """The whole sheet, reduced to 256 colours to keep the file small."""
    group = DEFAULTS.num_cameras * TILE[0] + GAP
    row = TILE[1] + round(LINE * (HEADING + 2 * CAPTION)) + BELOW + MARGIN
    header = round(LINE * CAPTION * len(ADVICE)) + MARGIN
    size = (
        2 * MARGIN + NUM_IDENTITIES * group - GAP,
        MARGIN + header + len(DOMAINS) * row,
    )
    sheet = Image.new("RGB", size, PAPER)
    write_lines(sheet, (MARGIN, MARGIN), ADVICE, CAPTION, INK)
    for index, domain in enumerate(DOMAINS.values()):
        draw_row(sheet, MARGIN + header + index * row, domain)
    return sheet.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)


def main() -> None:
    """Write the sheet to `--output`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/images/synthetic.png"))
    output = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet().save(output, optimize=True)


if __name__ == "__main__":
    main()
