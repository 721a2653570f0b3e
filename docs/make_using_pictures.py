"""Make the figures of docs/using.md from a finished demo run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.image_lists import read_image_lists
from processor.tools.command_line import parse_anywhere
from run import build_parser, load_tool

UNSEEN = "synthetic_campus"  # a data set that the demo does not train on
WIDEST = 1400  # pixels
COLOURS = 256


def run_tool(*words: str | Path) -> None:
    """Run a sub-command of run.py, as typed."""
    typed = list(map(str, words))
    load_tool(typed[0]).run(parse_anywhere(build_parser(), typed))


def draw_figures(run: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Draw into a folder; yields each figure's name in the documentation, and its file.

    Args:
        run: folder of the demo's run.
        folder: where the sub-commands write.
    """
    model = run / "last.pth"
    lists = folder / "rank_lists"
    few = ("--order", "random", "--queries", "4", "--top", "8", "--sheets")
    run_tool("rank-list", model, "--data", UNSEEN, *few, "--output", lists)
    yield "rank_list", lists / f"{UNSEEN}_random_1.png"
    (images,) = read_image_lists([f"{UNSEEN}:query"], "")
    queries = [images.samples[place].path for place in (0, 100)]
    gallery = ("--gallery", f"{UNSEEN}:gallery", "--top", "9")
    run_tool("search", model, "--query", *queries, *gallery, "--output", folder)
    yield "search", folder / "neighbours_1.png"
    run_tool("threshold", model, "--data", UNSEEN, "--output", folder)
    yield "threshold", folder / f"{UNSEEN}.png"
    run_tool("attention", model, f"{UNSEEN}:query", "--limit", "8", "--output", folder)
    yield "attention", folder / "sheet_rollout.png"
    for split, data in (("test", UNSEEN), ("train", "synthetic_street")):
        file = folder / f"embedding_{split}.png"
        run_tool("embedding", model, "--data", data, "--split", split, "--output", file)
        yield file.stem, file
    run_tool("batches", model, "--identities", "5", "--output", folder / "batches.png")
    yield "batches", folder / "batches.png"
    run_tool("curves", run, "--output", folder / "curves.png")
    yield "curves", folder / "curves.png"


def reduce(figure: Image.Image) -> Image.Image:
    """A figure no wider than `WIDEST`, in few colours, for a small file."""
    if figure.width > WIDEST:
        height = round(figure.height * WIDEST / figure.width)
        figure = figure.resize((WIDEST, height), Image.Resampling.LANCZOS)
    flat = figure.convert("RGB")
    return flat.quantize(
        COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE
    )


def main() -> None:
    """Write every figure as `using_NAME.png` into `--output`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="after `make demo`")
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        for name, file in draw_figures(arguments.run, Path(folder)):
            with Image.open(file) as figure:
                reduce(figure).save(arguments.output / f"using_{name}.png", optimize=True)


if __name__ == "__main__":
    main()
