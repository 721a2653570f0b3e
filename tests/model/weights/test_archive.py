"""TorchScript archives give their tensors and never run."""

import io
import pickle
import warnings
import zipfile

import pytest
import torch
from torch import Tensor, nn

from model.weights.archive import read_torchscript
from model.weights.read import read_weights_file

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Converting a tensor"),
]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(4)
        self.attn = nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ln_1(x)
        return self.attn(x, x, x)[0]


class Tree(nn.Module):
    """Names and kinds of values as in OpenAI's archives."""

    def __init__(self):
        super().__init__()
        self.visual = Block()
        self.logit_scale = nn.Parameter(torch.tensor(0.07))
        self.halves = nn.Parameter(torch.randn(3, 4).half())
        self.register_buffer("strided", torch.randn(4, 6)[:, ::2])
        self.register_buffer("steps", torch.tensor([7]))
        self.sizes = [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        return self.visual(x)


class Hostile(nn.Module):
    """Writes a file, or never ends, when torch.jit.load restores it."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path
        self.weight = torch.ones(2)

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, str, bool]:
        return (self.weight, self.path, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, str, bool]) -> None:
        self.weight, self.path, self.training = state[0], state[1], state[2]
        torch.save(state[0], state[1])
        while self.path == "endless":
            self.training = not self.training


@pytest.mark.parametrize("way", ["script", "trace"])
def test_tensors_equal_those_of_the_compiled_module(tmp_path, way):
    inputs = (torch.randn(2, 3, 4),) if way == "trace" else ()
    compiled = getattr(torch.jit, way)(Tree().eval(), *inputs)
    compiled.save(str(tmp_path / "tree.pt"))
    found, expected = read_torchscript(tmp_path / "tree.pt"), compiled.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_code_of_an_archive_never_runs(tmp_path):
    trace, path = tmp_path / "executed", tmp_path / "hostile.pt"
    torch.jit.script(Hostile(str(trace))).save(str(path))
    with pytest.raises(ValueError, match=f"^{path}: not a state dict of tensors"):
        read_weights_file(path)
    assert not trace.exists()
    torch.jit.load(str(path))
    assert trace.exists()  # torch.jit.load does run it


def rewrite(path, change):
    """Rewrite the entries of an archive: `change(name, content) -> content`."""
    with zipfile.ZipFile(path) as archive:
        entries = {x.filename: archive.read(x) for x in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, change(name, content))


@pytest.fixture
def archive(tmp_path, save_archive):
    path = tmp_path / "file.pt"
    save_archive({"visual.conv1.weight": torch.randn(8, 3, 2, 2)}, path)
    return path


def pickled(value):
    stream = io.BytesIO()
    pickle.Pickler(stream, 2).dump(value)
    return stream.getvalue()


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (pickled(Call(print, "ran")), "type (builtins|__builtin__).print"),
        (pickled(Call(io.open, "ran", "w")), "type (_io|io).open"),
        (b"\x80\x02ctorch.jit\nload\n.", "type torch.jit.load"),
        (b"\x80\x02c__torch__\nnn.Module\nq\x00h\x00.", "not a state dict"),
        (b"\x80\x05\x96\x00\x00\x00\x00\x01\x00\x00\x00.", "damaged"),  # 4 GB of BYTEARRAY8
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "damaged"),  # place 2^31 of the memo
        (b"\x80\x02", "damaged"),
        (b"", "damaged"),
        (pickled(5), "not a state dict"),
    ],
)
def test_other_programs_are_refused(archive, capfd, program, reason):
    rewrite(archive, lambda name, old: program if name.endswith("/data.pkl") else old)
    with pytest.raises(ValueError, match=rf"^{archive}.*{reason}"):
        read_weights_file(archive)
    assert "ran" not in capfd.readouterr().out


@pytest.mark.parametrize("cut", [0, 4, 380])
def test_tensor_with_missing_bytes_is_refused(archive, cut):
    rewrite(archive, lambda name, old: old[:cut] if "/data/" in name else old)
    with pytest.raises(ValueError, match="cannot be read as weights: it is damaged"):
        read_weights_file(archive)


def test_archive_that_unpacks_to_more_than_it_has_is_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("bomb/data.pkl", "bomb/constants.pkl", "bomb/data/0"):
            archive.writestr(name, bytes(2**20))
    with warnings.catch_warnings(), pytest.raises(ValueError, match=f"^{path} cannot be read"):
        read_weights_file(path)
