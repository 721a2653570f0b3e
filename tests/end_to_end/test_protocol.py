"""`run.py protocol`: train on several data sets, evaluate on others, without leaks."""

import contextlib
import json
import random
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from config import dump_cfg, load_cfg
from datasets import registry
from datasets.readers.benchmark import Benchmark
from datasets.records import DataSplits, Sample
from datasets.synthetic.render import DatasetSize, render_dataset
from processor.evaluation import evaluator as evaluator_module
from processor.evaluation.build import build_evaluator, build_targets
from processor.evaluation.target import Target
from processor.features import extract_features
from processor.results.published_table import format_comparison, format_published
from processor.tools.protocol import compare

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

SOURCES, TARGETS = ("street", "mall"), ("campus", "station")
SCORES = ("mAP", "mINP")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folder with four drawn domains, two cameras each.

    A domain has 8 training identities with 4 images, 4 test identities with 2 queries and 2 gallery
    images, and 4 passers-by in the gallery.
    """
    root = tmp_path_factory.mktemp("world")
    for domain in (*SOURCES, *TARGETS):
        folder = render_dataset(
            domain,
            root,
            DatasetSize(8, 4, num_cameras=2, images_per_camera=2, seed=1),
            size=(32, 16),
            num_workers=1,
        )
        folder.rename(root / domain)
    return root


@pytest.fixture(scope="module")
def config_file(world, base_opts):
    """A run of one second on two domains, tested on the two others."""
    opts = [
        *("DATASETS.ROOT_DIR", str(world), "DATASETS.NAMES", str(SOURCES)),
        *("DATASETS.TARGETS", str(TARGETS), "SOLVER.STAGE2.IMS_PER_BATCH", "16"),
    ]
    path = world.parent / "protocol.yml"
    path.write_text(dump_cfg(load_cfg(None, [*base_opts, *opts])), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def protocol(script, config_file):
    """`protocol("KEY", "VALUE", "--dry_run", ...)` runs the command with the file's protocol."""
    return partial(script, "run.py", "protocol", "--config_file", config_file)


def run_in(folder, protocol, *opts):
    finished = protocol("OUTPUT_DIR", folder, *opts)
    assert finished.status == 0, finished.output
    return SimpleNamespace(folder=folder, output=finished.unwrapped)


@pytest.fixture(scope="module")
def done(protocol, tmp_path_factory):
    """A run of the protocol: its folder and its output."""
    return run_in(tmp_path_factory.mktemp("done") / "run", protocol)


@pytest.fixture(scope="module")
def done_with_all(protocol, tmp_path_factory):
    """A run of the protocol on all images of the sources."""
    return run_in(tmp_path_factory.mktemp("all") / "run", protocol, "DATASETS.USE_ALL", "True")


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def error_of(finished):
    """The single line of a user error."""
    assert finished.status == 1, finished.output
    (line,) = [text for text in finished.unwrapped.splitlines() if text.startswith("error: ")]
    assert "Traceback" not in finished.output
    assert finished.unwrapped.rstrip().endswith(line)
    return line


# ----------------------------------------------------------------------------------- dry runs


def test_dry_run_prints_sources_and_targets(protocol, tmp_path):
    output = protocol("--dry_run", "OUTPUT_DIR", tmp_path / "run").output
    for line in (
        "protocol: no published one",
        "sources (training images):",
        "  street: 8 identities, 32 images",
        "  mall: 8 identities, 32 images",
        "  together: 16 identities, 64 images, 4 cameras",
        "targets:",
        "  campus: 8 queries, 12 gallery",
        "  station: 8 queries, 12 gallery",
        f"would write to {tmp_path / 'run'}",
    ):
        assert any(text.endswith(line) for text in output.splitlines()), line
    assert "no test image of a target is trained on" in output


