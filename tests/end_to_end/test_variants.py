"""Runs succeed with every option and kind of data, and each option has its effect."""

import json
import math
import re
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from config import ConfigError
from datasets.images import build, dataset
from datasets.images.placement import FreeMemory
from datasets.samplers import RandomIdentitySampler
from processor import experiment
from processor.runtime.signals import Interrupted

pytestmark = pytest.mark.slow


def metrics_of(folder, stage=2):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["stage"] == stage]


def weights_of(folder):
    return torch.load(folder / "last.pth", weights_only=True)["model"]


def assert_finite(folder):
    for line in metrics_of(folder, 1) + metrics_of(folder, 2):
        numbers = [value for value in line.values() if isinstance(value, float)]
        assert all(map(math.isfinite, numbers)), line


# ------------------------------------------------------------------------------------- options


def test_number_of_workers_does_not_change_the_run(straight, train_in, tmp_path):
    train_in(tmp_path, "DATALOADER.NUM_WORKERS", "2")
    expected, found = weights_of(straight), weights_of(tmp_path)
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    losses = [[line["loss"] for line in metrics_of(folder)] for folder in (straight, tmp_path)]
    assert losses[0] == losses[1]


def test_seed_decides_the_run(straight, train_in, tmp_path):
    train_in(tmp_path / "same")
    train_in(tmp_path / "other", "SOLVER.SEED", "1")
    expected, found = weights_of(straight), weights_of(tmp_path / "same")
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert metrics_of(straight)[0]["loss"] == metrics_of(tmp_path / "same")[0]["loss"]
    assert metrics_of(straight)[0]["loss"] != metrics_of(tmp_path / "other")[0]["loss"]


def test_shuffled_batches_train_without_triplets(train_in, tmp_path):
    train_in(tmp_path, "DATALOADER.SAMPLER", "softmax")
    for line in metrics_of(tmp_path):
        assert "triplet" not in line
        assert line["loss"] == pytest.approx(line["id"] + line["i2t"])
        assert line["images"] == 144
        assert line["image_coverage"] == 1
    assert_finite(tmp_path)


def test_center_loss_trains_its_centers(train_in, tmp_path):
    train_in(tmp_path, "MODEL.METRIC_LOSS_TYPE", "triplet_center")
    first, second = metrics_of(tmp_path)
    assert 0 < second["center"] < first["center"]
    assert first["loss"] == pytest.approx(sum(first[n] for n in ("id", "triplet", "i2t", "center")))
    saved = torch.load(tmp_path / "last.pth", weights_only=True)
    centers = saved["training"]["extra"]["center"]["centers"]
    assert centers.shape == (24, 64)
    assert not [key for key in saved["model"] if "center" in key]


def test_center_loss_alone(train_in, tmp_path):
    train_in(tmp_path, "MODEL.METRIC_LOSS_TYPE", "center")
    assert all("center" in line and "triplet" not in line for line in metrics_of(tmp_path))


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_other_optimizers_train(train_in, straight, tmp_path, name):
    train_in(
        tmp_path,
        *("SOLVER.STAGE1.OPTIMIZER_NAME", name, "SOLVER.STAGE2.OPTIMIZER_NAME", name),
    )
    assert_finite(tmp_path)
    # The very first epoch of stage 1 already moved the prompts elsewhere.
    key = "prompt_learner.cls_ctx"
    assert not torch.equal(weights_of(tmp_path)[key], weights_of(straight)[key])
    saved = torch.load(tmp_path / "last.pth", weights_only=True)["training"]["optimizers"][0]
    parts = {"SGD": {"momentum_buffer"}, "AdamW": {"step", "exp_avg", "exp_avg_sq"}}[name]
    assert set(saved["state"][0]) == parts


def test_bf16_training_keeps_float32_weights(train_in, straight, tmp_path):
    train_in(tmp_path, "SOLVER.AMP", "bf16")
    assert_finite(tmp_path)
    kinds = {value.dtype for value in weights_of(tmp_path).values()}
    assert kinds == {torch.float32, torch.int64}
    exact = [line["loss"] for line in metrics_of(straight)]
    rounded = [line["loss"] for line in metrics_of(tmp_path)]
    assert rounded != exact
    assert rounded[0] == pytest.approx(exact[0], rel=0.02)


