"""The matrix product of the attention: the fastest of those that the PyTorch build at hand has."""

import math
from time import perf_counter

import torch
from torch import Tensor

from dnl.attention.parallel import results

_VECTORS = torch.backends.cpu.get_cpu_capability()

# On x86 `torch.mm` in float32 goes to MKL, which leaves half of the width of AMD's AVX-512 unused; oneDNN, which
# PyTorch carries as well (and reaches from torch.compile), uses all of it and is no slower elsewhere,
_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and _VECTORS in ("AVX2", "AVX512")
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
)

# but for sums of so many numbers or more where AVX2 is all there is: there MKL takes 0.9 of its time and packs nothing.
_LONG_SUM = 256 if _VECTORS == "AVX2" else math.inf

# Rows that are added at a time where that takes a tensor of their own, so that it never is as large as the sum.
_ADDED_ROWS = 128

# For the measurement of `settle_additions`: what is summed in a block of a backward pass, of queries and of keys alike.
# A smaller gain than this is not told from the machine's noise, and the choice shall be the same in each process.
_MEASURED_SIDE, _ROUNDS, _LEAST_GAIN = 512, 6, 1.1
_settled: dict[str, bool] = {}  # "in place", once it is

# Rows of the left operand that `packed` lays the right one out for; any number may come.
_PACKED_FOR = 128


def product(left: Tensor, right: Tensor, activation: str = "none") -> Tensor:
    """left · rightᵀ: M×K, N×K -> M×N in their dtype, on any device. Not differentiable.

    right: plain or `packed`. A plain one that is the transpose of a contiguous K×N tensor is taken as it lies; other
    strides are copied. activation: "none", or "sigmoid" of each number of the product, with no pass of its own.
    """
    if not _goes_to_onednn(left, left.shape[1]):
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
    if not (_goes_to_onednn(right, right.shape[1]) and len(right)):
        return right
    return torch.ops.mkldnn._reorder_linear_weight(right, _PACKED_FOR)


def add_product(total: Tensor, left: Tensor, right: Tensor, in_place: bool) -> None:
    """total += left · right: M×N, M×K, K×N, where `right` or its transpose is contiguous. Not differentiable.

    The product is of the factors' dtype. in_place: what `adds_in_place` says of them.
    """
    if in_place and left.dtype == total.dtype:
        total.addmm_(left, right)
        return
    for start in range(0, len(total), _ADDED_ROWS):
        rows = slice(start, start + _ADDED_ROWS)
        total[rows] += product(left[rows], right.t())


def adds_in_place(operand: Tensor) -> bool:
    """Whether `add_product` is to use PyTorch's own product, which adds to the sum as it goes.

    oneDNN's makes a tensor to be added, and lays the right operand out anew for each.
    """
    return not _goes_to_onednn(operand, _MEASURED_SIDE) or settle_additions()


def settle_additions(in_place: bool | None = None) -> bool:
    """Whether float32 products on a CPU are added in place from now on in this process, so that sums come out the same.

    in_place: as it is to be; None: as it was settled before, or else as measured now, in some milliseconds. On an Intel
    processor MKL's product in place takes two thirds of oneDNN's time, on others more than it.
    """
    if in_place is not None:
        _settled["in place"] = in_place
    elif not _settled:
        # Threads may measure at the same time: what the first of them finds holds for all.
        _settled.setdefault("in place", _faster_in_place())
    return _settled["in place"]


def _faster_in_place() -> bool:
    times = results([_times_of_additions], torch.device("cpu"))[0]  # on one core, as blocks are
    return times[True] * _LEAST_GAIN < times[False]


def _times_of_additions() -> dict[bool, float]:
    """Seconds of `add_product` in place and not, the least of rounds in which they take turns."""
    rows, side = 2 * _ADDED_ROWS, _MEASURED_SIDE
    sizes = (rows, side), (side, side), (rows, side)
    # Nothing random, which would draw from what trainings depend on.
    left, right, total = (torch.ones(size, dtype=torch.float32, device="cpu") for size in sizes)
    seconds = {True: float("inf"), False: float("inf")}
    for _ in range(_ROUNDS):
        for in_place in seconds:
            start = perf_counter()
            add_product(total, left, right, in_place)
            seconds[in_place] = min(seconds[in_place], perf_counter() - start)
    return seconds


def _goes_to_onednn(operand: Tensor, summed: int) -> bool:
    """Whether products of such an operand do, each number of which is a sum of so many."""
    return _ONEDNN and summed < _LONG_SUM and operand.dtype == torch.float32 and operand.device.type == "cpu"
