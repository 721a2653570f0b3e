"""Irrelevant labels, instance bank and disentangled losses: the original, loops, limits."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from loss import InstanceBank, disentangled_loss, irrelevant_labels, relative_entropy_loss

N, C, D, B, T = 150, 9, 24, 20, 0.05


def unit(*shape, generator):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


@pytest.fixture
def original(golden):
    """The arrays of `disentangle_loss` as tensors."""
    arrays = golden("disentangle_loss")
    return SimpleNamespace(**{name: torch.from_numpy(np.array(arrays[name])) for name in arrays})


@pytest.fixture
def original_bank(original):
    return InstanceBank(original.ins_memory, original.labels, original.irre_labels)


@pytest.fixture(params=range(4))
def case(request):
    """A random clustering with outliers, and a batch that repeats clusters and images."""
    generator = torch.Generator().manual_seed(request.param)
    labels = torch.randint(-1, C, (N,), generator=generator)
    features = unit(N, D, generator=generator)
    prototypes = unit(C, D, generator=generator)
    irrelevant = irrelevant_labels(features, prototypes, labels)
    members = (labels >= 0).nonzero()[:, 0]
    indices = members[torch.randint(len(members), (B,), generator=generator)]
    indices[7] = indices[2]
    return SimpleNamespace(
        all_features=features,
        all_labels=labels,
        all_irrelevant=irrelevant,
        prototypes=prototypes,
        indices=indices,
        labels=labels[indices],
        irrelevant=irrelevant[indices],
        features=unit(B, D, generator=generator).requires_grad_(),
        positives=unit(B, D, generator=generator).requires_grad_(),
        bank=InstanceBank(features, labels, irrelevant),
    )


def slow_positive(case, b, a, column):
    """The mean over the images that qualify, found one by one; the prototype if none does."""
    rows = [
        case.all_features[i]
        for i in range(N)
        if case.all_labels[i] == case.labels[b]
        and case.all_irrelevant[i, column] != case.irrelevant[b, a]
    ]
    return torch.stack(rows).mean(0) if rows else case.prototypes[case.labels[b]]


def slow_negatives(case, b, a, column):
    """{cluster: mean over its images that qualify}."""
    groups = {}
    for i in range(N):
        if case.all_labels[i] < 0 or case.all_labels[i] == case.labels[b]:
            continue
        if case.all_irrelevant[i, column] == case.irrelevant[b, a]:
            groups.setdefault(int(case.all_labels[i]), []).append(case.all_features[i])
    return {c: torch.stack(rows).mean(0) for c, rows in groups.items()}


def slow_disentangled(case, orders, mix, *, faithful):
    mixed = []
    for b in range(B):
        row = (1 - mix) * case.prototypes[case.labels[b]]
        for a in range(orders):
            row = row + mix / orders * slow_positive(case, b, a, a)
        mixed.append(F.normalize(row, dim=0))
    total = 0.0
    for b in range(B):
        table = case.prototypes.clone()
        for other in range(B) if faithful else [b]:
            table[case.labels[other]] = mixed[other]
        exponents = (case.features[b] @ table.T / T).double().exp()
        denominator = exponents.sum()
        for a in range(orders):
            negatives = slow_negatives(case, b, a, a)
            rows = list(negatives.values()) or [case.prototypes[case.irrelevant[b, a]]]
            for row in rows:
                cosine = case.features[b] @ F.normalize(row, dim=0)
                denominator = denominator + mix / orders * (cosine / T).double().exp()
        total = total - (exponents[case.labels[b]] / denominator).log()
    return total / B


def slow_relative_entropy(case, *, faithful, detach=False):
    def guide(table, b, a, column):
        y = case.labels[b]
        pull = slow_positive(case, b, a, column)
        table[y] = F.normalize(0.2 * table[y] + 0.8 * pull, dim=0)
        for c, row in slow_negatives(case, b, a, column).items():
            table[c] = F.normalize(0.9 * table[c] + 0.1 * row, dim=0)

    total = 0.0
    for a in range(2):
        shared = case.prototypes.clone()
        if faithful:
            for b in range(B):
                guide(shared, b, a, 0)
        for b in range(B):
            table = shared.clone()
            if not faithful:
                guide(table, b, a, a)
            p = (case.features[b] @ table.T / T).double().log_softmax(0)
            p = p.detach() if detach else p
            q = (case.positives[b] @ case.prototypes.T / T).double().log_softmax(0)
            total = total + (p.exp() * (p - q)).sum()
    return total / (2 * B)


def call(case, function, *options, **more):
    """A loss of the case and its gradients."""
    given = (case.labels, case.irrelevant, case.bank, case.prototypes)
    both = function is relative_entropy_loss
    inputs = (case.features, case.positives) if both else (case.features,)
    loss = function(*inputs, *given, *options, **more)
    return loss, torch.autograd.grad(loss, inputs, allow_unused=True)


def assert_same(found, gradients, expected, inputs):
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), abs=2e-5)
    for one, other in zip(gradients, torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def test_irrelevant_labels_equal_the_original(golden):
    arrays = golden("irrelevant_labels")
    found = irrelevant_labels(
        torch.from_numpy(arrays["features"]),
        torch.from_numpy(arrays["memory_init"][12:]),
        torch.from_numpy(arrays["pseudo_labels"]),
    )
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found, arrays["irre_labels"])


def test_irrelevant_labels_in_chunks(case, monkeypatch):
    monkeypatch.setattr("loss.dsgl.disentangle.ROWS_PER_CHUNK", 7)
    found = irrelevant_labels(case.all_features, case.prototypes, case.all_labels)
    assert torch.equal(found, case.all_irrelevant)
    assert (found != case.all_labels[:, None])[case.all_labels >= 0].all()


def test_too_few_clusters_for_irrelevant_labels():
    rows = F.normalize(torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"2 clusters are too few for 2 .*DSGL\.EPS"):
        irrelevant_labels(rows, rows[:2], torch.tensor([0, 1, 0, 1]))
    assert irrelevant_labels(rows, rows[:2], torch.tensor([0, 1, 0, -1]), 1).tolist() == [
        [1],
        [0],
        [1],
        [-1],
    ]


@pytest.mark.parametrize("column", [0, 1])
def test_prototypes_equal_the_originals(original, original_bank, column):
    shared = original.irre_targets[:, column]
    means, found = original_bank.positives(original.targets, shared, column)
    means = torch.where(found[:, None], means, original.clu_memory[original.targets])
    expected = getattr(original, f"pos_proto_k{column}")
    torch.testing.assert_close(means, expected, rtol=0, atol=2e-5)
    negatives = original_bank.negatives(original.targets, shared, column)
    mine_of = negatives.of_images(len(shared))
    counts = mine_of.sum(1)
    if column == 0:
        fallbacks = torch.stack([~found, counts == 0], dim=1).long()
        assert torch.equal(fallbacks, original.fallback_pos_neg_k0)
    assert torch.equal(counts.clamp(min=1), getattr(original, f"neg_count_k{column}"))
    for b, padded in enumerate(getattr(original, f"neg_proto_k{column}")):
        mine = negatives.means[mine_of[b]]
        if len(mine) == 0:
            mine = original.clu_memory[shared[b]][None]
        torch.testing.assert_close(mine, padded[: len(mine)], rtol=0, atol=2e-5)


def test_published_passes_equal_the_original(original, original_bank):
    for number in (0, 1):
        inputs = original.inputs.clone().requires_grad_()
        loss = disentangled_loss(
            inputs,
            original.targets,
            original.irre_targets[:, :1],
            original_bank,
            original.clu_memory,
            original.temp.item(),
            original.tau.item(),
            faithful=True,
        )
        loss.backward()
        expected = getattr(original, f"loss_pass{number}").item()
        assert loss.item() == pytest.approx(expected, abs=2e-5)
        assert loss.item() == pytest.approx(expected, rel=2e-3)  # the loss itself is small
        grad = getattr(original, f"grad_pass{number}")
        torch.testing.assert_close(inputs.grad, grad, rtol=0, atol=2e-5)
        original_bank.update(original.indexes, inputs)
    after = original.ins_memory_after
    torch.testing.assert_close(original_bank.features, after, rtol=0, atol=2e-5)


def test_both_orders_equal_the_original(original, original_bank):
    inputs = original.inputs.clone().requires_grad_()
    given = (original.targets, original.irre_targets, original_bank, original.clu_memory)
    loss = disentangled_loss(inputs, *given, faithful=True)
    loss.backward()
    assert loss.item() == pytest.approx(original.loss_both_orders.item(), rel=2e-3)
    torch.testing.assert_close(inputs.grad, original.grad_both_orders, rtol=0, atol=2e-5)


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize(("orders", "mix"), [(1, 0.5), (2, 0.5), (2, 1.0), (2, 0.2)])
def test_disentangled_loss_as_written_out(case, orders, mix, faithful):
    case.irrelevant = case.irrelevant[:, :orders]
    loss, gradients = call(case, disentangled_loss, T, mix, faithful=faithful)
    expected = slow_disentangled(case, orders, mix, faithful=faithful)
    assert_same(loss, gradients, expected, [case.features])


@pytest.mark.parametrize("faithful", [False, True])
def test_relative_entropy_as_written_out(case, faithful):
    loss, gradients = call(case, relative_entropy_loss, faithful=faithful)
    expected = slow_relative_entropy(case, faithful=faithful)
    assert_same(loss, gradients, expected, [case.features, case.positives])


@pytest.mark.parametrize("faithful", [False, True])
def test_relative_entropy_without_gradient_through_p(case, faithful):
    loss, (of_features, of_positives) = call(
        case, relative_entropy_loss, faithful=faithful, detach=True
    )
    expected = slow_relative_entropy(case, faithful=faithful, detach=True)
    assert of_features is None
    assert_same(loss, [of_positives], expected, [case.positives])


def test_published_form_does_not_depend_on_the_second_column(case):
    before = call(case, relative_entropy_loss, faithful=True)[0]
    changed = case.all_irrelevant.clone()
    members = case.all_labels >= 0
    changed[members, 1] = changed[members, 1].roll(1)
    case.bank = InstanceBank(case.all_features, case.all_labels, changed)
    assert call(case, relative_entropy_loss, faithful=True)[0].item() == before.item()
    assert call(case, relative_entropy_loss)[0].item() != before.item()


def test_order_of_the_batch_matters_only_in_the_published_form(case):
    turned = SimpleNamespace(**vars(case))
    for name in ("labels", "irrelevant", "features", "positives"):
        setattr(turned, name, getattr(case, name).flip(0))
    for function in (disentangled_loss, relative_entropy_loss):
        gaps = {}
        for faithful in (False, True):
            one, other = (call(x, function, faithful=faithful)[0].item() for x in (case, turned))
            gaps[faithful] = abs(one - other)
        assert gaps[False] < 1e-5 < gaps[True]


def test_updated_bank_equals_a_new_one(case):
    case.bank.update(case.indices, case.features)
    fresh = case.all_features.clone()
    for index, feature in zip(case.indices, case.features.detach(), strict=True):
        fresh[index] = feature  # the last of an image that occurs twice stays
    assert len(case.indices.unique()) < B
    assert torch.equal(case.bank.features, fresh)
    again = InstanceBank(fresh, case.all_labels, case.all_irrelevant)
    for column in (0, 1):
        shared = case.irrelevant[:, column]
        means, found = case.bank.positives(case.labels, shared, column)
        expected, expected_found = again.positives(case.labels, shared, column)
        assert torch.equal(found, expected_found)
        torch.testing.assert_close(means[found], expected[found], rtol=0, atol=1e-6)
        torch.testing.assert_close(
            case.bank.negatives(case.labels, shared, column).means,
            again.negatives(case.labels, shared, column).means,
            rtol=0,
            atol=1e-6,
        )


def test_negatives_are_the_groups_of_other_clusters_that_share_the_label(case):
    """Against a loop over all pairs of an image and a group."""
    for column in (0, 1):
        shared = case.irrelevant[:, column].tolist()
        found = case.bank.negatives(case.labels, case.irrelevant[:, column], column)
        pairs = zip(found.image.tolist(), found.negative.tolist(), strict=True)
        members = {}
        every = zip(case.all_labels.tolist(), case.all_irrelevant[:, column].tolist(), strict=True)
        for place, (cluster, label) in enumerate(every):
            if cluster >= 0:
                members.setdefault((cluster, label), []).append(place)
        expected = {
            (i, cluster)
            for i, (own, wanted) in enumerate(zip(case.labels.tolist(), shared, strict=True))
            for cluster, label in members
            if label == wanted and cluster != own
        }
        got = [(i, int(found.clusters[place])) for i, place in pairs]
        assert len(got) == len(expected) > 0
        assert set(got) == expected
        for i, place in zip(found.image.tolist(), found.negative.tolist(), strict=True):
            rows = case.bank.features[members[int(found.clusters[place]), shared[i]]]
            torch.testing.assert_close(found.means[place], rows.mean(0), rtol=0, atol=1e-6)
        assert found.of_images(len(shared)).nonzero().T.tolist() == [
            found.image.tolist(),
            found.negative.tolist(),
        ]


def test_bank_keeps_its_own_features_without_gradient(case):
    given = case.all_features.clone().requires_grad_()
    bank = InstanceBank(given, case.all_labels, case.all_irrelevant)
    bank.update(case.indices, case.features)
    assert torch.equal(given, case.all_features)
    assert not bank.features.requires_grad
    assert not bank.positives(case.labels, case.irrelevant[:, 0], 0)[0].requires_grad


def test_outliers_are_in_no_group(case):
    moved = case.all_features.clone()
    moved[case.all_labels < 0] += 5
    given = case.all_irrelevant.clamp(min=2)  # theirs do not matter
    given = torch.where(case.all_labels[:, None] < 0, given, case.all_irrelevant)
    other = InstanceBank(moved, case.all_labels, given)
    for column in (0, 1):
        shared = case.irrelevant[:, column]
        for name in ("positives", "negatives"):
            one, same = (getattr(bank, name) for bank in (case.bank, other))
            one, same = one(case.labels, shared, column), same(case.labels, shared, column)
            means = (one[0], same[0]) if name == "positives" else (one.means, same.means)
            assert torch.equal(*means)


def test_float32_under_autocast_and_finite_at_the_extremes(case):
    case.features = case.prototypes[case.labels].clone().requires_grad_()  # e^20 and beyond
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for function in (disentangled_loss, relative_entropy_loss):
            loss, gradients = call(case, function, 0.01)
            assert loss.dtype == torch.float32
            assert torch.isfinite(loss)
            assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_bad_inputs(case):
    with pytest.raises(ValueError, match=r"expected \(N, D\) features"):
        InstanceBank(case.all_features, case.all_labels[1:], case.all_irrelevant)
    with pytest.raises(ValueError, match=r"DSGL\.EPS"):
        InstanceBank(case.all_features, torch.full((N,), -1), torch.full((N, 2), -1))
    with pytest.raises(ValueError, match="mix"):
        call(case, disentangled_loss, T, 0.0)