def test_fp16_on_a_cpu_is_refused_before_training(script, base_opts, tmp_path):
    finished = script("train_clipreid.py", *base_opts, "SOLVER.AMP", "fp16", "OUTPUT_DIR", tmp_path)
    assert finished.status == 1
    assert "SOLVER.AMP: fp16 needs a GPU" in finished.output


def test_soft_margin_no_smoothing_and_neck_after(train_in, tmp_path):
    train_in(
        tmp_path,
        *("MODEL.NO_MARGIN", "True", "MODEL.IF_LABELSMOOTH", "False"),
        *("TEST.NECK_FEAT", "after", "MODEL.SIE_CAMERA", "True", "MODEL.SIE_VIEW", "True"),
        *("SOLVER.STAGE2.LARGE_FC_LR", "True", "TEST.RE_RANKING", "True"),
    )
    assert_finite(tmp_path)
    assert weights_of(tmp_path)["cv_embed"].shape == (3, 64)


# ---------------------------------------------------------------------------- resident images


BICUBIC = ("INPUT.TEST_INTERPOLATION", "bicubic")
IMAGE_GRAPH = ("DATALOADER.SAMPLER", "dfgs_image", "DATALOADER.DFGS.NUM_NEIGHBOURS", "5")


@pytest.mark.parametrize("options", [(), IMAGE_GRAPH, (*BICUBIC, *IMAGE_GRAPH)])
def test_run_from_memory_equals_one_from_files(train_in, tmp_path, options):
    """Augmented images, features for the prompts, features for the graph: every bit."""
    options = (*options, "SOLVER.STAGE0.MAX_EPOCHS", "1")
    for place in ("none", "ram"):
        train_in(tmp_path / place, *options, "INPUT.CACHE", place)
    expected, found = weights_of(tmp_path / "none"), weights_of(tmp_path / "ram")
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    for stage in (0, 1, 2):
        losses = [
            [line["loss"] for line in metrics_of(tmp_path / place, stage)]
            for place in ("none", "ram")
        ]
        assert losses[0] == losses[1] != []


def test_cached_images_are_read_from_files_once(train_in, monkeypatch, tmp_path):
    """By three stages with equal interpolations; evaluation reads its own images every time."""
    read = []
    original = dataset.read_image
    monkeypatch.setattr(dataset, "read_image", lambda path: (read.append(path), original(path))[1])
    train_in(tmp_path, *BICUBIC, *IMAGE_GRAPH, "SOLVER.STAGE0.MAX_EPOCHS", "1")
    trained_on = [path for path in read if "bounding_box_train" in path]
    assert len(trained_on) == len(set(trained_on)) == 144
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert re.search(r"training images \(0\.000824 GB\): kept in RAM; \S+ GB are free\n", log)


def test_device_augmentation_trains_equally_well(train_in, tmp_path):
    train_in(tmp_path / "whole", "INPUT.CACHE", "device", *BICUBIC, *IMAGE_GRAPH)
    assert_finite(tmp_path / "whole")
    assert metrics_of(tmp_path / "whole")[1]["loss"] < metrics_of(tmp_path / "whole")[0]["loss"]
    assert "kept on cpu; INPUT.CACHE device" in (tmp_path / "whole" / "log.txt").read_text()


def test_images_that_do_not_fit_stop_a_run_before_it_writes(
    script, base_opts, monkeypatch, tmp_path
):
    monkeypatch.setattr(experiment, "measure_memory", lambda _: FreeMemory(500_000))
    options = ["INPUT.CACHE", "ram", "OUTPUT_DIR", tmp_path / "run"]
    finished = script("train_clipreid.py", *base_opts, *options)
    assert finished.status == 1
    assert "INPUT.CACHE: ram needs 0.000824 GB for 144 training images" in finished.output
    assert "Traceback" not in finished.output
    assert not (tmp_path / "run").exists()


