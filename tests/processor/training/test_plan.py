"""The data that a run reads."""

import pytest
from PIL import Image

from config import load_cfg
from datasets.sources import join_sources
from processor.training.plan import build_sources, plan_run

P_X_K = ("DATALOADER.NUM_INSTANCE", "2", "SOLVER.STAGE2.IMS_PER_BATCH", "4")


@pytest.fixture
def people(tmp_path):
    """Configuration of six people with four images by two cameras each."""
    for pid in range(6):
        (tmp_path / "people" / f"p{pid}").mkdir(parents=True)
        for number in range(4):
            name = f"{pid}_c{number % 2}_{number}.png"
            Image.new("RGB", (20, 40)).save(tmp_path / "people" / f"p{pid}" / name)
    return ["DATASETS.ROOT_DIR", str(tmp_path), "DATASETS.NAMES", "people"]


def test_training_set_is_the_train_split(people):
    (source,) = build_sources(load_cfg(None, people))
    joined = join_sources([source])
    assert joined.samples == source.train
    assert joined.num_classes == 3
    assert sorted(set(joined.labels)) == [0, 1, 2]


@pytest.mark.parametrize("name", ["fp16", "bf16", "auto", "off"])
def test_plan_is_made_without_the_device_of_the_run(people, name):
    opts = ["MODEL.DEVICE", "cuda", "MODEL.DEVICE_ID", "7", "TEST.AMP", name]
    plan = plan_run(load_cfg(None, [*people, *opts, *P_X_K]))
    assert [target.name for target in plan.targets] == ["people"]
