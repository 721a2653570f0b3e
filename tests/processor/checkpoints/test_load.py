"""A model rebuilt from its checkpoint, whatever configuration is at hand."""

import json
from dataclasses import replace

import pytest
import torch

from config import ConfigError, dump_cfg, load_cfg
from datasets.records import DataSplits, Sample
from datasets.sources import join_sources
from model import LoadReport, UnsupervisedReID, build_model, build_reid_model
from model.encoders.clip import architecture_text
from processor.checkpoints import load
from processor.checkpoints.load import describe_features, open_model
from processor.checkpoints.save import save_checkpoint

SIZES = {"num_classes": 10, "num_cameras": 6, "num_views": 1}
OVERLAP = ["MODEL.STRIDE_SIZE", "[12, 12]", "MODEL.SIE_CAMERA", "True", "MODEL.SIE_COE", "1.5"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_opts):
    """A stride-12 model with camera embeddings, its file, and features of four images."""
    cfg = load_cfg(None, [*tiny_opts, *OVERLAP])
    torch.manual_seed(0)
    model = build_model(cfg, *SIZES.values()).eval()
    path = tmp_path_factory.mktemp("saved") / "last.pth"
    meta = {**SIZES, "cameras": json.dumps({"one": [2, 4]})}
    save_checkpoint(path, model, dump_cfg(cfg), meta)
    images = torch.randn(4, 3, 256, 128)
    with torch.no_grad():
        features = model.embed(images, torch.tensor([0, 1, 5, -1]))
    return str(path), images, features


def assert_same_features(loaded, saved):
    _, images, features = saved
    with torch.no_grad():
        found = loaded.model.eval().embed(images, torch.tensor([0, 1, 5, -1]))
    torch.testing.assert_close(found, features, atol=1e-5, rtol=0)


def test_file_alone_is_enough(saved):
    loaded = open_model(saved[0])
    assert loaded.cfg.MODEL.STRIDE_SIZE == [12, 12]
    assert loaded.model.cv_embed.shape == (6, 128)
    assert loaded.cameras == {"one": range(2, 4)}
    assert_same_features(loaded, saved)


def test_default_configuration_yields_to_the_file(saved, tmp_path, tiny_opts, caplog):
    """A stride-16 configuration without side information, as in the recipes."""
    (tmp_path / "recipe.yml").write_text(load_cfg(None, tiny_opts).dump())
    loaded = open_model(saved[0], str(tmp_path / "recipe.yml"))
    assert_same_features(loaded, saved)
    assert "MODEL.STRIDE_SIZE: [12, 12], as the checkpoint says, not [16, 16]" in caplog.text
    assert "MODEL.SIE_CAMERA: True, as the checkpoint says, not False" in caplog.text


def test_rest_of_the_configuration_is_the_file_s_at_hand(saved, tmp_path, tiny_opts):
    opts = [*tiny_opts, "TEST.IMS_PER_BATCH", "17", "DATASETS.NAMES", "veri"]
    (tmp_path / "recipe.yml").write_text(load_cfg(None, opts).dump())
    loaded = open_model(saved[0], str(tmp_path / "recipe.yml"), ["TEST.CHUNK_MB", "9"])
    assert loaded.cfg.TEST.IMS_PER_BATCH == 17
    assert loaded.cfg.DATASETS.NAMES == ("veri",)
    assert loaded.cfg.TEST.CHUNK_MB == 9


def test_typed_options_win_over_the_file(saved, tmp_path, tiny_opts):
    """A typed stride resizes the position embedding of the file."""
    (tmp_path / "recipe.yml").write_text(load_cfg(None, tiny_opts).dump())
    typed = ["MODEL.STRIDE_SIZE", "[16, 16]"]
    for config in (None, str(tmp_path / "recipe.yml")):
        loaded = open_model(saved[0], config, typed)
        assert loaded.cfg.MODEL.STRIDE_SIZE == [16, 16]
        assert loaded.model.image_encoder.positional_embedding.shape == (129, 128)


