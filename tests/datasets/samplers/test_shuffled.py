"""Shuffled batches."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.samplers import ShuffledSampler


def plan_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return [list(batch) for batch in sampler]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(2, 16), st.integers(0, 9))
def test_every_image_is_drawn_once(num_images, batch_size, epoch):
    sampler = ShuffledSampler(num_images, batch_size, seed=5)
    batches = plan_of(sampler, epoch)
    drawn = [index for batch in batches for index in batch]
    assert len(sampler) == len(batches) == sampler.stats["batches"]
    assert len(set(drawn)) == len(drawn)
    alone = num_images % batch_size == 1  # batch norm cannot train on it
    assert len(drawn) == num_images - alone
    assert min(map(len, batches)) > 1
    assert sampler.stats["image_coverage"] == pytest.approx(len(drawn) / num_images)
    assert plan_of(ShuffledSampler(num_images, batch_size, seed=5), epoch) == batches


def test_order_depends_on_epoch_and_seed():
    sampler = ShuffledSampler(50, 10, seed=1)
    assert plan_of(sampler, 1) != plan_of(sampler, 2)
    assert plan_of(sampler, 1) != plan_of(ShuffledSampler(50, 10, seed=2), 1)
    with pytest.raises(ValueError, match="two images or more"):
        ShuffledSampler(1, 10)
