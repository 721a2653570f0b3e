"""Train without labels: python train_dsgl.py [--config_file FILE] [FLAGS] [KEY VALUE ...]."""

from __future__ import annotations

from config import load_cfg
from processor.command_line import run
from processor.dsgl_flags import dsgl_opts
from processor.experiment import train


def main() -> None:
    """Parse, load the configuration, train."""
    run(_train)


def _train() -> None:
    arguments = dsgl_opts()
    train(load_cfg(arguments.config_file, arguments.opts))


if __name__ == "__main__":
    main()