def test_clip_s_own_weights_are_not_needed(saved, monkeypatch):
    def refuse(*_arguments):
        raise AssertionError("CLIP's weights were looked for")

    monkeypatch.setattr("model.build.find_clip_weights", refuse)
    monkeypatch.setattr("model.build.load_weights", refuse)
    open_model(saved[0])


def test_plain_state_dict_with_a_configuration(saved, tmp_path, tiny_opts):
    """CLIP-ReID's own checkpoints hold parameters and nothing else, here from DataParallel."""
    state = torch.load(saved[0], weights_only=True)["model"]
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "plain.pth")
    (tmp_path / "recipe.yml").write_text(load_cfg(None, [*tiny_opts, *OVERLAP]).dump())
    loaded = open_model(str(tmp_path / "plain.pth"), str(tmp_path / "recipe.yml"))
    assert loaded.cameras == {"market1501": range(6)}  # the one source that the recipe names
    assert loaded.model.num_classes == 10
    assert_same_features(loaded, saved)


def test_plain_state_dict_without_a_configuration(tmp_path, monkeypatch):
    """Architecture, stride, image size and cameras of an original file come from its shapes."""
    shapes = {
        "classifier.weight": (751, 768),
        "cv_embed": (6, 768),
        "image_encoder.class_embedding": (768,),
        "image_encoder.conv1.weight": (768, 3, 16, 16),
        "image_encoder.positional_embedding": (211, 768),
        "prompt_learner.cls_ctx": (751, 4, 512),
    }
    state = {key: torch.zeros(1).expand(shape).clone() for key, shape in shapes.items()}
    torch.save(state, tmp_path / "ViT-B-16_60.pth")
    built = {}

    def build(cfg, *sizes):
        built.update(cfg=cfg, sizes=sizes)

    monkeypatch.setattr(load, "build_reid_model", build)
    monkeypatch.setattr(load, "load_state", lambda *_: LoadReport((), (), (), (), ()))
    open_model(str(tmp_path / "ViT-B-16_60.pth"))
    cfg = built["cfg"]
    assert cfg.MODEL.NAME == "ViT-B-16"
    assert cfg.MODEL.STRIDE_SIZE == [12, 12]
    assert cfg.INPUT.SIZE_TEST == [256, 128]
    assert cfg.MODEL.SIE_CAMERA is True
    assert cfg.MODEL.PRETRAIN_CHOICE == "none"
    assert cfg.TEST.NECK_FEAT == "before"
    assert built["sizes"][:2] == (751, 6)


def test_no_path_is_an_error():
    with pytest.raises(ConfigError, match=r"TEST\.WEIGHT: name the checkpoint"):
        open_model("")


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights file .*gone\.pth"):
        open_model(str(tmp_path / "gone.pth"))


@pytest.mark.parametrize(
    ("options", "sizes", "known"),
    [
        (["MODEL.SIE_CAMERA", "True"], (10, 24, 1), 24),
        (["MODEL.SIE_VIEW", "True"], (10, 1, 24), 1),
        (["MODEL.SIE_CAMERA", "True", "MODEL.SIE_VIEW", "True"], (10, 3, 8), 3),
    ],
)
def test_side_information_of_an_original_file(tmp_path, tiny_opts, options, sizes, known):
    """24 rows are cameras, viewpoints or pairs of 3 cameras with VeRi-776's 8 viewpoints."""
    opts = [*tiny_opts, *options, "DATASETS.NAMES", "veri"]
    model = build_model(load_cfg(None, opts), *sizes).eval()
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    (tmp_path / "recipe.yml").write_text(dump_cfg(load_cfg(None, opts)))
    loaded = open_model(str(tmp_path / "plain.pth"), str(tmp_path / "recipe.yml"))
    assert loaded.cameras == {"veri": range(known)}
    images, cameras, views = torch.randn(3, 3, 256, 128), torch.tensor([0, 1, 2]), torch.arange(3)
    with torch.no_grad():
        expected = model.embed(images, cameras, views)
        torch.testing.assert_close(loaded.model.eval().embed(images, cameras, views), expected)


