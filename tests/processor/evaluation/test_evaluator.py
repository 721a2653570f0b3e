"""Evaluation of images by their grey level, with scores computed by hand.

Two queries have a match, the third has none. Distances are differences of grey levels:
query 0 (pid 1, camera 0, 100): junk 101, 103, match 106, 110, match 120;
query 1 (pid 2, camera 0, 104): match 103, 106, 101, 110, 120.
"""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from config import ConfigError, load_cfg
from datasets.images.build import build_evaluation_loader
from datasets.records import DataSplits, Sample
from processor.evaluation import evaluate_distmat, rerank
from processor.evaluation.build import build_evaluator, build_targets
from processor.evaluation.evaluator import Evaluator, _take
from processor.evaluation.multi_query import pool_queries
from processor.evaluation.protocol import Protocol
from processor.evaluation.target import Target
from processor.features import FeatureTable
from processor.metrics import memory_limits
from processor.metrics.distance import distmat_blocks
from processor.metrics.identities import Identities
from processor.metrics.k_reciprocal import Reranking
from processor.metrics.normalize import normalize_features
from processor.metrics.single_shot import single_gallery_shot_cmc
from processor.metrics.working_memory import WorkingMemory
from processor.results.report import log_results
from processor.runtime import progress
from processor.runtime.signals import Interrupted, StopRequest
from processor.training.plan import build_sources

QUERIES = [(1, 0, 100), (2, 0, 104), (9, 0, 50)]
GALLERY = [(1, 0, 101), (2, 1, 103), (1, 1, 106), (3, 1, 110), (1, 2, 120)]
OPTS = [
    *("INPUT.SIZE_TRAIN", "[16, 16]", "INPUT.SIZE_TEST", "[16, 16]"),
    *("INPUT.PIXEL_MEAN", "[0, 0, 0]", "INPUT.PIXEL_STD", "[1, 1, 1]"),
    *("DATALOADER.NUM_WORKERS", "0", "TEST.IMS_PER_BATCH", "3", "TEST.FEAT_NORM", "False"),
]


class MeanColour(nn.Module):
    """A model whose descriptor is the mean colour; records the ids it gets."""

    def __init__(self):
        super().__init__()
        self.ids = []

    def embed(self, images, camids=None, viewids=None):
        assert not self.training
        assert not torch.is_grad_enabled()
        self.ids += list(zip(camids.tolist(), viewids.tolist(), strict=True))
        return images.mean((2, 3))


def draw(folder, part, rows):
    samples = []
    for number, (pid, camid, level) in enumerate(rows):
        path = folder / f"{part}{number}.png"
        Image.new("RGB", (8, 8), (level,) * 3).save(path)
        samples.append(Sample(str(path), pid, camid, viewid=number % 2))
    return samples


@pytest.fixture
def splits(tmp_path):
    query, gallery = draw(tmp_path, "q", QUERIES), draw(tmp_path, "g", GALLERY)
    return DataSplits("greys", [], query, gallery, notes=("a remark",))


def evaluator(float32, *targets, opts=(), stop=None, **protocol):
    cfg = load_cfg(None, [*OPTS, *opts])
    protocol = Protocol(**{"normalize": False, **protocol})
    loader = partial(build_evaluation_loader, cfg)
    return Evaluator(list(targets), protocol, loader, float32, stop)


def test_scores_match_a_hand_worked_case(splits, float32):
    report = evaluator(float32, Target("greys", [splits]))(MeanColour())
    (metrics,) = report.targets[0].splits
    assert metrics.mAP == pytest.approx(((1 / 2 + 2 / 4) / 2 + 1) / 2)
    assert metrics.mINP == pytest.approx((2 / 4 + 1) / 2)
    assert [metrics.rank(k) for k in (1, 2, 5, 10)] == [0.5, 1, 1, 1]
    assert (metrics.num_queries, metrics.num_valid_queries) == (3, 2)
    assert report.targets[0].notes == ("a remark",)


