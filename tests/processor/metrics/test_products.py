"""Both product kernels agree, and neither is less exact than float32."""

import pytest
import torch

from processor.metrics import products
from processor.metrics.products import add_products
from processor.runtime.float32 import full_precision


def drawn(num_rows, num_columns, dim=33, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(num_rows, dim), (num_columns, dim), (num_rows, 1), (num_columns,)]
    return [torch.randn(size, generator=generator) for size in sizes]


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize(("num_rows", "num_columns"), [(1, 1), (1, 40), (7, 1), (20, 300)])
def test_agrees_with_the_definition(monkeypatch, onednn, num_rows, num_columns):
    if onednn and not torch.backends.mkldnn.is_available():
        pytest.skip("needs oneDNN")
    monkeypatch.setattr(products, "_has_onednn", lambda _: onednn)
    rows, columns, row_term, column_term = drawn(num_rows, num_columns)
    out = torch.full((num_rows, num_columns), torch.nan)
    add_products(rows, columns, row_term, column_term, out)
    expected = rows.double() @ columns.double().T + row_term + column_term
    torch.testing.assert_close(out.double(), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("onednn", [True, False])
def test_products_of_integers_are_exact(monkeypatch, onednn):
    if onednn and not torch.backends.mkldnn.is_available():
        pytest.skip("needs oneDNN")
    monkeypatch.setattr(products, "_has_onednn", lambda _: onednn)
    rows, columns, row_term, column_term = (part.mul(3).round() for part in drawn(9, 50))
    out = torch.empty(9, 50)
    add_products(rows, columns, row_term, column_term, out)
    assert torch.equal(out, rows @ columns.T + row_term + column_term)


def test_arguments_are_not_modified():
    given = drawn(5, 8)
    before = [part.clone() for part in given]
    add_products(*given, torch.empty(5, 8))
    assert all(map(torch.equal, given, before))


def test_onednn_is_used_on_x86_with_new_versions_only(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(products, "has_precision_names", lambda: True)
    monkeypatch.setattr(products.platform, "machine", lambda: "x86_64")
    assert products._has_onednn(torch.device("cpu"))
    assert not products._has_onednn(torch.device("cuda"))
    monkeypatch.setattr(products, "has_precision_names", lambda: False)
    assert not products._has_onednn(torch.device("cpu"))
    monkeypatch.setattr(products, "has_precision_names", lambda: True)
    monkeypatch.setattr(products.platform, "machine", lambda: "arm64")
    assert not products._has_onednn(torch.device("cpu"))


@pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="PyTorch before 2.9"
)
def test_reduced_precision_is_switched_off_and_restored():
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    backend.fp32_precision = "bf16"
    try:
        with full_precision(torch.device("cpu")):
            assert backend.fp32_precision == "ieee"
        assert backend.fp32_precision == "bf16"
    finally:
        backend.fp32_precision = before


def test_autocast_is_switched_off():
    rows, columns, row_term, column_term = drawn(4, 6)
    expected, out = torch.empty(4, 6), torch.empty(4, 6)
    add_products(rows, columns, row_term, column_term, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")
        add_products(rows, columns, row_term, column_term, out)
    assert torch.equal(out, expected)


def test_tf32_is_switched_off_and_restored():
    backend = torch.backends.cuda.matmul
    before = backend.allow_tf32
    backend.allow_tf32 = True
    try:
        with full_precision(torch.device("cpu")):
            assert getattr(backend, "fp32_precision", "ieee") == "ieee"
        assert backend.allow_tf32
    finally:
        backend.allow_tf32 = before
