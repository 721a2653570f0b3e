"""From MODEL, SOLVER and INPUT to the losses of the image stage, their weights and values."""

import math

import pytest
import torch
import torch.nn.functional as F

from loss import LossInputs, compute_losses
from loss.build import build_image_losses
from loss.extra import EXTRA_LOSSES, ExtraLoss, LossOptions
from processor.training.build import build_image_stage, build_prior_stage
from processor.training.image_stage import all_text_features

CLASSES, WIDTH, JOINT = 5, 6, 4


@pytest.fixture
def batch():
    """Eight images of four classes, two classifiers."""
    generator = torch.Generator().manual_seed(2)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    features = {"last": draw(8, 3), "final": draw(8, WIDTH), "projected": draw(8, JOINT)}
    labels = torch.tensor([0, 0, 1, 1, 3, 3, 4, 4])
    return LossInputs([draw(8, CLASSES), draw(8, CLASSES)], features, labels, draw(8, CLASSES))


@pytest.fixture
def losses_of(configure, batch):
    """`losses_of({"KEY": value})` -> {name: value} of the batch."""

    def compute(*options, with_text=True):
        torch.manual_seed(0)
        losses = build_image_losses(
            configure(*options), CLASSES, WIDTH, with_text=with_text, joint_width=JOINT
        )
        found = compute_losses(losses, batch)
        return {name: value.item() for name, value in found.items()}

    return compute


def entropy_slowly(logits, labels, smoothing):
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        norm = math.log(sum(map(math.exp, row)))
        for place, value in enumerate(row):
            target = (1 - smoothing) * (place == label) + smoothing / len(row)
            total += target * (norm - value)
    return total / len(labels)


def triplet_slowly(features, labels, margin):
    total = 0.0
    for i in range(len(labels)):
        distances = (features - features[i]).square().sum(1).sqrt().tolist()
        same = [d for d, label in zip(distances, labels, strict=True) if label == labels[i]]
        other = [d for d, label in zip(distances, labels, strict=True) if label != labels[i]]
        gap = max(same) - min(other)
        total += math.log1p(math.exp(gap)) if margin is None else max(gap + margin, 0)
    return total / len(labels)


def id_slowly(batch, smoothing):
    return sum(entropy_slowly(logits, batch.labels, smoothing) for logits in batch.logits)


def triplets_slowly(batch, names, margin):
    return sum(triplet_slowly(batch.features[name], batch.labels, margin) for name in names)


ALL = ("last", "final", "projected")


def approx(value):
    return pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(("smooth", "share"), [(True, 0.1), (False, 0.0)])
def test_id_and_text_losses(losses_of, batch, smooth, share):
    weights = {"MODEL.ID_LOSS_WEIGHT": 0.3, "MODEL.I2T_LOSS_WEIGHT": 2.5}
    found = losses_of(weights, {"MODEL.IF_LABELSMOOTH": smooth})
    assert list(found) == ["id", "triplet", "i2t"]
    assert found["id"] == approx(0.3 * id_slowly(batch, share))
    assert found["i2t"] == approx(2.5 * entropy_slowly(batch.i2t_logits, batch.labels, share))
    assert list(losses_of({"MODEL.ID_LOSS_WEIGHT": 0})) == ["triplet", "i2t"]
    assert list(losses_of(weights, with_text=False)) == ["id", "triplet"]


@pytest.mark.parametrize(
    ("options", "names", "margin", "weight"),
    [
        ({}, ALL, 0.3, 1),
        ({"MODEL.TRIPLET_LOSS_WEIGHT": 0.25}, ALL, 0.3, 0.25),
        ({"MODEL.TRIPLET_FEATURES": ("projected",)}, ("projected",), 0.3, 1),
        ({"MODEL.TRIPLET_FEATURES": ("last", "final")}, ("last", "final"), 0.3, 1),
        ({"SOLVER.MARGIN": 0.9}, ALL, 0.9, 1),
        ({"MODEL.NO_MARGIN": True, "SOLVER.MARGIN": 0.9}, ALL, None, 1),
        ({"MODEL.METRIC_LOSS_TYPE": "triplet_center"}, ALL, 0.3, 1),
    ],
)
def test_triplet_loss(losses_of, batch, options, names, margin, weight):
    expected = weight * triplets_slowly(batch, names, margin)
    assert losses_of(options)["triplet"] == approx(expected)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"id", "triplet", "i2t"}),
        ({"DATALOADER.SAMPLER": "softmax"}, {"id", "i2t"}),
        ({"DATALOADER.SAMPLER": "dfgs_image"}, {"id", "triplet", "i2t"}),
        ({"MODEL.METRIC_LOSS_TYPE": "none"}, {"id", "i2t"}),
        ({"MODEL.METRIC_LOSS_TYPE": "center"}, {"id", "i2t", "center"}),
        ({"MODEL.METRIC_LOSS_TYPE": "triplet_center"}, {"id", "triplet", "i2t", "center"}),
        ({"MODEL.IF_WITH_CENTER": True}, {"id", "triplet", "i2t", "center"}),
        ({"MODEL.EXTRA_LOSSES": ("supcon", 0.5)}, {"id", "triplet", "i2t", "supcon"}),
        ({"MODEL.EXTRA_LOSSES": ("supcon", 0)}, {"id", "triplet", "i2t"}),
    ],
)
def test_names_of_the_losses(losses_of, options, names):
    assert set(losses_of(options)) == names


