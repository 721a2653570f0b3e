"""YAML files of options, and the files that they are based on."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from config.errors import ConfigError
from config.free_options import BLOCK
from config.legacy import translate_key
from config.options import ACCEPTED, flatten, given_twice, is_block
from config.text import read_text

BASE_KEY = "_BASE_"
MOST_STORED = 2**20  # characters of a configuration in a checkpoint
DEEPEST_STORED = 32  # its levels of nesting; a configuration has four


class OptionLoader(yaml.SafeLoader):
    """YAML with the floats of YAML 1.2: 1e-3 is a number, not text."""


class OptionDumper(yaml.SafeDumper):
    """YAML that `OptionLoader` reads: text that looks like its floats is quoted."""


_TEXT, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
for _kind in (OptionLoader, OptionDumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )


def dump_yaml(cfg: CfgNode) -> str:
    """A configuration as YAML text."""
    return yaml.dump(_as_dict(cfg), Dumper=OptionDumper)


def _as_dict(cfg: CfgNode) -> dict[str, Any]:
    return {
        key: _as_dict(value) if isinstance(value, CfgNode) else value for key, value in cfg.items()
    }


@dataclass(frozen=True, slots=True)
class Layer:
    """Options from one source.

    Attributes:
        source: as errors name it; the path of a file.
        pairs: key and value of each option, as written.
    """

    source: str
    pairs: Sequence[tuple[str, Any]]


def read_layers(config_file: str | Path) -> list[Layer]:
    """A YAML file and its bases, the file itself last.

    Raises:
        FileNotFoundError: the file or a base does not exist.
        ConfigError: a file holds no options or one of them twice, `_BASE_` is not a path, or a file
            is its own base.
    """
    path = find_recipe(Path(config_file))
    tree = read_file(path, "--config_file")
    layers = [make_layer(tree, str(path))]
    seen = {path.resolve()}
    while BASE_KEY in tree:
        heir, path = path, base_path(path, tree[BASE_KEY])
        if path.resolve() in seen:
            raise ConfigError(f"{BASE_KEY} of {heir}: {path} is itself based on {heir}")
        seen.add(path.resolve())
        tree = read_file(path, f"{BASE_KEY} of {heir}")
        # Two recipes with one base must not write into one folder.
        own = {key: value for key, value in tree.items() if key != "OUTPUT_DIR"}
        layers.insert(0, make_layer(own, str(path)))
    return layers


def find_recipe(path: Path) -> Path:
    """The path itself or, from any working folder, the program's own `configs/...` of that name."""
    own = Path(__file__).resolve().parents[1] / path
    return own if path.parts[:1] == ("configs",) and own.is_file() and not path.exists() else path


def make_layer(tree: dict[str, Any], source: str) -> Layer:
    """The options of a tree; an empty block, such as `DATASETS:`, counts as absent."""
    pairs = [
        (key, value)
        for key, value in flatten(tree)
        if key != BASE_KEY and not (value is None and ("." not in key or is_block(key)))
    ]
    return Layer(source, pairs)


def base_path(heir: Path, value: Any) -> Path:
    """The path that `_BASE_: value` in the file `heir` means; raises ConfigError."""
    if not isinstance(value, str) or not value:
        raise ConfigError(
            f"{BASE_KEY} of {heir}: {value!r} should be the path of one YAML file, relative to the "
            "folder of this one"
        )
    return heir.parent / value


def read_file(path: Path, role: str) -> dict[str, Any]:
    """The tree of one YAML file.

    Args:
        path: the file.
        role: the option that names the file, for errors.

    Raises:
        FileNotFoundError: the file does not exist; names its neighbours.
        ConfigError: its encoding is unknown; see `read_tree`.
    """
    if not path.is_file():
        neighbours = sorted(map(str, path.parent.glob("*.yml")))
        near = f"; files there: {', '.join(neighbours)}" if neighbours else ""
        raise FileNotFoundError(f"{role}: no file {path}{near}")
    try:
        text = read_text(path)
    except ValueError as error:
        raise ConfigError(f"{role}: {error}") from error
    return read_tree(text, f"{role}: {path}")


