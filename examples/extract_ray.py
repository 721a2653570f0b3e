"""Features of images by a Ray cluster: python examples/extract_ray.py last.pth images/ features/.

Ray Data hands files to actors on all machines (each holds a model) and writes Parquet files.
"""

import sys

import numpy as np
import ray

from clipreid import Extractor


class Features:
    """A model that turns batches of files' bytes into batches of features."""

    def __init__(self, checkpoint: str) -> None:
        self.extractor = Extractor(checkpoint, batch_size=None)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        features = self.extractor(list(batch["bytes"]))
        return {"path": batch["path"], "feature": features.numpy()}


def extract(checkpoint: str, images: str, output: str, actors: int = 2, gpus: float = 0) -> None:
    """Read all files of `images` on `actors` actors and write their features."""
    files = ray.data.read_binary_files(images, include_paths=True)
    features = files.map_batches(
        Features,
        fn_constructor_args=(checkpoint,),
        batch_size=256,
        concurrency=actors,
        num_gpus=gpus,  # of an actor: 1, or a share such as 0.5
    )
    features.write_parquet(output)


if __name__ == "__main__":
    extract(*sys.argv[1:4])
