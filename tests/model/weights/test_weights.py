"""Weights files of every origin enter a model, or are refused with a reason."""

import json
import pickle
import re
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from config import load_cfg
from model import build_model, build_reid_model, load_weights
from model.encoders.clip import build_clip
from model.encoders.positions import resize_position_embedding
from model.weights.read import CHECKPOINT_FORMAT, read_weights_file
from model.weights.translate import infer_options

CLASS_ROWS = ("classifier.weight", "classifier_proj.weight", "prompt_learner.cls_ctx")


@pytest.fixture
def build_options(tiny_opts):
    return [*tiny_opts, "MODEL.PRETRAIN_CHOICE", "none", "MODEL.PRETRAIN_PATH", ""]


@pytest.fixture
def build(build_options):
    """`build("KEY", "VALUE", num_classes=10)` -> a tiny model with random weights."""

    def build(*opts, num_classes=10, num_cameras=6):
        cfg = load_cfg(None, [*build_options, *opts])
        return build_model(cfg, num_classes, num_cameras, num_views=1).eval()

    return build


@pytest.fixture(scope="module")
def reid_state(built_tiny_reid):
    return {key: tensor.clone() for key, tensor in built_tiny_reid.state_dict().items()}


def save(folder, content, name="file.pth"):
    torch.save(content, folder / name)
    return folder / name


def assert_same(model, state, keys=None):
    found = model.state_dict()
    for key in state if keys is None else keys:
        assert torch.equal(found[key], state[key]), key


def save_archive(state, path):
    """Write modules without a forward as TorchScript, the container of OpenAI's files."""
    root = nn.Module()
    for name, tensor in state.items():
        *parents, leaf = name.split(".")
        node = root
        for parent in parents:
            if not hasattr(node, parent):
                node.add_module(parent, nn.Module())
            node = getattr(node, parent)
        node.register_buffer(leaf, tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(root).save(str(path))


# plain CLIP


def assert_holds_clip(model, clip_state, tolerance=0.0):
    found = model.state_dict()
    pairs = {
        "image_encoder.conv1.weight": "visual.conv1.weight",
        "image_encoder.class_embedding": "visual.class_embedding",
        "image_encoder.proj": "visual.proj",
        "image_encoder.transformer.resblocks.2.mlp.c_fc.bias": (
            "visual.transformer.resblocks.2.mlp.c_fc.bias"
        ),
        "text_encoder.positional_embedding": "positional_embedding",
        "text_encoder.text_projection": "text_projection",
        "text_encoder.ln_final.weight": "ln_final.weight",
        "text_encoder.transformer.resblocks.1.attn.in_proj_weight": (
            "transformer.resblocks.1.attn.in_proj_weight"
        ),
    }
    for key, source in pairs.items():
        torch.testing.assert_close(found[key], clip_state[source], rtol=tolerance, atol=tolerance)
    words = clip_state["token_embedding.weight"][model.prompt_learner.prompt.tokens]
    for key, part in (("prefix", words[:, :5]), ("suffix", words[:, 9:])):
        found_words = found[f"prompt_learner.token_{key}"]
        torch.testing.assert_close(found_words, part, rtol=tolerance, atol=tolerance)
    grid = clip_state["visual.positional_embedding"].float()
    torch.testing.assert_close(
        found["image_encoder.positional_embedding"],
        resize_position_embedding(grid, (16, 8)),
        rtol=tolerance,
        atol=tolerance or 1e-7,
    )
    assert {tensor.dtype for tensor in found.values()} == {torch.float32, torch.int64}


def assert_clip_report(report):
    assert report.reshaped == ("image_encoder.positional_embedding",)
    assert report.skipped == report.unexpected == ()
    assert all(
        key.startswith(("classifier", "bottleneck")) or "cls_ctx" in key for key in report.missing
    )


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "kind", ["state dict", "archive", "open_clip.bin", "model.safetensors", "nested"]
)
def test_plain_clip(tmp_path, build, tiny_clip_state, kind, half):
    state = {k: t.half() if half else t for k, t in tiny_clip_state.items()}
    extras = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    path = tmp_path / kind.replace(" ", "_")
    if kind == "archive":
        numbers = {key: torch.tensor(value) for key, value in extras.items()}
        save_archive(state | numbers, path)
        assert read_weights_file(path).torchscript
    elif kind == "model.safetensors":
        safetensors.torch.save_file(state, path)
    elif kind == "nested":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        torch.save({**state, "attn_mask": torch.zeros(77, 77)}, path)
    model = build()
    before = {key: t.clone() for key, t in model.state_dict().items()}
    report = load_weights(model, path)
    assert_clip_report(report)
    assert_holds_clip(model, tiny_clip_state, tolerance=1e-3 if half else 0.0)
    assert_same(model, before, report.missing)
    assert "1 reshaped (image_encoder.positional_embedding)" in str(report)
    assert f"{len(report.loaded)} tensors loaded" in str(report)


