"""The name of a model becomes a file: a path, an exported folder, or a model on the hub."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from model.weights import locate
from model.weights.locate import CONFIG, WEIGHTS, locate_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def offline_cache(tmp_path, monkeypatch):
    """`offline_cache(revision)` -> the folder of `user/model` in the cache of the hub, offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def add(revision):
        repository = tmp_path / "hub" / "models--user--model"
        for folder in ("refs", f"snapshots/{COMMIT}"):
            (repository / folder).mkdir(parents=True, exist_ok=True)
        (repository / "refs" / revision).write_text(COMMIT, encoding="utf-8")
        return repository / "snapshots" / COMMIT

    return add


def test_path_and_folder_need_no_hub(tmp_path):
    assert locate_weights("runs/demo/last.pth") == Path("runs/demo/last.pth")
    assert locate_weights(tmp_path) == tmp_path / WEIGHTS


@pytest.mark.parametrize(
    ("name", "revision"),
    [
        ("hf://user/model", "main"),
        ("hf://user/model@v1.0", "v1.0"),
        (f"hf://user/model@{COMMIT}", "x"),
    ],
)
def test_cached_model_needs_no_network(offline_cache, name, revision):
    folder = offline_cache(revision)
    assert locate_weights(name) == folder / WEIGHTS


def test_missing_model_is_named_with_the_cache_and_the_remedy(offline_cache, tmp_path):
    offline_cache("main")
    for name in ("hf://user/other", "hf://user/model@v2"):
        with pytest.raises(FileNotFoundError, match=rf"^{name}: not in the cache {tmp_path}") as e:
            locate_weights(name)
        assert "HF_HUB_OFFLINE" in str(e.value)
        assert f"download {WEIGHTS} and {CONFIG} of user/" in str(e.value)


def test_only_weights_and_configuration_are_downloaded(monkeypatch, tmp_path):
    asked = {}

    def download(repository, **options):
        asked.update(options, repository=repository)
        return str(tmp_path)

    monkeypatch.setattr(locate, "snapshot_download", download)
    assert locate_weights("hf://some-user/a.model_1@refs/pr/3") == tmp_path / WEIGHTS
    assert asked == {
        "repository": "some-user/a.model_1",
        "revision": "refs/pr/3",
        "allow_patterns": [WEIGHTS, CONFIG],
    }


@pytest.mark.parametrize("name", ["hf://model", "hf://a/b/c", "hf://user/model@", "hf://"])
def test_other_names_after_the_prefix_are_refused(name):
    with pytest.raises(ValueError, match="expected hf://USER/MODEL or hf://USER/MODEL@REVISION"):
        locate_weights(name)
