"""Local Retention (LR): its weights, LR on rows of a map, and LR folded into the values.

With L[m, δ] = sigmoid(q_m · k_{m+δ}) over the k×k offsets δ, retained attention is A″ = A′Lᵀ, so that A″V = A′(LᵀV): a
local operation on the values takes the place of one on the N×N map.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnl.attention.parallel import for_each, threads_for

LR_WEIGHTS = ("learnt", "box")

ALL = slice(None)

# Numbers that are folded at a time. Threads wait for the interpreter at each operation: few large ones are faster.
FOLDED = 2**19


def offsets(kernel: int) -> list[tuple[int, int]]:
    """The k² offsets (dy, dx) of a k×k window, row by row: the order of LR's weights."""
    reach = kernel // 2
    return [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]


def retention_weights(query: Tensor, key: Tensor, kernel: int, weights: str = "learnt") -> Tensor:
    """LR weights L[m, δ] = sigmoid(q_m · k_{m+δ}): B×k²×H×W in [0, 1], δ in the order of `offsets`.

    0 where m+δ lies outside the map. weights="box" gives 1/k² in place of the sigmoid.
    """
    return _retention_weights(query, key, kernel, weights, ALL)


def _retention_weights(query: Tensor, key: Tensor, kernel: int, kind: str, which: slice) -> Tensor:
    """`retention_weights` of some of the offsets."""
    height, width = query.shape[2:]
    reach = kernel // 2
    padded = F.pad(query.new_ones(height, width), [reach] * 4)
    inside = [
        padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width] for dy, dx in offsets(kernel)[which]
    ]
    if kind == "box":
        return (torch.stack(inside) / kernel**2).expand(len(query), -1, -1, -1)
    return torch.sigmoid(_neighbour_products(query, key, kernel, which)) * torch.stack(inside)


def _neighbours(kernel: int, height: int, width: int) -> list[tuple[slice, slice]]:
    """For each offset δ the cells m and m+δ as slices of the flat map, so that operations run over whole maps.

    Where m+δ is beyond the end of its row, the slice has a cell of another row: the weight there is 0.
    """
    cells, pairs = height * width, []
    for dy, dx in offsets(kernel):
        shift = max(-cells, min(dy * width + dx, cells))
        length, here, there = cells - abs(shift), max(0, -shift), max(0, shift)
        pairs.append((slice(here, here + length), slice(there, there + length)))
    return pairs


def _neighbour_products(first: Tensor, second: Tensor, kernel: int, which: slice = ALL) -> Tensor:
    """first_m · second_{m+δ}, B×channels×H×W each, summed over the channels: B×offsets×H×W.

    Anything where m+δ lies outside.
    """
    size = first.shape[2:]
    first, second = first.flatten(2), second.flatten(2)
    products = [
        F.pad((first[:, :, here] * second[:, :, there]).sum(1), (here.start, first.shape[2] - here.stop))
        for here, there in _neighbours(kernel, *size)[which]
    ]
    return torch.stack(products, dim=1).unflatten(2, size)


def retain_values(value: Tensor, weights: Tensor) -> Tensor:
    """LᵀV, the folding of LR into the values: out[j] = Σ_δ L[j−δ, δ] · V[j−δ], terms outside the map dropped.

    value: B×C×H×W. weights: B×k²×H×W from `retention_weights`. Returns B×C×H×W.
    """
    return _folded(value.flatten(2), weights.flatten(2), value.shape[3]).unflatten(2, value.shape[2:])