WITHOUT_JUNK_RULE = ((1 + 2 / 3 + 3 / 5) / 3 + 1) / 2


def test_ranking_a_large_gallery_logs_its_progress(splits, float32, monkeypatch, caplog):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
    memory = WorkingMemory(1e-9)  # one query per block
    with caplog.at_level(logging.INFO, logger="processor.runtime.progress"):
        report = evaluator(float32, Target("greys", [splits]), memory=memory)(MeanColour())
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("ranking")]
    expected = "ranking 5 images for 3 queries: 1 of 3 blocks"
    assert [line.startswith(expected) for line in lines] == [True, False]
    whole = evaluator(float32, Target("greys", [splits]))(MeanColour())
    assert report.as_dict() == whole.as_dict()


def test_a_data_set_can_switch_off_the_junk_rule(splits, float32):
    splits = replace(splits, ignore_same_camera=False)
    report = evaluator(float32, Target("greys", [splits]))(MeanColour())
    assert report.average()["mAP"] == pytest.approx(WITHOUT_JUNK_RULE)
    assert report.average()["rank1"] == 1


def test_the_configuration_can_switch_off_the_junk_rule(splits, float32):
    score = evaluator(float32, Target("greys", [splits]), ignore_same_camera=False)
    assert score(MeanColour()).average()["mAP"] == pytest.approx(WITHOUT_JUNK_RULE)


def test_normalized_features_compare_directions(tmp_path, float32):
    """A dark and a bright image of one hue are equal after normalization."""
    colours = {"q": (120, 60, 30), "match": (240, 120, 60), "other": (120, 62, 45)}
    samples = {}
    for name, colour in colours.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
        pid, camid = (5 if name == "other" else 1), (0 if name == "q" else 1)
        samples[name] = Sample(str(tmp_path / f"{name}.png"), pid, camid)
    splits = DataSplits("hues", [], [samples["q"]], [samples["match"], samples["other"]])
    target = Target("hues", [splits])
    assert evaluator(float32, target, normalize=True)(MeanColour()).average()["mAP"] == 1
    assert evaluator(float32, target, normalize=False)(MeanColour()).average()["mAP"] == 0.5


def test_splits_are_averaged_and_images_encoded_once(splits, float32):
    other = DataSplits("greys", [], splits.query[1:2], splits.gallery[1:])  # its AP is 1
    model = MeanColour()
    report = evaluator(float32, Target("greys", [splits, other]))(model)
    assert len(model.ids) == 8  # images of both splits are encoded only once
    scores, deviations = report.targets[0].scores(), report.targets[0].deviations()
    assert scores["mAP"] == pytest.approx((0.75 + 1) / 2)
    assert deviations["mAP"] == pytest.approx(0.125)  # of 0.75 and 1
    assert deviations["rank1"] == pytest.approx(0.25)


def test_notes_of_splits_and_target_are_joined(splits, float32):
    """Without duplicates and in order: notes of all splits, then those of single splits."""
    counts = [f"316 queries expected, {n} found" for n in (2, 3)]
    own = [("a rule", "a remark"), ("a rule", counts[0]), ("a rule", counts[1]), ("a rule",)]
    target = Target("greys", [replace(splits, notes=notes) for notes in own], remarks=("a leak",))
    expected = ("a rule", "a remark", *counts, "a leak")
    assert target.notes == expected
    assert evaluator(float32, target)(MeanColour()).targets[0].notes == expected


def test_given_features_score_as_extracted_ones(splits, float32):
    target = Target("greys", [splits, replace(splits, query=splits.query[1:])], fingerprint="f")
    score = evaluator(float32, target)
    images = splits.query + splits.gallery
    levels = [row[2] / 255 for row in QUERIES + GALLERY]
    table = FeatureTable(torch.tensor(levels)[1:, None], torch.arange(1, 8), (images[0].path,))
    result = score.score(target, images, table)  # the first query is broken
    assert [metrics.mAP for metrics in result.splits] == [1, 1]
    assert [metrics.num_queries for metrics in result.splits] == [2, 2]
    assert (result.name, result.notes, result.bad_images, result.fingerprint) == (
        *("greys", ("a remark",)),
        *(1, "f"),
    )


