"""Figures of a trained model, as `run.py attention | embedding | batches | curves` draw them."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from config import dump_cfg, load_cfg
from model import build_model
from processor.checkpoints.load import open_model
from processor.checkpoints.save import save_checkpoint
from processor.tools import embedding

pytestmark = pytest.mark.slow

SIZES = {"num_classes": 3, "num_cameras": 1, "num_views": 1}


@pytest.fixture(scope="module")
def checkpoint(straight, tmp_path_factory):
    """A copy of the run's last checkpoint in a folder of its own."""
    path = tmp_path_factory.mktemp("pictures") / "last.pth"
    shutil.copy(straight / "last.pth", path)
    return path


@pytest.fixture(scope="module")
def images(people, tmp_path_factory):
    """Three images of different sizes: one in a folder, two in a subfolder."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "more").mkdir()
    files = sorted((people / "query").glob("*.jpg"))[:3]
    for number, file in enumerate(files):
        with Image.open(file) as image:
            target = folder / "more" if number else folder
            image.resize((30 + 10 * number, 90)).save(target / f"same_name{number % 2}.png")
    return folder


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory):
    """A checkpoint of a tiny ResNet with random weights."""
    folder = tmp_path_factory.mktemp("resnet")
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1}
    architecture = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    (folder / "resnet.json").write_text(json.dumps(architecture))
    opts = [
        *("MODEL.NAME", str(folder / "resnet.json"), "MODEL.PRETRAIN_CHOICE", "none"),
        *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
        *("DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu", "MODEL.TEXT_TOWER", "False"),
    ]
    cfg = load_cfg(None, opts)
    torch.manual_seed(0)
    model = build_model(cfg, *SIZES.values())
    meta = {**SIZES, "cameras": "{}", "architecture": json.dumps(architecture)}
    save_checkpoint(folder / "resnet.pth", model, dump_cfg(cfg), meta)
    return folder / "resnet.pth"


@pytest.mark.parametrize("method", ["rollout", "class-token"])
def test_attention_of_a_vit(script, checkpoint, images, tmp_path, method):
    finished = script(
        "run.py", "attention", checkpoint, images, "--method", method, "--output", tmp_path
    )
    assert finished.status == 0, finished.output
    names = [
        *(f"001_same_name0_{method}.png", f"002_same_name1_{method}.png"),
        *(f"003_same_name0_{method}.png", f"sheet_{method}.png"),
    ]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    sizes = [Image.open(tmp_path / name).size for name in names]
    # each is enlarged and keeps the aspect of its image: 50, 40 and 30 pixels at a height of 90
    assert sizes[:3] == [(213, 384), (171, 384), (128, 384)]
    assert min(sizes[3]) > 200
    overlay = np.asarray(Image.open(tmp_path / names[0])).astype(int)
    assert (overlay.max(2) - overlay.min(2)).max() > 30  # coloured


def test_attention_of_a_resnet_and_of_some_images(script, resnet_file, people):
    finished = script("run.py", "attention", resnet_file, people / "query", "--limit", "2")
    assert finished.status == 0, finished.output
    assert f"2 of {len(list((people / 'query').iterdir()))} images" in finished.output
    folder = resnet_file.parent / "attention"
    assert len(list(folder.glob("*_grad-cam.png"))) == 3


def test_attention_errors_name_the_remedy(script, checkpoint, resnet_file, images, tmp_path):
    for arguments, message in (
        ((resnet_file, images, "--method", "rollout"), "rollout: this model supports grad-cam"),
        (
            (checkpoint, images, "--method", "grad-cam"),
            "grad-cam: this model supports rollout and class-token",
        ),
        ((checkpoint, tmp_path), f"no images in {tmp_path}"),
        ((checkpoint, tmp_path / "gone.jpg"), "is not a file, folder, CSV file"),
        ((tmp_path / "gone.pth", images), "no weights file"),
    ):
        finished = script("run.py", "attention", *arguments)
        assert finished.status == 1
        assert message in finished.output.replace("\n" + " " * 9, " ")  # wrapped lines
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    finished = script("run.py", "attention", checkpoint, tmp_path)
    assert finished.status == 1
    assert "cannot decode the image" in finished.output


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_embedding_of_the_test_split(script, checkpoint, method):
    finished = script(
        *("run.py", "embedding", checkpoint, "--method", method, "--max_identities", "5"),
        *("--mark", "domain"),
    )
    assert finished.status == 0, finished.output
    with Image.open(checkpoint.parent / "embedding_test.png") as figure:
        assert min(figure.size) > 600


def draw_training_split(monkeypatch, script, *arguments):
    """The scene and the notes of a figure of a training split, and the log."""
    seen = {}
    draw = embedding.draw_embedding

    def record(scene, *, title, notes):
        seen.update(scene=scene, notes=" ".join(notes))
        return draw(scene, title=title, notes=notes)

    monkeypatch.setattr(embedding, "draw_embedding", record)
    finished = script("run.py", "embedding", *arguments, "--split", "train", "--method", "pca")
    assert finished.status == 0, finished.output
    return seen["scene"], seen["notes"], finished.output


def test_embedding_of_the_training_split_has_prompts(
    monkeypatch, script, checkpoint, straight, tmp_path
):
    output = ["--output", tmp_path / "e.svg"]
    scene, notes, _ = draw_training_split(monkeypatch, script, checkpoint, *output)
    assert len(scene.prompts) == 20
    assert set(scene.prompts) == set(scene.identities)
    assert len(scene.plane.points) == len(scene.identities) + 20
    assert "projected image features and prompts' text features" in notes
    assert re.search(
        r"of these 20 prompts, the right one is the nearest for \d+% of the", notes, re.I
    )
    assert (tmp_path / "e.svg").is_file()

    early = torch.load(straight / "last.pth", weights_only=True)
    early["meta"]["stage"] = 0
    torch.save(early, tmp_path / "early.pth")
    scene, notes, text = draw_training_split(monkeypatch, script, tmp_path / "early.pth")
    assert len(scene.prompts) == 0
    assert "retrieval features" in notes
    assert "only images are drawn" in text


def test_prompts_are_those_of_their_identities(checkpoint, people):
    """Labels of identities are the ranks of their pids; the text features are the model's."""
    loaded = open_model(str(checkpoint))
    targets = embedding.prepare_evaluation(loaded).evaluator.targets
    labels = embedding.find_prompts(loaded, targets)
    pids = sorted({int(file.name[:4]) for file in (people / "bounding_box_train").glob("*.jpg")})
    assert labels == {(people.name, pid): label for label, pid in enumerate(pids)}
    chosen = [(people.name, pids[7]), (people.name, pids[2])]
    with torch.no_grad():
        expected = loaded.model.encode_text(torch.tensor([7, 2]))
    assert torch.equal(embedding.encode_prompts(loaded.model, chosen, labels), expected)


