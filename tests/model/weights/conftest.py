"""Tiny models to load weights into, and files to load."""

import warnings

import pytest
import torch
from torch import nn

from config import load_cfg
from model import build_model, build_reid_model


@pytest.fixture
def build_options(tiny_opts):
    return [*tiny_opts, "MODEL.PRETRAIN_CHOICE", "none", "MODEL.PRETRAIN_PATH", ""]


@pytest.fixture
def build(build_options):
    """`build("KEY", "VALUE", num_classes=10)` -> a tiny model with random weights."""

    def build(*opts, num_classes=10, num_cameras=6):
        cfg = load_cfg(None, [*build_options, *opts])
        return build_model(cfg, num_classes, num_cameras, num_views=1).eval()

    return build


@pytest.fixture
def build_unsupervised(build_options):
    """`build_unsupervised("KEY", "VALUE")` -> DSGL's tiny model with random weights."""

    def build(*opts):
        torch.manual_seed(9)
        return build_reid_model(
            load_cfg(None, [*build_options, "DSGL.ENABLED", "True", *opts]), 0, 1, 1
        ).eval()

    return build


@pytest.fixture(scope="session")
def reid_state(built_tiny_reid):
    """State dict of the tiny ReID model: 10 classes, 256x128; read-only."""
    return {key: tensor.clone() for key, tensor in built_tiny_reid.state_dict().items()}


@pytest.fixture
def save():
    """`save(folder, content)` -> path of a file that holds the content."""

    def save(folder, content, name="file.pth"):
        torch.save(content, folder / name)
        return folder / name

    return save


@pytest.fixture
def save_archive():
    """`save_archive(state, path)` writes TorchScript, the container of OpenAI's files."""

    def save_archive(state, path):
        root = nn.Module()
        for name, tensor in state.items():
            *parents, leaf = name.split(".")
            node = root
            for parent in parents:
                if not hasattr(node, parent):
                    node.add_module(parent, nn.Module())
                node = getattr(node, parent)
            node.register_buffer(leaf, tensor)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            torch.jit.script(root).save(str(path))

    return save_archive


@pytest.fixture
def assert_same():
    """`assert_same(model, state, keys)`: the model holds the state's tensors, bit by bit."""

    def assert_same(model, state, keys=None):
        found = model.state_dict()
        for key in state if keys is None else keys:
            assert torch.equal(found[key], state[key]), key

    return assert_same
