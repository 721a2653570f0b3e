"""One tree of options: `load_cfg` reads defaults, a YAML file and `KEY VALUE` overrides."""

from config.checks import require_labels
from config.errors import ConfigError, UnknownOptionError
from config.load import dump_cfg, load_cfg

__all__ = ["ConfigError", "UnknownOptionError", "dump_cfg", "load_cfg", "require_labels"]