def test_targets_are_averaged(splits, float32):
    easy = DataSplits("easy", [], splits.query[1:2], splits.gallery)
    report = evaluator(float32, Target("greys", [splits]), Target("easy", [easy]))(MeanColour())
    assert [target.name for target in report.targets] == ["greys", "easy"]
    assert report.average()["mAP"] == pytest.approx((0.75 + 1) / 2)
    scalars = report.scalars()
    assert scalars["greys/mAP"] == pytest.approx(0.75)
    assert scalars["easy/rank1"] == 1


def test_broken_gallery_image_is_left_out(splits, float32, caplog):
    """Without 103, query 0 ranks 106, 110, 120 and query 1 has no match."""
    broken = splits.gallery[1].path
    Path(broken).write_bytes(b"no image")
    score = evaluator(float32, Target("greys", [splits]), opts=["INPUT.ON_BAD_IMAGE", "skip"])
    with caplog.at_level(logging.WARNING):
        (metrics,) = score(MeanColour()).targets[0].splits
    assert metrics.mAP == pytest.approx((1 + 2 / 3) / 2)
    assert (metrics.num_queries, metrics.num_valid_queries) == (3, 1)
    assert broken in caplog.text
    assert "1 broken images skipped" in caplog.text


def test_broken_query_is_left_out(splits, float32):
    Path(splits.query[0].path).write_bytes(b"")
    score = evaluator(float32, Target("greys", [splits]), opts=["INPUT.ON_BAD_IMAGE", "skip"])
    (metrics,) = score(MeanColour()).targets[0].splits
    assert metrics.mAP == 1
    assert (metrics.num_queries, metrics.num_valid_queries) == (2, 1)


def test_cameras_of_an_unseen_target_are_unknown_to_the_model(splits, float32):
    model = MeanColour()
    evaluator(float32, Target("greys", [splits], cameras=None))(model)
    assert model.ids == [(-1, -1)] * 8


def test_cameras_of_a_source_are_its_rows_of_the_camera_table(splits, float32):
    model = MeanColour()
    evaluator(float32, Target("greys", [splits], cameras=range(6, 16)))(model)
    expected = [(6 + s.camid, s.viewid) for s in splits.query + splits.gallery]
    assert model.ids == expected


def test_mode_of_the_model_is_restored(splits, float32):
    score = evaluator(float32, Target("greys", [splits]))
    for training in (True, False):
        model = MeanColour().train(training)
        score(model)
        assert model.training is training


def test_scores_after_reranking(splits, float32):
    target = Target("greys", [splits])
    report = evaluator(float32, target, rerank=Reranking(2, 2, 0.3))(MeanColour())
    levels = torch.tensor([[row[2] / 255] * 3 for row in QUERIES + GALLERY])
    ids = [[row[0] for row in QUERIES], [row[0] for row in GALLERY]]
    ids += [[row[1] for row in QUERIES], [row[1] for row in GALLERY]]
    distmat = rerank(levels[:3], levels[3:], 2, 2, 0.3)
    expected = evaluate_distmat(distmat, *ids)
    (metrics,) = report.targets[0].splits
    assert metrics.mAP == pytest.approx(expected.mAP)
    np.testing.assert_allclose(metrics.cmc, expected.cmc)
    assert metrics.num_valid_queries == 2


def test_reranking_with_lambda_one_changes_nothing(splits, float32):
    report = evaluator(float32, Target("greys", [splits]), rerank=Reranking(3, 2, 1.0))(
        MeanColour()
    )
    assert report.average()["mAP"] == pytest.approx(0.75)