def test_dry_run_counts_all_images(protocol):
    output = protocol("--dry_run", "DATASETS.USE_ALL", "True").output
    lines = output.splitlines()
    assert "sources (all images):" in lines
    assert "  street: 12 identities, 48 images" in lines
    assert "  together: 24 identities, 96 images, 4 cameras" in lines


def test_dry_run_writes_nothing(protocol, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = files_below(world)
    assert protocol("--dry_run", "OUTPUT_DIR", "runs/dry").status == 0
    assert files_below(world) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "typed",
    [
        ["SOLVER.SEED", 7, "DATASETS.PROTOCOL", "mine", "--dry_run"],
        ["--dry-run", "DATASETS.PROTOCOL", "mine", "SOLVER.SEED", 7],
        ["SOLVER.SEED", 7, "--dry_run", "DATASETS.PROTOCOL", "mine"],
    ],
)
def test_flags_and_options_may_be_mixed(protocol, typed):
    finished = protocol(*typed)
    assert finished.status == 0, finished.output
    assert "protocol: mine" in finished.output


def test_unknown_flag_among_the_options_is_rejected(protocol, capsys):
    finished = protocol("SOLVER.SEED", 7, "--dry_run", "TEST.CHUNK_MB", 9, "--gpu", 0)
    assert finished.status == 2
    assert capsys.readouterr().err.endswith("unrecognized arguments: --gpu\n")


def test_option_without_a_value_before_a_flag_is_named(protocol):
    line = error_of(protocol("SOLVER.SEED", 7, "TEST.CHUNK_MB", "--dry_run"))
    assert "'TEST.CHUNK_MB' has no value" in line


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([], "required: SUB-COMMAND"),
        (["protocol"], "required: --config_file"),
        (["protocols"], "invalid choice: 'protocols' (choose from"),
    ],
)
def test_missing_arguments_are_named(script, typed, message, capsys):
    assert script("run.py", *typed).status == 2
    assert message in capsys.readouterr().err


# ------------------------------------------------------------------------------------ the run


def test_run_writes_results_on_all_targets(done):
    results = read_json(done.folder / "results.json")
    assert list(results["targets"]) == list(TARGETS)
    for target in results["targets"].values():
        assert 0 < target["mAP"] < 1
        assert (target["num_queries"], target["num_valid_queries"]) == (8, 8)
    table = (done.folder / "results.md").read_text(encoding="utf-8")
    for name, scores in {**results["targets"], "average": results["average"]}.items():
        assert f"| {name} | {100 * scores['mAP']:.1f} |" in table
    assert not list(done.folder.glob("*.csv"))


def test_average_is_the_mean_of_the_targets(done):
    results = read_json(done.folder / "results.json")
    targets = results["targets"].values()
    for score in SCORES:
        assert results["average"][score] == pytest.approx(np.mean([t[score] for t in targets]))
    for rank, share in results["average"]["cmc"].items():
        assert share == pytest.approx(np.mean([t["cmc"][rank] for t in targets]))


def test_run_ends_with_the_table(done):
    lines = [line.split() for line in done.output.splitlines()]
    ends = [line for line in lines if line[1:2] == ["trained"]]
    assert [line[0] for line in ends] == [*TARGETS, "average"]
    average = read_json(done.folder / "results.json")["average"]
    assert ends[-1][2] == f"{average['mAP']:.1%}"
    assert f"results {done.folder / 'results.md'}" in " ".join(done.output.split())


def test_run_records_its_training_data(done):
    assert read_json(done.folder / "results.json")["training"] == {
        "sources": list(SOURCES),
        "use_all": False,
    }
    record = read_json(done.folder / "run.json")
    assert [source["name"] for source in record["data"]] == list(SOURCES)
    assert record["use_all"] is False
    assert "data     training images of street, mall" in (done.folder / "log.txt").read_text()
    text = (done.folder / "results.md").read_text(encoding="utf-8")
    assert "street, mall" in text
    assert "all images" not in text


