"""The table of encoders, and the interface that every entry keeps."""

import pytest
import torch
from torch import nn

from config import load_cfg
from model import build_model, build_unsupervised_model, load_weights
from model.encoders.image_encoder import ImageEncoder, ImageFeatures
from model.encoders.kind import Backbone, EncoderKind, EncoderOptions
from model.encoders.registry import CLIP, ENCODERS, IMAGENET, find_encoder_kind

SMALL = ["INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"]


class PatchMeans(ImageEncoder):
    """The smallest encoder: one linear map of 16x16 patches; features are means over the image."""

    def __init__(self, image_size):
        super().__init__()
        self.width, self.joint_width = 8, 6
        self.grid = (image_size[0] // 16, image_size[1] // 16)
        self.patches = nn.Conv2d(3, 8, 16, stride=16)
        self.project = nn.Linear(8, 6)

    def forward(self, images, side_information=None):
        del side_information
        final = self.maps(images).mean((2, 3))
        return ImageFeatures(final, final, self.project(final))

    def maps(self, images):
        return self.patches(images)

    def beside_maps(self):
        return list(self.project.parameters())


def no_weights(name):
    raise FileNotFoundError(f"{name} has no published weights")


@pytest.fixture
def new_encoder(monkeypatch):
    """A new entry in the table, and nothing else."""

    def build(_name, options):
        return Backbone(PatchMeans(options.image_size))

    monkeypatch.setitem(ENCODERS, "patch-means", EncoderKind(build, no_weights))
    return [*SMALL, "MODEL.NAME", "patch-means", "MODEL.PRETRAIN_CHOICE", "none"]


def test_names_select_their_family(tiny_clip_json):
    for name in ("RN50", "ViT-B-16", "ViT-B-16-quickgelu", "ViT-L-14-336", tiny_clip_json):
        assert find_encoder_kind(name) is CLIP
    for name in ("resnet18", "resnet152", "resnet50_ibn_a"):
        assert find_encoder_kind(name) is IMAGENET


@pytest.mark.parametrize("name", ["ViT-B16", "resnet19", "RN51", "resnet50-quickgelu", ""])
def test_unknown_name_lists_known_ones(name):
    with pytest.raises(ValueError, match=r"MODEL\.NAME: unknown encoder .*RN50, .*resnet50_ibn_a"):
        find_encoder_kind(name)


def test_unknown_name_stops_before_weights_are_looked_for():
    with pytest.raises(ValueError, match="unknown encoder 'swin_tiny'"):
        build_model(load_cfg(None, ["MODEL.NAME", "swin_tiny"]), 3, 1, 1)


@torch.no_grad()
@pytest.mark.parametrize("family", ["vit", "resnet", "imagenet"])
def test_every_family_keeps_the_interface(family, tiny_clip_json, tiny_resnet_json):
    name = {"vit": tiny_clip_json, "resnet": tiny_resnet_json, "imagenet": "resnet18"}[family]
    options = EncoderOptions((64, 32), grad_checkpointing=family == "vit")
    backbone = find_encoder_kind(name).build(name, options)
    encoder, images = backbone.image_encoder.eval(), torch.randn(2, 3, 64, 32)
    features, maps = encoder(images), encoder.maps(images)
    assert features.final.shape == (2, encoder.width)
    assert features.projected.shape == (2, encoder.joint_width)
    assert maps.shape == (2, encoder.width, *encoder.grid)
    assert (encoder.joint_width > 0) == (backbone.text is not None) == (family != "imagenet")
    if encoder.position_embedding:
        assert len(encoder.get_parameter(encoder.position_embedding)) == 1 + maps[0, 0].numel()
    assert (
        (encoder.recorded_attention() is not None)
        == encoder.takes_side_information
        == (family == "vit")
    )
    assert (encoder.cam_layer() is None) == (encoder.patch_convolution() is not None)
    for parameter in encoder.beside_maps():
        parameter.fill_(0)
    assert not encoder(images).projected.any()
    assert torch.equal(encoder.maps(images), maps)


def test_new_entry_trains_with_labels(new_encoder):
    opts = [*new_encoder, "MODEL.TEXT_TOWER", "False"]
    model = build_model(load_cfg(None, opts), 3, num_cameras=2, num_views=1)
    images = torch.randn(4, 3, 64, 32)
    assert [tuple(x.shape) for x in model(images).logits] == [(4, 3), (4, 3)]
    assert model.embed(images).shape == (4, 14)
    with pytest.raises(
        ValueError, match=r"patch-means cannot learn prompts: it was trained without texts"
    ):
        build_model(load_cfg(None, new_encoder), 3, num_cameras=2, num_views=1)


def test_new_entry_trains_without_labels(new_encoder):
    model = build_unsupervised_model(load_cfg(None, [*new_encoder, "DSGL.ENABLED", "True"]))
    assert model.embed(torch.randn(4, 3, 64, 32)).shape == (4, 8)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        "bottleneck.bias",
        "image_encoder.project.weight",
        "image_encoder.project.bias",
    }


def test_new_entry_loads_its_own_parameter_names(new_encoder, tmp_path):
    state = {key: torch.rand_like(t) for key, t in PatchMeans((64, 32)).state_dict().items()}
    torch.save({**state, "fc.weight": torch.zeros(1000, 8)}, tmp_path / "published.pth")
    opts = [*new_encoder, "MODEL.TEXT_TOWER", "False"]
    model = build_model(load_cfg(None, opts), 3, num_cameras=1, num_views=1)
    report = load_weights(model, tmp_path / "published.pth")
    assert set(report.loaded) == {f"image_encoder.{key}" for key in state}
    assert report.unexpected == ("fc.weight",)
    for key, tensor in state.items():
        assert torch.equal(model.image_encoder.state_dict()[key], tensor)


def test_imagenet_encoder_is_refused_for_training_with_text():
    cfg = load_cfg(None, [*SMALL, "DSGL.ENABLED", "True", "MODEL.NAME", "resnet18"]).clone()
    cfg.defrost()
    cfg.MODEL.PRETRAIN_CHOICE = "none"
    with pytest.raises(ValueError, match=r"MODEL\.NAME: resnet18 cannot learn prompts"):
        build_model(cfg, 3, num_cameras=1, num_views=1)


def test_frozen_patch_convolution_without_one_warns(caplog):
    opts = [*SMALL, "DSGL.ENABLED", "True", "MODEL.NAME", "resnet18"]
    opts += ["MODEL.PRETRAIN_CHOICE", "none", "DSGL.FREEZE_PATCH_CONV", "True"]
    model = build_unsupervised_model(load_cfg(None, opts))
    assert "DSGL.FREEZE_PATCH_CONV: ignored" in caplog.text
    assert model.image_encoder.conv1.weight.requires_grad
