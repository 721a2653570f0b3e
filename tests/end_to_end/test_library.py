"""`train` and `evaluate`, called by a program with a log of its own."""

import logging
import random

import pytest
import torch
from PIL import Image

import clipreid
from config import load_cfg
from processor import experiment
from processor.runtime.seeding import seed_everything
from processor.training.trainer import Trainer

pytestmark = pytest.mark.slow


class Handler(logging.Handler):
    """The calling program's; remembers every line."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def caller():
    """The root logger's handler; its level is INFO."""
    root, handler = logging.getLogger(), Handler()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def state_of_logging():
    names = (None, "timm", "config", "datasets", "model", "processor")
    loggers = [logging.getLogger(name) for name in names]
    return [(list(x.handlers), x.level, x.propagate) for x in loggers]


def test_calls_log_once_and_to_their_files(caller, base_opts, tmp_path, capsys, monkeypatch):
    def seed(number):
        seed_everything(number)
        logging.getLogger("service").info("a line of the caller")

    monkeypatch.setattr(experiment, "seed_everything", seed)
    before = state_of_logging()
    one_epoch = ["SOLVER.STAGE1.MAX_EPOCHS", "1", "SOLVER.STAGE2.MAX_EPOCHS", "1"]
    clipreid.train(load_cfg(None, [*base_opts, *one_epoch, "OUTPUT_DIR", str(tmp_path)]))
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert [line.startswith("done ") for line in caller.lines].count(True) == 1
    assert log.count("processor.experiment: done ") == 1
    assert "DEBUG processor" in log
    assert caller.lines.count("a line of the caller") == 1
    assert "a line of the caller" not in log

    logging.getLogger("processor.x").info("after the run")
    report = clipreid.evaluate(opts={"TEST": {"WEIGHT": str(tmp_path / "last.pth")}})
    assert 0 < report.average()["mAP"] <= 1
    test_log = (tmp_path / "test_log.txt").read_text(encoding="utf-8")
    assert "processor.experiment: results: " in test_log
    assert "after the run" not in log + test_log
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == log
    assert state_of_logging() == before
    assert capsys.readouterr().out == ""


def test_program_s_own_modes_and_generators_neither_count_nor_change(base_opts, tmp_path):
    """Its default type, autocast and gradient mode, and its random numbers."""
    one_epoch = ["SOLVER.STAGE1.MAX_EPOCHS", "1", "SOLVER.STAGE2.MAX_EPOCHS", "1"]
    cfg = load_cfg(None, [*base_opts, *one_epoch, "OUTPUT_DIR", str(tmp_path / "plain")])
    plain = clipreid.train(cfg).as_dict()
    options = ["OUTPUT_DIR", str(tmp_path / "guest"), "SOLVER.DETERMINISTIC", "True"]
    cfg = load_cfg(None, [*base_opts, *one_epoch, *options])
    random.seed(5)
    before = (random.getstate(), torch.get_rng_state())
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert clipreid.train(cfg).as_dict() == plain
            extractor = clipreid.Extractor(tmp_path / "guest" / "last.pth")
            features = extractor([Image.new("RGB", (8, 8))])
        assert features.dtype == torch.float32
        assert random.getstate() == before[0]
        assert torch.equal(torch.get_rng_state(), before[1])
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_default_dtype(torch.float32)


def test_failed_run_closes_its_files(caller, base_opts, tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(Trainer, "run_stages", fail)
    before = state_of_logging()
    cfg = load_cfg(None, [*base_opts, "OUTPUT_DIR", str(tmp_path)])
    with pytest.raises(ZeroDivisionError):
        clipreid.train(cfg)
    assert state_of_logging() == before
    size = (tmp_path / "log.txt").stat().st_size
    logging.getLogger("processor.x").error("after the failure")
    assert (tmp_path / "log.txt").stat().st_size == size
    assert "after the failure" in caller.lines
