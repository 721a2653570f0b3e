"""CLIP's architectures and where their weights are found, without network access."""

import json

import pytest

from config import load_cfg
from model import build_model
from model.encoders import clip as clip_module
from model.encoders.clip import build_clip, clip_architecture, find_clip_weights


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def no_download(monkeypatch):
    def download(*args, **kwargs):
        pytest.fail(f"a download was attempted: {args} {kwargs}")

    monkeypatch.setattr(clip_module, "download_pretrained", download)


@pytest.fixture
def offline(monkeypatch):
    def download(*_args, **_kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(clip_module, "download_pretrained", download)
    monkeypatch.setattr(clip_module, "try_to_load_from_cache", lambda *_: None)


@pytest.mark.parametrize("name", ["ViT-B-16", "ViT-B-16-quickgelu", "RN50", "ViT-L-14", "ViT-B-32"])
def test_openai_architectures_have_quick_gelu(name):
    assert clip_architecture(name)["quick_gelu"] is True


def test_unknown_architecture_lists_the_nearest_ones():
    with pytest.raises(ValueError, match=r"MODEL\.NAME: .*'ViT-B16'; the nearest .*ViT-B-16"):
        clip_architecture("ViT-B16")


def test_incomplete_model_config_is_refused(tmp_path):
    path = tmp_path / "part.json"
    path.write_text(json.dumps({"embed_dim": 3}))
    with pytest.raises(ValueError, match=r"MODEL\.NAME: .*part\.json lacks text_cfg, vision_cfg"):
        clip_architecture(str(path))
    with pytest.raises(ValueError, match=r"MODEL\.NAME: no file"):
        clip_architecture(str(tmp_path / "absent.json"))


def test_parameters_have_openais_names(tiny_clip_json, tiny_clip_state):
    state = build_clip(tiny_clip_json).state_dict()
    assert set(state) == set(tiny_clip_state)


@pytest.mark.parametrize(
    ("name", "file"),
    [("ViT-B-16", "ViT-B-16.pt"), ("RN50", "RN50.pt"), ("ViT-B-16-quickgelu", "ViT-B-16.pt")],
)
@pytest.mark.usefixtures("offline")
def test_failed_download_names_three_ways_out(empty_home, name, file):
    with pytest.raises(FileNotFoundError) as error:
        find_clip_weights(name)
    message = str(error.value)
    assert str(empty_home / ".cache" / "clip" / file) in message
    assert "MODEL.PRETRAIN_PATH" in message
    assert "MODEL.PRETRAIN_CHOICE none" in message
    assert "https://" in message
    assert "OSError" in message


@pytest.mark.usefixtures("offline")
def test_missing_weights_stop_before_the_model_is_built(monkeypatch):
    monkeypatch.setattr(clip_module, "build_clip", lambda _: pytest.fail("the model was built"))
    with pytest.raises(FileNotFoundError, match=r"ViT-B-16\.pt"):
        build_model(load_cfg(None, ["MODEL.NAME", "ViT-B-16"]), 2, num_cameras=1, num_views=1)


@pytest.mark.usefixtures("no_download")
def test_openais_cache_is_used(empty_home):
    archive = empty_home / ".cache" / "clip" / "ViT-B-16.pt"
    archive.parent.mkdir(parents=True)
    archive.touch()
    assert find_clip_weights("ViT-B-16") == archive


def test_open_clips_download_is_used(monkeypatch, tmp_path):
    file = tmp_path / "weights.bin"
    monkeypatch.setattr(clip_module, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(clip_module, "download_pretrained", lambda *_, **__: str(file))
    assert find_clip_weights("ViT-B-16") == file


@pytest.mark.usefixtures("no_download", "empty_home")
def test_open_clips_cache_is_used(monkeypatch, tmp_path):
    def cached(repo, file):
        assert repo == "timm/vit_base_patch16_clip_224.openai"
        return str(tmp_path / file) if file.endswith(".bin") else None

    monkeypatch.setattr(clip_module, "try_to_load_from_cache", cached)
    assert find_clip_weights("ViT-B-16") == tmp_path / "open_clip_pytorch_model.bin"


@pytest.mark.usefixtures("no_download")
def test_custom_architecture_has_no_published_weights(tiny_clip_json):
    for name in (tiny_clip_json, "ViT-B-16-plus-240"):
        with pytest.raises(FileNotFoundError, match=r"MODEL\.PRETRAIN_PATH.*PRETRAIN_CHOICE none"):
            find_clip_weights(name)


@pytest.mark.usefixtures("no_download")
def test_given_file_needs_no_download(tiny_opts):
    build_model(load_cfg(None, tiny_opts), num_classes=2, num_cameras=1, num_views=1)


@pytest.mark.usefixtures("no_download")
def test_random_weights_need_no_download(tiny_opts):
    cfg = load_cfg(None, [*tiny_opts, "MODEL.PRETRAIN_PATH", "", "MODEL.PRETRAIN_CHOICE", "none"])
    build_model(cfg, num_classes=2, num_cameras=1, num_views=1)


@pytest.mark.usefixtures("no_download")
def test_missing_given_file_is_named(tiny_opts, tmp_path):
    cfg = load_cfg(None, [*tiny_opts, "MODEL.PRETRAIN_PATH", str(tmp_path / "no.pt")])
    with pytest.raises(FileNotFoundError, match=r"no\.pt"):
        build_model(cfg, num_classes=2, num_cameras=1, num_views=1)
