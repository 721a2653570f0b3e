"""Draws the README's contact sheet of the embedded data sets: domains x identities x cameras."""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic.people import Identity, draw_identities
from datasets.synthetic.places import DOMAINS, Domain
from datasets.synthetic.render import DEFAULTS, Plan, Shot, draw_shot

NUM_IDENTITIES = 4
TILE = (50, 100)  # (width, height) of one picture on the sheet
MARGIN = 12
CAPTION = 18
BACKGROUND, INK, FAINT = (255, 255, 255), (30, 34, 40), (110, 116, 124)


def choose_identities(domain: Domain) -> list[Identity]:
    """Two look-alikes first, then people of other families."""
    people = draw_identities(domain, 1, DEFAULTS.num_train_pids, DEFAULTS.seed)
    twin = next(b for a, b in pairwise(people) if a.family == b.family)
    family = [person for person in people if person.family == twin.family][:2]
    founders = {p.family: p for p in reversed(people) if p.family > twin.family}
    others = [founders[key] for key in sorted(founders)]
    return (family + others)[:NUM_IDENTITIES]


def draw_row(
    sheet: Image.Image, top: int, domain: Domain, fonts: list[ImageFont.FreeTypeFont]
) -> None:
    """Paste one domain's pictures below its name."""
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, top), f"synthetic_{domain.name}", font=fonts[0], fill=INK)
    plan = Plan(domain, DEFAULTS, 128, 64)
    group = DEFAULTS.num_cameras * TILE[0] + MARGIN
    for column, person in enumerate(choose_identities(domain)):
        left = MARGIN + column * group
        note = f"identity {person.pid}" + (", look-alike of the first" if column == 1 else "")
        pen.text((left, top + CAPTION), note, font=fonts[1], fill=FAINT)
        for camid in range(DEFAULTS.num_cameras):
            shot = Shot("", person.pid, camid, 0, person.appearance)
            tile = draw_shot(plan, shot).resize(TILE, Image.Resampling.LANCZOS)
            sheet.paste(tile, (left + camid * TILE[0], top + 2 * CAPTION))


def draw_sheet() -> Image.Image:
    """The whole sheet, reduced to 128 colours to keep the file small."""
    group = DEFAULTS.num_cameras * TILE[0] + MARGIN
    row = TILE[1] + 2 * CAPTION + MARGIN
    size = (MARGIN + NUM_IDENTITIES * group, MARGIN + CAPTION + len(DOMAINS) * row)
    sheet = Image.new("RGB", size, BACKGROUND)
    fonts = [ImageFont.load_default(15), ImageFont.load_default(12)]
    for index, domain in enumerate(DOMAINS.values()):
        draw_row(sheet, MARGIN + index * row, domain, fonts)
    note = f"Each group shows one identity before cameras 1 to {DEFAULTS.num_cameras}."
    ImageDraw.Draw(sheet).text((MARGIN, size[1] - CAPTION - 4), note, font=fonts[1], fill=FAINT)
    return sheet.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def main() -> None:
    """Write the sheet to `--output`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/images/synthetic.png"))
    output = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet().save(output, optimize=True)


if __name__ == "__main__":
    main()