def test_training_on_all_images_is_flagged_in_all_outputs(done_with_all):
    folder = done_with_all.folder
    assert read_json(folder / "results.json")["training"]["use_all"] is True
    assert read_json(folder / "run.json")["use_all"] is True
    log = (folder / "log.txt").read_text(encoding="utf-8")
    assert "data     all images of street, mall: 96 images of 24 identities" in log
    table = (folder / "results.md").read_text(encoding="utf-8")
    assert "* trained on: street, mall (all images)\n" in table


def test_all_images_are_trained_on(done_with_all):
    with (done_with_all.folder / "metrics.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    assert {line["images"] for line in lines if line["stage"] == 1} == {96}


# ------------------------------------------------------------------------------------ leakage


@pytest.fixture
def planted(world, tmp_path):
    """The options of a run on a copy of `street` that has a query of `campus` among its images."""
    shutil.copytree(world / "street", tmp_path / "shop")
    query = sorted((world / "campus" / "query").glob("*.jpg"))[3]
    copy = tmp_path / "shop" / "bounding_box_train" / "0001_c1s1_999999_00.jpg"
    shutil.copyfile(query, copy)
    return ["DATASETS.NAMES", f"('{tmp_path / 'shop'}', 'mall')"], query, copy


@pytest.mark.parametrize("flags", [[], ["--dry_run"]])
def test_planted_test_image_stops_the_run(protocol, planted, tmp_path, flags):
    opts, query, copy = planted
    line = error_of(protocol(*opts, "OUTPUT_DIR", tmp_path / "run", *flags))
    assert "target campus: 1 of its test images are among the training images" in line
    assert f"({query} = {copy})" in line
    assert "USE_ALL" not in line
    assert not (tmp_path / "run").exists()


@pytest.fixture
def shop(world, tmp_path):
    """A copy of `street` that has one of its own queries among its training images."""
    shutil.copytree(world / "street", tmp_path / "shop")
    query = sorted((tmp_path / "shop" / "query").glob("*.jpg"))[3]
    copy = tmp_path / "shop" / "bounding_box_train" / "0001_c1s1_999999_00.jpg"
    shutil.copyfile(query, copy)
    return ["DATASETS.NAMES", f"('{tmp_path / 'shop'}', 'mall')"], query, copy


def test_image_on_both_sides_of_the_targets_own_split_is_noted(protocol, shop, tmp_path):
    opts, query, copy = shop
    opts = [*opts, "DATASETS.TARGETS", f"('{tmp_path / 'shop'}', 'campus')"]
    folder = run_in(tmp_path / "run", protocol, *opts).folder
    note = "1 of its test images are in its own training split"
    targets = read_json(folder / "results.json")["targets"]
    assert targets["shop"]["notes"][-1] == note
    assert note not in targets["campus"]["notes"]
    table = (folder / "results.md").read_text(encoding="utf-8")
    assert f"{note}; data" in table
    assert table.count(note) == 1
    log = (folder / "log.txt").read_text(encoding="utf-8")
    (line,) = [text for text in log.splitlines() if " WARNING " in text and "shop" in text]
    assert line.endswith(f"target shop: {note} ({query} = {copy})")


def test_dry_run_notes_images_on_both_sides_of_the_targets_own_split(protocol, shop, tmp_path):
    opts, _, _ = shop
    finished = protocol(*opts, "DATASETS.TARGETS", f"('{tmp_path / 'shop'}',)", "--dry_run")
    assert "    1 of its test images are in its own training split\n" in finished.output
    assert "no other test image of a target is trained on" in finished.output


def test_image_on_both_sides_stops_a_run_on_all_images(protocol, shop, tmp_path):
    opts, _, _ = shop
    opts = [*opts, "DATASETS.TARGETS", f"('{tmp_path / 'shop'}',)", "DATASETS.USE_ALL", "True"]
    assert "target shop: 4 of its test identities are trained on" in error_of(protocol(*opts))


def test_target_with_the_name_of_a_source_stops_the_run(protocol, world, tmp_path):
    (tmp_path / "b").mkdir()
    shutil.copytree(world / "campus", tmp_path / "b" / "street")
    opts = ["DATASETS.TARGETS", tmp_path / "b" / "street", "OUTPUT_DIR", tmp_path / "run"]
    line = error_of(protocol(*opts))
    assert f"two data sets are called street: {world / 'street'} and {opts[1]}; " in line
    assert line.endswith("rename one")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "typed",
    [
        ["DATASETS.TARGETS", "('campus', 'mall')"],
        ["DATASETS.NAMES", "('mall',)", "DATASETS.TARGETS", "()"],
    ],
)
def test_source_of_all_images_is_rejected_as_target(protocol, typed, tmp_path):
    opts = [*typed, "OUTPUT_DIR", tmp_path / "run"]
    line = error_of(protocol(*opts, "DATASETS.USE_ALL", "True"))
    assert "target mall: 4 of its test identities are trained on with mall" in line
    assert "or set DATASETS.USE_ALL False" in line
    assert not (tmp_path / "run").exists()
    assert protocol(*opts, "--dry_run").status == 0


