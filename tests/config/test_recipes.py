"""The shipped recipes have the published values."""

from pathlib import Path

import pytest

from config import load_cfg
from config.defaults import default_cfg
from config.options import flatten, lookup

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yml"))

# file: size, label smoothing, identity weight, batch and epochs of stage 1 (None = baseline)
RECIPES = {
    "person/cnn_base": ([256, 128], True, 1.0, None),
    "person/vit_base": ([256, 128], True, 1.0, None),
    "person/cnn_clipreid": ([256, 128], True, 1.0, (64, 60)),
    "person/vit_clipreid": ([256, 128], True, 0.25, (64, 120)),
    "VehicleID/cnn_base": ([256, 256], False, 1.0, None),
    "VehicleID/vit_base": ([256, 256], False, 1.0, None),
    "VehicleID/cnn_clipreid": ([256, 256], False, 1.0, (256, 60)),
    "VehicleID/vit_clipreid": ([256, 256], True, 0.25, (256, 60)),
    "veri/cnn_base": ([256, 256], True, 1.0, None),
    "veri/vit_base": ([256, 256], True, 1.0, None),
    "veri/cnn_prom": ([256, 256], True, 1.0, (64, 60)),
    "veri/vit_prom": ([256, 256], True, 0.25, (64, 60)),
}
# learning rate, weight decay, warm-up factor, steps, epochs of stage 2
CNN = (3.5e-4, 5e-4, 0.01, (40, 70), 120)
VIT = (5e-6, 1e-4, 0.1, (30, 50), 60)
VIT_VEHICLE_ID = (5e-5, 1e-4, 0.1, (30, 50), 60)
STAGE2 = {
    "person/cnn_base": CNN,
    "person/vit_base": VIT,
    "person/cnn_clipreid": CNN,
    "person/vit_clipreid": VIT,
    "VehicleID/cnn_base": CNN,
    "VehicleID/vit_base": VIT_VEHICLE_ID,
    "VehicleID/cnn_clipreid": CNN,
    "VehicleID/vit_clipreid": VIT_VEHICLE_ID,
    "veri/cnn_base": CNN,
    "veri/vit_base": VIT,
    "veri/cnn_prom": CNN,
    "veri/vit_prom": VIT,
}
NAMES = {"person": ("market1501",), "VehicleID": ("VehicleID",), "veri": ("veri",)}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("file", FILES)
def test_every_file_loads_without_a_warning(file, caplog):
    cfg = load_cfg(file)
    assert cfg.is_frozen()
    assert f"runs/{Path(file).parent.name}/{Path(file).stem}" == cfg.OUTPUT_DIR or "demo" in file
    assert not caplog.records


def test_every_recipe_is_shipped():
    assert {f"configs/{name}.yml" for name in RECIPES} <= set(FILES)


def assert_options(cfg, expected):
    assert {key: lookup(cfg, key) for key in expected} == expected


def assert_others_are_defaults(cfg, listed):
    """Every option that is not listed, alone or by its section, has its default."""
    own = {"DATASETS.NAMES", "OUTPUT_DIR"}
    default = dict(flatten(default_cfg()))
    changed = {name for name, value in flatten(cfg) if value != default[name]} - own
    assert {x for x in changed if not any(f"{x}.".startswith(f"{y}.") for y in listed)} == set()


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_has_the_published_model_and_data(name):
    size, smoothing, id_weight, prompts = RECIPES[name]
    vit = "vit" in name
    expected = {
        "MODEL.NAME": "ViT-B-16" if vit else "RN50",
        "MODEL.IF_LABELSMOOTH": smoothing,
        "MODEL.ID_LOSS_WEIGHT": id_weight,
        "MODEL.TEXT_TOWER": prompts is not None,
        "INPUT.SIZE_TRAIN": size,
        "INPUT.SIZE_TEST": size,
        "INPUT.PIXEL_MEAN": [0.5, 0.5, 0.5] if vit else [0.485, 0.456, 0.406],
        "INPUT.PIXEL_STD": [0.5, 0.5, 0.5] if vit else [0.229, 0.224, 0.225],
        "DATASETS.NAMES": NAMES[name.split("/")[0]],
        "DATASETS.TARGETS": (),
    }
    assert_options(load_cfg(f"configs/{name}.yml"), expected)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_has_the_published_stage_2(name):
    rate, decay, factor, steps, epochs = STAGE2[name]
    expected = {
        "IMS_PER_BATCH": 64,
        "OPTIMIZER_NAME": "Adam",
        "MAX_EPOCHS": epochs,
        "BASE_LR": rate,
        "BIAS_LR_FACTOR": 2.0,
        "LARGE_FC_LR": False,
        "WEIGHT_DECAY": decay,
        "WEIGHT_DECAY_BIAS": decay,
        "WARMUP_FACTOR": factor,
        "WARMUP_ITERS": 10,
        "WARMUP_METHOD": "linear",
        "STEPS": steps,
        "GAMMA": 0.1,
        "CHECKPOINT_PERIOD": epochs,
        "EVAL_PERIOD": epochs,
        "LOG_PERIOD": 50,
    }
    assert_options(load_cfg(f"configs/{name}.yml").SOLVER.STAGE2, expected)