def test_rows_that_are_no_pairs_are_refused(tmp_path, tiny_opts):
    both = [*tiny_opts, "MODEL.SIE_CAMERA", "True", "MODEL.SIE_VIEW", "True"]
    model = build_model(load_cfg(None, both), 10, 2, 3)
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    (tmp_path / "recipe.yml").write_text(dump_cfg(load_cfg(None, both)))
    with pytest.raises(ConfigError, match=r"MODEL.SIE_CAMERA, MODEL.SIE_VIEW: 6 rows"):
        open_model(str(tmp_path / "plain.pth"), str(tmp_path / "recipe.yml"))


# models that were trained without labels


@pytest.fixture(scope="module", params=["resnet18", "tiny ViT"])
def unsupervised(request, tmp_path_factory, tiny_clip_json):
    """A checkpoint, its options, and what it makes of four images."""
    name = tiny_clip_json if request.param == "tiny ViT" else request.param
    pooling = "clip" if request.param == "tiny ViT" else "avg+max"
    opts = [
        *("DSGL.ENABLED", "True", "MODEL.NAME", name, "MODEL.PRETRAIN_CHOICE", "none"),
        *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
        *("DSGL.POOLING", pooling, "DSGL.EMBED_DIM", "12"),
    ]
    cfg = load_cfg(None, opts)
    torch.manual_seed(0)
    model = build_reid_model(cfg, 0, 3, 1).eval()
    with torch.no_grad():
        model.bottleneck.running_mean.normal_()
    path = tmp_path_factory.mktemp("unsupervised") / "last.pth"
    cameras = json.dumps({"one": [0, 3]})
    meta = {"num_classes": 0, "num_cameras": 3, "num_views": 1, "cameras": cameras}
    meta["architecture"] = architecture_text(name)
    save_checkpoint(path, model, dump_cfg(cfg), meta)
    images = torch.randn(4, 3, 64, 32)
    with torch.no_grad():
        return str(path), opts, images, model.embed(images)


def assert_same_unit_features(loaded, unsupervised):
    _, _, images, features = unsupervised
    assert isinstance(loaded.model, UnsupervisedReID)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model.eval().embed(images), features)


def test_unsupervised_file_alone_is_enough(unsupervised):
    loaded = open_model(unsupervised[0])
    assert loaded.cfg.DSGL.ENABLED is True
    assert loaded.cfg.DSGL.EMBED_DIM == 12
    assert loaded.cameras == {"one": range(3)}
    assert_same_unit_features(loaded, unsupervised)


@pytest.mark.parametrize("lines", ["", "MODEL:\n  NAME: resnet50\n", "MODEL:\n  NAME: RN50\n"])
def test_unsupervised_file_and_any_configuration(unsupervised, tmp_path, lines, caplog):
    """Whether a configuration names DSGL or not, the checkpoint says what it holds."""
    (tmp_path / "recipe.yml").write_text(lines)
    loaded = open_model(unsupervised[0], str(tmp_path / "recipe.yml"))
    assert_same_unit_features(loaded, unsupervised)
    assert "DSGL.EMBED_DIM: 12, as the checkpoint says, not 0" in caplog.text
    assert "DSGL.ENABLED" not in caplog.text


def test_unsupervised_file_and_its_own_configuration(unsupervised, tmp_path, caplog):
    path, opts = unsupervised[:2]
    (tmp_path / "recipe.yml").write_text(dump_cfg(load_cfg(None, opts)))
    assert_same_unit_features(open_model(path, str(tmp_path / "recipe.yml")), unsupervised)
    assert "as the checkpoint says" not in caplog.text


