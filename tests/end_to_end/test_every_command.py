"""Every command, where the operating system or the images say no: one line, or the right result."""

import contextlib
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

from config import dump_cfg, load_cfg

pytestmark = pytest.mark.slow

TINY_RESNET = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}

# Commands by what they write, which `{out}` is below or in, and by what they read.
FROM_IMAGES = {
    "attention": "attention {model} {images} --output {out}",
    "cluster": "cluster {model} {images} --output {out} DSGL.EPS 0.9 DSGL.K1 5 DSGL.K2 2",
    "enrol": "enrol {model} {images} --name a --gallery {out}",
    "extract": "extract {model} {images} --output {out}/a.npz",
    "extract --memmap": "extract {model} {images} --output {out}/a.npy --memmap",
    "identify": "identify {model} {images} --gallery {gallery} --threshold 1 --output {out}/a.json",
    "search": "search {model} --query {images} --gallery {images} --output {out}",
}
FROM_DATA = {
    "batches": "batches {model} --output {out}/a.png {data}",
    "data-check": "data-check {folder} --json {out}/a.json",
    "embedding": "embedding {model} --output {out}/a.png {data}",
    "protocol": "protocol --config_file {config} OUTPUT_DIR {out} {data}",
    "rank-list": "rank-list {model} --output {out} {data}",
    "threshold": "threshold {model} --output {out} {data}",
    "test_clipreid.py": "TEST.WEIGHT {model} OUTPUT_DIR {out} {data}",
    "train_clipreid.py": "--config_file {config} OUTPUT_DIR {out} {data}",
    "train.py": "--config_file {baseline} OUTPUT_DIR {out} {data}",
    "train_dsgl.py": "--config_file {dsgl} OUTPUT_DIR {out} {data}",
}
FROM_RUNS = {
    "curves": "curves {run} --output {out}/a.png",
    "export --onnx": "export {model} --onnx {out}/a.onnx",
    "export --slim": "export {model} --slim {out}/a.pth",
    "export --safetensors": "export {model} --safetensors --output {out}",
    "results": "results {run} --output {out}/a.md",
    "results --csv": "results {run} --csv {out}/a.csv",
}
COMMANDS = FROM_IMAGES | FROM_DATA | FROM_RUNS


@pytest.fixture(scope="module")
def places(straight, people, script, base_opts, tmp_path_factory):
    """What the braces of the commands stand for, without `out`."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "little.json").write_text(json.dumps(TINY_RESNET), encoding="utf-8")
    short = [*base_opts, "SOLVER.STAGE1.MAX_EPOCHS", "1", "SOLVER.STAGE2.MAX_EPOCHS", "1"]
    recipes = {
        "config": [],
        "baseline": ["MODEL.PROMPT", "none"],
        "dsgl": [
            *("MODEL.NAME", str(folder / "little.json"), "DSGL.ENABLED", "True"),
            *("DSGL.EPS", "0.6", "DSGL.K1", "8", "DSGL.K2", "3", "DSGL.MIN_SAMPLES", "2"),
            *("DSGL.ITERS", "2", "SOLVER.STAGE2.IMS_PER_BATCH", "16"),
        ],
    }
    for name, opts in recipes.items():
        (folder / f"{name}.yml").write_text(dump_cfg(load_cfg(None, [*short, *opts])))
    words = ["--name", "known", "--gallery", folder / "gallery"]
    done = script("run.py", "enrol", straight / "last.pth", people / "query", *words)
    assert done.status == 0, done.output
    return {
        "model": straight / "last.pth",
        "run": straight,
        "images": people / "query",
        "folder": people,
        "data": f"DATASETS.ROOT_DIR {people.parent} DATASETS.NAMES {people.name}",
        "gallery": folder / "gallery",
        **{name: folder / f"{name}.yml" for name in recipes},
    }


@pytest.fixture
def run(script, places):
    """`run(name, out=..., images=...)` runs a command."""

    def call(name, **more):
        words = COMMANDS[name].format(**{**places, **more}).split()
        if name.endswith(".py"):
            return script(name, *words)
        return script("run.py", *words)

    return call


def error_line(finished):
    """The one error line of a command that failed before any result."""
    assert finished.status == 1, finished.output
    assert "Traceback" not in finished.output
    lines = [x for x in finished.unwrapped.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1, finished.output
    return lines[0]


@pytest.fixture
def disk(tmp_path):
    """`disk("size=1200k")` mounts a file system in memory, if this user may."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
            pytest.skip("this user may not mount a file system")
        return place

    yield mount
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["umount", str(place)], capture_output=True, check=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_impossible_output_is_one_line_before_any_work(name, run, tmp_path):
    """Below a file, with a name of 260 letters, and below a link to itself."""
    occupied, loop = tmp_path / "file", tmp_path / "loop"
    occupied.write_text("mine")
    loop.symlink_to(loop)
    outs = {
        occupied: "Not a directory",
        tmp_path / ("n" * 260): "name too long",
        loop: "Not a directory",
    }
    for out, reason in outs.items():
        finished = run(name, out=out)
        line = error_line(finished)
        assert "cannot write to" in line
        assert reason in line
        assert "; " in line  # the remedy
        assert "mAP" not in finished.output
    assert occupied.read_text() == "mine"


