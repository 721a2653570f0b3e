"""A tiny CLIP, drawn data, and runs of the program in this process or a new one."""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from config import load_cfg
from config.overrides import is_key
from datasets.synthetic.render import DatasetSize, render_dataset
from processor.experiment import train

ROOT = Path(__file__).parents[2]

TINY_CLIP = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 32,
        "heads": 1,
        "layers": 1,
    },
}


@dataclass(frozen=True)
class Finished:
    """A finished program: exit status and output."""

    status: int
    output: str

    @property
    def unwrapped(self):
        """The output without the console's line breaks in long messages."""
        return self.output.replace("\n" + " " * 9, " ")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """A tiny model gains nothing from a second thread, and two tests run at once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def clip_json(tmp_path_factory):
    """Path of the tiny CLIP's model config; runs name their files small.*"""
    path = tmp_path_factory.mktemp("clip") / "small.json"
    path.write_text(json.dumps(TINY_CLIP), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A drawn data set in Market-1501 layout: 24 training and 8 test identities, 3 cameras."""
    return render_dataset(
        "street",
        tmp_path_factory.mktemp("data"),
        DatasetSize(24, 8, num_cameras=3, images_per_camera=2, seed=1),
        size=(64, 32),
        num_workers=1,
    )


@pytest.fixture(scope="session")
def base_opts(clip_json, people):
    """Overrides of a run through all parts of the program in a second or two."""
    return [
        *("MODEL.NAME", clip_json, "MODEL.PRETRAIN_CHOICE", "none", "MODEL.DEVICE", "cpu"),
        *("MODEL.ID_LOSS_WEIGHT", "0.25"),
        *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]", "INPUT.PADDING", "4"),
        *("INPUT.PIXEL_MEAN", "[0.5, 0.5, 0.5]", "INPUT.PIXEL_STD", "[0.5, 0.5, 0.5]"),
        *("DATASETS.ROOT_DIR", str(people.parent), "DATASETS.NAMES", people.name),
        *("DATALOADER.SAMPLER", "softmax_triplet", "DATALOADER.NUM_INSTANCE", "4"),
        *("DATALOADER.NUM_WORKERS", "0", "SOLVER.AMP", "off"),
        *("SOLVER.STAGE1.MAX_EPOCHS", "2", "SOLVER.STAGE1.BASE_LR", "3.5e-3"),
        *("SOLVER.STAGE1.WARMUP_EPOCHS", "1", "SOLVER.STAGE1.WARMUP_LR_INIT", "1e-3"),
        *("SOLVER.STAGE1.LR_MIN", "1e-5", "SOLVER.STAGE1.IMS_PER_BATCH", "50"),
        *("SOLVER.STAGE2.MAX_EPOCHS", "2", "SOLVER.STAGE2.IMS_PER_BATCH", "32"),
        *("SOLVER.STAGE2.BASE_LR", "5e-4", "SOLVER.STAGE2.BIAS_LR_FACTOR", "2"),
        *("SOLVER.STAGE2.WARMUP_ITERS", "0", "SOLVER.STAGE2.STEPS", "(100,)"),
        *("SOLVER.STAGE2.EVAL_PERIOD", "1", "TEST.NECK_FEAT", "before"),
        *("TEST.IMS_PER_BATCH", "64"),
    ]


@pytest.fixture(scope="session")
def train_in(base_opts):
    """`train_in(folder, "KEY", "VALUE", ...)` trains in this process and returns the report."""

    def run(folder, *opts):
        return train(load_cfg(None, [*base_opts, "OUTPUT_DIR", str(folder), *opts]))

    return run


@pytest.fixture(scope="session")
def straight(train_in, tmp_path_factory):
    """Folder of an uninterrupted run of two epochs per stage with nothing but `base_opts`."""
    folder = tmp_path_factory.mktemp("straight")
    train_in(folder)
    return folder


@pytest.fixture(scope="session")
def each_key_once():
    """`each_key_once(*base_opts, "KEY", "VALUE")` -> words with the last value of every KEY."""

    def merge(*arguments):
        words, values = [], {}
        rest = iter(map(str, arguments))
        for word in rest:
            value = next(rest, None) if is_key(word) else None
            if value is None:
                words.append(word)
            elif word in values:
                words[values[word]] = value
            else:
                values[word] = len(words) + 1
                words += [word, value]
        return words

    return merge


@pytest.fixture(scope="session")
def script(each_key_once):
    """`script("train.py", "KEY", "VALUE", ...)` runs an entry script in this process."""

    def run(name, *arguments):
        output = io.StringIO()
        status = 0
        with (
            pytest.MonkeyPatch.context() as monkeypatch,
            contextlib.redirect_stdout(output),
        ):
            monkeypatch.setattr(sys, "argv", [name, *each_key_once(*arguments)])
            try:
                runpy.run_path(str(ROOT / name), run_name="__main__")
            except SystemExit as exit_:
                status = exit_.code or 0
        return Finished(status, output.getvalue())

    return run


@pytest.fixture
def start_script(each_key_once):
    """`start_script("train_clipreid.py", ...)` starts an entry script in its own process."""
    started = []

    def start(name, *arguments):
        environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        process = subprocess.Popen(
            [sys.executable, name, *each_key_once(*arguments)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a process group of its own, for signals to all of it
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
