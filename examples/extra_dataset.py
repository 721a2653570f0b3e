"""A data set of your own: animals at several cameras.

python train_clipreid.py --config_file configs/demo/vit_tiny.yml PLUGINS examples/extra_dataset.py \
    DATASETS.NAMES zoo DATASETS.ROOT_DIR folder_that_holds_zoo
"""

import re
from pathlib import Path

from clipreid.plugins import DataSplits, Layout, Sample, find_tree, match_images, register_dataset

EXAMPLE = "0007_c2_01.jpg (identity, camera counted from 1)"
LAYOUT = Layout(
    name="zoo",
    folders=("zoo", "."),  # below the data root, in this order
    parts=("train", "query", "gallery"),
    tree=f"zoo/\n  train/  {EXAMPLE} ...\n  query/\n  gallery/\n",
)
FILE_NAME = re.compile(r"(\d+)_c(\d+)_[^/]*$")


@register_dataset("zoo", noun="animal")
def read_zoo(root: Path, split: int) -> DataSplits:
    """The images of all three parts; there is one split."""
    tree = find_tree(LAYOUT, root)
    train, query, gallery = (read_images(tree / part) for part in LAYOUT.parts)
    return DataSplits("zoo", train, query, gallery)


def read_images(folder: Path) -> list[Sample]:
    """Identity and camera of every image, from its name."""
    images = match_images("zoo", folder, FILE_NAME, EXAMPLE)
    return [Sample(str(path), int(match[1]), int(match[2]) - 1) for path, match in images]
