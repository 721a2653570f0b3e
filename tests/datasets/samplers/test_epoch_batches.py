"""Positions and seeds that a loader requests."""

from datasets.samplers import EpochBatches, RandomIdentitySampler, ShuffledSampler


def test_resumed_epoch_has_the_seeds_of_the_whole():
    batches = EpochBatches(RandomIdentitySampler([0, 0, 1, 1, 2, 2, 3, 3], 2, 2), seed=7)
    batches.set_epoch(3)
    whole = list(batches)
    for first in range(len(whole) + 1):
        batches.set_epoch(3, first)
        assert len(batches) == len(whole) - first
        assert list(batches) == whole[first:]


def test_every_drawn_image_has_a_unique_seed():
    def seeds(epoch, seed):
        batches = EpochBatches(ShuffledSampler(40, 8, seed=0), seed)
        batches.set_epoch(epoch)
        return [key.seed for batch in batches for key in batch]

    drawn = seeds(1, 7) + seeds(2, 7) + seeds(1, 8)
    assert len(set(drawn)) == len(drawn) == 120
    assert seeds(1, 7) == seeds(1, 7)


def test_positions_follow_the_plan():
    plan = ShuffledSampler(12, 5, seed=0)
    batches = EpochBatches(plan, seed=0)
    batches.set_epoch(4)
    assert [[key.position for key in batch] for batch in batches] == list(plan)
