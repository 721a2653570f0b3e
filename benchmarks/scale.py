"""Search in millions of features from shards on the disk: python benchmarks/scale.py.

Draws features of 256 numbers into shards, as run.py extract writes them, then opens them, builds an
"ivfpq" index and searches, each in a process of its own, and compares with the exact search. The
features have the spectrum of a real model's (variance (i + 16)^-2 of component i; 69 % in the first
32 of 256), ten images per identity in different shards, and half of the identities' deviation
within an identity.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn_features import describe_machine, in_new_process, load, print_table, status_bytes

from datasets.records import Sample
from processor.search.exact import search
from processor.search.faiss_index import FaissIndex
from processor.search.feature_file import FeatureFile
from processor.search.feature_record import FORMAT
from processor.search.shard_files import Shard, mark_done
from processor.search.stored_features import read_features

DIM = 256
BLOCK = 2**16  # identities, and rows drawn at a time
SHARD_ROWS = 2**19
IMAGES_PER_PERSON = 10
WITHIN = 0.5  # deviation within an identity, of that between identities
QUERIES, TOP = 100, 10


def scales() -> np.ndarray:
    """(D,) standard deviations of the components."""
    return (1 / (np.arange(DIM) + 16)).astype(np.float32)


def draw_rows(block: int, people: int) -> np.ndarray:
    """(BLOCK, D) features of length 1; row r of all is of identity r % people."""
    who = block * BLOCK % people // BLOCK
    rows = np.random.default_rng([0, who]).standard_normal((BLOCK, DIM), np.float32)
    rows += WITHIN * np.random.default_rng([1, block]).standard_normal((BLOCK, DIM), np.float32)
    rows *= scales()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def draw_shards(folder: Path, num_rows: int) -> None:
    """Write all shards that are missing."""
    count = num_rows // SHARD_ROWS
    people = num_rows // IMAGES_PER_PERSON // BLOCK * BLOCK
    for number in range(count):
        file = Shard(number, count).file(folder)
        if file.with_suffix(".done").is_file():
            continue
        record = {
            "format": FORMAT,
            "checkpoint": "drawn",
            "model": {"weights": "drawn"},
            "dim": DIM,
            "normalized": True,
            "images": SHARD_ROWS,
            "images_sha256": str(num_rows),
            "shard": {"number": number, "of": count},
        }
        with FeatureFile(file, DIM, record) as output:
            for start in range(output.images_done, SHARD_ROWS, BLOCK):
                block = (number * SHARD_ROWS + start) // BLOCK
                names = range(block * BLOCK, (block + 1) * BLOCK)
                samples = [Sample(f"images/{i:08d}.jpg", i % people, i // people) for i in names]
                output.append(torch.from_numpy(draw_rows(block, people)), samples)
        mark_done(file)


def query_rows(num_rows: int) -> np.ndarray:
    """Rows of the gallery whose people are searched."""
    return np.random.default_rng(2).choice(num_rows, QUERIES, replace=False)


def queries(num_rows: int) -> torch.Tensor:
    """(Q, D) other images of people of the gallery."""
    people = num_rows // IMAGES_PER_PERSON // BLOCK * BLOCK
    rng = np.random.default_rng(3)
    found = []
    for row in query_rows(num_rows) % people:
        centres = np.random.default_rng([0, row // BLOCK]).standard_normal((BLOCK, DIM), np.float32)
        own = centres[row % BLOCK] + WITHIN * rng.standard_normal(DIM, np.float32)
        own *= scales()
        found.append(own / np.linalg.norm(own))
    return torch.from_numpy(np.stack(found))


def index_file(folder: Path) -> Path:
    """Beside the shards."""
    return folder.with_name(f"{folder.name}.ivfpq.faiss")


def build(folder: Path) -> dict[str, Any]:
    """Open the shards and build the index."""
    started = time.perf_counter()
    stored = read_features(folder)
    opened = time.perf_counter()
    FaissIndex(stored.features, "ivfpq", index_file(folder), stored.files)
    done = time.perf_counter()
    return {"open": opened - started, "build": done - opened, "peak": status_bytes("VmHWM")}


def find(folder: Path, kind: str, seed_rows: int) -> dict[str, Any]:
    """Open shards and index, search twice; the second time everything is loaded."""
    wanted = queries(seed_rows)
    started = time.perf_counter()
    stored = read_features(folder)
    index = None
    if kind == "ivfpq":
        index = FaissIndex(stored.features, kind, index_file(folder), stored.files)
    opened = time.perf_counter()
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        found = index.search(wanted, TOP) if index else search(wanted, stored.features, TOP)
        seconds.append(time.perf_counter() - begun)
    return {
        "open": opened - started,
        "first": seconds[0],
        "again": seconds[1],
        "peak": status_bytes("VmHWM"),
        "anonymous": status_bytes("RssAnon"),
        "rows": found.indices.numpy(),
    }


def main() -> None:
    """Draw, build, search; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, default=10, help="features, rounded to shards")
    parser.add_argument("--folder", type=Path, default=Path("runs/scale"))
    parser.add_argument("--keep", action="store_true", help="do not remove the features at the end")
    parser.add_argument("--again", action="store_true", help="build an existing index again")
    arguments = parser.parse_args()
    count = max(1, round(arguments.millions * 1e6 / SHARD_ROWS))
    num_rows = count * SHARD_ROWS
    folder = arguments.folder / f"{num_rows}.shards"
    print(f"{describe_machine()}, {load()}\n\n{num_rows:,} x {DIM}, {QUERIES} queries, top {TOP}")
    started = time.perf_counter()
    draw_shards(folder, num_rows)
    print(f"drawn in {time.perf_counter() - started:.0f} s\n", flush=True)
    if arguments.again:
        index_file(folder).unlink(missing_ok=True)
    built = in_new_process(build, folder)
    coded = in_new_process(find, folder, "ivfpq", num_rows)
    exact = in_new_process(find, folder, "exact", num_rows)
    same = (coded["rows"][:, :, None] == exact["rows"][:, None]).any(2).mean()
    index_bytes = index_file(folder).stat().st_size
    feature_bytes = sum(file.stat().st_size for file in folder.iterdir())
    rows: list[tuple[str, ...]] = [
        ("", "ivfpq", "exact"),
        ("building the index, s", f"{built['build']:.0f}", ""),
        ("its peak memory, GB", f"{built['peak'] / 1e9:.2f}", ""),
        ("on disk, GB", f"{index_bytes / 1e9:.2f}", f"{feature_bytes / 1e9:.2f} (the features)"),
        *[
            (f"{what}, {unit}", *(f"{x[key] / scale:.2f}" for x in (coded, exact)))
            for what, unit, key, scale in (
                ("opening", "s", "open", 1),
                (f"{QUERIES} queries, first time", "s", "first", 1),
                (f"{QUERIES} queries, again", "s", "again", 1),
                ("peak resident memory", "GB", "peak", 1e9),
                ("of it not file cache", "GB", "anonymous", 1e9),
            )
        ],
        (f"recall@{TOP}", f"{same:.3f}", "1"),
    ]
    print_table(*rows)
    if not arguments.keep:
        shutil.rmtree(arguments.folder)


if __name__ == "__main__":
    main()
