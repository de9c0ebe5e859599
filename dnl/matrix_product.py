"""The matrix product of the attention: the fastest of those that the PyTorch build at hand has."""

import torch
from torch import Tensor

# On x86 `torch.mm` in float32 goes to MKL, which leaves half of an AMD core's vector width unused; oneDNN, which
# PyTorch carries as well (and reaches from torch.compile), uses all of it and is no slower elsewhere.
_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)


def product(left: Tensor, right: Tensor) -> Tensor:
    """left · rightᵀ: M×K, N×K -> M×N in their dtype, on any device. Not differentiable.

    A `right` that is the transpose of a contiguous K×N tensor is taken as it lies; other strides are copied.
    """
    if not (_ONEDNN and left.dtype == torch.float32 and left.device.type == "cpu"):
        return left @ right.t()
    # On strided operands oneDNN falls back to plain loops, a thousand times slower.
    if not right.t().is_contiguous():
        right = right.contiguous()
    return torch.ops.mkldnn._linear_pointwise(left.contiguous(), right, None, "none", [], "")