def test_plain_clip_into_a_baseline(build, tiny_clip_file):
    report = load_weights(build("MODEL.TEXT_TOWER", "False"), tiny_clip_file)
    assert_clip_report(report)
    assert all(key.startswith("image_encoder.") for key in report.loaded)


def test_clips_square_grid_is_resized_even_to_as_many_positions(
    build, tiny_clip_state, tiny_clip_file
):
    model = build("INPUT.SIZE_TRAIN", "[448, 112]", "INPUT.SIZE_TEST", "[448, 112]")
    assert model.image_encoder.grid == (28, 7)  # as many patches as CLIP's 14x14
    report = load_weights(model, tiny_clip_file)
    assert report.reshaped == ("image_encoder.positional_embedding",)
    expected = resize_position_embedding(tiny_clip_state["visual.positional_embedding"], (28, 7))
    assert torch.equal(model.image_encoder.positional_embedding, expected)


def test_an_archive_needs_quick_gelu(tmp_path, build, tiny_clip_json, tiny_clip_state):
    architecture = json.loads(Path(tiny_clip_json).read_text())
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(architecture | {"quick_gelu": False}))
    archive = tmp_path / "ViT.pt"
    save_archive(tiny_clip_state, archive)
    with pytest.raises(ValueError, match=r"QuickGELU.*MODEL\.NAME.*quick_gelu"):
        load_weights(build("MODEL.NAME", str(plain)), archive)
    load_weights(build(), archive)


def test_an_archive_needs_quick_gelu_in_the_text_tower(tmp_path, build, tiny_resnet_json):
    architecture = json.loads(Path(tiny_resnet_json).read_text())
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(architecture | {"quick_gelu": False}))
    archive = tmp_path / "RN.pt"
    save_archive(build_clip(tiny_resnet_json).state_dict(), archive)
    with pytest.raises(ValueError, match="QuickGELU"):
        load_weights(build("MODEL.NAME", str(plain)), archive)
    report = load_weights(build("MODEL.NAME", tiny_resnet_json), archive)
    assert report.reshaped == ("image_encoder.attnpool.positional_embedding",)
    # without a text tower there is no GELU in a ResNet
    load_weights(build("MODEL.NAME", str(plain), "MODEL.TEXT_TOWER", "False"), archive)


# ReID files