def test_batches_of_a_checkpoint(script, checkpoint):
    finished = script("run.py", "batches", checkpoint, "DATALOADER.DFGS.NUM_NEIGHBOURS", "5")
    assert finished.status == 0, finished.output
    for sampler in ("random P x K", "DFGS", "GS"):
        assert f"{sampler}: hits " in finished.output
    with Image.open(checkpoint.parent / "batches.png") as figure:
        assert figure.width > 3 * 4 * 92  # three samplers, four images of an identity
    output = checkpoint.parent / "images.jpg"
    finished = script(
        *("run.py", "batches", checkpoint, "--features", "image", "--identities", "2"),
        *("--output", output),
    )
    assert finished.status == 0, finished.output
    with Image.open(output) as figure:
        assert figure.height < 600


def test_batches_of_a_configuration(script, base_opts, straight, tmp_path):
    (tmp_path / "own.yml").write_text(dump_cfg(load_cfg(None, base_opts)))
    command = ("run.py", "batches", "--config_file", tmp_path / "own.yml")
    where = ("OUTPUT_DIR", tmp_path)
    finished = script(*command, *where)
    assert finished.status == 0, finished.output
    assert (tmp_path / "batches.png").is_file()
    finished = script(*command, "--features", "text", *where)
    assert finished.status == 1
    assert "--features text: own.yml has no learned prompts; use image" in finished.output
    prompts = ("SOLVER.STAGE1.WEIGHT", straight / "small_stage1_2.pth")
    finished = script(*command, "--features", "text", *where, *prompts)
    assert finished.status == 0, finished.output


def test_batches_errors_name_the_remedy(script, checkpoint):
    for arguments, message in (
        ((), "name a CHECKPOINT, or a YAML file with --config_file"),
        ((checkpoint, "SOLVER.STAGE2.IMS_PER_BATCH", "400"), "needs 100 identities"),
    ):
        finished = script("run.py", "batches", *arguments)
        assert finished.status == 1
        assert message in finished.output


def test_curves_of_a_run(script, straight, tmp_path):
    finished = script("run.py", "curves", straight, "--output", tmp_path / "curves.png")
    assert finished.status == 0, finished.output
    with Image.open(tmp_path / "curves.png") as figure:
        assert min(figure.size) > 400
