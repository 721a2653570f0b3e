"""`python -m datasets.readers.frozen_splits` checks the split files; `--write` rewrites them."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from datasets.readers import ilids, prid, viper
from datasets.readers.frozen_splits import FrozenSplits, format_splits, sha256

logger = logging.getLogger(__name__)

ALL = (viper.FROZEN, prid.FROZEN, ilids.FROZEN)


def main(args: Sequence[str] | None = None) -> int:
    """Compare each file with the generator's output and with its recorded hash.

    Returns:
        Exit status: 1 if any differs, even after writing (the generator then draws other splits).
    """
    parser = argparse.ArgumentParser(
        "python -m datasets.readers.frozen_splits", description=__doc__
    )
    parser.add_argument("--write", action="store_true", help="write the files, then check them")
    if parser.parse_args(args).write:
        for frozen in ALL:
            frozen.file.write_bytes(format_splits(frozen.draw()))
    results = [_check_file(frozen) for frozen in ALL]
    return 0 if all(results) else 1


def _check_file(frozen: FrozenSplits) -> bool:
    found = sha256(frozen.file.read_bytes()) if frozen.file.is_file() else None
    drawn = sha256(format_splits(frozen.draw()))
    recorded = frozen.sha256
    state = "ok" if found == drawn == recorded else "DIFFERS"
    logger.info(
        "%s: file %s, generator %s, recorded %s: %s", frozen.file, found, drawn, recorded, state
    )
    return state == "ok"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    raise SystemExit(main())