@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name][3]])
def test_recipe_has_the_published_stage_1(name):
    batch, epochs = RECIPES[name][3]
    expected = {
        "IMS_PER_BATCH": batch,
        "OPTIMIZER_NAME": "Adam",
        "MAX_EPOCHS": epochs,
        "BASE_LR": 3.5e-4,
        "WEIGHT_DECAY": 1e-4,
        "WARMUP_EPOCHS": 5,
        "WARMUP_LR_INIT": 1e-5,
        "LR_MIN": 1e-6,
        "CHECKPOINT_PERIOD": epochs,
        "LOG_PERIOD": 50,
    }
    assert_options(load_cfg(f"configs/{name}.yml").SOLVER.STAGE1, expected)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_share_the_other_options(name):
    expected = {
        "MODEL.TRIPLET_LOSS_WEIGHT": 1.0,
        "MODEL.I2T_LOSS_WEIGHT": 1.0,
        "MODEL.METRIC_LOSS_TYPE": "triplet",
        "MODEL.NO_MARGIN": False,
        "MODEL.IF_WITH_CENTER": False,
        "MODEL.NECK": "bnneck",
        "MODEL.STRIDE_SIZE": [16, 16],
        "MODEL.LAST_STRIDE": 1,
        "MODEL.SIE_CAMERA": False,
        "MODEL.SIE_VIEW": False,
        "INPUT.PROB": 0.5,
        "INPUT.RE_PROB": 0.5,
        "INPUT.PADDING": 10,
        "DATALOADER.SAMPLER": "softmax_triplet",
        "DATALOADER.NUM_INSTANCE": 4,
        "DATALOADER.NUM_WORKERS": 8,
        "SOLVER.SEED": 1234,
        "SOLVER.MARGIN": 0.3,
        "TEST.IMS_PER_BATCH": 64,
        "TEST.NECK_FEAT": "before",
        "TEST.FEAT_NORM": True,
        "TEST.RE_RANKING": False,
    }
    assert_options(load_cfg(f"configs/{name}.yml"), expected)


