"""Random states come back, on the process's own GPU too."""

import random

import torch

from processor.runtime.seeding import random_state, restore_random_state, seed_everything


def draw():
    return random.random(), torch.rand(3).tolist()


def test_restored_generators_draw_the_same_numbers():
    seed_everything(1, "stage", 2)
    state = random_state()
    first = draw()
    assert draw() != first
    restore_random_state(state)
    assert draw() == first
    seed_everything(1, "stage", 2)
    assert draw() == first


def test_every_process_restores_the_state_to_its_own_gpu(monkeypatch):
    given = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.tensor([7]))
    monkeypatch.setattr(torch.cuda, "set_rng_state", given.append)
    state = random_state()
    restore_random_state(state)
    restore_random_state({**state, "cuda": [torch.tensor([7]), torch.tensor([8])]})  # older files
    assert [x.tolist() for x in given] == [[7], [7]]
