"""Files that do not fit the model are refused with the option to change."""

import json
from pathlib import Path

import pytest
import torch

from config import load_cfg
from model import build_model, load_weights


def narrow(tmp_path, tiny_clip_json, **vision):
    architecture = json.loads(Path(tiny_clip_json).read_text())
    architecture["vision_cfg"] |= vision
    path = tmp_path / "other.json"
    path.write_text(json.dumps(architecture))
    return str(path)


@pytest.mark.parametrize("kind", ["clip", "reid"])
def test_another_width_names_conv1(
    tmp_path, build, tiny_clip_json, tiny_clip_file, reid_state, kind, save, assert_same
):
    model = build("MODEL.NAME", narrow(tmp_path, tiny_clip_json, width=64))
    before = {key: t.clone() for key, t in model.state_dict().items()}
    path = tiny_clip_file if kind == "clip" else save(tmp_path, reid_state)
    with pytest.raises(ValueError, match="conv1") as error:
        load_weights(model, path)
    for part in ("MODEL.NAME", "(128, 3, 16, 16)", "(64, 3, 16, 16)", str(path)):
        assert part in str(error.value)
    assert_same(model, before)


def test_another_depth_is_refused(tmp_path, build, tiny_clip_json, reid_state, save):
    model = build("MODEL.NAME", narrow(tmp_path, tiny_clip_json, layers=2))
    with pytest.raises(ValueError, match=r"MODEL\.NAME.*image_encoder\.transformer\.resblocks\.2"):
        load_weights(model, save(tmp_path, reid_state))


def test_another_projection_is_refused(tmp_path, build, reid_state, save, assert_same):
    wrong = reid_state | {"image_encoder.proj": torch.zeros(128, 32)}
    model = build()
    before = {key: t.clone() for key, t in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"image_encoder\.proj.*\(128, 32\).*\(128, 64\).*MODEL\.NAME"
    ):
        load_weights(model, save(tmp_path, wrong))
    assert_same(model, before)


def test_another_feature_width_is_refused(tmp_path, build_unsupervised, save):
    path = save(tmp_path, build_unsupervised("DSGL.EMBED_DIM", "8").state_dict())
    with pytest.raises(ValueError, match=r"bottleneck\.weight.*\(8,\).*\(128,\).*DSGL\.EMBED_DIM"):
        load_weights(build_unsupervised(), path)


def test_another_prompt_length_is_refused(tmp_path, build, reid_state, save):
    model = build("MODEL.PROMPT", "{context} seen from above")
    with pytest.raises(ValueError, match=r"prompt_learner\.token_.*MODEL\.PROMPT"):
        load_weights(model, save(tmp_path, reid_state))


def test_prompt_that_ends_elsewhere_is_refused(tiny_opts, tiny_clip_file, tmp_path):
    opts = [*tiny_opts, "MODEL.PRETRAIN_PATH", str(tiny_clip_file)]
    trained = build_model(load_cfg(None, opts), 4, 1, 1)
    torch.save(trained.state_dict(), tmp_path / "person.pth")
    other = build_model(load_cfg(None, [*opts, "MODEL.PROMPT", "grey person person"]), 4, 1, 1)
    with pytest.raises(ValueError, match=r"person.pth.*end 3 tokens.*end after 5.*MODEL.PROMPT"):
        load_weights(other, tmp_path / "person.pth")
    same = build_model(load_cfg(None, [*opts, "MODEL.PROMPT", "vehicle"]), 4, 1, 1)
    load_weights(same, tmp_path / "person.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.fill_(float("nan")), "has values that are NaN or infinite"),
        (lambda x: x.view(-1)[:1].fill_(float("inf")) is x or x, "has values that are NaN or inf"),
        (lambda x: x.double() * 1e300, "has values that are NaN or infinite"),
        (lambda x: x.to(torch.int8), r"holds torch\.int8 numbers, the model torch\.float32"),
        (lambda x: x.to(torch.complex64), r"holds torch\.complex64 numbers"),
    ],
)
def test_numbers_that_cannot_be_weights_are_refused(
    tmp_path, build, reid_state, change, message, save
):
    key = "image_encoder.ln_post.weight"
    path = save(tmp_path, reid_state | {key: change(reid_state[key].clone())})
    with pytest.raises(ValueError, match=rf"{path}: {key} {message}"):
        load_weights(build(), path)