def test_stop_while_images_are_cached_interrupts(straight, train_in, monkeypatch, tmp_path):
    """Stopped between the stages, the run keeps its prompts and resumes with stage 2."""
    original = build.read_images

    def stopped(*arguments, check, **options):
        monkeypatch.setattr(check.__self__, "requested", True)
        return original(*arguments, check=check, **options)

    with monkeypatch.context() as patch:
        patch.setattr(build, "read_images", stopped)
        with pytest.raises(Interrupted):
            train_in(tmp_path)
    saved = torch.load(tmp_path / "last.pth", weights_only=True)["training"]
    assert (saved["stage"], saved["epoch"], saved["finished"]) == (1, 2, True)
    train_in(tmp_path, "SOLVER.RESUME", "auto")
    expected, found = weights_of(straight), weights_of(tmp_path)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


# ----------------------------------------------------------------------------------- data sets


def copy_people(people, folder, *, ids=6, single=0, cameras=True):
    """Drawn training images as a folder per identity; `single` identities keep one image."""
    groups = {}
    for path in sorted((people / "bounding_box_train").glob("*.jpg")):
        groups.setdefault(path.name[:4], []).append(path)
    for number, pid in enumerate(sorted(groups)[:ids]):
        paths = groups[pid][:1] if number < single else groups[pid]
        for place, path in enumerate(paths):
            name = path.name if cameras else f"image{place}.jpg"
            (folder / pid).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / pid / name)
    return folder


def own_data(root, folder, *opts):
    return [
        *("DATASETS.ROOT_DIR", str(root), "DATASETS.NAMES", folder),
        *("SOLVER.STAGE2.IMS_PER_BATCH", "8", *opts),
    ]


@pytest.mark.parametrize(("batch", "batches"), [(18, 1), (9, 2), (6, 3), (17, 2), (100, 1)])
def test_stage_1_with_any_number_of_images_per_batch(people, train_in, tmp_path, batch, batches):
    """18 training images: batches that divide them, that leave one, that are larger than all."""
    copy_people(people, tmp_path / "own")
    train_in(
        tmp_path / "run", *own_data(tmp_path, "own", "SOLVER.STAGE1.IMS_PER_BATCH", str(batch))
    )
    assert_finite(tmp_path / "run")
    lines = metrics_of(tmp_path / "run", 1)
    assert [line["images"] for line in lines] == [18, 18]
    assert (tmp_path / "run" / "results.json").is_file()
    assert batches == -(-18 // batch)


def test_identities_with_one_image(people, train_in, tmp_path):
    """Three of ten identities have one image: enough to train with, never a valid query."""
    copy_people(people, tmp_path / "own", ids=10, single=3)
    train_in(tmp_path / "run", *own_data(tmp_path, "own"))
    assert_finite(tmp_path / "run")
    (entry,) = json.loads((tmp_path / "run" / "results.json").read_text())["targets"].values()
    assert entry["num_queries"] == entry["num_valid_queries"] > 0


def test_own_data_without_cameras(people, train_in, tmp_path):
    """Eight identities with six images and no other labels."""
    copy_people(people, tmp_path / "own", ids=8, cameras=False)
    report = train_in(tmp_path / "run", *own_data(tmp_path, "own"))
    (target,) = report.targets
    assert target.splits[0].num_valid_queries == target.splits[0].num_queries > 0
    assert any("cameras unknown" in note for note in target.notes)
    meta = torch.load(tmp_path / "run" / "last.pth", weights_only=True)["meta"]
    assert (meta["num_classes"], meta["num_cameras"]) == (4, 1)


@pytest.fixture
def one_camera(people, tmp_path):
    """The drawn data as if one camera had taken all of it, in Market-1501 layout."""
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / "one" / part).mkdir(parents=True)
        for number, path in enumerate(sorted((people / part).glob("*.jpg"))):
            pid = path.name.split("_")[0]
            shutil.copy(path, tmp_path / "one" / part / f"{pid}_c1s1_{number:06d}_00.jpg")
    return ["DATASETS.ROOT_DIR", str(tmp_path), "DATASETS.NAMES", "one"]