def test_plain_unsupervised_state_dict_with_its_configuration(unsupervised, tmp_path):
    path, opts = unsupervised[:2]
    torch.save(torch.load(path, weights_only=True)["model"], tmp_path / "plain.pth")
    (tmp_path / "recipe.yml").write_text(dump_cfg(load_cfg(None, opts)))
    loaded = open_model(str(tmp_path / "plain.pth"), str(tmp_path / "recipe.yml"))
    assert_same_unit_features(loaded, unsupervised)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")  # a classifier of no identity
@pytest.mark.parametrize("unsupervised", ["tiny ViT"], indirect=True)
def test_the_other_kind_of_model_is_refused(saved, unsupervised):
    with pytest.raises(ConfigError, match=r"DSGL\.ENABLED: .* was trained the other way"):
        open_model(saved[0], None, ["DSGL.ENABLED", "True", "MODEL.SIE_CAMERA", "False"])
    with pytest.raises(ConfigError, match=r"DSGL\.ENABLED: .* was trained the other way"):
        open_model(unsupervised[0], None, ["DSGL.ENABLED", "False"])


@pytest.mark.parametrize("unsupervised", ["resnet18"], indirect=True)
def test_another_pooling_with_parameters_is_refused(unsupervised):
    message = r"DSGL\.POOLING, DSGL\.EMBED_DIM: only one of the model and .* has pooling\.p"
    with pytest.raises(ConfigError, match=message):
        open_model(unsupervised[0], None, ["DSGL.POOLING", "gem"])


def test_prompts_are_of_the_sources_in_their_order(saved):
    loaded = open_model(saved[0])
    samples = [Sample(str(pid), pid, 0) for pid in range(10)]
    assert loaded.has_prompts_of(join_sources([DataSplits("one", samples, [], [])]))
    assert not loaded.has_prompts_of(join_sources([DataSplits("other", samples, [], [])]))
    assert not loaded.has_prompts_of(join_sources([DataSplits("one", samples[1:], [], [])]))
    early = replace(loaded, before_prompts=True)
    assert not early.has_prompts_of(join_sources([DataSplits("one", samples, [], [])]))


def test_file_of_stage_0_has_no_prompts_yet(saved, tmp_path):
    content = torch.load(saved[0], weights_only=True)
    content["meta"]["stage"] = 0
    torch.save(content, tmp_path / "early.pth")
    assert open_model(str(tmp_path / "early.pth")).before_prompts
    assert not open_model(saved[0]).before_prompts


def test_features_are_described_by_what_they_depend_on(saved, tmp_path):
    """Text encoder, prompts, classifiers and training sizes do not count; all else does."""
    described = describe_features(open_model(saved[0]))
    assert described["INPUT.SIZE_TEST"] == "[256, 128]"
    content = torch.load(saved[0], weights_only=True)
    for prefix in ("text_encoder.", "prompt_learner.", "classifier"):
        for name, values in content["model"].items():
            if name.startswith(prefix) and values.is_floating_point():
                values += 1
    torch.save(content, tmp_path / "other_text.pth")
    other_text = open_model(str(tmp_path / "other_text.pth"))
    assert describe_features(other_text) == described
    for name in ("cv_embed", "bottleneck.running_mean", "image_encoder.proj"):
        other = open_model(saved[0])
        with torch.no_grad():
            other.model.state_dict()[name].view(-1)[0] += 1
        assert {
            key for key, value in describe_features(other).items() if described[key] != value
        } == {"weights"}
    typed = ["TEST.NECK_FEAT", "after", "INPUT.PIXEL_MEAN", "[0.1, 0.2, 0.3]"]
    found = describe_features(open_model(saved[0], opts=typed))
    assert found["weights"] == described["weights"]
    assert {key for key in found if found[key] != described[key]} == set(typed[::2])
