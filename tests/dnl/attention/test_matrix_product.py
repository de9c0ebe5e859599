"""The product of the attention equals the plain one, packed or not, however its operands lie."""

import pytest
import torch

from dnl.attention.matrix_product import packed, product


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


@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_a_product_with_its_activation(activation):
    generator = torch.Generator().manual_seed(6)
    left, right = torch.randn(37, 19, generator=generator), torch.randn(50, 19, generator=generator)
    expected = left.double() @ right.double().t()
    expected = expected.sigmoid() if activation == "sigmoid" else expected
    for operand in (right, packed(right)):
        torch.testing.assert_close(product(left, operand, activation).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(product(left.double(), right.double(), activation), expected)
