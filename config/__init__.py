"""One tree of options: `load_cfg` reads defaults, a YAML file and `KEY VALUE` overrides."""

from config.checks import require_labels
from config.errors import ConfigError, UnknownOptionError
from config.load import dump_cfg, load_cfg
from config.options import with_options
from config.overrides import Overrides, list_overrides

__all__ = [
    "ConfigError",
    "Overrides",
    "UnknownOptionError",
    "dump_cfg",
    "list_overrides",
    "load_cfg",
    "require_labels",
    "with_options",
]