def test_checkpoint_of_all_images_rejects_its_source_as_target(done_with_all, script, tmp_path):
    """Including an epoch's checkpoint, and a configuration that does not mention it."""
    for name in ("last.pth", "small_2.pth"):
        shutil.copyfile(done_with_all.folder / name, tmp_path / name)
        arguments = ["TEST.WEIGHT", tmp_path / name, "DATASETS.USE_ALL", "False"]
        finished = script(
            "test_clipreid.py", *arguments, "DATASETS.TARGETS", "('campus', 'street')"
        )
        assert "target street: the checkpoint was trained on all images of street" in error_of(
            finished
        )
    assert not (tmp_path / "results.json").exists()


def test_checkpoint_of_all_images_stays_flagged(done_with_all, script, tmp_path):
    shutil.copyfile(done_with_all.folder / "last.pth", tmp_path / "last.pth")
    assert script("test_clipreid.py", "TEST.WEIGHT", tmp_path / "last.pth").status == 0
    results = read_json(tmp_path / "results.json")
    assert results["training"] == {"sources": list(SOURCES), "use_all": True}
    assert results["targets"] == read_json(done_with_all.folder / "results.json")["targets"]
    assert "street, mall (all images)" in (tmp_path / "results.md").read_text(encoding="utf-8")


# --------------------------------------------------------------------------------- evaluation


@contextlib.contextmanager
def moved_away(world, names, folder):
    for name in names:
        (world / name).rename(folder / name)
    try:
        yield
    finally:
        for name in names:
            (folder / name).rename(world / name)


def test_checkpoint_needs_no_training_data(done, script, world, tmp_path):
    shutil.copyfile(done.folder / "last.pth", tmp_path / "last.pth")
    arguments = ["TEST.WEIGHT", tmp_path / "last.pth", "DATASETS.TARGETS", str(TARGETS)]
    with moved_away(world, SOURCES, tmp_path):
        finished = script("test_clipreid.py", *arguments)
        assert not (world / "street").exists()
    assert finished.status == 0, finished.output
    results, before = (read_json(path / "results.json") for path in (tmp_path, done.folder))
    assert results["targets"] == before["targets"]
    assert results["training"] == before["training"]
    table = (tmp_path / "results.md").read_text(encoding="utf-8").splitlines()
    names = [line.split("|")[1].strip() for line in table if line.startswith("| ")]
    assert names == ["target", *TARGETS, "average"]


