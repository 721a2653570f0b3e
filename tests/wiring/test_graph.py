"""From DATALOADER.DFGS to the graph that a sampler is given: features, neighbours, epochs."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from datasets.samplers import RandomIdentitySampler
from datasets.samplers.build import build_train_sampler
from datasets.samplers.neighbours import longest_stretch
from processor.training.build import (
    build_identity_features,
    build_identity_graph,
    build_image_stage,
)
from processor.training.image_stage import all_text_features

DFGS_IMAGE = {"DATALOADER.SAMPLER": "dfgs_image"}
DFGS_TEXT = {"DATALOADER.SAMPLER": "dfgs_text"}


@pytest.fixture
def watched(images_of):
    """`watched(cfg)` -> the training images and a list of the positions that are read plainly."""

    def watch(cfg):
        images, read = images_of(cfg), []

        def plain(positions):
            read.extend(positions)
            return images.plain(positions)

        own = SimpleNamespace(data=images.data, plain=plain, augmented=lambda _: None)
        return own, read

    return watch


@pytest.fixture
def features_of(watched, model_of, float32):
    """`features_of(cfg)` -> the features of the graph, its model, and the positions read."""

    def build(cfg):
        model = model_of(cfg)
        images, read = watched(cfg)
        text = torch.full((14, 32), 3.0)
        features = build_identity_features(cfg, model, images, text, float32)

        def single(epoch):
            (found,) = features(epoch)
            return found

        return single, model, read

    return build


@torch.no_grad()
def encode_slowly(model, images, positions):
    """Final and projected feature of every image, one at a time, in evaluation mode."""
    model.eval()
    rows = []
    for position in positions:
        (batch,) = images.plain([position])
        features = model.encode_image(batch.images, batch.camids, batch.viewids)
        rows.append(torch.cat([features.final[0], features.projected[0]]))
    return torch.stack(rows)


# ---------------------------------------------------------------------------------------- features


@pytest.mark.parametrize("name", ["vit", "resnet"])
@pytest.mark.parametrize("per_identity", [1, 3])
def test_image_features_are_the_eval_mode_final_and_projected(
    configure, architectures, images_of, features_of, name, per_identity
):
    """With side information; a ResNet's batch norms neither use nor see the batch."""
    cfg = configure(
        DFGS_IMAGE,
        {"MODEL.NAME": architectures[name], "DATALOADER.DFGS.IMAGES_PER_ID": per_identity},
        {"MODEL.SIE_CAMERA": name == "vit", "MODEL.SIE_VIEW": name == "vit"},
    )
    features, model, read = features_of(cfg)
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = features(1)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    data = images_of(cfg).data
    assert len(set(read)) == len(read) == 14 * per_identity
    slow = encode_slowly(model, images_of(cfg), read)
    for label in range(14):
        mine = [slow[i] for i, position in enumerate(read) if data.labels[position] == label]
        assert len(mine) == per_identity
        torch.testing.assert_close(found[label], torch.stack(mine).mean(0), atol=1e-5, rtol=1e-4)
    assert found.shape == (14, slow.shape[1])


def test_every_epoch_draws_random_images_by_the_seed(configure, features_of):
    drawn = []
    for seed in (1, 1, 2):
        features, _, read = features_of(configure(DFGS_IMAGE, {"SOLVER.SEED": seed}))
        for epoch in range(1, 6):
            features(epoch)
        drawn.append([tuple(read[i : i + 14]) for i in range(0, 70, 14)])
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert len(set(drawn[0])) == 5
    places = [position % 4 for epoch in drawn[0] for position in epoch]
    assert min(places.count(place) for place in range(4)) > 8  # of 70


def test_no_image_is_read_for_a_graph_of_texts(configure, features_of):
    features, _, read = features_of(configure(DFGS_TEXT))
    assert torch.equal(features(1), torch.full((14, 32), 3.0))
    assert not read


@pytest.mark.parametrize("name", ["dfgs_text", "gs_text", "dfgs_image", "gs_image"])
def test_graph_of_the_image_stage_is_that_of_the_prompts_or_of_the_encoder(
    configure, watched, model_of, images_of, recorder, float32, name
):
    cfg = configure({"DATALOADER.SAMPLER": name})
    model, (images, read) = model_of(cfg), watched(cfg)
    stage = build_image_stage(cfg, model, images, recorder, float32)
    stage.graph.refresh(1)
    assert len(read) == (0 if "text" in name else 14)
    features = encode_slowly(model, images_of(cfg), read) if read else all_text_features(model)
    ((neighbours, _),) = recorder.graphs
    assert neighbours == neighbours_slowly(features, len(neighbours[0]))


