"""The matrix product of the attention: the fastest of those that the PyTorch build at hand has."""

import torch
from torch import Tensor

# On x86 `torch.mm` in float32 goes to MKL, which leaves half of an AMD core's vector width unused; oneDNN, which
# PyTorch carries as well (and reaches from torch.compile), uses all of it and is no slower elsewhere.
_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
)

# Rows of the left operand that `packed` lays the right one out for; any number may come.
_PACKED_FOR = 128


def product(left: Tensor, right: Tensor, activation: str = "none") -> Tensor:
    """left · rightᵀ: M×K, N×K -> M×N in their dtype, on any device. Not differentiable.

    right: plain or `packed`. A plain one that is the transpose of a contiguous K×N tensor is taken as it lies; other
    strides are copied. activation: "none", or "sigmoid" of each number of the product, with no pass of its own.
    """
    if not _goes_to_onednn(left):
        result = left @ right.t()
        return result.sigmoid_() if activation == "sigmoid" else result
    # On strided operands oneDNN falls back to plain loops, a thousand times slower.
    if not (right.is_mkldnn or right.t().is_contiguous()):
        right = right.contiguous()
    return torch.ops.mkldnn._linear_pointwise(left.contiguous(), right, None, activation, [], "")


def packed(right: Tensor) -> Tensor:
    """A copy of the right operand, N×K, of many a `product`, as oneDNN's inner loops read it: of use for that alone.

    From a plain one every product copies such tiles anew, at 128 rows for 6 to 20 % of its time. Where products go
    elsewhere, this is `right` itself.
    """
    right = right.contiguous()  # where rows lie across, oneDNN takes up to ten times as long
    return torch.ops.mkldnn._reorder_linear_weight(right, _PACKED_FOR) if _goes_to_onednn(right) else right


def _goes_to_onednn(operand: Tensor) -> bool:
    return _ONEDNN and operand.dtype == torch.float32 and operand.device.type == "cpu"