def test_target_with_people_of_the_training_is_noted(done, script, tmp_path, monkeypatch):
    """`mall` stands for another flavour of `campus`; `street` is the source itself."""
    flavour = Benchmark(lambda *_: None, family="campus")
    monkeypatch.setitem(registry.BENCHMARKS, "mall", flavour)
    shutil.copyfile(done.folder / "last.pth", tmp_path / "last.pth")
    arguments = ["TEST.WEIGHT", tmp_path / "last.pth", "DATASETS.TARGETS", "('campus', 'street')"]
    finished = script("test_clipreid.py", *arguments)
    assert finished.status == 0, finished.output
    note = "trained on mall, which shows the same identities"
    targets = read_json(tmp_path / "results.json")["targets"]
    assert targets["campus"]["notes"][-1] == note
    assert note not in targets["street"]["notes"]
    assert note in (tmp_path / "results.md").read_text(encoding="utf-8")
    (line,) = [text for text in finished.unwrapped.splitlines() if "same identities" in text]
    assert line.startswith("warning: ")


def test_published_protocol_is_named_in_all_outputs(done, script, protocol, tmp_path):
    folder = run_in(tmp_path / "run", protocol, "DATASETS.PROTOCOL", "P1 with DukeMTMC").folder
    (tmp_path / "later").mkdir()
    shutil.copyfile(folder / "last.pth", tmp_path / "later" / "last.pth")
    finished = script("test_clipreid.py", "TEST.WEIGHT", tmp_path / "later" / "last.pth")
    assert finished.status == 0, finished.output
    for run, log in ((folder, "log.txt"), (tmp_path / "later", "test_log.txt")):
        assert read_json(run / "results.json")["published_protocol"] == "P1 with DukeMTMC"
        text = (run / "results.md").read_text(encoding="utf-8")
        assert "* published protocol: P1 with DukeMTMC\n" in text
        text = (run / log).read_text(encoding="utf-8")
        assert "results, protocol P1 with DukeMTMC\ntarget " in text
    assert read_json(done.folder / "results.json")["published_protocol"] == ""
    assert "results\ntarget " in (done.folder / "log.txt").read_text(encoding="utf-8")


