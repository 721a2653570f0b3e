"""`run.py attention`: selected images and the cameras passed to the model."""

import torch

from config import load_cfg
from datasets.image_lists import ImageList, read_image_lists
from datasets.images.decode import read_image
from datasets.images.transforms import evaluation_transform, normalize_instance
from datasets.records import Sample
from datasets.synthetic.render import DatasetSize, render_dataset
from model import build_model
from model.attention import attention_maps
from processor.checkpoints.load import LoadedModel
from processor.tools.attention import limit_images, make_maps


def lists(*lengths):
    return [
        ImageList([Sample(f"{i}/{j}", -1, -1) for j in range(n)]) for i, n in enumerate(lengths)
    ]


def test_limit_selects_evenly_spaced_images():
    chosen = limit_images(lists(3, 5), 4)
    assert [[x.path for x in part.samples] for part in chosen] == [["0/0", "0/2"], ["1/1", "1/3"]]
    assert limit_images(lists(3, 5), 8) == lists(3, 5)
    assert [len(part.samples) for part in limit_images(lists(3, 5), 1)] == [1, 0]


def test_model_receives_the_cameras_it_knows(tmp_path, tiny_opts):
    """Training cameras by their rows, other images as unknown."""
    counts = DatasetSize(2, 2, num_cameras=2, images_per_camera=2, seed=1)
    people = render_dataset("street", tmp_path, counts, size=(64, 32), num_workers=1)
    opts = [
        *(*tiny_opts, "MODEL.SIE_CAMERA", "True", "MODEL.DEVICE", "cpu"),
        *("DATALOADER.NUM_WORKERS", "0", "INPUT.NORMALIZATION", "instance"),
        *("DATASETS.ROOT_DIR", str(tmp_path), "DATASETS.NAMES", people.name),
    ]
    cfg = load_cfg(None, opts)
    torch.manual_seed(0)
    model = build_model(cfg, 2, 5, 1).eval()
    loaded = LoadedModel(model, cfg, {people.name: range(3, 5)})
    places = [f"{people.name}:query", str(people / "bounding_box_test")]
    query, others = read_image_lists(places, tmp_path)
    maps = make_maps(loaded, [query, others], "rollout")
    samples = [*query.samples, *others.samples]
    assert [found.path for found in maps] == [sample.path for sample in samples]
    transform = evaluation_transform((256, 128), normalize_instance)
    images = torch.stack([transform(read_image(sample.path)) for sample in samples])
    known = [3 + sample.camid for sample in query.samples]
    camids = torch.tensor([*known, *([-1] * len(others.samples))])
    expected = attention_maps(model, images, camids, method="rollout")
    torch.testing.assert_close(torch.stack([found.attention for found in maps]), expected)
    assert {x.camid for x in query.samples} == {0, 1}
    assert not torch.allclose(expected, attention_maps(model, images, method="rollout"))
