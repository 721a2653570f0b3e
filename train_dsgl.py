"""Train without labels: python train_dsgl.py [--config_file FILE] [FLAGS] [KEY VALUE ...]."""

from __future__ import annotations

from config import load_cfg
from processor.experiment import train
from processor.tools.command_line import run
from processor.tools.dsgl_flags import dsgl_opts


def main() -> None:
    """Parse, load the configuration, train."""
    run(_train)


def _train() -> None:
    arguments = dsgl_opts()
    train(load_cfg(arguments.config_file, arguments.opts))


if __name__ == "__main__":
    main()
