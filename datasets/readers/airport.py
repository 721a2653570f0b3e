"""Airport (Karanam et al., TPAMI 2019): six cameras of an airport, for training only."""

from __future__ import annotations

from pathlib import Path

from config.text import read_text
from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, no_images
from datasets.records import DataSplits, Sample

FIRST_PID = 11001
LIST = "filepath.txt"

LAYOUT = Layout(
    name="airport",
    folders=("AirportALERT", "airport/AirportALERT", "airport", "Airport", "."),
    parts=(LIST,),
    tree=r"""
AirportALERT/
  filepath.txt   lines "camera\identity\image", like the folders below
  cam1/          11001/0001.jpg ...
""",
)


def read_airport(root: Path, _split: int = 0) -> DataSplits:
    """Airport: the images that filepath.txt lists, without identities below 11001.

    Camera folders are numbered 0, 1, ... by name.
    """
    tree = find_tree(LAYOUT, root)
    entries = _read_list(tree / LIST)
    camid_of = {name: camid for camid, name in enumerate(sorted({name for _, name, _ in entries}))}
    train = [
        Sample(str(tree / image), pid, camid_of[camera])
        for image, camera, pid in entries
        if pid >= FIRST_PID
    ]
    if not train or not Path(train[0].path).is_file():
        raise no_images(LAYOUT.name, tree, f"the images named in {tree / LIST}")
    return DataSplits(LAYOUT.name, train, [], [], notes=("for training only",))


def _read_list(path: Path) -> list[tuple[str, str, int]]:
    r"""Image, camera and identity from lines "camera\identity\image"."""
    entries = []
    lines = read_text(path).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        image = line.strip().replace("\\", "/")
        fields = image.split("/")
        if len(fields) < 3 or not fields[1].isdecimal():
            raise ValueError(
                rf"{path}, line {number}: expected 'camera\identity\image', found {line!r}"
            )
        entries.append((image, fields[0], int(fields[1])))
    return entries


BENCHMARK = Benchmark(
    read_airport, sizes=PublishedSizes(train_ids=(9_651,), train_images=(30_243,))
)
