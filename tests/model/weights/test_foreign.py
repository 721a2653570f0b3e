"""Files of other projects, made with their names: every number arrives at its place."""

import pytest
import timm
import torch

from config import load_cfg
from model import build_model, build_unsupervised_model, load_weights
from model.weights.foreign import reorder_merged
from model.weights.load import load_pretrained
from model.weights.read import read_weights_file

BASELINE = ("MODEL.TEXT_TOWER", "False", "MODEL.PRETRAIN_CHOICE", "none", "MODEL.LAST_STRIDE", "2")


def model_of(name, *, size=(64, 32), classes=5, opts=()):
    size = ("INPUT.SIZE_TRAIN", str(list(size)), "INPUT.SIZE_TEST", str(list(size)))
    return build_model(load_cfg(None, ["MODEL.NAME", name, *size, *BASELINE, *opts]), classes, 1, 1)


@pytest.fixture(scope="module")
def resnet():
    """torchvision's names of a ResNet-18, without its classifier."""
    torch.manual_seed(2)
    return timm.create_model("resnet18", num_classes=0).state_dict()


def prefixed(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


def assert_filled(model, state, inner="network."):
    own = model.image_encoder.state_dict()
    for key, tensor in state.items():
        assert torch.equal(own[inner + key], tensor), key


@pytest.mark.parametrize("classifier", ["heads.weight", "heads.classifier.weight"])
@pytest.mark.parametrize("neck", ["heads.bottleneck.0.", "heads.bnneck."])
def test_fast_reid_with_neck_and_classifier(resnet, tmp_path, neck, classifier):
    norm = torch.nn.BatchNorm1d(512)
    torch.nn.init.uniform_(norm.weight)
    state = {**prefixed(resnet, "backbone."), classifier: torch.rand(5, 512)}
    state |= prefixed(norm.state_dict(), neck)
    pixels = {"pixel_mean": torch.zeros(1, 3, 1, 1), "pixel_std": torch.ones(1, 3, 1, 1)}
    torch.save({"model": {**state, **pixels}, "iteration": 9}, tmp_path / "model_final.pth")
    model = model_of("timm/resnet18")
    report = load_weights(model, tmp_path / "model_final.pth")
    assert_filled(model, resnet)
    assert torch.equal(model.bottleneck.weight, norm.weight)
    assert torch.equal(model.classifier.weight, state[classifier])
    assert report.missing == ()
    assert report.unexpected == ("pixel_mean", "pixel_std")


def test_torchreid(resnet, tmp_path):
    state = {
        **resnet,
        "classifier.weight": torch.rand(751, 512),
        "classifier.bias": torch.rand(751),
    }
    torch.save(
        {"state_dict": prefixed(state, "module."), "rank1": 0.9}, tmp_path / "model.pth.tar-60"
    )
    model = model_of("timm/resnet18")
    report = load_weights(model, tmp_path / "model.pth.tar-60")
    assert_filled(model, resnet)
    assert report.skipped == ("classifier.weight",)
    assert report.unexpected == ("classifier.bias",)
    assert "not loaded: BNNecks, classifiers" in report.summary()


def test_strong_baseline(resnet, tmp_path):
    state = {**prefixed(resnet, "base."), "classifier.weight": torch.rand(5, 512)}
    state |= prefixed(torch.nn.BatchNorm1d(512).state_dict(), "bottleneck.")
    torch.save(state, tmp_path / "resnet18.pth")
    model = model_of("timm/resnet18")
    assert load_weights(model, tmp_path / "resnet18.pth").missing == ()
    assert torch.equal(model.classifier.weight, state["classifier.weight"])


def test_moco_of_luperson(resnet, tmp_path):
    queue = {"queue": torch.rand(8, 4), "queue_ptr": torch.zeros(1, dtype=torch.long)}
    state = {**prefixed(resnet, "encoder_q."), "encoder_q.fc.weight": torch.rand(128, 512)}
    other = {key: torch.zeros_like(tensor) for key, tensor in resnet.items()}
    torch.save(
        {"state_dict": prefixed({**state, **prefixed(other, "encoder_k."), **queue}, "module.")},
        tmp_path / "moco.pth",
    )
    model = model_of("timm/resnet18")
    report = load_pretrained(model, read_weights_file(tmp_path / "moco.pth"), "moco.pth")
    assert_filled(model, resnet)
    assert {"fc.weight", "queue", "encoder_k.conv1.weight"} <= set(report.unexpected)


def test_ibn_of_fast_reid_fills_the_ibn_resnet(tmp_path):
    name = ("MODEL.NAME", "resnet50_ibn_a", "DSGL.ENABLED", "True", "MODEL.PRETRAIN_CHOICE", "none")
    size = ("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]")
    model = build_unsupervised_model(load_cfg(None, [*name, *size]))
    own = model.image_encoder.state_dict().items()
    state = {key: torch.rand_like(x) for key, x in own if x.is_floating_point()}
    assert any(".bn1.IN." in key for key in state)
    torch.save({"model": prefixed(state, "backbone.")}, tmp_path / "ibn.pth")
    load_weights(model, tmp_path / "ibn.pth")
    assert torch.equal(model.image_encoder.layer1[0].bn1.IN.weight, state["layer1.0.bn1.IN.weight"])


def test_personvit(tmp_path):
    """DINO's teacher: a ViT trained at 256 x 128, whose grid of positions is not square."""
    torch.manual_seed(4)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=(256, 128))
    torch.nn.init.normal_(vit.pos_embed)
    head = {"head.mlp.0.weight": torch.rand(8, 192), "head.last_layer.weight_v": torch.rand(9, 8)}
    teacher = {**prefixed(vit.state_dict(), "backbone."), **head}
    student = prefixed(vit.state_dict(), "module.backbone.")
    torch.save({"teacher": teacher, "student": student, "epoch": 3}, tmp_path / "checkpoint.pth")
    model = model_of("timm/vit_tiny_patch16_224", size=(256, 128))
    report = load_weights(model, tmp_path / "checkpoint.pth")
    assert_filled(model, vit.state_dict())
    assert set(report.unexpected) == set(head)
    overlapping = model_of(
        "timm/vit_tiny_patch16_224", size=(256, 128), opts=("MODEL.STRIDE_SIZE", "[12, 12]")
    )
    report = load_weights(overlapping, tmp_path / "checkpoint.pth")
    assert report.reshaped == ("image_encoder.network.pos_embed",)
    assert overlapping.image_encoder.network.pos_embed.shape == (1, 1 + 21 * 10, 192)


