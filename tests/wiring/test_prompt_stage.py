"""From SOLVER.STAGE1 and MODEL to the prompt stage."""

import pytest
import torch
import torch.nn.functional as F

from processor.training.build import build_prompt_stage, build_stages
from processor.training.stage import StageTiming

STAGE1 = {
    "SOLVER.STAGE1.IMS_PER_BATCH": 13,
    "SOLVER.STAGE1.OPTIMIZER_NAME": "SGD",
    "SOLVER.STAGE1.MAX_EPOCHS": 17,
    "SOLVER.STAGE1.BASE_LR": 0.25,
    "SOLVER.STAGE1.MOMENTUM": 0.7,
    "SOLVER.STAGE1.WEIGHT_DECAY": 0.03,
    "SOLVER.STAGE1.CHECKPOINT_PERIOD": 6,
    "SOLVER.STAGE1.LOG_PERIOD": 19,
}


@pytest.fixture
def stage_of(model_of, images_of, float32):
    """`stage_of(cfg)` -> the prompt stage of a model that was left in training mode."""

    def build(cfg):
        return build_prompt_stage(cfg, model_of(cfg).train(), images_of(cfg), float32, None)

    return build


@torch.no_grad()
def projected_slowly(model, images):
    model.eval()
    batches = [batch for i in range(len(images.data.samples)) for batch in images.plain([i])]
    return torch.cat([model.encode_image(batch.images).projected for batch in batches])


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_prompts_learn_from_projected_features_without_side_information(
    configure, architectures, images_of, stage_of, name
):
    sides = {"MODEL.SIE_CAMERA": name == "vit", "MODEL.SIE_VIEW": name == "vit"}
    cfg = configure({"MODEL.NAME": architectures[name], "TEST.IMS_PER_BATCH": 9}, sides)
    stage = stage_of(cfg)
    expected = projected_slowly(stage.model, images_of(cfg))
    torch.testing.assert_close(stage.table.features, expected, atol=1e-5, rtol=1e-4)
    assert stage.table.indices.tolist() == list(range(56))
    assert stage.labels.tolist() == images_of(cfg).data.labels


def test_batches_are_the_features_in_random_order(configure, data, stage_of):
    stage = stage_of(configure(STAGE1))
    assert stage.batch_size == 13
    orders = []
    for epoch in (1, 2):
        batches = list(stage.start_epoch(epoch, 0))
        assert [len(batch) for batch in batches] == [13, 13, 13, 13, 4]
        orders.append(torch.cat([batch.indices for batch in batches]).tolist())
        for batch in batches:
            assert torch.equal(batch.features, stage.table.features[batch.indices])
            assert batch.labels.tolist() == [data.labels[i] for i in batch.indices.tolist()]
        assert sorted(orders[-1]) == list(range(56))
    assert orders[0] != orders[1]


def test_losses_contrast_images_with_the_prompts_of_their_identities(configure, stage_of):
    stage = stage_of(configure(STAGE1))
    batch = next(iter(stage.start_epoch(1, 0)))
    found = stage.compute_losses(batch)
    texts = torch.stack([stage.model.encode_text(label[None])[0] for label in batch.labels])
    logits = batch.features @ texts.T
    same = (batch.labels[:, None] == batch.labels[None]).float()
    same = same / same.sum(1, keepdim=True)
    for name, rows in (("i2t", logits), ("t2i", logits.T)):
        expected = -(F.log_softmax(rows, 1) * same).sum(1).mean()
        torch.testing.assert_close(found.losses[name], expected)
    assert set(found.losses) == {"i2t", "t2i"}
    assert found.num_images == 13


def test_timing_and_optimizer(configure, stage_of):
    stage = stage_of(configure(STAGE1))
    optimization = stage.optimization
    assert optimization.timing == StageTiming(17, 19, 6, None)
    (optimizer,) = optimization.optimizers
    assert type(optimizer) is torch.optim.SGD
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(stage.model.prompt_learner.cls_ctx)]
    assert (group["initial_lr"], group["momentum"], group["weight_decay"]) == (0.25, 0.7, 0.03)
    assert optimization.schedule.optimizer is optimizer
    trained = [name for name, p in stage.model.named_parameters() if p.requires_grad]
    assert trained == ["prompt_learner.cls_ctx"]


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({}, [1, 2]),
        ({"SOLVER.STAGE0.MAX_EPOCHS": 3}, [0, 1, 2]),
        ({"SOLVER.STAGE0.MAX_EPOCHS": 3, "SOLVER.STAGE1.WEIGHT": "prompts.pth"}, [2]),
        ({"MODEL.TEXT_TOWER": False}, [2]),
        ({"MODEL.TEXT_TOWER": False, "SOLVER.STAGE0.MAX_EPOCHS": 3}, [0, 2]),
        ({"DSGL.ENABLED": True}, ["dsgl"]),
    ],
)
def test_stages_of_a_run(configure, model_of, images_of, float32, options, stages):
    cfg = configure(options)
    planned = build_stages(cfg, model_of(cfg), images_of(cfg), None, float32, None)
    assert [stage.name for stage in planned] == stages
    batches = "batches of clusters" if stages == ["dsgl"] else "softmax_triplet batches"
    assert f"{batches} (4 x 2 images)" in planned[-1].title


def test_stages_are_built_as_planned(configure, model_of, images_of, float32, recorder):
    cfg = configure({"SOLVER.STAGE0.MAX_EPOCHS": 3, "SOLVER.STAGE2.MAX_EPOCHS": 5}, STAGE1)
    images = images_of(cfg)
    recorder.pairs = False
    recorder.set_epoch = lambda _: None
    planned = build_stages(cfg, model_of(cfg), images, recorder, float32, None)
    stages = [stage.build() for stage in planned]
    assert [stage.name for stage in stages] == [0, 1, 2]
    assert [stage.optimization.timing.num_epochs for stage in stages] == [3, 17, 5]
    shuffled = configure({"DATALOADER.SAMPLER": "softmax"})
    planned = build_stages(shuffled, model_of(cfg), images, None, float32, None)
    assert "softmax batches (8 images)" in planned[-1].title
