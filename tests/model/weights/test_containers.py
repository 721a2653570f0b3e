"""The state dict is found in any wrapping, or the file says what it holds."""

import itertools

import pytest
import torch
from torch import nn

from model import load_weights
from model.weights.containers import PREFIXES, find_state
from model.weights.read import read_weights_file

STATE = {"a.weight": torch.ones(2), "b": torch.zeros(1)}


def prefixed(prefix):
    return {prefix + key: tensor for key, tensor in STATE.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        *("_orig_mod.", *PREFIXES),
        *("".join(x) for x in itertools.permutations(("_orig_mod.", "module.", "model."))),
        *("module.module.", "net.base_model.clip_model.model.", "_orig_mod.module._orig_mod."),
    ],
)
def test_prefixes_are_removed_in_any_order_and_number(prefix):
    assert find_state(prefixed(prefix)).keys() == STATE.keys()


def test_prefix_of_a_compiled_part_is_removed_inside_a_name():
    assert find_state({"image_encoder._orig_mod.proj": torch.ones(1)}).keys() == {
        "image_encoder.proj"
    }


@pytest.mark.parametrize(
    "content",
    [
        {"model_state_dict": STATE, "epoch": 3, "optimizer_state_dict": {"state": {}}},
        {"module": STATE, "global_steps": 5},
        {"state_dict": {"model": STATE}},
        {"my_network": STATE, "args": {"lr": 0.1}, "optimizer": {"state": {0: {"m": STATE["b"]}}}},
        {"checkpoint": {"inner": {"weights": STATE}}},
        {"model": STATE, "ema": STATE},
        {"state_dict": STATE, "mean": torch.ones(3)},
        STATE | {"epoch": 3, "config": {"a": 1}},
    ],
)
def test_state_dict_is_found_in_its_wrapper(content):
    assert find_state(content).keys() == STATE.keys()


def test_several_state_dicts_are_named_with_the_remedy():
    with pytest.raises(ValueError, match=r"first, second; save one alone: .*\['first'\]"):
        find_state({"first": STATE, "second": STATE})


def test_teacher_is_taken_of_a_student_and_its_teacher():
    """DINO's: the teacher is the average of the student's weights, which is published."""
    found = find_state({"student": {"a": torch.zeros(1)}, "teacher": {"a": torch.ones(1)}})
    assert found["a"] == 1


def test_names_that_differ_in_their_prefix_only_are_refused():
    with pytest.raises(ValueError, match=r"a.weight twice, .* module.a.weight"):
        find_state({"model.a.weight": torch.ones(1), "module.a.weight": torch.ones(1)})


@pytest.mark.filterwarnings("ignore:.*(quantize_per|Sparse invariant):UserWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(1).expand(10**12),
        lambda: torch.sparse_coo_tensor(torch.zeros(1, 1).long(), torch.ones(1), (10**9,)),
        lambda: torch.empty(3, device="meta"),
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    ],
    ids=["expanded", "sparse", "meta", "quantized"],
)
def test_tensor_without_all_of_its_values_is_refused(make):
    with pytest.raises(ValueError, match=r"conv1.weight of shape .* does not hold all"):
        find_state({"conv1.weight": make()})


def test_wrapped_weights_load_as_plain_ones(tmp_path, build, reid_state, save, assert_same):
    wrapped = {f"module._orig_mod.{key}": tensor for key, tensor in reid_state.items()}
    model = build()
    load_weights(model, save(tmp_path, {"weights": wrapped, "epoch": 1}))
    assert_same(model, reid_state)


def test_pickled_module_is_refused_with_its_type_and_the_remedy(tmp_path, save):
    path = save(tmp_path, nn.Linear(2, 2))
    with pytest.raises(ValueError, match=f"^{path} cannot .* type torch.nn.modules.linear.Linear"):
        read_weights_file(path)
    with pytest.raises(ValueError, match=r"torch.save\(model.state_dict\(\), FILE\)$"):
        read_weights_file(path)