@pytest.mark.parametrize("kind", ["plain", "module.", "state_dict", "model", "half", "own"])
def test_reid_file(tmp_path, build, built_tiny_reid, reid_state, golden, kind):
    content = dict(reid_state)
    if kind == "module.":
        content = {f"module.{key}": tensor for key, tensor in content.items()}
    elif kind in ("state_dict", "model"):
        content = {kind: content, "epoch": 60}
    elif kind == "half":
        content = {k: t.half() if t.is_floating_point() else t for k, t in content.items()}
    elif kind == "own":
        meta = {"num_classes": 10, "num_cameras": 6, "num_views": 1}
        content = {"format": CHECKPOINT_FORMAT, "model": content, "config": "{}", "meta": meta}
    model = build()
    report = load_weights(model, save(tmp_path, content))
    assert set(report.loaded) == set(reid_state)
    assert report.missing == report.unexpected == report.reshaped == report.skipped == ()
    assert str(report) == f"{len(reid_state)} tensors loaded"
    if kind == "half":
        return
    assert_same(model, reid_state)
    images = (torch.from_numpy(golden("tiny_vit_io")["images_u8"][:2]).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        assert torch.equal(model.embed(images), built_tiny_reid.embed(images))


def test_a_checkpoint_carries_config_and_meta(tmp_path, reid_state):
    content = {"format": CHECKPOINT_FORMAT, "model": reid_state, "config": "SOLVER:\n  SEED: 3\n"}
    content |= {"meta": {"num_classes": 10, "noun": "person"}, "training": {"epoch": 5}}
    file = read_weights_file(save(tmp_path, content))
    assert (file.config, file.meta["noun"], file.training) == (
        content["config"],
        "person",
        {"epoch": 5},
    )
    assert file.state.keys() == reid_state.keys()
    assert not file.torchscript
    other = read_weights_file(save(tmp_path, reid_state))
    assert (other.config, other.meta, other.training) == ("", {}, {})


def test_another_grid_is_resized_and_reported(tmp_path, build):
    overlapping = build("MODEL.STRIDE_SIZE", "[12, 12]")
    positions = overlapping.image_encoder.positional_embedding
    nn.init.normal_(positions)
    assert positions.shape == (211, 128)
    model = build()
    report = load_weights(model, save(tmp_path, overlapping.state_dict()))
    assert report.reshaped == ("image_encoder.positional_embedding",)
    expected = resize_position_embedding(positions.detach(), (16, 8), (21, 10))
    assert torch.equal(model.image_encoder.positional_embedding, expected)
    back = build("MODEL.STRIDE_SIZE", "[12, 12]")
    load_weights(back, save(tmp_path, model.state_dict()))
    expected = resize_position_embedding(expected, (21, 10), (16, 8))
    assert torch.equal(back.image_encoder.positional_embedding, expected)


@pytest.mark.parametrize("old", ["[256, 256]", "[256, 128]"])
def test_another_aspect_is_resized(tmp_path, build, old):
    other = build("INPUT.SIZE_TRAIN", old, "INPUT.SIZE_TEST", old)
    positions = other.image_encoder.positional_embedding
    nn.init.normal_(positions)
    new = "[256, 128]" if old == "[256, 256]" else "[256, 256]"
    model = build("INPUT.SIZE_TRAIN", new, "INPUT.SIZE_TEST", new)
    load_weights(model, save(tmp_path, other.state_dict()))
    old_grid, new_grid = other.image_encoder.grid, model.image_encoder.grid
    expected = resize_position_embedding(positions.detach(), new_grid, old_grid)
    assert torch.equal(model.image_encoder.positional_embedding, expected)


def test_rows_of_other_identities_stay(tmp_path, build, reid_state):
    model = build(num_classes=7)
    before = {key: t.clone() for key, t in model.state_dict().items()}
    report = load_weights(model, save(tmp_path, reid_state))
    assert report.skipped == tuple(sorted(CLASS_ROWS))
    assert_same(model, before, CLASS_ROWS)
    assert_same(model, reid_state, set(reid_state) - set(CLASS_ROWS))
    assert "3 skipped (classifier.weight, classifier_proj.weight, prompt_learner.cls_ctx)" in str(
        report
    )


def test_rows_of_other_cameras_stay(tmp_path, build):
    camera = ["MODEL.SIE_CAMERA", "True"]
    path = save(tmp_path, build(*camera, num_cameras=6).state_dict())
    model = build(*camera, num_cameras=15)
    before = model.cv_embed.detach().clone()
    assert load_weights(model, path).skipped == ("cv_embed",)
    assert torch.equal(model.cv_embed, before)
    same = build(*camera, num_cameras=6)
    assert load_weights(same, path).skipped == ()
    assert load_weights(build(), path).unexpected == ("cv_embed",)


def test_baseline_file_and_full_model(tmp_path, build, reid_state):
    baseline = build("MODEL.TEXT_TOWER", "False")
    full = build()
    report = load_weights(full, save(tmp_path, baseline.state_dict()))
    assert all(key.startswith(("prompt_learner.", "text_encoder.")) for key in report.missing)
    assert {"prompt_learner.cls_ctx", "text_encoder.ln_final.bias"} <= set(report.missing)
    assert_same(full, baseline.state_dict())
    report = load_weights(baseline, save(tmp_path, reid_state))
    assert report.missing == ()
    assert "text_encoder.text_projection" in report.unexpected


# models that are trained without labels


@pytest.fixture
def build_unsupervised(build_options):
    """`build_unsupervised("KEY", "VALUE")` -> a model of DSGL with random weights."""

    def build(*opts):
        torch.manual_seed(9)
        return build_reid_model(
            load_cfg(None, [*build_options, "DSGL.ENABLED", "True", *opts]), 0, 1, 1
        ).eval()

    return build


def published_resnet(name):
    """A state dict under torchvision's or IBN-Net's names, with random values."""
    plain = getattr(torchvision.models, name.removesuffix("_ibn_a"))(weights=None).state_dict()
    state = {}
    for key, tensor in plain.items():
        tensor = torch.rand_like(tensor) if tensor.is_floating_point() else tensor
        block, kind = key.rsplit(".", 1)
        if not name.endswith("_ibn_a") or not re.fullmatch(r"layer[123]\.\d+\.bn1", block):
            state[key] = tensor
        elif not tensor.ndim:
            state[f"{block}.BN.{kind}"] = tensor
        else:
            first, state[f"{block}.BN.{kind}"] = tensor.chunk(2)
            if kind in ("weight", "bias"):
                state[f"{block}.IN.{kind}"] = first
    return state


@pytest.mark.parametrize("kind", ["torchvision", "old torchvision", "timm.safetensors", "module."])
def test_imagenet_file(tmp_path, build_unsupervised, kind):
    """The classifier is ignored; old files do not count batches."""
    state = published_resnet("resnet18")
    content = dict(state)
    if kind == "old torchvision":
        content = {k: t for k, t in state.items() if not k.endswith("num_batches_tracked")}
    elif kind == "module.":
        content = {"state_dict": {f"module.{key}": t for key, t in state.items()}, "epoch": 90}
    path = tmp_path / kind
    if kind == "timm.safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path)
    model = build_unsupervised("MODEL.NAME", "resnet18")
    report = load_weights(model, path)
    assert report.unexpected == report.skipped == report.reshaped == ()
    left = {key for key in report.missing if not key.endswith("num_batches_tracked")}
    assert left == {
        "pooling.p",
        *(f"bottleneck.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
    }
    found = model.state_dict()
    for key in report.loaded:
        assert torch.equal(found[key], state[key.removeprefix("image_encoder.")]), key
    assert len(report.loaded) == (100 if kind == "old torchvision" else 120)


def test_ibn_file(tmp_path, build_unsupervised):
    state = published_resnet("resnet50_ibn_a")
    assert {"layer1.0.bn1.IN.weight", "layer3.5.bn1.BN.running_mean"} <= state.keys()
    model = build_unsupervised("MODEL.NAME", "resnet50_ibn_a")
    report = load_weights(model, save(tmp_path, state))
    assert report.unexpected == ()
    assert not any(key.startswith("image_encoder.") for key in report.missing)
    assert torch.equal(model.image_encoder.layer1[0].bn1.IN.weight, state["layer1.0.bn1.IN.weight"])
    plain = build_unsupervised("MODEL.NAME", "resnet50")
    with pytest.raises(ValueError, match=r"not the one of MODEL\.NAME.*layer1\.0\.bn1\.BN\."):
        load_weights(plain, save(tmp_path, state))


@pytest.mark.parametrize(
    ("file", "model", "parts"),
    [
        ("resnet34", "resnet18", ["MODEL.NAME", "image_encoder.layer1.2.bn1.bias"]),
        ("resnet18", "tiny ViT", ["conv1.weight", "(64, 3, 7, 7)", "(128, 3, 16, 16)"]),
        ("tiny ViT", "resnet18", ["conv1.weight", "(128, 3, 16, 16)", "(64, 3, 7, 7)"]),
    ],
)
def test_another_network(tmp_path, build_unsupervised, tiny_clip_file, file, model, parts):
    network = build_unsupervised(*([] if model == "tiny ViT" else ["MODEL.NAME", model]))
    before = {key: t.clone() for key, t in network.state_dict().items()}
    path = tiny_clip_file if file == "tiny ViT" else save(tmp_path, published_resnet(file))
    with pytest.raises(ValueError) as error:
        load_weights(network, path)
    for part in (str(path), "MODEL.NAME", *parts):
        assert part in str(error.value)
    assert_same(network, before)


def test_imagenet_file_for_clip_reid(tmp_path, build):
    path = save(tmp_path, published_resnet("resnet18"))
    with pytest.raises(ValueError, match=r"conv1\.weight.*MODEL\.NAME does not describe this file"):
        load_weights(build(), path)


@pytest.mark.parametrize("pooling", ["gem", "clip"])
def test_plain_clip_fills_the_encoder_only(build_unsupervised, tiny_clip_state, tmp_path, pooling):
    model = build_unsupervised("DSGL.POOLING", pooling)
    report = load_weights(model, save(tmp_path, tiny_clip_state))
    assert report.reshaped == ("image_encoder.positional_embedding",)
    assert report.unexpected == report.skipped == ()
    assert all(key.startswith("image_encoder.") for key in report.loaded)
    assert all(key.startswith(("bottleneck.", "pooling.")) for key in report.missing)
    assert torch.equal(model.image_encoder.proj, tiny_clip_state["visual.proj"])


def test_unsupervised_checkpoint(tmp_path, build_unsupervised):
    for number, opts in enumerate(([], ["DSGL.EMBED_DIM", "8"], ["MODEL.NAME", "resnet18"])):
        saved, model = build_unsupervised(*opts), build_unsupervised(*opts)
        state = {
            key: torch.rand_like(tensor) if tensor.is_floating_point() else tensor + 3
            for key, tensor in saved.state_dict().items()
        }
        report = load_weights(model, save(tmp_path, state, f"{number}.pth"))
        assert set(report.loaded) == set(state)
        assert report.missing == report.unexpected == report.skipped == report.reshaped == ()
        assert_same(model, state)


def test_necks_stay_with_their_kind_of_model(tmp_path, build, build_unsupervised, reid_state):
    """The neck of pooled maps has the width of CLIP-ReID's, and other statistics."""
    model = build_unsupervised()
    before = {key: t.clone() for key, t in model.state_dict().items()}
    report = load_weights(model, save(tmp_path, reid_state))
    necks = [key for key in before if key.startswith("bottleneck.")]
    assert sorted(report.skipped) == sorted(necks)
    assert report.missing == ("pooling.p",)
    assert {"classifier.weight", "bottleneck_proj.weight"} <= set(report.unexpected)
    assert_same(model, before, necks)
    assert_same(model, reid_state, report.loaded)
    labelled = build()
    before = {key: t.clone() for key, t in labelled.state_dict().items()}
    state = {key: torch.rand_like(t.float()) for key, t in model.state_dict().items()}
    report = load_weights(labelled, save(tmp_path, state))
    assert sorted(report.skipped) == sorted(necks)
    assert report.unexpected == ("pooling.p",)
    assert_same(labelled, before, necks)
    assert_same(labelled, state, [key for key in report.loaded if "image_encoder" in key])


def test_another_width_of_the_feature(tmp_path, build_unsupervised):
    path = save(tmp_path, build_unsupervised("DSGL.EMBED_DIM", "8").state_dict())
    with pytest.raises(ValueError, match=r"bottleneck\.weight.*\(8,\).*\(128,\).*DSGL\.EMBED_DIM"):
        load_weights(build_unsupervised(), path)


# what does not fit


def narrow(tmp_path, tiny_clip_json, **vision):
    architecture = json.loads(Path(tiny_clip_json).read_text())
    architecture["vision_cfg"] |= vision
    path = tmp_path / "other.json"
    path.write_text(json.dumps(architecture))
    return str(path)


@pytest.mark.parametrize("kind", ["clip", "reid"])
def test_another_width(tmp_path, build, tiny_clip_json, tiny_clip_file, reid_state, kind):
    model = build("MODEL.NAME", narrow(tmp_path, tiny_clip_json, width=64))
    before = {key: t.clone() for key, t in model.state_dict().items()}
    path = tiny_clip_file if kind == "clip" else save(tmp_path, reid_state)
    with pytest.raises(ValueError, match="conv1") as error:
        load_weights(model, path)
    for part in ("MODEL.NAME", "(128, 3, 16, 16)", "(64, 3, 16, 16)", str(path)):
        assert part in str(error.value)
    assert_same(model, before)


def test_another_depth(tmp_path, build, tiny_clip_json, reid_state):
    model = build("MODEL.NAME", narrow(tmp_path, tiny_clip_json, layers=2))
    with pytest.raises(ValueError, match=r"MODEL\.NAME.*image_encoder\.transformer\.resblocks\.2"):
        load_weights(model, save(tmp_path, reid_state))


def test_another_projection(tmp_path, build, reid_state):
    wrong = reid_state | {"image_encoder.proj": torch.zeros(128, 32)}
    model = build()
    before = {key: t.clone() for key, t in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"image_encoder\.proj.*\(128, 32\).*\(128, 64\).*MODEL\.NAME"
    ):
        load_weights(model, save(tmp_path, wrong))
    assert_same(model, before)


def test_another_sentence(tmp_path, build, reid_state):
    model = build("MODEL.PROMPT", "{context} seen from above")
    with pytest.raises(ValueError, match=r"prompt_learner\.token_.*MODEL\.PROMPT"):
        load_weights(model, save(tmp_path, reid_state))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fc.weight": torch.zeros(2, 2)}, "no image encoder of CLIP.*fc.weight"),
        ({"fc": 3}, "no state dict, but dict"),
        ([torch.zeros(2)], "no state dict, but list"),
        (torch.zeros(2), "no state dict, but Tensor"),
        ({}, "no state dict"),
    ],
)
def test_no_reid_file(tmp_path, tiny_reid, content, message):
    with pytest.raises(ValueError, match=message):
        load_weights(tiny_reid, save(tmp_path, content))


