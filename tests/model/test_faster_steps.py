"""Gradient checkpointing, memory format, fused optimizers and compilation keep the results."""

import copy
from types import SimpleNamespace

import pytest
import torch

from config import ConfigError, load_cfg
from model import build_model
from processor.runtime import wrapping
from processor.runtime.wrapping import compile_encoder
from solver.build import build_optimizer


def images_of(count=3):
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def gradients(model):
    """Gradients of all weights for a loss on every output of the image side."""
    output = model(images_of())
    loss = sum(x.square().sum() for x in [*output.logits, *output.features])
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def tiny_vit(tiny_clip_json):
    opts = ["MODEL.NAME", tiny_clip_json, "MODEL.PRETRAIN_CHOICE", "none"]
    opts += ["INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"]
    torch.manual_seed(0)
    return build_model(load_cfg(None, opts), 5, 1, 1).train(), opts


def test_checkpointed_gradients_equal_plain_ones(tiny_vit):
    model, opts = tiny_vit
    expected = gradients(model)
    checkpointed = build_model(load_cfg(None, [*opts, "MODEL.GRAD_CHECKPOINTING", "True"]), 5, 1, 1)
    assert checkpointed.image_encoder.grad_checkpointing
    checkpointed.load_state_dict(model.state_dict())
    found = gradients(checkpointed.train())
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-7)


def test_checkpointing_saves_memory(tiny_vit):
    """Measured as the tensors a forward pass saves for the backward pass."""
    model, _ = tiny_vit

    def saved_bytes():
        sizes = []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.encode_image(images_of(8))
        return sum(sizes)

    plain = saved_bytes()
    model.image_encoder.grad_checkpointing = True
    assert saved_bytes() < 0.8 * plain


def test_checkpointing_is_refused_for_a_resnet():
    with pytest.raises(ConfigError, match="GRAD_CHECKPOINTING: a ResNet"):
        load_cfg(None, ["MODEL.NAME", "RN50", "MODEL.GRAD_CHECKPOINTING", "True"])


def test_resnet_runs_in_channels_last(tiny_resnet_json):
    opts = ["MODEL.NAME", tiny_resnet_json, "MODEL.PRETRAIN_CHOICE", "none"]
    opts += ["INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"]
    model = build_model(load_cfg(None, opts), 5, 1, 1).eval()
    seen = []
    model.image_encoder.layer3.register_forward_hook(lambda *x: seen.append(x[2]))
    with torch.no_grad():
        found = model.encode_image(images_of())
        assert seen[0].is_contiguous(memory_format=torch.channels_last)
        plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
        expected = plain.encode_image(images_of())
    torch.testing.assert_close(found.final, expected.final, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_fused_optimizer_equals_the_plain_one(name):
    kinds = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}
    start = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    one, other = (torch.nn.Parameter(start.clone()) for _ in range(2))
    group = {"name": "weights", "lr": 0.01, "weight_decay": 0.1}
    fused = build_optimizer(name, [{**group, "params": [one]}], 0.9)
    momentum = {"momentum": 0.9} if name == "SGD" else {}
    plain = kinds[name]([{**group, "params": [other]}], lr=0.01, foreach=False, **momentum)
    assert fused.defaults["fused"]
    for number in range(5):
        for parameter, optimizer in ((one, fused), (other, plain)):
            parameter.grad = (parameter.detach() - number).sin()
            optimizer.step()
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert not torch.equal(one, start)


def test_compiling_needs_a_compiler(tiny_vit, monkeypatch):
    model, _ = tiny_vit
    monkeypatch.setattr(wrapping.shutil, "which", lambda _: None)
    with pytest.raises(ValueError, match=r"MODEL.COMPILE: compiling for cpu needs g\+\+ or clang"):
        compile_encoder(model)
    weight = SimpleNamespace(device=torch.device("cuda"))
    on_gpu = SimpleNamespace(parameters=lambda: iter([weight]))
    with pytest.raises(ValueError, match=r"compiling for cuda needs gcc or clang or cc"):
        compile_encoder(on_gpu)


def compile_recording(model, monkeypatch):
    """Compile the encoder with a back end that runs the graph as it is; the list of batch sizes
    that it is compiled for."""
    sizes = []

    def backend(graph, inputs):
        sizes.extend(x.shape[0] for x in inputs if x.dim() == 4 and x.shape[1:] == (3, 64, 32))
        return graph.forward

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **o: original(f, backend=backend, **o))
    compile_encoder(model)
    return sizes


def test_compiled_encoder_keeps_names_and_values(tiny_vit, monkeypatch):
    model, _ = tiny_vit
    model.eval()
    names = list(model.state_dict())
    with torch.no_grad():
        expected = model.embed(images_of())
        sizes = compile_recording(model, monkeypatch)
        found = model.embed(images_of())
    assert sizes == [3]
    assert list(model.state_dict()) == names
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_only_full_batches_are_compiled(tiny_vit, monkeypatch):
    """Each size on its own: after a remainder, no graph is for batches of any size."""
    model, _ = tiny_vit
    plain = copy.deepcopy(model).eval()
    sizes = compile_recording(model, monkeypatch)
    model.eval()
    with torch.no_grad():
        for count in (4, 4, 2, 3, 6, 5):
            found = model.embed(images_of(count))
            expected = plain.embed(images_of(count))
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert sizes == [4, 6]
    assert all(type(size) is int for size in sizes)
    for count in (3, 2):
        model.train()(images_of(count))
    assert sizes == [4, 6, 3]
    assert type(sizes[-1]) is int


def test_copy_of_a_compiled_model_has_weights_of_its_own(tiny_vit, monkeypatch):
    model, _ = tiny_vit
    model.eval()
    compile_recording(model, monkeypatch)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        expected = model.embed(images_of())
        for parameter in copied.parameters():
            parameter.zero_()
        assert torch.equal(model.embed(images_of()), expected)
        assert not torch.equal(copied.embed(images_of()), expected)
