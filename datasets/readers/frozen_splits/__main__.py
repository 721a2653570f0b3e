"""`python -m datasets.readers.frozen_splits` checks the split files; `--write` rewrites them."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from datasets.readers.frozen_splits import FROZEN, draw_splits, format_splits, sha256, split_file

logger = logging.getLogger(__name__)


def main(args: Sequence[str] | None = None) -> int:
    """Compare each file with the generator's output and with its recorded hash.

    Returns:
        Exit status: 1 if any differs, also after writing (then the generator draws other splits).
    """
    parser = argparse.ArgumentParser(
        "python -m datasets.readers.frozen_splits", description=__doc__
    )
    parser.add_argument("--write", action="store_true", help="write the files before the check")
    if parser.parse_args(args).write:
        _write_files()
    results = [_check_file(name) for name in FROZEN]
    return 0 if all(results) else 1


def _write_files() -> None:
    for name in FROZEN:
        split_file(name).write_bytes(format_splits(draw_splits(name)))


def _check_file(name: str) -> bool:
    path = split_file(name)
    found = sha256(path.read_bytes()) if path.is_file() else None
    drawn = sha256(format_splits(draw_splits(name)))
    recorded = FROZEN[name].sha256
    state = "ok" if found == drawn == recorded else "DIFFERS"
    logger.info("%s: file %s, generator %s, recorded %s: %s", path, found, drawn, recorded, state)
    return state == "ok"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    raise SystemExit(main())
