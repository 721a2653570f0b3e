"""A call leaves the global states of the caller's program as they were, and does not see them."""

import os
import random

import numpy as np
import pytest
import torch

from processor.runtime.guest import own_globals


def states():
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        torch.get_rng_state().tolist(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


def change_all():
    """Change every state, then fail."""
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    torch.set_default_dtype(torch.float64)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    raise KeyError


def test_states_come_back_even_after_an_error():
    before = states()
    with pytest.raises(KeyError), own_globals():
        change_all()
    assert states() == before


def test_caller_s_modes_and_defaults_do_not_reach_the_block():
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            with own_globals():
                weight = torch.ones(2, 2, requires_grad=True)
                product = weight @ weight
                assert product.dtype == torch.float32
                assert product.device.type == "cpu"
                product.sum().backward()
                assert weight.grad.tolist() == [[4, 4], [4, 4]]
            assert torch.is_inference_mode_enabled()
            assert torch.ones(1).device.type == "meta"
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