# -------------------------------------------------------------------------------------- neighbours


def neighbours_slowly(features, count, skip=0, *, normalize=False):
    """The `count` nearest others after `skip` nearer ones, by sorting all distances."""
    rows = (F.normalize(features) if normalize else features).double()
    distances = (rows[:, None] - rows[None]).square().sum(2).fill_diagonal_(torch.inf)
    return distances.argsort(1)[:, :-1][:, skip : skip + count].tolist()


def of_length(seed=3):
    """Features of 14 identities whose lengths differ: directions and distances disagree."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(14, 5, generator=generator) * torch.linspace(0.2, 4, 14)[:, None]


def graph_of(configure, data, recorder, options, features=None, name="dfgs_image"):
    dfgs = {f"DATALOADER.DFGS.{key}": value for key, value in options.items()}
    cfg = configure({"SOLVER.SEED": 9, "DATALOADER.SAMPLER": name}, dfgs)
    single = features or (lambda _: of_length())
    return build_identity_graph(cfg, data, recorder, lambda epoch: [single(epoch)])


@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize("count", [3, 6, 10])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("mutual", [False, True])
def test_neighbours(configure, data, recorder, skip, count, normalize, mutual):
    """Hits are counted over the nearest identities, also over those that are skipped."""
    options = {"NUM_NEIGHBOURS": count, "SKIP": skip, "NORMALIZE": normalize, "MUTUAL": mutual}
    graph_of(configure, data, recorder, options).refresh(1)
    ((neighbours, nearest),) = recorder.graphs
    expected = neighbours_slowly(of_length(), count, skip, normalize=normalize)
    if mutual:
        expected = [[j if i in expected[j] else -1 for j in row] for i, row in enumerate(expected)]
        assert any(-1 in row for row in expected)
    assert neighbours == expected
    true = neighbours_slowly(of_length(), 10, normalize=normalize)
    assert nearest == true


@pytest.mark.parametrize("skip", [0, 3])
def test_rows_of_the_nearest_identities_are_full(configure, data, recorder, skip):
    options = {"NUM_NEIGHBOURS": 4, "SKIP": skip}
    graph_of(configure, data, recorder, options, name="gs_image").refresh(1)
    ((neighbours, nearest),) = recorder.graphs
    assert [row[:3] for row in neighbours] == neighbours_slowly(of_length(), 3, skip)
    assert nearest == neighbours_slowly(of_length(), 10)


def test_samplers_without_a_graph(configure, data, recorder):
    for name in ("softmax", "softmax_triplet"):
        cfg = configure({"DATALOADER.SAMPLER": name})
        assert build_identity_graph(cfg, data, recorder, of_length) is None


# ------------------------------------------------------------------------------------------ epochs


@pytest.mark.parametrize(
    ("name", "period", "epochs"),
    [
        ("dfgs_image", 1, [1, 2, 3, 4, 5, 6, 7]),
        ("dfgs_image", 3, [1, 4, 7]),
        ("gs_image", 2, [1, 3, 5, 7]),
        ("dfgs_text", 1, [1]),
        ("gs_text", 3, [1]),
    ],
)
def test_epochs_with_a_new_graph(configure, data, recorder, name, period, epochs):
    computed = []

    def features(epoch):
        computed.append(epoch)
        return of_length(epoch)

    graph = graph_of(configure, data, recorder, {"REFRESH_PERIOD": period}, features, name)
    for epoch in range(1, 8):
        graph.refresh(epoch)
    assert computed == epochs
    assert len(recorder.graphs) == len(epochs)


def test_random_batches_that_hits_are_compared_with(configure, data, recorder):
    graph = graph_of(configure, data, recorder, {"NUM_NEIGHBOURS": 10})
    graph.refresh(1)
    nearest = neighbours_slowly(of_length(), 10)
    for epoch in (1, 2):
        sampler = RandomIdentitySampler(data.labels, 4, 2, 9)
        sampler.set_epoch(epoch)
        hits = []
        for batch in sampler:
            labels = {data.labels[i] for i in batch}
            hits += [len(labels.intersection(nearest[label])) for label in labels]
        assert graph.statistics(epoch)["random_hits"] == pytest.approx(sum(hits) / len(hits))


@pytest.mark.parametrize("name", ["dfgs_image", "gs_image"])
def test_hits_of_batches_are_counted_over_the_nearest_identities(configure, data, name):
    """Not over the neighbours that the sampler batches together, where nearer ones are skipped."""
    dfgs = {"DATALOADER.DFGS.NUM_NEIGHBOURS": 10, "DATALOADER.DFGS.SKIP": 2}
    cfg = configure({"DATALOADER.SAMPLER": name}, dfgs)
    sampler = build_train_sampler(cfg, data)
    build_identity_graph(cfg, data, sampler, lambda _: [of_length()]).refresh(1)
    sampler.set_epoch(1)
    nearest, hits, others = neighbours_slowly(of_length(), 10), [], []
    for batch in sampler:
        labels = {data.labels[i] for i in batch}
        hits += [len(labels.intersection(nearest[label])) for label in labels]
        walked = neighbours_slowly(of_length(), 10, 2)
        others += [len(labels.intersection(walked[label])) for label in labels]
    assert sampler.stats["hits"] == pytest.approx(sum(hits) / len(hits))
    assert sum(hits) != sum(others)


@pytest.mark.parametrize("name", ["dfgs_text", "gs_image"])
@pytest.mark.parametrize("features", ["text", "image", "both"])
def test_features_of_the_graph_are_those_of_the_option(
    configure, watched, model_of, images_of, recorder, float32, name, features
):
    cfg = configure({"DATALOADER.SAMPLER": name, "DATALOADER.DFGS.FEATURES": features})
    model, (images, read) = model_of(cfg), watched(cfg)
    stage = build_image_stage(cfg, model, images, recorder, float32)
    for epoch in (1, 2):
        stage.graph.refresh(epoch)
    assert len(read) == (0 if features == "text" else 28)
    parts = []
    if features != "image":
        parts.append(all_text_features(model))
    if features != "text":
        parts.append(encode_slowly(model, images_of(cfg), read[:14]))
    squares = [torch.cdist(part.double(), part.double()).square() for part in parts]
    together = sum(part / part.mean() for part in squares).fill_diagonal_(torch.inf)
    neighbours = recorder.graphs[0][0]
    assert neighbours == together.argsort(1)[:, : len(neighbours[0])].tolist()


# ------------------------------------------------------------------------------------------ stage


def test_statistics_are_of_walk_graph_and_sources(configure, model_of, images_of, data, float32):
    cfg = configure({"DATALOADER.SAMPLER": "dfgs_image"})
    stage = build_image_stage(
        cfg, model_of(cfg), images_of(cfg), build_train_sampler(cfg, data), float32
    )
    stage.start_epoch(1, 0)
    found = stage.epoch_statistics()
    sources = [{data.domains[i] for i in batch} for batch in stage.batches.sampler]
    assert len(sources) > 3
    assert found["domains"] == 2
    assert found["domains_per_batch"] == sum(map(len, sources)) / len(sources)
    assert found["longest_stretch"] == longest_stretch(sources)
    assert found["hits"] == stage.batches.sampler.stats["hits"]
    assert found["plan_seconds"] == stage.batches.sampler.plan_seconds > 0
    assert found["graph_seconds"] > 0
    assert found["random_hits"] > 0


def test_graph_and_centers_are_kept_for_a_resumed_run(
    configure, model_of, images_of, data, float32
):
    cfg = configure(
        {"DATALOADER.SAMPLER": "dfgs_image", "MODEL.METRIC_LOSS_TYPE": "triplet_center"}
    )

    def build():
        return build_image_stage(
            cfg, model_of(cfg), images_of(cfg), build_train_sampler(cfg, data), float32
        )

    stage, resumed = build(), build()
    stage.start_epoch(1, 0)
    centers = stage.losses["center"].module.centers
    with torch.no_grad():
        centers += 1
    resumed.load_extra_state(stage.extra_state())
    resumed.start_epoch(1, 2)
    assert torch.equal(resumed.losses["center"].module.centers, centers)
    assert list(resumed.batches.sampler) == list(stage.batches.sampler)
