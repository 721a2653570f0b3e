"""The nearest entries are the first of a full stable sort."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from processor.metrics.ordering import nearest_entries


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 5),
    columns=st.integers(1, 40),
    count=st.integers(1, 50),
    levels=st.sampled_from([1, 2, 5, 1000]),
)
def test_equal_entries_come_in_gallery_order(seed, rows, columns, count, levels):
    generator = torch.Generator().manual_seed(seed)
    distances = torch.randint(-levels, levels, (rows, columns), generator=generator).float()
    before = distances.clone()
    found = nearest_entries(distances, count)
    expected = distances.sort(dim=1, stable=True)
    assert found.positions.tolist() == expected.indices[:, :count].tolist()
    assert found.values.tolist() == expected.values[:, :count].tolist()
    assert torch.equal(distances, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_of_both_signs_are_equal(dtype):
    distances = torch.tensor([[0.0, -0.0, 0.0, -0.0]], dtype=dtype)
    assert nearest_entries(distances, 3).positions.tolist() == [[0, 1, 2]]