@pytest.mark.parametrize("reranking", [None, Reranking(3, 2, 1.0)])
def test_single_gallery_shot_matches_a_hand_worked_case(splits, float32, reranking):
    """Query 0 has its match at rank 2 if 106 is drawn, at rank 3 if 120 is drawn."""
    target = Target("greys", [replace(splits, single_gallery_shot=True)])
    report = evaluator(float32, target, rerank=reranking)(MeanColour())
    (metrics,) = report.targets[0].splits
    keys = np.random.PCG64(0).random_raw((100, len(GALLERY)))
    near = np.mean(keys[:, 2] < keys[:, 4])
    assert metrics.cmc.tolist() == pytest.approx([1 / 2, (near + 1) / 2, 1])
    assert metrics.mAP == pytest.approx(((1 / 2 + 2 / 4) / 2 + 1) / 2)  # of the whole gallery
    assert metrics.mINP == pytest.approx((2 / 4 + 1) / 2)
    assert (metrics.num_queries, metrics.num_valid_queries) == (3, 2)


def test_single_gallery_shot_obeys_the_junk_rule_of_the_data_set(splits, float32):
    """Query 0 has its match at rank 1, 2 or 3 if 101, 106 or 120 is drawn."""
    splits = replace(splits, single_gallery_shot=True, ignore_same_camera=False)
    report = evaluator(float32, Target("greys", [splits]))(MeanColour())
    drawn = np.random.PCG64(0).random_raw((100, len(GALLERY)))[:, [0, 2, 4]].argmin(axis=1)
    expected = [(np.mean(drawn < rank) + 1) / 2 for rank in (1, 2, 3)]
    assert report.targets[0].splits[0].cmc.tolist() == pytest.approx(expected)


# 90 and 112 (pid 1, camera 0) are pooled to 101; 104 is alone; 50 (pid 9) has no match
PAIRED_QUERIES = [(1, 0, 90), (2, 0, 104), (1, 0, 112), (9, 0, 50)]


@pytest.fixture
def paired_splits(splits, tmp_path):
    return replace(splits, query=draw(tmp_path, "pair", PAIRED_QUERIES))


@pytest.mark.parametrize("reranking", [None, Reranking(3, 2, 1.0)])
def test_multi_query_matches_a_hand_worked_case(paired_splits, float32, reranking):
    """101 ranks 101 (junk), 103, 106, 110, 120: its matches are at ranks 2 and 4."""
    target = Target("greys", [paired_splits])
    report = evaluator(float32, target, multi_query=True, rerank=reranking)(MeanColour())
    (metrics,) = report.targets[0].splits
    assert metrics.mAP == pytest.approx(((1 / 2 + 2 / 4) / 2 + 1) / 2)
    assert (metrics.num_queries, metrics.num_valid_queries) == (3, 2)
    single = evaluator(float32, target, rerank=reranking)(MeanColour())
    (metrics,) = single.targets[0].splits
    assert (metrics.num_queries, metrics.num_valid_queries) == (4, 3)


def test_multi_query_with_single_gallery_shot(paired_splits, float32):
    target = Target("greys", [replace(paired_splits, single_gallery_shot=True)])
    report = evaluator(float32, target, multi_query=True)(MeanColour())
    (metrics,) = report.targets[0].splits
    keys = np.random.PCG64(0).random_raw((100, len(GALLERY)))
    near = np.mean(keys[:, 2] < keys[:, 4])
    assert metrics.cmc.tolist() == pytest.approx([1 / 2, (near + 1) / 2, 1])