def read_tree(text: str, source: str) -> dict[str, Any]:
    """The tree of options in YAML text; empty text is an empty tree.

    Numbers and words stay text, as on a command line: 007 may be the name of a folder. Only the
    values of free options are those of YAML.

    Raises:
        ConfigError: not YAML, not a tree, or an option is given twice, under one name or two.
    """
    loader = OptionLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        if isinstance(node, yaml.MappingNode):
            _keep_text(node)
            _check_keys(loader, node, source)
        tree = loader.construct_document(node)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from error
    finally:
        loader.dispose()
    if not isinstance(tree, dict):
        raise ConfigError(f"{source} holds no options, but {type(tree).__name__}")
    return tree


def _keep_text(root: yaml.MappingNode) -> None:
    """Make text of all scalars outside the block of free options."""
    nodes = [value for key, value in root.value if str(key.value).partition(".")[0] != BLOCK]
    seen = set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            nodes += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif node.tag != _NULL:
            node.tag = _TEXT


def check_stored_yaml(text: str, source: str) -> None:
    """Raise ConfigError if stored YAML is longer or deeper than any configuration, or has aliases.

    A few hundred bytes of nested aliases stand for billions of values; the program writes none. The
    parser is slow on deep nesting.
    """
    if len(text) > MOST_STORED:
        raise ConfigError(
            f"{source} has {len(text):,} characters, more than any configuration ({MOST_STORED:,})"
        )
    depth = 0
    try:
        for event in yaml.parse(text, OptionLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError(f"{source} has YAML aliases (*name), which no checkpoint needs")
            if depth > DEEPEST_STORED:
                raise ConfigError(
                    f"{source} is nested deeper than any configuration ({DEEPEST_STORED} levels)"
                )
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from error


def _check_keys(loader: yaml.SafeLoader, root: yaml.Node, source: str) -> None:
    """Raise ConfigError if an option or a block is written twice; YAML would keep the last."""
    seen: dict[str, str] = {}
    for key, key_node, value_node in list(_written_keys(root)):  # constructing merges `<<` blocks
        value = loader.construct_object(value_node, deep=True)
        written = f"{key} {value} in line {key_node.start_mark.line + 1}"
        name = translate_key(key, ACCEPTED)
        if name in seen:
            raise given_twice(key, seen[name], written, source)
        seen[name] = written


def _written_keys(root: yaml.Node) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Dotted name, key and value of everything that is written; an alias is followed once."""
    places, visited = deque([("", root)]), {id(root)}
    while places:
        prefix, block = places.popleft()
        for key_node, value_node in block.value:
            key = f"{prefix}{key_node.value}"
            yield key, key_node, value_node
            if isinstance(value_node, yaml.MappingNode) and id(value_node) not in visited:
                visited.add(id(value_node))
                places.append((f"{key}.", value_node))


def read_value(text: str, source: str) -> Any:
    """The value that YAML text spells; raises ConfigError if it is not valid YAML."""
    try:
        return yaml.load(text, OptionLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # 2020-13-45 is not a date
        raise ConfigError(f"{source} is not a YAML value: {error}") from error


def find_beside(name: str, files: Sequence[str]) -> str:
    """The path of a file that may lie next to a YAML file; other names unchanged.

    Args:
        name: as written: a model config in JSON, or weights.
        files: YAML files whose folders are searched, in order; then the program's own `configs`.
    """
    if not name.endswith((".json", ".safetensors")) or Path(name).is_file():
        return name
    candidates = (Path(file).parent / Path(name).name for file in files if Path(file).is_file())
    return next((str(x) for x in (*candidates, find_recipe(Path(name))) if x.is_file()), name)
