"""User errors end in one clear message and exit status 1, never in a traceback."""

import json
import shutil

import pytest
import torch

pytestmark = pytest.mark.slow


@pytest.fixture
def fails(script, base_opts, tmp_path):
    """`fails("KEY", "VALUE", ...)` -> the output of a training run that must exit with 1."""

    def run(*opts, name="train_clipreid.py"):
        output = ["OUTPUT_DIR", tmp_path / "run"]
        finished = script(name, *base_opts, *output, *opts)
        assert finished.status == 1, finished.output
        assert "error: " in finished.output
        return one_line(finished.output)

    return run


def one_line(output):
    """Wrapped lines of the terminal in one."""
    return " ".join(output.split())


@pytest.fixture
def damaged(people, tmp_path):
    """Options of a copy of the data with one broken training image, and the image's path."""
    shutil.copytree(people, tmp_path / "damaged")
    broken = sorted((tmp_path / "damaged" / "bounding_box_train").glob("*.jpg"))[5]
    broken.write_bytes(broken.read_bytes()[:300])
    return ["DATASETS.ROOT_DIR", tmp_path, "DATASETS.NAMES", "damaged"], broken


def assert_names_the_image(output, broken):
    text = one_line(output)
    assert text.count("cannot decode the image") == 1
    assert f"cannot decode the image {broken} " in text
    assert "INPUT.ON_BAD_IMAGE skip" in text
    assert "Traceback" not in output


def test_corrupt_image_is_named(damaged, fails):
    opts, broken = damaged
    assert_names_the_image(fails(*opts), broken)


def test_corrupt_image_in_a_worker_is_named(damaged, start_script, base_opts, tmp_path):
    opts, broken = damaged
    arguments = [*base_opts, *opts, "DATALOADER.NUM_WORKERS", 2, "OUTPUT_DIR", tmp_path / "run"]
    process = start_script("train_clipreid.py", *arguments)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 1, output
    assert_names_the_image(output, broken)


def test_corrupt_image_is_skipped_and_counted_on_request(damaged, script, base_opts, tmp_path):
    opts, broken = damaged
    finished = script(
        "train_clipreid.py",
        *(*base_opts, *opts, "INPUT.ON_BAD_IMAGE", "skip", "OUTPUT_DIR", tmp_path / "run"),
        *("DATALOADER.SAMPLER", "softmax"),
    )
    assert finished.status == 0, finished.output
    assert f"skipped the broken image {broken}" in one_line(finished.output)
    assert "1 broken images skipped" in one_line(finished.output)
    lines = list(map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()))
    assert [line["images"] for line in lines] == [143] * 4
    assert [line["bad_images"] for line in lines if line["stage"] == 2] == [1, 1]


def test_corrupt_image_leaves_p_x_k_batches_usable(damaged, script, base_opts, tmp_path):
    """An identity with fewer images than its neighbours in a batch still has its triplets."""
    opts, _ = damaged
    finished = script(
        "train_clipreid.py",
        *(*base_opts, *opts, "INPUT.ON_BAD_IMAGE", "skip", "OUTPUT_DIR", tmp_path / "run"),
        *("SOLVER.STAGE2.MAX_EPOCHS", "4", "SOLVER.STAGE1.MAX_EPOCHS", "1"),
    )
    assert finished.status == 0, finished.output
    lines = list(map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()))
    stage2 = [line for line in lines if line["stage"] == 2]
    assert sum(line["bad_images"] for line in stage2) > 0
    assert all(line["images"] == 96 - line["bad_images"] for line in stage2)
    assert all(line["loss"] is not None for line in stage2)


def test_missing_data_set_names_the_paths_tried_and_the_layout(fails, tmp_path):
    output = fails("DATASETS.ROOT_DIR", tmp_path / "nowhere", "DATASETS.NAMES", "market1501")
    assert str(tmp_path / "nowhere" / "Market-1501-v15.09.15") in output
    assert "bounding_box_train" in output
    assert "DATASETS.ROOT_DIR" in output
    assert "\\n" not in output  # a tree of several lines
    assert "Traceback" not in output


def test_unknown_data_set_names_the_known_ones(fails):
    output = fails("DATASETS.NAMES", "market1510")
    assert "unknown data set 'market1510'" in output
    assert "did you mean market1501" in output