@pytest.mark.parametrize(("normalize", "best"), [(True, 1), (False, 0)])
def test_multi_query_pools_directions_of_normalized_features(tmp_path, float32, normalize, best):
    """The mean direction of dark red and bright green is between them, their mean is green."""
    colours = {"dark": (20, 0, 0), "bright": (0, 250, 0), "half": (90, 90, 0), "green": (5, 90, 0)}
    samples = {}
    for name, colour in colours.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
        pid, camid = (5 if name == "green" else 1), (1 if name in ("half", "green") else 0)
        samples[name] = Sample(str(tmp_path / f"{name}.png"), pid, camid)
    query, gallery = [samples["dark"], samples["bright"]], [samples["half"], samples["green"]]
    target = Target("hues", [DataSplits("hues", [], query, gallery)])
    score = evaluator(float32, target, normalize=normalize, multi_query=True)
    assert score(MeanColour()).average()["rank1"] == best


def test_broken_image_is_left_out_of_its_pooled_query(paired_splits, float32):
    """Only 112 remains of pid 1; it ranks 110, 106, 120, 103, 101 (junk)."""
    Path(paired_splits.query[0].path).write_bytes(b"")
    score = evaluator(
        float32,
        Target("greys", [paired_splits]),
        opts=["INPUT.ON_BAD_IMAGE", "skip"],
        multi_query=True,
    )
    (metrics,) = score(MeanColour()).targets[0].splits
    assert metrics.mAP == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)
    assert (metrics.num_queries, metrics.num_valid_queries) == (3, 2)


def test_reranking_multi_query_and_single_gallery_shot_together(tmp_path, float32):
    """Unit vectors are pooled, normalized again, and their distances re-ranked."""
    rng = np.random.default_rng(1)
    colours = rng.integers(20, 250, (40, 3)).tolist()
    ids = list(zip(rng.integers(0, 4, 40).tolist(), rng.integers(0, 2, 40).tolist(), strict=True))
    samples = []
    for number, (colour, (pid, camid)) in enumerate(zip(colours, ids, strict=True)):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), tuple(colour)).save(path)
        samples.append(Sample(str(path), pid, camid))
    splits = DataSplits("hues", [], samples[:16], samples[16:], single_gallery_shot=True)
    options = {"normalize": True, "multi_query": True, "rerank": Reranking(4, 3, 0.3)}
    report = evaluator(float32, Target("hues", [splits]), **options)(MeanColour())
    (metrics,) = report.targets[0].splits

    features = normalize_features(torch.tensor(colours) / 255)
    pids, camids = np.array(ids).T
    given = Identities.check(pids[:16], pids[16:], camids[:16], camids[16:])
    pooled = pool_queries(features[:16], given, normalize=True)
    distmat = rerank(pooled.features, features[16:], 4, 3, 0.3)
    expected = evaluate_distmat(
        *(distmat, pooled.ids.query_pids, pids[16:], pooled.ids.query_camids, camids[16:])
    )
    distances = partial(distmat_blocks, distmat)
    cmc = single_gallery_shot_cmc(distances, pooled.ids, WorkingMemory())
    assert (metrics.mAP, metrics.mINP) == pytest.approx((expected.mAP, expected.mINP), abs=1e-6)
    assert metrics.cmc == pytest.approx(cmc, abs=1e-6)
    assert metrics.num_queries == len(set(ids[:16]))


def test_multi_query_of_the_configuration():
    cfg = load_cfg(None, ["TEST.MULTI_QUERY", "True"])
    protocol = build_evaluator(cfg, [], torch.device("cpu")).protocol
    assert protocol == Protocol(multi_query=True)
    assert protocol.as_dict()["multi_query"] is True
    assert Protocol().as_dict()["multi_query"] is False


@pytest.mark.parametrize(
    ("opts", "number_format"),
    [
        ([], "float32"),
        (["SOLVER.AMP", "bf16"], "float32"),
        (["TEST.AMP", "bf16", "SOLVER.AMP", "off"], "bfloat16"),
    ],
)
def test_number_format_is_that_of_the_evaluation_not_of_the_training(opts, number_format):
    precision = build_evaluator(load_cfg(None, opts), [], torch.device("cpu")).precision
    assert precision.name == number_format