def test_second_evaluation_numbers_the_first(done, script, tmp_path):
    shutil.copyfile(done.folder / "last.pth", tmp_path / "last.pth")
    for target in TARGETS:
        arguments = ["TEST.WEIGHT", tmp_path / "last.pth", "DATASETS.TARGETS", target]
        assert script("test_clipreid.py", *arguments).status == 0
    assert list(read_json(tmp_path / "results_1.json")["targets"]) == ["campus"]
    assert list(read_json(tmp_path / "results.json")["targets"]) == ["station"]
    assert "| campus |" in (tmp_path / "results_1.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------------------------- published


def test_unknown_protocol_is_named_before_anything_is_done(protocol, tmp_path):
    finished = protocol("--compare", "OUTPUT_DIR", tmp_path / "run")
    assert finished.status == 1
    assert "DATASETS.PROTOCOL: '' is not one of P1" in finished.output
    assert not (tmp_path / "run").exists()


def test_published_results_are_compared_with_the_run(tmp_path):
    opts = ["DATASETS.PROTOCOL", "P2", "DATASETS.TARGETS", "('market1501',)"]
    cfg = load_cfg(None, opts)
    scores = {"mAP": 0.123, "cmc": {"1": 0.456}}
    (tmp_path / "results.json").write_text(json.dumps({"targets": {"market1501": scores}}))
    table = compare(cfg, tmp_path / "results.json")
    assert table == format_comparison("P2", {"market1501": (0.123, 0.456)})
    assert "12.3/45.6" in table


def test_published_table_is_printed_before_missing_data_are_reported(script, tmp_path):
    config = ROOT / "configs" / "generalization" / "dfgs" / "protocol2_msmt17.yml"
    opts = ["--config_file", config, "DATASETS.ROOT_DIR", tmp_path, "OUTPUT_DIR", tmp_path / "run"]
    for flags in (["--compare"], ["--compare", "--dry_run"]):
        finished = script("run.py", "protocol", *opts, *flags)
        assert finished.status == 1
        table = format_published("P2", ["msmt17"])
        assert table in finished.output
        assert finished.output.index(table) < finished.output.index("error: ")
    assert not (tmp_path / "run").exists()


def test_dry_run_compares_published_results_only(protocol, tmp_path):
    """Also without DATASETS.TARGETS, where the targets are the sources' own test splits."""
    opts = ["OUTPUT_DIR", tmp_path / "run", "DATASETS.PROTOCOL", "P2", "--dry_run", "--compare"]
    finished = protocol(*opts)
    assert finished.status == 0, finished.output
    assert "P2: no published results on campus, station\n" in finished.output
    opts = ["DATASETS.PROTOCOL", "P2", "DATASETS.NAMES", "('market1501', 'msmt17')"]
    for targets in ("('market1501', 'msmt17')", "()"):
        cfg = load_cfg(None, [*opts, "DATASETS.TARGETS", targets])
        table = compare(cfg, tmp_path / "none.json")
        assert table == format_published("P2", ["market1501", "msmt17"])
        assert "this run" not in table
        assert "nan" not in table


# ------------------------------------------------------------------------------ several splits


class MeanColour(nn.Module):
    """A model whose descriptor is the mean colour; counts its images."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def embed(self, images, _camids, _viewids):
        self.seen += len(images)
        return images.mean((2, 3))


@pytest.fixture
def drawn_splits(tmp_path):
    """Ten halvings of 12 identities with 2 images from each of 2 cameras, in random colours."""
    colours = np.random.default_rng(0).integers(0, 256, (48, 3))
    samples = []
    for number, colour in enumerate(colours):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), tuple(map(int, colour))).save(path)
        samples.append(Sample(str(path), number // 4, number // 2 % 2))
    splits = []
    for split in range(10):
        test = random.Random(split).sample(range(12), 6)
        halves = {True: [], False: []}
        for sample in samples:
            halves[sample.pid in test].append(sample)
        query = [sample for sample in halves[True] if sample.camid == 0]
        gallery = [sample for sample in halves[True] if sample.camid == 1]
        splits.append(DataSplits("colours", halves[False], query, gallery))
    return splits


@pytest.fixture
def extractions(monkeypatch):
    """Titles of the feature extractions so far."""
    calls = []

    def spy(*arguments, **options):
        calls.append(options["title"])
        return extract_features(*arguments, **options)

    monkeypatch.setattr(evaluator_module, "extract_features", spy)
    return calls


def test_ten_splits_score_as_ten_evaluations(drawn_splits, extractions, base_opts, monkeypatch):
    colours = Benchmark(lambda _root, split: drawn_splits[split], num_splits=10)
    monkeypatch.setitem(registry.BENCHMARKS, "colours", colours)
    cfg = load_cfg(None, [*base_opts, "DATASETS.TARGETS", "('colours',)"])
    score = partial(build_evaluator, cfg, device=torch.device("cpu"))
    (target,) = build_targets(cfg, {})
    assert target.splits == drawn_splits

    model = MeanColour()
    (together,) = score([target])(model).targets
    assert extractions == ["colours"]
    assert model.seen == len(
        {s.path for split in drawn_splits for s in split.query + split.gallery}
    )

    apart = []
    for split in drawn_splits:
        (alone,) = score([Target("colours", [split])])(model).targets
        apart += alone.splits
    assert len(extractions) == 11
    assert len(together.splits) == len(apart) == 10
    for one, other in zip(together.splits, apart, strict=True):
        assert (one.mAP, one.mINP, one.num_valid_queries) == (other.mAP, other.mINP, 12)
        assert one.cmc.tolist() == other.cmc.tolist()
    mean_aps = [metrics.mAP for metrics in apart]
    assert len(set(mean_aps)) > 5
    assert together.scores()["mAP"] == pytest.approx(np.mean(mean_aps))
    assert together.deviations()["mAP"] == pytest.approx(np.std(mean_aps))