@pytest.mark.parametrize("name", COMMANDS)
def test_read_only_place_is_one_line_before_any_work(name, run, disk):
    out = disk("ro")
    finished = run(name, out=out)
    line = error_line(finished)
    assert f"cannot write to {out}: Read-only file system; mount it for writing" in line
    assert "mAP" not in finished.output


@pytest.mark.parametrize("name", COMMANDS)
def test_full_disk_is_one_line_before_any_work(name, run, disk):
    out = disk("size=64k")
    finished = run(name, out=out)
    assert f"cannot write to {out}: No space left on device; free space" in error_line(finished)
    assert "mAP" not in finished.output
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_disk_that_fills_leaves_nothing_half_written(name, run, disk):
    """More is free than the first check asks for, and less than some commands write."""
    out = disk("size=1100k")
    finished = run(name, out=out)
    if finished.status:
        assert re.search("No space left|disk may be full", error_line(finished))
        assert "free space" in error_line(finished)
    files = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in files if "partial" in path.name]
    for path in files:
        check_whole(path)


def check_whole(path):
    """Raise an exception if a file of a known kind was cut short."""
    if path.suffix == ".pth":
        torch.load(path, weights_only=True)
    elif path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix in (".npz", ".npy"):
        np.load(path)
    elif path.suffix == ".png":
        Image.open(path).load()
    elif path.suffix == ".html":
        assert path.read_text(encoding="utf-8").endswith("</html>\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_output_by_a_link_is_where_the_link_points(name, run, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    finished = run(name, out=tmp_path / "link")
    assert finished.status == 0, finished.output
    assert [path for path in (tmp_path / "target").rglob("*") if path.stat().st_size]
    assert (tmp_path / "link").is_symlink()


@pytest.fixture
def pictures(people, tmp_path):
    """`pictures("linked")` -> options that make a command read a changed copy of the data."""

    def change(how):
        folder = tmp_path / "pictures" / people.name
        folder.parent.mkdir()
        splits = [people / x for x in ("query", "bounding_box_train", "bounding_box_test")]
        if how == "linked":
            folder.mkdir()
            (folder / "query").symlink_to(people / "query")
            for split in splits[1:]:
                (folder / split.name).mkdir()
                for image in split.iterdir():
                    (folder / split.name / image.name).symlink_to(image)
            (folder / "bounding_box_test" / "again").symlink_to(folder / "bounding_box_test")
            (tmp_path / "link").symlink_to(folder.parent)
            folder = tmp_path / "link" / people.name
        elif how == "empty":
            folder.mkdir()
        else:
            shutil.copytree(people, folder)
            for split in splits:
                min((folder / split.name).iterdir()).write_bytes(b"")
        data = f"DATASETS.ROOT_DIR {folder.parent} DATASETS.NAMES {people.name}"
        return {"folder": folder, "images": folder / "query", "data": data}

    return change


@pytest.mark.parametrize("name", FROM_IMAGES | FROM_DATA)
def test_links_are_read_as_what_they_point_to(name, run, pictures, tmp_path):
    finished = run(name, out=tmp_path / "out", **pictures("linked"))
    assert finished.status == 0, finished.output
    plain = run(name, out=tmp_path / "plain")
    counts = [re.findall(r"\b\d+ (?:images|identities)", x.output) for x in (finished, plain)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("name", FROM_IMAGES | FROM_DATA)
def test_empty_folder_is_named(name, run, pictures, tmp_path):
    places = pictures("empty")
    finished = run(name, out=tmp_path / "out", **places)
    assert error_line(finished)
    assert str(places["folder"]) in finished.unwrapped  # data-check prints faults above the error


@pytest.mark.parametrize("name", FROM_IMAGES | FROM_DATA)
def test_image_of_zero_bytes_is_named(name, run, pictures, tmp_path):
    places = pictures("zero bytes")
    finished = run(name, out=tmp_path / "out", **places)
    assert error_line(finished)
    assert re.search(rf"{places['folder'].name}/\w+/\w+.jpg", finished.unwrapped)