def test_protocol_of_the_configuration():
    cfg = load_cfg(
        None,
        [
            *("TEST.FEAT_NORM", "False", "TEST.IGNORE_SAME_CAMERA", "False"),
            *("TEST.CHUNK_MB", "7", "TEST.RE_RANKING", "True", "TEST.RE_RANKING_K1", "20"),
            *("TEST.RE_RANKING_K2", "6", "TEST.RE_RANKING_LAMBDA", "0.4"),
        ],
    )
    assert build_evaluator(cfg, [], torch.device("cpu")).protocol == Protocol(
        normalize=False,
        ignore_same_camera=False,
        memory=WorkingMemory(7),
        rerank=Reranking(20, 6, 0.4),
    )
    assert build_evaluator(load_cfg(), [], torch.device("cpu")).protocol == Protocol()


def own_data(root, name):
    for pid in range(4):
        for camera in range(2):
            path = root / name / f"{pid}" / f"a_c{camera}_1.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)


def test_targets_are_the_sources_unless_named(tmp_path):
    own_data(tmp_path, "one")
    own_data(tmp_path, "two")
    names = ["DATASETS.ROOT_DIR", str(tmp_path), "DATASETS.NAMES", "('one', 'two')"]
    targets = build_targets(load_cfg(None, names), {"one": range(2), "two": range(2, 4)})
    cameras = [(target.name, target.cameras) for target in targets]
    assert cameras == [("one", range(2)), ("two", range(2, 4))]
    cfg = load_cfg(None, [*names, "DATASETS.TARGETS", "('two',)"])
    (target,) = build_targets(cfg, {"one": range(2)})
    assert (target.name, target.cameras, len(target.splits)) == ("two", None, 1)


def test_targets_of_one_name_are_rejected(tmp_path):
    """Results are keyed by name: the second would replace the first."""
    own_data(tmp_path / "a", "people")
    own_data(tmp_path / "b", "people")
    names = ["DATASETS.ROOT_DIR", str(tmp_path), "DATASETS.NAMES", "a/people"]
    cfg = load_cfg(None, [*names, "DATASETS.TARGETS", "('a/people', 'b/people')"])
    with pytest.raises(ValueError, match=r"DATASETS\.TARGETS: several data sets are called people"):
        build_targets(cfg, {})


def test_target_with_the_name_of_another_source_is_rejected(tmp_path):
    """It would get the source's cameras and look like the source in the results."""
    own_data(tmp_path / "a", "crops")
    own_data(tmp_path / "b", "crops")
    names = ["DATASETS.ROOT_DIR", str(tmp_path), "DATASETS.NAMES", "a/crops"]
    cfg = load_cfg(None, [*names, "DATASETS.TARGETS", "('b/crops',)"])
    with pytest.raises(ValueError, match="two data sets are called crops") as error:
        build_targets(cfg, {"crops": range(2)}, build_sources(cfg))
    assert str(error.value) == (
        "DATASETS.NAMES, DATASETS.TARGETS: two data sets are called crops: "
        f"{tmp_path / 'a' / 'crops'} and {tmp_path / 'b' / 'crops'}; "
        "cameras and results are looked up by the name of the folder or file, so rename one"
    )
    with pytest.raises(ValueError, match="rename one"):  # of a checkpoint of a/crops
        build_targets(cfg, {"crops": range(2)})
    (target,) = build_targets(cfg, {"people": range(2)})  # of another checkpoint
    assert (target.name, target.cameras) == ("crops", None)


def test_own_target_with_the_name_of_a_source_benchmark_is_rejected(tmp_path):
    own_data(tmp_path / "b", "market1501")
    names = ["DATASETS.ROOT_DIR", str(tmp_path), "DATASETS.NAMES", "market1501"]
    cfg = load_cfg(None, [*names, "DATASETS.TARGETS", "b/market1501"])
    with pytest.raises(ValueError, match=r"market1501: the benchmark and .*b/market1501; .*rename"):
        build_targets(cfg, {"market1501": range(6)})
    assert build_targets(cfg, {})[0].name == "market1501"