@pytest.mark.parametrize("variant", ["text", "image"])
def test_clip_dfgs_recipe_is_the_released_one(variant):
    """224 x 224, 128 = 32 x 4, soft margin, one prior epoch, no identity loss."""
    expected = {
        "MODEL.NAME": "ViT-B-16",
        "MODEL.STRIDE_SIZE": [16, 16],
        "MODEL.ID_LOSS_WEIGHT": 0.0,
        "MODEL.TRIPLET_LOSS_WEIGHT": 2.0,
        "MODEL.TRIPLET_FEATURES": ("final", "projected"),
        "MODEL.NO_MARGIN": True,
        "MODEL.IF_LABELSMOOTH": True,
        "INPUT.SIZE_TRAIN": [224, 224],
        "INPUT.SIZE_TEST": [224, 224],
        "INPUT.NORMALIZATION": "instance",
        "INPUT.TEST_INTERPOLATION": "bicubic",
        "INPUT.PROB": 0.4,
        "INPUT.PADDING": 10,
        "INPUT.RE_PROB": 0.0,
        "INPUT.GRAYSCALE_PROB": 0.1,
        "INPUT.JITTER_PROB": 0.1,
        "INPUT.JITTER": [0.15, 0.1, 0.05, 0.05],
        "INPUT.AUGMIX_PROB": 0.6,
        "DATALOADER.SAMPLER": f"dfgs_{variant}",
        "DATALOADER.NUM_INSTANCE": 4,
        "INPUT.AUGMIX_SEVERITY": 1,
        "INPUT.AUGMIX_DEPTH": 1,
        "INPUT.AUGMIX_ALPHA": 0.1,
        "INPUT.AUGMIX_COLOURS": False,
        "DATALOADER.DFGS.NUM_NEIGHBOURS": 5 if variant == "text" else 10,
        "DATALOADER.DFGS.SKIP": 1 if variant == "text" else 0,
        "DATALOADER.DFGS.SHUFFLE": True,
        "DATALOADER.DFGS.WALK": "depth_first",
        "DATALOADER.DFGS.FEATURES": "",
        "DATALOADER.DFGS.NORMALIZE": False,
        "DATALOADER.DFGS.MUTUAL": False,
        "DATALOADER.DFGS.REFRESH_PERIOD": 1,
        "DATALOADER.DFGS.IMAGES_PER_ID": 1,
        "DATALOADER.NUM_WORKERS": 8,
        "MODEL.I2T_LOSS_WEIGHT": 1.0,
        "MODEL.METRIC_LOSS_TYPE": "triplet",
        "SOLVER.STAGE0.MAX_EPOCHS": 1,
        "SOLVER.STAGE0.SHARE_OPTIMIZER": True,
        "SOLVER.STAGE1.IMS_PER_BATCH": 128,
        "SOLVER.STAGE1.OPTIMIZER_NAME": "Adam",
        "SOLVER.STAGE1.MAX_EPOCHS": 120,
        "SOLVER.STAGE1.BASE_LR": 3.5e-4,
        "SOLVER.STAGE1.WEIGHT_DECAY": 1e-4,
        "SOLVER.STAGE1.WARMUP_EPOCHS": 5,
        "SOLVER.STAGE1.WARMUP_LR_INIT": 1e-5,
        "SOLVER.STAGE1.LR_MIN": 1e-6,
        "SOLVER.STAGE2.IMS_PER_BATCH": 128,
        "SOLVER.STAGE2.OPTIMIZER_NAME": "Adam",
        "SOLVER.STAGE2.MAX_EPOCHS": 60,
        "SOLVER.STAGE2.BASE_LR": 5e-6,
        "SOLVER.STAGE2.BIAS_LR_FACTOR": 2.0,
        "SOLVER.STAGE2.WEIGHT_DECAY": 1e-4,
        "SOLVER.STAGE2.WEIGHT_DECAY_BIAS": 1e-4,
        "SOLVER.STAGE2.WARMUP_FACTOR": 0.1,
        "SOLVER.STAGE2.WARMUP_ITERS": 10,
        "SOLVER.STAGE2.WARMUP_METHOD": "linear",
        "SOLVER.STAGE2.GAMMA": 0.1,
        "SOLVER.STAGE2.STEPS": (30, 50),
        "SOLVER.STAGE2.EVAL_PERIOD": 20,
        "SOLVER.STAGE1.CHECKPOINT_PERIOD": 120,
        "SOLVER.STAGE1.LOG_PERIOD": 50,
        "SOLVER.STAGE2.CHECKPOINT_PERIOD": 60,
        "SOLVER.STAGE2.LOG_PERIOD": 50,
        "SOLVER.AMP": "auto",
        "TEST.AMP": "off",
        "TEST.IMS_PER_BATCH": 128,
        "TEST.RE_RANKING": False,
        "TEST.IGNORE_SAME_CAMERA": True,
        "TEST.NECK_FEAT": "before",
        "TEST.FEAT_NORM": False,
    }
    cfg = load_cfg(f"configs/person/vit_dfgs_{variant}.yml")
    assert_options(cfg, expected)
    assert_others_are_defaults(cfg, expected)


# backbone, pooling, data set, eps, images per cluster, prototypes of the memory loss
DSGL = {
    "rn50": ("resnet50", "gem", "market1501", 0.6, 4, "hard"),
    "rn50_market1501": ("resnet50", "gem", "market1501", 0.45, 16, "hard"),
    "rn50_msmt17": ("resnet50", "gem", "msmt17", 0.7, 16, "mean"),
    "ibn50a_market1501": ("resnet50_ibn_a", "gem", "market1501", 0.45, 16, "hard"),
    "vit_market1501": ("ViT-B-16", "clip", "market1501", 0.6, 16, "hard"),
    "published_market1501": ("resnet50", "gem", "market1501", 0.45, 16, "hard"),
    "published_msmt17": ("resnet50", "gem", "msmt17", 0.7, 16, "mean"),
}