def test_mistyped_option_names_the_nearest(fails):
    output = fails("SOLVER.STAGE2.MAX_EPOCH", "3")
    assert "unknown option SOLVER.STAGE2.MAX_EPOCH" in output
    assert "SOLVER.STAGE2.MAX_EPOCHS" in output


@pytest.mark.parametrize("name", ["train_clipreid.py", "train.py", "test_clipreid.py"])
def test_option_without_a_value_is_named(script, name):
    finished = script(name, "SOLVER.SEED")
    assert finished.status == 1
    assert "pairs KEY VALUE; 'SOLVER.SEED' has no value" in one_line(finished.output)


def test_missing_config_file_names_its_neighbours(script):
    finished = script("train_clipreid.py", "--config_file", "configs/person/vit_clip_reid.yml")
    assert finished.status == 1
    assert "no file configs/person/vit_clip_reid.yml" in one_line(finished.output)
    assert "vit_clipreid.yml" in one_line(finished.output)


def test_empty_folder_names_the_expected_layout(fails, tmp_path):
    (tmp_path / "empty").mkdir()
    output = fails("DATASETS.ROOT_DIR", tmp_path, "DATASETS.NAMES", "empty")
    assert "no images in" in output
    assert str(tmp_path / "empty") in output
    assert "<identity>" in output


def test_too_few_identities_for_a_batch_are_counted(fails):
    output = fails("SOLVER.STAGE2.IMS_PER_BATCH", "400")
    assert "needs 100 identities, the training set has 24" in output
    assert "SOLVER.STAGE2.IMS_PER_BATCH" in output


def test_batch_that_splits_an_identity_is_refused(fails):
    output = fails("SOLVER.STAGE2.IMS_PER_BATCH", "30")
    assert "30 is not divisible by DATALOADER.NUM_INSTANCE 4" in output


def test_missing_clip_weights_are_named(fails, tmp_path):
    path = tmp_path / "ViT-B-16.pt"
    output = fails("MODEL.PRETRAIN_CHOICE", "clip", "MODEL.PRETRAIN_PATH", path)
    assert str(path) in output


def test_evaluation_without_a_checkpoint_names_the_option(script):
    finished = script("test_clipreid.py")
    assert finished.status == 1
    assert "TEST.WEIGHT: name the checkpoint" in one_line(finished.output)


def test_missing_checkpoint_is_named(script, tmp_path):
    finished = script("test_clipreid.py", "TEST.WEIGHT", tmp_path / "gone.pth")
    assert finished.status == 1
    assert f"no weights file {tmp_path / 'gone.pth'}" in one_line(finished.output)


def test_checkpoint_that_executes_code_is_refused(script, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    finished = script("test_clipreid.py", "TEST.WEIGHT", tmp_path / "evil.pth")
    assert finished.status == 1
    assert "never executed" in one_line(finished.output)
    assert "\nexecuted" not in finished.output


def test_checkpoint_of_another_backbone_names_shapes_and_option(script, straight, tmp_path):
    wider = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 128, "patch_size": 16},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 32,
            "heads": 1,
            "layers": 1,
        },
    }
    (tmp_path / "wider.json").write_text(json.dumps(wider))
    finished = script(
        "test_clipreid.py",
        *("TEST.WEIGHT", straight / "last.pth", "MODEL.NAME", tmp_path / "wider.json"),
        *("OUTPUT_DIR", tmp_path),
    )
    assert finished.status == 1
    for part in ("conv1", "(64, 3, 16, 16)", "(128, 3, 16, 16)", "MODEL.NAME"):
        assert part in one_line(finished.output)


def test_non_finite_loss_stops_and_names_the_images(fails, tmp_path):
    output = fails("SOLVER.STAGE2.BASE_LR", "1e30", "SOLVER.STAGE2.OPTIMIZER_NAME", "SGD")
    assert "stage 2, epoch 1, iteration " in output
    assert "lower the learning rate" in output
    batch = json.loads((tmp_path / "run" / "non_finite_batch.json").read_text())
    assert len(batch) == 32
    assert all(path.endswith(".jpg") for path in batch)
    assert batch[0] in output
    saved = torch.load(tmp_path / "run" / "last.pth", weights_only=True)
    assert saved["meta"]["stage"] == 1  # the last finite state
