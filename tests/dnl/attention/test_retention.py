"""LR folded into the values, forward and backward."""

import pytest
import torch

import dnl.attention.retention
from dnl.attention import retain_values, retention_weights
from dnl.attention.retention import fold_retention


def random_maps(*channels, batch=2, height=5, width=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, size, height, width, generator=generator, dtype=dtype) for size in channels]


@pytest.mark.parametrize("kind", ["learnt", "box"])
def test_folding_equals_autograd_through_its_definition(kind, monkeypatch):
    monkeypatch.setattr(dnl.attention.retention, "FOLDED", 200)
    inputs = [tensor.requires_grad_() for tensor in random_maps(3, 3, 10, dtype=torch.float64)]
    query, key, value = inputs
    expected = retain_values(value, retention_weights(query, key, 3, kind))
    folded = fold_retention(query, key, value, 3, kind)
    torch.testing.assert_close(folded, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(value)
    counting = inputs if kind == "learnt" else inputs[2:]
    ours, wanted = (torch.autograd.grad((result * weights).sum(), counting) for result in (folded, expected))
    for gradient, reference in zip(ours, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-12)
