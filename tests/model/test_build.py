"""Pre-trained weights enter a new model, and the log says which parts they fill."""

import pytest
import torch

from config import dump_cfg, load_cfg
from model import build_model
from model.weights.read import CHECKPOINT_FORMAT


@pytest.fixture
def fine_tune(built_tiny_reid, tiny_opts, tmp_path):
    """`fine_tune("KEY", "VALUE")` -> a model that starts from a checkpoint with 10 classes."""

    def build(*opts, num_classes=10):
        content = {
            "format": CHECKPOINT_FORMAT,
            "model": built_tiny_reid.state_dict(),
            "config": dump_cfg(load_cfg(None, tiny_opts)),
            "meta": {"num_classes": 10, "num_cameras": 1, "num_views": 1},
        }
        torch.save(content, tmp_path / "last.pth")
        path = ["MODEL.PRETRAIN_PATH", str(tmp_path / "last.pth")]
        return build_model(load_cfg(None, [*tiny_opts, *path, *opts]), num_classes, 1, 1)

    return build


@pytest.mark.parametrize("num_classes", [10, 7])
def test_checkpoint_fills_all_but_rows_of_identities(
    fine_tune, built_tiny_reid, caplog, num_classes
):
    """Ten classes are ten other people: an equal number does not make them the same."""
    with caplog.at_level("INFO"):
        model = fine_tune(num_classes=num_classes)
    expected, found = built_tiny_reid.state_dict(), model.state_dict()
    rows = {"classifier.weight", "classifier_proj.weight", "prompt_learner.cls_ctx"}
    for name, tensor in expected.items():
        assert (name in rows) != torch.equal(found[name], tensor), name
    assert (
        "last.pth: loaded BNNecks, image encoder, prompt words, text encoder; "
        "not loaded: classifiers, prompts"
    ) in caplog.text
    assert "INPUT." not in caplog.text


def test_other_normalization_than_the_checkpoints_warns(fine_tune, caplog):
    fine_tune("INPUT.PIXEL_MEAN", "[0.4, 0.5, 0.6]")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "INPUT.PIXEL_MEAN: [0.4, 0.5, 0.6] here, but the pre-trained weights were trained with "
        "[0.5, 0.5, 0.5]"
    ]


def test_missing_pretrained_file_names_its_option(tiny_opts, tmp_path):
    cfg = load_cfg(None, [*tiny_opts, "MODEL.PRETRAIN_PATH", str(tmp_path / "gone.pth")])
    with pytest.raises(FileNotFoundError, match=r"MODEL\.PRETRAIN_PATH: no weights file .*gone"):
        build_model(cfg, 3, 1, 1)