def test_missing_file(tmp_path, tiny_reid):
    for path in (tmp_path / "no.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match=str(path)):
            load_weights(tiny_reid, path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["new", "legacy", "archive", "safetensors"])
def test_truncated_file(tmp_path, tiny_reid, kind, share):
    state = {f"visual.{i}.weight": torch.randn(30, 30) for i in range(3)}
    path = tmp_path / ("file.safetensors" if kind == "safetensors" else "file.pth")
    if kind == "archive":
        save_archive(state, path)
    elif kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "new")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=str(path)):
        load_weights(tiny_reid, path)


@pytest.mark.parametrize(
    "content",
    [b"<html>404</html>", b"version https://git-lfs", b"\x80\x02K", bytes(99)],
    ids=["page", "pointer", "pickle", "zeros"],
)
@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
def test_a_file_of_something_else(tmp_path, tiny_reid, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=str(path)):
        load_weights(tiny_reid, path)


class Intruder:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["torch", "pickle", "nested"])
def test_pickled_code_is_not_executed(tmp_path, tiny_reid, reid_state, kind):
    trace, path = tmp_path / "executed", tmp_path / "file.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Intruder(trace)))
    else:
        content = (
            {"model": reid_state, "extra": Intruder(trace)} if kind == "nested" else Intruder(trace)
        )
        torch.save(content, path)
    with pytest.raises(ValueError, match="never executed"):
        load_weights(tiny_reid, path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Intruder(trace)))
    assert trace.exists()  # the file would have done it