@pytest.mark.parametrize("weight", [5e-4, 0.125])
def test_center_loss(losses_of, batch, weight):
    options = {"MODEL.IF_WITH_CENTER": True, "SOLVER.STAGE2.CENTER_LOSS_WEIGHT": weight}
    torch.manual_seed(0)
    centers = torch.randn(CLASSES, WIDTH)
    distances = (batch.features["final"] - centers[batch.labels]).square().sum(1)
    assert losses_of(options)["center"] == approx(weight * distances.mean().item())


def test_extra_losses(losses_of, batch):
    found = losses_of({"MODEL.EXTRA_LOSSES": ("supcon", 0.75)})["supcon"]
    unit = F.normalize(batch.features["projected"])
    terms = []
    for i in range(8):
        others = [j for j in range(8) if j != i]
        scores = torch.stack([unit[i] @ unit[j] / 0.1 for j in others]).log_softmax(0)
        mine = [
            s for s, j in zip(scores, others, strict=True) if batch.labels[j] == batch.labels[i]
        ]
        terms.append(-torch.stack(mine).mean())
    assert found == approx(0.75 * torch.stack(terms).mean().item())


def test_factories_of_extra_losses_know_the_sizes_and_the_users_options(configure, monkeypatch):
    made = []

    def make(options):
        made.append(options)
        return lambda features, _: features.sum()

    monkeypatch.setitem(EXTRA_LOSSES, "own", ExtraLoss(make, factory=True))
    cfg = configure({"MODEL.EXTRA_LOSSES": ("own", 0.5), "USER.OWN.SIZE": 3})
    losses = build_image_losses(cfg, 11, 48, with_text=True, joint_width=24)
    assert losses["own"].weight == 0.5
    assert made == [LossOptions(11, 48, 24, {"OWN": {"SIZE": 3}})]


# ----------------------------------------------------------------------------------- in the stages

OPTIONS = {
    "MODEL.ID_LOSS_WEIGHT": 0.3,
    "MODEL.TRIPLET_LOSS_WEIGHT": 0.7,
    "MODEL.I2T_LOSS_WEIGHT": 1.9,
    "MODEL.TRIPLET_FEATURES": ("final", "projected"),
    "MODEL.IF_LABELSMOOTH": False,
    "SOLVER.MARGIN": 0.8,
    "MODEL.SIE_CAMERA": True,
    "SOLVER.STAGE0.MAX_EPOCHS": 4,
}


class Plan:
    """One fixed batch of two identities."""

    pairs = False
    equal_shares = True

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter([[0, 1, 2, 3, 20, 21, 22, 23]])

    def __len__(self):
        return 1


@pytest.mark.parametrize("number", [0, 2])
def test_losses_of_a_step(configure, model_of, images_of, float32, number):
    """Stage 2 compares with the texts of all identities, stage 0 with none; both train."""
    cfg = configure(OPTIONS)
    model, images = model_of(cfg).eval(), images_of(cfg)
    if number:
        stage = build_image_stage(cfg, model, images, Plan(), float32)
    else:
        stage = build_prior_stage(cfg, model, images)
    loader = stage.start_epoch(1, 0)
    assert model.training
    batch = next(iter(loader))
    found = stage.compute_losses(batch)
    output = model(batch.images, batch.camids, batch.viewids)
    texts = output.projected @ all_text_features(model).T
    names = ("last", "final", "projected")
    inputs = LossInputs(
        output.logits, dict(zip(names, output.features, strict=True)), batch.labels, texts
    )
    expected = {
        "id": 0.3 * id_slowly(inputs, 0),
        "triplet": 0.7 * triplets_slowly(inputs, ("final", "projected"), 0.8),
        "i2t": 1.9 * entropy_slowly(texts, batch.labels, 0),
    }
    if not number:
        del expected["i2t"]
    assert {name: value.item() for name, value in found.losses.items()} == approx(expected)
    without = model(batch.images).features[1]
    assert not torch.allclose(without, output.features[1])
    scores = texts if number else output.logits[0]
    accuracy = (scores.argmax(1) == batch.labels).float().mean()
    assert found.averages["accuracy"] == accuracy


def test_baseline_has_no_text_loss(configure, model_of, images_of, float32):
    cfg = configure(OPTIONS, {"MODEL.TEXT_TOWER": False})
    stage = build_image_stage(cfg, model_of(cfg), images_of(cfg), Plan(), float32)
    assert set(stage.losses) == {"id", "triplet"}


def test_shuffled_stage_0_has_no_triplet_loss(configure, model_of, images_of):
    cfg = configure(OPTIONS, {"DATALOADER.SAMPLER": "softmax"})
    stage = build_prior_stage(cfg, model_of(cfg), images_of(cfg))
    assert set(stage.losses) == {"id"}
    assert len(next(iter(stage.start_epoch(1, 0)))) == 8