def _folded(value: Tensor, weights: Tensor, width: int, out: Tensor | None = None) -> Tensor:
    """`retain_values` on flattened maps of this width, B×C×N and B×k²×N; fast where `out` lies in memory as `value`."""
    kernel = math.isqrt(weights.shape[1])
    centre = kernel**2 // 2
    folded = torch.mul(value, weights[:, centre : centre + 1], out=out)
    for index, (here, there) in enumerate(_neighbours(kernel, value.shape[2] // width, width)):
        if index != centre:
            folded[:, :, there].addcmul_(weights[:, index : index + 1, here], value[:, :, here])
    return folded


def retain_rows(rows: Tensor, weights: Tensor) -> Tensor:
    """LR on rows of a map: out[n, m] = Σ_δ L[m, δ] · rows[n, m+δ], terms outside the map dropped.

    rows: B×M×H×W. weights: B×k²×H×W from `retention_weights`. Returns B×M×H×W.
    """
    size, kernel = rows.shape[2:], math.isqrt(weights.shape[1])
    rows, weights = rows.flatten(2), weights.flatten(2)
    retained = torch.zeros_like(rows)
    for index, (here, there) in enumerate(_neighbours(kernel, *size)):
        retained[:, :, here].addcmul_(weights[:, index : index + 1, here], rows[:, :, there])
    return retained.unflatten(2, size)


def fold_retention(query: Tensor, key: Tensor, value: Tensor, kernel: int, weights: str = "learnt") -> Tensor:
    """`retain_values` of `value` by the `retention_weights` of query and key; keeps no windows for the backward.

    query, key: B×d×H×W. value: B×C×H×W. Returns B×C×H×W.
    """
    if torch.compiler.is_exporting():
        return retain_values(value, retention_weights(query, key, kernel, weights))
    return _FoldedRetention.apply(query, key, value, kernel, weights)


class _FoldedRetention(torch.autograd.Function):
    """Backward, with dF the gradient of the folded values: dV = LR on the rows of dF; dL[m, δ] = V_m · dF_{m+δ}."""

    @staticmethod
    def forward(ctx, query, key, value, kernel, kind):
        value = _dense(value)
        width = value.shape[3]
        weights = query.new_empty(len(query), kernel**2, *query.shape[2:])
        folded = torch.empty_like(value)
        flat_value, flat_folded, flat_weights = value.flatten(2), folded.flatten(2), weights.flatten(2)

        def weigh(part):
            images, which = part
            weights[part] = _retention_weights(query[images], key[images], kernel, kind, which)

        def fold(part):
            _folded(flat_value[part], flat_weights[part[0]], width, out=flat_folded[part])

        for_each(weigh, _parts(query, kernel**2), query.device)
        for_each(fold, _parts(value, value.shape[1]), query.device)
        ctx.save_for_backward(query, key, value, weights)
        ctx.options = kernel, kind
        return folded

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_folded):
        query, key, value, weights = ctx.saved_tensors
        kernel, kind = ctx.options
        grad_query, grad_key, grad_value = (torch.empty_like(tensor) for tensor in (query, key, value))
        parts = _parts(value, value.shape[1])
        weight_sums = [None] * len(parts)

        def unfold(item):
            index, part = item
            gradient = _lying_as(grad_folded[part], value[part])
            grad_value[part] = retain_rows(gradient, weights[part[0]])
            if kind == "learnt":
                weight_sums[index] = _neighbour_products(value[part], gradient, kernel)

        def unweigh(images):
            slope = weights[images] * (1 - weights[images])
            shares = [total for part, total in zip(parts, weight_sums, strict=True) if part[0] == images]
            grad_scores = slope.mul_(torch.stack(shares).sum(0))
            grad_query[images] = retain_rows(key[images], grad_scores)
            grad_key[images] = retain_values(query[images], grad_scores)

        for_each(unfold, enumerate(parts), query.device)
        if kind == "box":
            return None, None, grad_value, None, None
        for_each(unweigh, [images for images, channels in parts if channels.start == 0], query.device)
        return grad_query, grad_key, grad_value, None, None


def _parts(tensor: Tensor, length: int) -> list[tuple[slice, slice]]:
    """The tensor's work cut into parts, as many as threads or more, each of FOLDED numbers at most where it can be.

    A part is some images and, where there are fewer images than parts, some of `length` channels or offsets.
    """
    batch = len(tensor)
    count = max(threads_for(tensor.device), math.ceil(tensor.numel() / FOLDED))
    images = max(1, batch // count)
    share = math.ceil(length / max(1, math.ceil(count / batch)))
    return [
        (slice(first, first + images), slice(start, start + share))
        for first in range(0, batch, images)
        for start in range(0, length, share)
    ]


def _dense(tensor: Tensor) -> Tensor:
    """The tensor in a layout of PyTorch's for images, to keep: operations across two layouts take ten times as long."""
    return tensor if tensor.is_contiguous(memory_format=torch.channels_last) else tensor.contiguous()


def _lying_as(tensor: Tensor, other: Tensor) -> Tensor:
    """The tensor in the memory layout of another one of its shape."""
    return tensor if tensor.stride() == other.stride() else torch.empty_like(other).copy_(tensor)
