"""The product of the attention equals the plain one, packed or not, however its operands lie."""

import math

import pytest
import torch

from dnl.attention import denoised_attention, matrix_product, value_dtype
from dnl.attention.matrix_product import add_product, adds_in_place, packed, product, settle_additions


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 1, 1), (3, 17, 5), (128, 64, 200), (70, 1, 33)])
def test_product_is_left_times_right_transposed_however_they_lie(rows, depth, columns, dtype):
    left, right = torch.randn(rows, depth, dtype=dtype), torch.randn(columns, depth, dtype=dtype)
    expected = left.double() @ right.double().t()
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-13, torch.bfloat16: 2e-2}[dtype] * max(1, depth**0.5)
    wide = torch.zeros(rows, 2 * depth, dtype=dtype)
    wide[:, :depth] = left
    for one in (left, left.t().contiguous().t(), wide[:, :depth]):
        for other in (right, right.t().contiguous().t(), torch.cat([right, right], dim=1)[:, :depth]):
            for operand in (other, packed(other)):
                result = product(one, operand)
                assert result.dtype == dtype
                torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("long_sum", [1, 64, math.inf])
def test_long_sums_may_go_elsewhere(monkeypatch, long_sum):
    """On AVX2 they do: packed or not, and in a whole attention, the numbers are the same."""
    monkeypatch.setattr(matrix_product, "_LONG_SUM", long_sum)
    generator = torch.Generator().manual_seed(5)
    left, right = torch.randn(37, 64, generator=generator), torch.randn(50, 64, generator=generator)
    for operand in (right, packed(right)):
        torch.testing.assert_close(product(left, operand), left @ right.t(), rtol=1e-5, atol=1e-5)
    assert packed(right).is_mkldnn == (matrix_product._ONEDNN and long_sum > 64)
    query, key = torch.randn(2, 2, 4, 7, 11, generator=generator)
    value, probs = (
        torch.randn(2, 6, 7, 11, generator=generator),
        torch.rand(2, 3, 7, 11, generator=generator).softmax(1),
    )
    expected = denoised_attention(*(tensor.double() for tensor in (query, key, value, probs)))
    torch.testing.assert_close(denoised_attention(query, key, value, probs).double(), expected, rtol=1e-5, atol=1e-5)


def test_a_product_with_nothing_is_empty():
    nothing = torch.empty(0, 19)
    assert product(torch.randn(37, 19), packed(nothing)).shape == (37, 0)


@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_a_product_with_its_activation(activation):
    generator = torch.Generator().manual_seed(6)
    left, right = torch.randn(37, 19, generator=generator), torch.randn(50, 19, generator=generator)
    expected = left.double() @ right.double().t()
    expected = expected.sigmoid() if activation == "sigmoid" else expected
    for operand in (right, packed(right)):
        torch.testing.assert_close(product(left, operand, activation).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(product(left.double(), right.double(), activation), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 1, 1), (300, 70, 45), (128, 128, 200)])
def test_a_product_is_added_to_a_part_of_a_sum(rows, depth, columns, dtype):
    generator = torch.Generator().manual_seed(7)
    left = torch.randn(depth, rows, generator=generator).to(dtype).t()  # across, as a block of a map lies
    right = torch.randn(depth, columns, generator=generator).to(dtype)
    whole = torch.randn(rows, columns + 9, generator=generator).to(torch.promote_types(dtype, torch.float32))
    expected = whole.clone().double()
    expected[:, 4 : 4 + columns] += left.double() @ right.double()
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-13, torch.bfloat16: 2e-2}[dtype] * max(1, depth**0.5)
    for in_place in (True, False):
        for one in (right, right.t().contiguous().t()):
            total = whole.clone()
            add_product(total[:, 4 : 4 + columns], left, one, in_place)
            torch.testing.assert_close(total.double(), expected, rtol=tolerance, atol=tolerance)


def test_how_products_are_added_is_measured_once_and_only_where_there_is_a_choice(monkeypatch):
    monkeypatch.setattr(matrix_product, "_settled", {})
    monkeypatch.setattr(matrix_product, "_times_of_additions", lambda: {True: 2.0, False: 1.0})
    assert adds_in_place(torch.ones(2, 2, dtype=torch.float64))
    monkeypatch.setattr(matrix_product, "_LONG_SUM", math.inf)
    assert adds_in_place(torch.ones(2, 2)) == (not matrix_product._ONEDNN)
    assert settle_additions() is False
    monkeypatch.setattr(matrix_product, "_times_of_additions", lambda: pytest.fail("measured again"))
    assert settle_additions() is False
    assert settle_additions(True) is True and settle_additions() is True


@pytest.mark.parametrize(("in_place", "not_so", "expected"), [(1.0, 1.5, True), (1.0, 1.05, False), (1.5, 1.0, False)])
def test_only_a_clear_gain_counts(monkeypatch, in_place, not_so, expected):
    monkeypatch.setattr(matrix_product, "_settled", {})
    monkeypatch.setattr(matrix_product, "_times_of_additions", lambda: {True: in_place, False: not_so})
    assert settle_additions() is expected


def test_measuring_draws_no_random_numbers(monkeypatch):
    monkeypatch.setattr(matrix_product, "_settled", {})
    before = torch.random.get_rng_state()
    settle_additions()
    value_dtype._times(8, 32)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("in_place", [True, False])
def test_gradients_are_the_same_however_products_are_added(monkeypatch, in_place):
    monkeypatch.setattr("dnl.attention.streamed.adds_in_place", lambda operand: in_place)
    generator = torch.Generator().manual_seed(8)
    shapes = [(2, 5, 9, 16), (2, 5, 9, 16), (2, 140, 9, 16), (2, 3, 9, 16)]
    inputs = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    output = denoised_attention(*inputs[:3], inputs[3].softmax(1))
    found = torch.autograd.grad(output.square().sum(), inputs)
    doubles = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = torch.autograd.grad(denoised_attention(*doubles[:3], doubles[3].softmax(1)).square().sum(), doubles)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4 * other.abs().max().item())
