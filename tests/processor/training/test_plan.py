"""The data that a run reads."""

from PIL import Image

from config import load_cfg
from datasets.sources import join_sources
from processor.training.plan import build_sources


def test_training_set_is_the_train_split(tmp_path):
    for pid in range(6):
        (tmp_path / "people" / f"p{pid}").mkdir(parents=True)
        for number in range(4):
            name = f"{pid}_c{number % 2}_{number}.png"
            Image.new("RGB", (20, 40)).save(tmp_path / "people" / f"p{pid}" / name)
    cfg = load_cfg(None, ["DATASETS.ROOT_DIR", str(tmp_path), "DATASETS.NAMES", "people"])
    (source,) = build_sources(cfg)
    joined = join_sources([source])
    assert joined.samples == source.train
    assert joined.num_classes == 3
    assert sorted(set(joined.labels)) == [0, 1, 2]