# options of original files


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("ViT-B-16_stride16", ("ViT-B-16", [16, 16], False, True)),
        ("ViT-B-16_stride12_sie_cam6", ("ViT-B-16", [12, 12], True, True)),
        ("ViT-B-16_stride16_sie_cam6", ("ViT-B-16", [16, 16], True, True)),
        ("RN50_default", ("RN50", [16, 16], False, True)),
        ("ViT-B-16_baseline", ("ViT-B-16", [16, 16], False, False)),
        ("RN50_baseline", ("RN50", [16, 16], False, False)),
    ],
)
def test_options_of_original_files(golden_json, variant, expected):
    contract = golden_json("state_dict_contract")[variant]
    state = {k: torch.empty(shape, device="meta") for k, (shape, _) in contract.items()}
    cfg = load_cfg(None, infer_options(state))
    found = (cfg.MODEL.NAME, cfg.MODEL.STRIDE_SIZE, cfg.MODEL.SIE_CAMERA, cfg.MODEL.TEXT_TOWER)
    assert found == expected
    sizes_and_deviation = (cfg.INPUT.SIZE_TRAIN, cfg.INPUT.SIZE_TEST, cfg.INPUT.PIXEL_STD)
    deviation = [0.229, 0.224, 0.225] if "RN50" in variant else [0.5] * 3
    assert sizes_and_deviation == ([256, 128], [256, 128], deviation)
    assert cfg.TEST.NECK_FEAT == "before"


