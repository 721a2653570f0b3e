"""A checkpoint's configuration: its own architecture, other options from outside."""

import pytest
import torch

from config import dump_cfg, load_cfg
from model import LoadReport
from processor.checkpoints import load
from processor.checkpoints.load import open_model

OVERLAP = ["MODEL.STRIDE_SIZE", "[12, 12]", "MODEL.SIE_CAMERA", "True", "MODEL.SIE_COE", "1.5"]


def test_checkpoint_overrides_the_architecture_of_a_config_file(
    saved, tmp_path, tiny_opts, caplog, assert_same_features
):
    """A stride-16 configuration without side information, as in the recipes."""
    (tmp_path / "recipe.yml").write_text(load_cfg(None, tiny_opts).dump())
    loaded = open_model(saved[0], str(tmp_path / "recipe.yml"))
    assert_same_features(loaded)
    assert "MODEL.STRIDE_SIZE: [12, 12] from the checkpoint replaces [16, 16]" in caplog.text
    assert "MODEL.SIE_CAMERA: True from the checkpoint replaces False" in caplog.text


def test_config_file_sets_all_other_options(saved, tmp_path, tiny_opts):
    opts = [*tiny_opts, "TEST.IMS_PER_BATCH", "17", "DATASETS.NAMES", "veri"]
    (tmp_path / "recipe.yml").write_text(load_cfg(None, opts).dump())
    loaded = open_model(saved[0], str(tmp_path / "recipe.yml"), ["TEST.CHUNK_MB", "9"])
    assert loaded.cfg.TEST.IMS_PER_BATCH == 17
    assert loaded.cfg.DATASETS.NAMES == ("veri",)
    assert loaded.cfg.TEST.CHUNK_MB == 9


def test_typed_options_override_the_checkpoint(saved, tmp_path, tiny_opts):
    """A typed stride resizes the position embedding of the file."""
    (tmp_path / "recipe.yml").write_text(load_cfg(None, tiny_opts).dump())
    typed = ["MODEL.STRIDE_SIZE", "[16, 16]"]
    for config in (None, str(tmp_path / "recipe.yml")):
        loaded = open_model(saved[0], config, typed)
        assert loaded.cfg.MODEL.STRIDE_SIZE == [16, 16]
        assert loaded.model.image_encoder.positional_embedding.shape == (129, 128)


def test_original_file_with_a_config_file(saved, tmp_path, tiny_opts, assert_same_features):
    """CLIP-ReID's checkpoints hold parameters only, here saved under DataParallel."""
    state = torch.load(saved[0], weights_only=True)["model"]
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "plain.pth")
    (tmp_path / "recipe.yml").write_text(load_cfg(None, [*tiny_opts, *OVERLAP]).dump())
    loaded = open_model(str(tmp_path / "plain.pth"), str(tmp_path / "recipe.yml"))
    assert loaded.cameras == {"market1501": range(6)}  # the one source that the recipe names
    assert loaded.model.num_classes == 10
    assert_same_features(loaded)


def test_shapes_of_an_original_file_override_a_plain_recipe(
    saved, tmp_path, tiny_opts, caplog, assert_same_features
):
    """Trained with side information and stride 12, evaluated with a recipe that has neither."""
    state = torch.load(saved[0], weights_only=True)["model"]
    torch.save(state, tmp_path / "plain.pth")
    (tmp_path / "recipe.yml").write_text(load_cfg(None, tiny_opts).dump())
    opts = ["MODEL.SIE_COE", "1.5"]  # the only thing that shapes do not tell
    loaded = open_model(str(tmp_path / "plain.pth"), str(tmp_path / "recipe.yml"), opts)
    assert_same_features(loaded)
    assert (
        "MODEL.STRIDE_SIZE: [12, 12], by the shapes of the file, replaces [16, 16]" in caplog.text
    )
    assert "MODEL.SIE_CAMERA: True, by the shapes of the file, replaces False" in caplog.text
    assert "does not tell MODEL.SIE_COE (using 1.5" in caplog.text


def test_encoder_that_is_bent_or_cut_by_typed_options_is_a_warning(
    saved, tmp_path, tiny_opts, caplog
):
    state = torch.load(saved[0], weights_only=True)["model"]
    torch.save(state, tmp_path / "plain.pth")
    (tmp_path / "recipe.yml").write_text(load_cfg(None, tiny_opts).dump())
    typed = ["MODEL.STRIDE_SIZE", "[16, 16]", "MODEL.SIE_CAMERA", "False"]
    open_model(str(tmp_path / "plain.pth"), str(tmp_path / "recipe.yml"), typed)
    warnings = [x.getMessage() for x in caplog.records if x.levelname == "WARNING"]
    assert any("position embeddings were resized" in x for x in warnings)
    assert any(
        "left out, as the configuration has no place for it: cv_embed" in x for x in warnings
    )


def test_original_file_alone_tells_its_architecture(tmp_path, monkeypatch):
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


@pytest.mark.parametrize("lines", ["", "MODEL:\n  NAME: resnet50\n", "MODEL:\n  NAME: RN50\n"])
def test_unsupervised_checkpoint_overrides_any_config_file(
    unsupervised, tmp_path, lines, caplog, assert_same_unit_features
):
    """The checkpoint decides, whether the config file enables DSGL or not."""
    (tmp_path / "recipe.yml").write_text(lines)
    loaded = open_model(unsupervised[0], str(tmp_path / "recipe.yml"))
    assert_same_unit_features(loaded)
    assert "DSGL.EMBED_DIM: 12 from the checkpoint replaces 0" in caplog.text
    assert "DSGL.ENABLED" not in caplog.text


def test_unsupervised_checkpoint_agrees_with_its_own_config_file(
    unsupervised, tmp_path, caplog, assert_same_unit_features
):
    path, opts = unsupervised[:2]
    (tmp_path / "recipe.yml").write_text(dump_cfg(load_cfg(None, opts)))
    assert_same_unit_features(open_model(path, str(tmp_path / "recipe.yml")))
    assert "from the checkpoint" not in caplog.text


def test_unsupervised_state_dict_with_its_config_file(
    unsupervised, tmp_path, assert_same_unit_features
):
    path, opts = unsupervised[:2]
    torch.save(torch.load(path, weights_only=True)["model"], tmp_path / "plain.pth")
    (tmp_path / "recipe.yml").write_text(dump_cfg(load_cfg(None, opts)))
    loaded = open_model(str(tmp_path / "plain.pth"), str(tmp_path / "recipe.yml"))
    assert_same_unit_features(loaded)
