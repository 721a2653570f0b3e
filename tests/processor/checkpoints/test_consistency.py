"""A stored description larger than the file's tensors builds nothing."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from processor.checkpoints import load
from processor.checkpoints.load import open_model


@pytest.fixture
def rewritten(saved, tmp_path, tiny_clip_json, monkeypatch):
    """`rewritten(meta={}, config={})` -> a copy of `saved` with other facts; building it fails."""

    def refuse(*_):
        raise AssertionError("built")

    monkeypatch.setattr(load, "build_reid_model", refuse)

    def write(meta=(), config=(), architecture=()):
        content = torch.load(saved[0], weights_only=True)
        stored = json.loads(Path(tiny_clip_json).read_text(encoding="utf-8"))
        for key, value in dict(architecture).items():
            block, _, name = key.partition(".")
            stored[block] = {**stored[block], name: value} if name else value
        content["meta"] |= {"architecture": json.dumps(stored), **dict(meta)}
        tree = yaml.safe_load(content["config"])
        for key, value in dict(config).items():
            block, _, name = key.partition(".")
            tree[block][name] = value
        content["config"] = yaml.safe_dump(tree)
        torch.save(content, tmp_path / "file.pth")
        return str(tmp_path / "file.pth")

    return write


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meta": {"num_classes": 9_999_999}}, "num_classes is 9999999, the tensors have 10"),
        ({"meta": {"num_classes": 11}}, "num_classes is 11"),
        ({"meta": {"num_cameras": 9_000_000}}, "num_cameras is 9000000, the tensors have 6"),
        ({"architecture": {"vision_cfg.width": 4096}}, "vision_cfg.width is 4096, .* have 128"),
        ({"architecture": {"vision_cfg.layers": 200}}, "vision_cfg.layers is 200, .* have 3"),
        ({"architecture": {"vision_cfg.patch_size": 32}}, "vision_cfg.patch_size is 32"),
        ({"architecture": {"text_cfg.width": 1024}}, "text_cfg.width is 1024, .* have 128"),
        ({"architecture": {"text_cfg.layers": 36}}, "text_cfg.layers is 36, .* have 2"),
        ({"architecture": {"text_cfg.context_length": 4000}}, "text_cfg.context_length is 4000"),
        ({"architecture": {"embed_dim": 8000}}, "embed_dim is 8000, the tensors have 64"),
        (
            {"config": {"INPUT.SIZE_TRAIN": [99999, 32], "INPUT.SIZE_TEST": [99999, 32]}},
            r"INPUT.SIZE_TRAIN: \[99999, 32\] should be",
        ),
        (
            {"config": {"INPUT.SIZE_TRAIN": [512, 512], "INPUT.SIZE_TEST": [512, 512]}},
            "number of patches by INPUT.SIZE_TRAIN is 1764, the tensors have ",
        ),
        ({"config": {"DSGL.EMBED_DIM": 10**9}}, "DSGL.EMBED_DIM: 1000000000 should be"),
        ({"meta": {"plugins": "{"}}, "plugins is damaged"),
        ({"meta": {"names": "5"}}, "names is damaged"),
        ({"meta": {"names": "[1]"}}, "names is damaged"),
        ({"meta": {"plugins": "[1]"}}, "plugins is damaged"),
        ({"meta": {"plugins": '[{"path": "a.py"}]'}}, "plugins is damaged"),
    ],
)
def test_description_beyond_the_tensors_is_refused_before_building(rewritten, changes, message):
    path = rewritten(**changes)
    with pytest.raises(ValueError, match=message) as error:
        open_model(path)
    assert path in str(error.value)


def test_yaml_aliases_and_endless_or_deep_text_are_refused(saved, tmp_path):
    content = torch.load(saved[0], weights_only=True)
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in (("a", "b"), ("b", "c"))
    )
    for text, message in (
        (bomb, "YAML aliases"),
        ("# " * 2**20, "characters"),
        ("[" * 2**20, "nested deeper"),
        ("[1", "not valid YAML"),
    ):
        torch.save({**content, "config": text}, tmp_path / "file.pth")
        with pytest.raises(ValueError, match=f"checkpoint's configuration.*{message}"):
            open_model(str(tmp_path / "file.pth"))