@pytest.mark.parametrize(
    ("vit", "positions", "size", "stride"),
    [
        (True, 1 + 16 * 16, [256, 256], [16, 16]),
        (True, 1 + 21 * 21, [256, 256], [12, 12]),
        (True, 1 + 24 * 8, [384, 128], [16, 16]),
        (False, 1 + 16 * 16, [256, 256], [16, 16]),
        (False, 1 + 24 * 8, [384, 128], [16, 16]),
    ],
)
def test_options_of_other_sizes(vit, positions, size, stride):
    embedding = "positional_embedding" if vit else "attnpool.positional_embedding"
    state = {
        "image_encoder.conv1.weight": torch.empty(768 if vit else 32, 3, 16, 16, device="meta"),
        f"image_encoder.{embedding}": torch.empty(positions, 768, device="meta"),
        "classifier.weight": torch.empty(576, 768, device="meta"),
    }
    if vit:
        state["image_encoder.class_embedding"] = torch.empty(768, device="meta")
    cfg = load_cfg(None, infer_options(state))
    found = (cfg.INPUT.SIZE_TRAIN, cfg.MODEL.STRIDE_SIZE)
    assert found == (size, stride)


def test_options_cannot_be_inferred(reid_state, tiny_clip_state):
    with pytest.raises(ValueError, match="no CLIP-ReID checkpoint"):
        infer_options(tiny_clip_state)
    with pytest.raises(ValueError, match=r"neither ViT-B-16 nor RN50.*--config_file"):
        infer_options(reid_state)


def test_prompt_that_ends_at_another_token_is_refused(tiny_opts, tiny_clip_file, tmp_path):
    opts = [*tiny_opts, "MODEL.PRETRAIN_PATH", str(tiny_clip_file)]
    trained = build_model(load_cfg(None, opts), 4, 1, 1)
    torch.save(trained.state_dict(), tmp_path / "person.pth")
    other = build_model(load_cfg(None, [*opts, "MODEL.PROMPT", "grey person person"]), 4, 1, 1)
    with pytest.raises(ValueError, match=r"person.pth.*end 3 tokens.*end after 5.*MODEL.PROMPT"):
        load_weights(other, tmp_path / "person.pth")
    same = build_model(load_cfg(None, [*opts, "MODEL.PROMPT", "vehicle"]), 4, 1, 1)
    load_weights(same, tmp_path / "person.pth")