SWIN = {
    "patch_embed.proj.": "patch_embed.projection.",
    ".attn.": ".attn.w_msa.",
    ".mlp.fc1.": ".ffn.layers.0.0.",
    ".mlp.fc2.": ".ffn.layers.1.",
}


def as_solider(state):
    """timm's Swin under SOLIDER's names, its merged patches in the other order."""
    found = {}
    for key, tensor in state.items():
        name = key.replace("norm.", "norm3.") if key.startswith("norm.") else key
        for old, new in SWIN.items():
            name = name.replace(old, new)
        parts = name.split(".")
        if parts[0] == "layers":
            stage = int(parts[1]) - ("downsample" in name)
            name = ".".join(["stages", str(stage), *parts[2:]])
        if "downsample" in name:  # columns (right, down, channel) -> (channel, down, right)
            tensor = (
                tensor.unflatten(-1, (2, 2, -1)).movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3)
            )
        found[name] = tensor
    return found


def test_solider_gives_the_features_of_the_original_swin(tmp_path):
    torch.manual_seed(6)
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=0, img_size=(112, 112)
    ).eval()
    extra = {"norm0.weight": torch.rand(96), "semantic_embed_w.0.weight": torch.rand(4, 2)}
    teacher = prefixed({**as_solider(swin.state_dict()), **extra}, "backbone.")
    torch.save({"teacher": teacher}, tmp_path / "swin_tiny.pth")
    name = "timm/swin_tiny_patch4_window7_224"
    model = model_of(name, size=(112, 112)).eval()
    report = load_weights(model, tmp_path / "swin_tiny.pth")
    assert set(report.unexpected) == set(extra)
    images = torch.randn(1, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_image(images).final, swin(images))


def test_merged_patches_in_a_hand_worked_case():
    """Channels a, b of the patches (row, column): 00, 01, 10, 11."""
    unfolded = torch.tensor([100, 101, 110, 111, 200, 201, 210, 211])
    assert reorder_merged(unfolded).tolist() == [100, 200, 110, 210, 101, 201, 111, 211]


@pytest.mark.parametrize(
    ("part", "architecture"),
    [
        ("conv2.0.conv2a.conv1.weight", "OSNet"),
        ("backbone.NL_2.0.g.weight", "non-local"),
        ("b1.0.0.weight", "MGN"),
        ("patch_embed.conv.0.weight", "convolutional stem"),
    ],
)
def test_architectures_that_timm_lacks_are_refused_by_name(resnet, tmp_path, part, architecture):
    prefix = "backbone." if part.startswith("backbone.") else ""
    torch.save({**prefixed(resnet, prefix), part: torch.rand(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"other.pth holds .*{architecture}.*export it to ONNX"):
        load_weights(model_of("timm/resnet18"), tmp_path / "other.pth")


def test_another_network_of_the_family_is_refused(resnet, tmp_path):
    torch.save(prefixed(resnet, "backbone."), tmp_path / "r18.pth")
    with pytest.raises(ValueError, match=r"its image encoder is not the one of MODEL\.NAME"):
        load_weights(model_of("timm/resnet34"), tmp_path / "r18.pth")