def test_single_camera_without_the_junk_rule(one_camera, train_in, tmp_path):
    report = train_in(tmp_path / "run", *one_camera, "TEST.IGNORE_SAME_CAMERA", "False")
    (metrics,) = report.targets[0].splits
    assert metrics.num_valid_queries == metrics.num_queries == 24
    assert metrics.mAP > 0.1


def test_single_camera_with_the_junk_rule_names_cameras_and_remedy(
    one_camera, script, base_opts, straight, tmp_path
):
    output = ["OUTPUT_DIR", tmp_path / "run"]
    weight = ["TEST.WEIGHT", straight / "last.pth"]
    for name, arguments in (("train_clipreid.py", base_opts), ("test_clipreid.py", weight)):
        finished = script(name, *arguments, *one_camera, *output)
        assert finished.status == 1
        assert "camera" in finished.output
        assert "TEST.IGNORE_SAME_CAMERA" in finished.output
        assert "Traceback" not in finished.output
    assert not (tmp_path / "run" / "metrics.jsonl").exists()  # found before any training


def test_gallery_of_five_images_evaluates(people, train_in, tmp_path):
    """Rank 10 of five gallery images is rank 5."""
    root = tmp_path / "own"
    copy_people(people, root / "train", ids=6)
    for pid in range(5):
        for part, camera in (("query", 1), ("gallery", 2)):
            folder = root / part / f"test{pid}"
            folder.mkdir(parents=True)
            Image.new("RGB", (32, 64), (50 * pid, 200, 90)).save(folder / f"a_c{camera}_1.jpg")
    train_in(tmp_path / "run", *own_data(tmp_path, "own"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    (entry,) = results["targets"].values()
    assert entry["cmc"]["5"] == entry["cmc"]["10"] == 1
    assert (entry["num_queries"], entry["num_valid_queries"]) == (5, 5)
    assert entry["mAP"] == entry["mINP"] > 0.2  # one match each; the colours are far apart


def test_csv_file_as_a_data_set(people, train_in, tmp_path):
    rows = ["path,pid,camid"]
    for path in sorted((people / "bounding_box_train").glob("*.jpg"))[:48]:
        rows.append(f"{path},{path.name[:4]},{int(path.name[6]) - 1}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    report = train_in(tmp_path / "run", *own_data(tmp_path, "list.csv"))
    assert report.targets[0].name == "list"
    assert_finite(tmp_path / "run")


def test_camera_embeddings_with_one_camera_are_refused(people, train_in, tmp_path):
    copy_people(people, tmp_path / "own", ids=8, cameras=False)
    with pytest.raises(ConfigError, match=r"MODEL.SIE_CAMERA: .* from one camera; set it False"):
        train_in(tmp_path / "run", *own_data(tmp_path, "own"), "MODEL.SIE_CAMERA", "True")
    assert not (tmp_path / "run").exists()


def test_batch_of_one_identity_has_no_triplet_loss_and_is_counted(
    train_in, monkeypatch, tmp_path, caplog
):
    original = RandomIdentitySampler.plan_epoch

    def plan_epoch(sampler):
        plan = original(sampler)
        first = plan.batches[0][:4] * 8  # the images of one identity stand side by side
        return replace(plan, batches=[first, *plan.batches[1:]])

    monkeypatch.setattr(RandomIdentitySampler, "plan_epoch", plan_epoch)
    train_in(tmp_path, "MODEL.TEXT_TOWER", "False", "SOLVER.STAGE2.MAX_EPOCHS", "1")
    (line,) = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert line["without_negatives"] == pytest.approx(32 / line["images"])
    assert math.isfinite(line["loss"])
    expected = f"32 of {line['images']} images were in batches of one identity"
    assert expected in caplog.text


def test_ordinary_batches_are_not_counted_as_batches_of_one_identity(straight):
    lines = map(json.loads, (straight / "metrics.jsonl").read_text().splitlines())
    assert [line["without_negatives"] for line in lines if line["stage"] == 2] == [0, 0]