def test_source_is_recognized_under_another_path(tmp_path):
    own_data(tmp_path, "crops")
    names = ["DATASETS.ROOT_DIR", str(tmp_path), "DATASETS.NAMES", "crops"]
    cfg = load_cfg(None, [*names, "DATASETS.TARGETS", f"{tmp_path}/../{tmp_path.name}/crops/"])
    sources = build_sources(cfg)
    (target,) = build_targets(cfg, {"crops": range(2)}, sources)
    assert target.splits == sources
    assert target.splits[0] is sources[0]
    assert target.cameras == range(2)


def test_error_without_a_valid_query_names_target_and_cameras(splits, float32):
    same = [Sample(s.path, s.pid, 3) for s in splits.query]
    gallery = [Sample(s.path, s.pid, 3) for s in splits.gallery]
    score = evaluator(float32, Target("greys", [DataSplits("greys", [], same, gallery)]))
    for attempt in (score.check, lambda: score(MeanColour())):
        with pytest.raises(ValueError, match="camera") as error:
            attempt()
        assert "TEST.IGNORE_SAME_CAMERA" in str(error.value)
    with pytest.raises(ValueError, match="greys"):
        score.check()


def test_check_passes_valid_targets(splits, float32):
    evaluator(float32, Target("greys", [splits])).check()


def test_logged_results_are_clip_reids_lines(splits, float32, caplog):
    report = evaluator(float32, Target("greys", [splits]))(MeanColour())
    with caplog.at_level(logging.INFO, logger="processor.results.report"):
        log_results(report)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "Validation Results on greys",
        "mAP: 75.0%",
        "CMC curve, Rank-1  :50.0%",
        "CMC curve, Rank-5  :100.0%",
        "CMC curve, Rank-10 :100.0%",
        "mINP: 75.0%",
        "2 of 3 queries counted, 1 dropped (no match in the gallery)",
    ]


