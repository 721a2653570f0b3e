"""The examples of plug-ins train and evaluate; checkpoints run no code."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from clipreid import Extractor, evaluate, read_dataset
from config import ConfigError, load_cfg

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLES = {path.stem: str(path) for path in sorted(ROOT.glob("examples/extra_*.py"))}
LOSSES = ("PLUGINS", EXAMPLES["extra_loss"], "MODEL.EXTRA_LOSSES", "length,0.1,cosine,0.5,supcon,1")
MODULE = """
import torch
from clipreid.plugins import register_loss

class MarginLoss(torch.nn.Module):  # called like the losses of pytorch-metric-learning
    def __init__(self):
        super().__init__()
        self.beta = torch.nn.Parameter(torch.tensor(1.2))

    def forward(self, embeddings, labels, indices_tuple=None, ref_emb=None, ref_labels=None):
        distances = torch.cdist(embeddings, embeddings)
        same = labels[:, None] == labels[None, :]
        return torch.where(same, distances - self.beta, self.beta - distances).relu().mean()

register_loss("margin", MarginLoss())
"""


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("path", EXAMPLES.values(), ids=EXAMPLES)
def test_examples_are_short(path):
    assert len(Path(path).read_text(encoding="utf-8").splitlines()) <= 40


def test_extra_losses_are_trained_logged_and_recorded(script, base_opts, tmp_path):
    finished = script("train_clipreid.py", *base_opts, *LOSSES, "OUTPUT_DIR", str(tmp_path))
    assert finished.status == 0, finished.output
    assert "length cosine supcon" in finished.output
    for line in lines_of(tmp_path)[-2:]:
        parts = ("id", "triplet", "i2t", "length", "cosine", "supcon")
        assert line["loss"] == pytest.approx(sum(line[name] for name in parts))
    (events,) = tmp_path.glob("events*")
    assert b"stage2/cosine" in events.read_bytes()
    sha256 = hashlib.sha256(Path(EXAMPLES["extra_loss"]).read_bytes()).hexdigest()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["plugins"] == [{"path": EXAMPLES["extra_loss"], "sha256": sha256}]


def test_option_of_a_plugin_changes_its_loss(train_in, tmp_path):
    values = []
    for scale in ("1", "16"):
        train_in(tmp_path / scale, *LOSSES, "USER.SCALE", scale, "SOLVER.STAGE2.MAX_EPOCHS", "1")
        values.append(lines_of(tmp_path / scale)[-1]["cosine"])
    assert values[0] != values[1]


def test_registered_module_is_trained_and_saved(train_in, tmp_path):
    (tmp_path / "margin.py").write_text(MODULE)
    opts = ["PLUGINS", str(tmp_path / "margin.py"), "MODEL.EXTRA_LOSSES", "margin,0.5"]
    train_in(tmp_path / "run", *opts)
    state = torch.load(tmp_path / "run" / "last.pth", weights_only=True)["training"]
    assert state["extra"]["margin"]["beta"].item() != pytest.approx(1.2)
    assert len(state["optimizers"]) == 2


def test_extra_encoder_trains_with_labels_and_is_needed_afterwards(
    script, start_script, base_opts, tmp_path
):
    plugin = ("PLUGINS", EXAMPLES["extra_encoder"])
    opts = [*base_opts, *plugin, "MODEL.NAME", "tiny_conv", "OUTPUT_DIR", str(tmp_path)]
    finished = script("train.py", *opts)
    assert finished.status == 0, finished.output
    assert (tmp_path / "tiny_conv_2.pth").is_file()
    last = str(tmp_path / "last.pth")
    trained = json.loads((tmp_path / "results.json").read_text())["targets"]
    assert script("test_clipreid.py", "TEST.WEIGHT", last, *plugin).status == 0
    (again,) = tmp_path.glob("results_last_on_*.json")
    assert json.loads(again.read_text())["targets"] == trained
    assert Extractor(last, opts=plugin)(torch.rand(1, 3, 64, 32)).shape == (1, 128 + 64)
    process = start_script("test_clipreid.py", "TEST.WEIGHT", last)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "this checkpoint needs the plug-in" in " ".join(output.split())


def test_extra_encoder_trains_without_labels(script, base_opts, tmp_path):
    opts = [
        *("PLUGINS", EXAMPLES["extra_encoder"], "MODEL.NAME", "tiny_conv"),
        *("DSGL.EPS", "0.6", "DSGL.K1", "8", "DSGL.K2", "3", "DSGL.MIN_SAMPLES", "2"),
        *("DSGL.ITERS", "4", "SOLVER.STAGE2.IMS_PER_BATCH", "16", "OUTPUT_DIR", str(tmp_path)),
    ]
    finished = script("train_dsgl.py", *base_opts, *opts)
    assert finished.status == 0, finished.output
    assert lines_of(tmp_path)[-1]["stage"] == "dsgl"


@pytest.fixture
def zoo(people, tmp_path):
    """The drawn people in the layout of the example."""
    parts = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
    for folder, part in parts.items():
        (tmp_path / "zoo" / part).mkdir(parents=True)
        for path in (people / folder).glob("0*.jpg"):
            pid, camera, *rest = path.name.replace("s", "_s", 1).split("_")
            shutil.copy(path, tmp_path / "zoo" / part / "_".join((pid, camera, *rest)))
    return tmp_path


def test_extra_dataset_is_read_trained_on_and_evaluated(script, base_opts, zoo, tmp_path):
    data = ("DATASETS.NAMES", "zoo", "DATASETS.ROOT_DIR", str(zoo))
    plugin = ("PLUGINS", EXAMPLES["extra_dataset"])
    opts = [*base_opts, *plugin, *data, "OUTPUT_DIR", str(tmp_path / "run")]
    finished = script("train_clipreid.py", *opts)
    assert finished.status == 0, finished.output
    splits = read_dataset("zoo", zoo)
    assert len({sample.pid for sample in splits.train}) == 24
    assert {sample.camid for sample in splits.train} == {0, 1, 2}
    report = evaluate(None, ["TEST.WEIGHT", str(tmp_path / "run" / "last.pth"), *plugin])
    assert [target.name for target in report.targets] == ["zoo"]
    checked = script("run.py", "data-check", "zoo", *plugin, *data)
    assert checked.status == 0, checked.output


def test_extra_sampler_plans_the_batches(train_in, tmp_path):
    opts = ["PLUGINS", EXAMPLES["extra_sampler"], "DATALOADER.SAMPLER", "by_camera"]
    train_in(tmp_path, *opts, "SOLVER.STAGE2.IMS_PER_BATCH", "16")
    line = lines_of(tmp_path)[-1]
    assert line["batches"] == 9  # 3 cameras x 24 identities x 2 images, in batches of 16
    assert line["images"] == 9 * 16
    assert "triplet" not in line


def test_config_of_a_run_imports_its_plugins_again(train_in, tmp_path):
    train_in(tmp_path / "run", *LOSSES, "SOLVER.STAGE2.MAX_EPOCHS", "1")
    cfg = load_cfg(tmp_path / "run" / "config.yml")
    assert (EXAMPLES["extra_loss"],) == cfg.PLUGINS


def test_unknown_loss_is_refused_before_anything_is_written(train_in, tmp_path):
    with pytest.raises(ConfigError, match=r"MODEL\.EXTRA_LOSSES: unknown loss 'mine'; known: "):
        train_in(tmp_path / "run", "MODEL.EXTRA_LOSSES", "mine,1")
    assert not (tmp_path / "run").exists()


def test_planted_plugin_is_never_imported(straight, script, train_in, tmp_path):
    """Not by extraction, evaluation, export or a resumed run."""
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    marker, planted = tmp_path / "marker", tmp_path / "planted.py"
    planted.write_text(f"open({str(marker)!r}, 'w')\n")
    content = torch.load(run / "last.pth", weights_only=True)
    options = yaml.safe_load(content["config"])
    options["PLUGINS"] = [str(planted)]
    options["MODEL"]["EXTRA_LOSSES"] = ["planted", 1.0]
    content["config"] = yaml.safe_dump(options)
    content["meta"]["plugins"] = json.dumps([{"path": str(planted), "sha256": "0" * 64}])
    torch.save(content, run / "last.pth")
    last = str(run / "last.pth")
    Extractor(last)
    assert script("test_clipreid.py", "TEST.WEIGHT", last).status == 0
    slim = ("export", last, "--slim", str(tmp_path / "slim.pth"))
    assert script("run.py", *slim).status == 0
    train_in(run, "SOLVER.RESUME", "auto", "SOLVER.STAGE2.MAX_EPOCHS", "3")
    assert lines_of(run)[-1]["epoch"] == 3
    assert not marker.exists()
    load_cfg(None, ["PLUGINS", str(planted)])
    assert marker.exists()
