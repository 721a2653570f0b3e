"""Sizes of the model in an original file."""

import pytest
import torch

from config import ConfigError, dump_cfg, load_cfg
from model import build_model
from processor.checkpoints.load import open_model


@pytest.mark.parametrize(
    ("options", "sizes", "known"),
    [
        (["MODEL.SIE_CAMERA", "True"], (10, 24, 1), 24),
        (["MODEL.SIE_VIEW", "True"], (10, 1, 24), 1),
        (["MODEL.SIE_CAMERA", "True", "MODEL.SIE_VIEW", "True"], (10, 3, 8), 3),
    ],
)
def test_rows_of_an_original_file_become_cameras_and_viewpoints(
    tmp_path, tiny_opts, options, sizes, known
):
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


def test_rows_that_are_not_pairs_are_refused(tmp_path, tiny_opts):
    both = [*tiny_opts, "MODEL.SIE_CAMERA", "True", "MODEL.SIE_VIEW", "True"]
    model = build_model(load_cfg(None, both), 10, 2, 3)
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    (tmp_path / "recipe.yml").write_text(dump_cfg(load_cfg(None, both)))
    with pytest.raises(ConfigError, match=r"MODEL.SIE_CAMERA, MODEL.SIE_VIEW: 6 rows"):
        open_model(str(tmp_path / "plain.pth"), str(tmp_path / "recipe.yml"))
