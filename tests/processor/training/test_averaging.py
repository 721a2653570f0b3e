"""The average of the weights against its formula."""

import pytest
import torch
from torch import nn

from processor.training.averaging import AveragedWeights


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(requires_grad=False)
    return model


def step(model):
    """New weights and statistics."""
    model.train()
    model(torch.randn(8, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter)


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_average_follows_its_formula(model, decay):
    averaged = AveragedWeights(model, decay)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for _ in range(5):
        step(model)
        averaged.update()
        for name, tensor in model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor
    left_out = {"2.weight", "1.num_batches_tracked"}  # frozen; a count
    assert averaged.weights.keys() == expected.keys() - left_out
    for name, tensor in averaged.weights.items():
        torch.testing.assert_close(tensor, expected[name])


def test_model_has_the_average_for_a_while(model):
    averaged = AveragedWeights(model, 0.5)
    step(model)
    averaged.update()
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def evaluate():
        with averaged.in_model():
            state = model.state_dict()
            assert all(torch.equal(state[name], x) for name, x in averaged.weights.items())
            assert not torch.equal(state["0.weight"], own["0.weight"])
            raise RuntimeError("evaluation failed")

    with pytest.raises(RuntimeError, match="evaluation failed"):
        evaluate()
    assert all(torch.equal(own[name], x) for name, x in model.state_dict().items())


def test_restored_average_goes_on(model):
    averaged = AveragedWeights(model, 0.5)
    step(model)
    averaged.update()
    again = AveragedWeights(model, 0.5)
    again.load(averaged.weights)
    step(model)
    averaged.update()
    again.update()
    assert all(torch.equal(averaged.weights[name], x) for name, x in again.weights.items())