def test_stop_request_interrupts_the_evaluation(splits, float32):
    stop = StopRequest()
    stop.requested = True
    model = MeanColour().train()
    with pytest.raises(Interrupted):
        evaluator(float32, Target("greys", [splits]), stop=stop)(model)
    assert model.training


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("reranking", [None, Reranking(4, 3, 0.3)])
def test_images_in_several_splits_score_as_alone(tmp_path, float32, normalize, reranking):
    """The rows of all splits come from one table, which scoring must not modify."""
    rng = np.random.default_rng(4)
    samples = []
    for number in range(30):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), tuple(rng.integers(20, 250, 3).tolist())).save(path)
        samples.append(Sample(str(path), number % 4, number // 4 % 2))
    first = DataSplits("hues", [], samples[:10], samples[10:])
    second = DataSplits("hues", [], samples[5:20:2], samples[::-1])  # queries in the gallery too
    options = {"normalize": normalize, "rerank": reranking}
    together = evaluator(float32, Target("hues", [first, second]), **options)(MeanColour())
    for split, metrics in zip((first, second), together.targets[0].splits, strict=True):
        (alone,) = evaluator(float32, Target("hues", [split]), **options)(MeanColour()).targets
        expected = alone.splits[0]
        assert metrics.mAP == pytest.approx(expected.mAP, abs=1e-6)
        assert metrics.cmc.tolist() == pytest.approx(expected.cmc.tolist())


def test_consecutive_rows_are_a_view_and_others_a_copy():
    features = torch.arange(12.0).view(6, 2)
    part = _take(features, [2, 3, 4])
    assert part.data_ptr() == features[2:].data_ptr()
    assert part.tolist() == features[2:5].tolist()
    for rows in ([2, 4, 3], [0, 2], [1, 1], [5, 4]):
        picked = _take(features, rows)
        assert picked.tolist() == [features[row].tolist() for row in rows]
        assert picked.untyped_storage().data_ptr() != features.untyped_storage().data_ptr()
    assert _take(features, []).shape == (0, 2)


def test_too_large_evaluation_is_refused_after_the_first_batch(splits, float32, monkeypatch):
    monkeypatch.setattr(memory_limits, "available_bytes", lambda _: 10**6)
    model = MeanColour().train()
    text = r"evaluation on greys \(cpu\) needs about 0\.1 GB, have 0\.0 GB; .*more memory"
    with pytest.raises(MemoryError, match=text):
        evaluator(float32, Target("greys", [splits]))(model)
    assert len(model.ids) == 3  # of eight images
    assert model.training


def test_refusal_of_reranking_names_its_option(splits, float32, monkeypatch):
    monkeypatch.setattr(memory_limits, "available_bytes", lambda _: 2 * 10**8)
    target = Target("greys", [splits])
    evaluator(float32, target)(MeanColour())
    with pytest.raises(MemoryError, match=r"re-ranking greys .*TEST\.RE_RANKING False"):
        evaluator(float32, target, rerank=Reranking(2, 2, 0.3))(MeanColour())


@pytest.mark.parametrize("option", ["TEST.RE_RANKING", "TEST.MULTI_QUERY"])
def test_queries_in_the_gallery_refuse_options_that_need_them_outside(tmp_path, option):
    names = [f"{number}.jpg" for number in range(4)]
    for name in names:
        Image.new("RGB", (16, 16)).save(tmp_path / name)
    rows = [f"{name},{number // 2},both" for number, name in enumerate(names)]
    (tmp_path / "all.csv").write_text("\n".join(["path,pid,split", *rows]))
    cfg = load_cfg(None, [*OPTS, "DATASETS.TARGETS", str(tmp_path / "all.csv")])
    build_evaluator(cfg, build_targets(cfg, {}), torch.device("cpu")).check()
    cfg = load_cfg(None, [*OPTS, "DATASETS.TARGETS", str(tmp_path / "all.csv"), option, "True"])
    with pytest.raises(ConfigError, match=f"{option}: queries are also in the gallery"):
        build_evaluator(cfg, build_targets(cfg, {}), torch.device("cpu")).check()


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_query_that_is_also_in_the_gallery_is_warned_of_and_noted(
    splits, float32, tmp_path, caplog, suffix
):
    """By the same pixels, in this file format or another one."""
    path = tmp_path / f"copy{suffix}"
    Image.open(splits.query[1].path).save(path)
    splits.gallery.append(Sample(str(path), 2, 1))
    report = evaluator(float32, Target("greys", [splits]))(MeanColour())
    note = "1 of 3 queries have a gallery image at distance 0, of equal content"
    with caplog.at_level(logging.INFO):
        log_results(report, logging.DEBUG)
        assert note not in caplog.text
        log_results(report)
    assert [r.levelname for r in caplog.records if note in r.getMessage()] == ["WARNING"]
    notes = report.as_dict()["targets"]["greys"]["notes"]
    assert notes[0] == "a remark"
    assert notes[1].startswith(note)


def test_evaluation_without_copies_has_no_note_on_them(splits, float32, caplog):
    report = evaluator(float32, Target("greys", [splits]))(MeanColour())
    log_results(report)
    assert report.as_dict()["targets"]["greys"]["notes"] == ["a remark"]
    assert "distance 0" not in caplog.text


def test_data_without_a_readable_query_is_named(splits, float32):
    scored = evaluator(float32, Target("greys", [splits]))
    samples = list(splits.gallery)
    table = FeatureTable(torch.rand(len(samples), 3), torch.arange(len(samples)))
    text = f"evaluation on {splits.name}: all query images are broken and were left out"
    with pytest.raises(ValueError, match=text):
        scored.score(Target("greys", [splits]), samples, table)