@pytest.mark.parametrize("name", DSGL)
def test_dsgl_recipe_has_the_published_options(name):
    model, pooling, data, eps, num_instances, rows = DSGL[name]
    vit = "vit" in name
    expected = {
        "MODEL.NAME": model,
        "INPUT.SIZE_TRAIN": [256, 128],
        "INPUT.SIZE_TEST": [256, 128],
        "INPUT.PIXEL_MEAN": [0.5, 0.5, 0.5] if vit else [0.485, 0.456, 0.406],
        "INPUT.PIXEL_STD": [0.5, 0.5, 0.5] if vit else [0.229, 0.224, 0.225],
        "INPUT.PROB": 0.5,
        "INPUT.RE_PROB": 0.5,
        "INPUT.PADDING": 10,
        "INPUT.TEST_INTERPOLATION": "bicubic",
        "INPUT.RE_FILL": "mean",
        "INPUT.RE_AREA": [0.02, 0.4],
        "INPUT.NORMALIZATION": "fixed",
        "SOLVER.AMP": "auto" if vit else "off",
        "TEST.AMP": "off",
        "DSGL.FAITHFUL": name.startswith("published"),
        "DSGL.DROPOUT": 0.0,
        "DSGL.LABEL_SMOOTHING": False,
        "DSGL.RECLUSTER_EVERY": 1,
        "DSGL.W_DIS": 1.0,
        "DSGL.W_KL": 1.0,
        "DSGL.KL_DETACH": False,
        "DATASETS.NAMES": (data,),
        "DATALOADER.SAMPLER": "softmax_triplet",
        "DATALOADER.NUM_INSTANCE": num_instances,
        "SOLVER.SEED": 1,
        "DSGL.ENABLED": True,
        "DSGL.POOLING": pooling,
        "DSGL.EMBED_DIM": 0,
        "DSGL.FREEZE_PATCH_CONV": vit,
        "DSGL.ITERS": 400,
        "DSGL.CAMERA_AWARE": True,
        "DSGL.EPS": eps,
        "DSGL.MIN_SAMPLES": 4,
        "DSGL.K1": 30,
        "DSGL.K2": 6,
        "DSGL.MEMORY": "DLhybrid",
        "DSGL.MEM_LOSS": rows,
        "DSGL.MOMENTUM": 0.1,
        "DSGL.TEMPERATURE": 0.05,
        "DSGL.ORDERS": 2,
        "DSGL.TAU_DIS": 0.5,
        "DSGL.TAU_KL_POS": 0.8,
        "DSGL.TAU_KL_NEG": 0.1,
        "DSGL.HARD_WEIGHT": 0.5,
        "DATALOADER.NUM_WORKERS": 4,
        "TEST.NECK_FEAT": "after",
        "TEST.IGNORE_SAME_CAMERA": True,
        "TEST.FEAT_NORM": True,
        "TEST.RE_RANKING": False,
    }
    cfg = load_cfg(f"configs/dsgl/{name}.yml")
    assert_options(cfg, expected)
    assert_others_are_defaults(cfg, {*expected, "SOLVER.STAGE2", "DSGL.STEP_SIZE"})


@pytest.mark.parametrize("name", DSGL)
def test_dsgl_recipe_has_the_published_optimizer(name):
    vit = "vit" in name
    cfg = load_cfg(f"configs/dsgl/{name}.yml")
    expected = {
        "IMS_PER_BATCH": 64,
        "OPTIMIZER_NAME": "Adam",
        "MAX_EPOCHS": 50 if name == "rn50" else 60,
        "BASE_LR": 5e-6 if vit else 3.5e-4,
        "BIAS_LR_FACTOR": 2.0 if vit else 1.0,
        "WEIGHT_DECAY": 1e-4 if vit else 5e-4,
        "WEIGHT_DECAY_BIAS": 1e-4 if vit else 5e-4,
        "WARMUP_ITERS": 10 if vit else 0,
        "GAMMA": 0.1,
        "EVAL_PERIOD": 1,
    }
    assert_options(cfg.SOLVER.STAGE2, expected)
    assert {"rn50": 20, "vit_market1501": 0}.get(name, 25) == cfg.DSGL.STEP_SIZE
    if vit:
        assert_options(cfg.SOLVER.STAGE2, {"WARMUP_FACTOR": 0.1, "STEPS": (30, 50)})


def test_published_command_with_camera_embeddings_and_overlapping_patches():
    opts = ["MODEL.SIE_CAMERA", "True", "MODEL.SIE_COE", "1.0", "MODEL.STRIDE_SIZE", "[12, 12]"]
    cfg = load_cfg("configs/person/vit_clipreid.yml", opts)
    expected = {
        "MODEL.SIE_CAMERA": True,
        "MODEL.SIE_COE": 1.0,
        "MODEL.STRIDE_SIZE": [12, 12],
        "SOLVER.STAGE2.BASE_LR": 5e-6,
    }
    assert_options(cfg, expected)


def test_published_evaluation_command():
    opts = ["TEST.WEIGHT", "path/ViT-B-16_60.pth"]
    cfg = load_cfg("configs/person/vit_clipreid.yml", opts)
    assert cfg.TEST.WEIGHT == "path/ViT-B-16_60.pth"
