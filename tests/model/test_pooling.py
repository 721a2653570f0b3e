"""Poolings equal the original's."""

import numpy as np
import pytest
import torch

from model.pooling import POOLINGS, GeneralizedMeanPooling, build_pooling


@pytest.fixture
def maps(golden):
    return torch.from_numpy(golden("pooling")["x"]).requires_grad_()


@pytest.mark.parametrize("power", [3.0, 2.37, 1.0])
def test_generalized_mean_equals_the_original(golden, maps, power):
    arrays = golden("pooling")
    pool = GeneralizedMeanPooling(power)
    pooled = pool(maps)
    (pooled.flatten() * torch.arange(24.0)).sum().backward()
    expected = arrays[f"gem_p{power}"][..., 0, 0]
    np.testing.assert_allclose(pooled.detach(), expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(maps.grad, arrays[f"gem_p{power}_gradx"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(pool.p.grad, arrays[f"gem_p{power}_gradp"], rtol=1e-6, atol=2e-5)


@pytest.mark.parametrize("kind", ["avg", "max"])
def test_average_and_maximum_equal_the_original(golden, maps, kind):
    pooled = build_pooling(kind)(maps).detach()
    np.testing.assert_allclose(pooled, golden("pooling")[kind][..., 0, 0], rtol=0, atol=2e-5)


def test_sum_of_average_and_maximum_equals_the_original(golden, maps):
    arrays = golden("pooling")
    pooled = build_pooling("avg+max")(maps).detach()
    expected = (arrays["avg"] + arrays["max"])[..., 0, 0]
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", POOLINGS)
def test_gradients_of_zero_maps_are_finite(kind):
    maps = torch.zeros(2, 4, 3, 2, requires_grad=True)
    build_pooling(kind)(maps).sum().backward()
    assert torch.isfinite(maps.grad).all()


def test_gem_learns_a_power_that_starts_at_three():
    pool = build_pooling("gem")
    assert pool.p.tolist() == [3.0]
    assert [name for name, _ in pool.named_parameters()] == ["p"]


def test_gem_is_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert build_pooling("gem")(torch.ones(1, 2, 3, 3, dtype=torch.bfloat16)).dtype == (
            torch.float32
        )


def test_unknown_pooling_lists_known_ones():
    with pytest.raises(ValueError, match=r"DSGL\.POOLING: unknown 'gemFpn'; known: gem, avg, max"):
        build_pooling("gemFpn")
