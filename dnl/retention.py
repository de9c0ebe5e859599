"""Local Retention (LR): its weights, LR on rows of a map, and LR folded into the values.

With L[m, δ] = sigmoid(q_m · k_{m+δ}) over the k×k offsets δ, retained attention is A″ = A′Lᵀ, so that A″V = A′(LᵀV): a
local operation on the values takes the place of one on the N×N map.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnl.parallel import for_each, threads_for

LR_WEIGHTS = ("learnt", "box")

# Numbers that are folded at a time. Threads wait for the interpreter at each operation: few large ones are faster.
FOLDED = 2**20


def offsets(kernel: int) -> list[tuple[int, int]]:
    """The k² offsets (dy, dx) of a k×k window, row by row: the order of LR's weights."""
    reach = kernel // 2
    return [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]


def retention_weights(query: Tensor, key: Tensor, kernel: int, weights: str = "learnt") -> Tensor:
    """LR weights L[m, δ] = sigmoid(q_m · k_{m+δ}): B×k²×H×W in [0, 1], δ in the order of `offsets`.

    0 where m+δ lies outside the map. weights="box" gives 1/k² in place of the sigmoid.
    """
    batch, _, height, width = query.shape
    if weights == "box":
        learnt = query.new_full((batch, kernel**2, height, width), 1 / kernel**2)
    else:
        learnt = torch.sigmoid(_neighbour_products(query, key, kernel))
    row = torch.arange(height, device=query.device)[:, None]
    column = torch.arange(width, device=query.device)
    inside = [_within(row + dy, height) & _within(column + dx, width) for dy, dx in offsets(kernel)]
    return learnt * torch.stack(inside)


def _within(place: Tensor, size: int) -> Tensor:
    return (place >= 0) & (place < size)


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


def _neighbour_products(first: Tensor, second: Tensor, kernel: int) -> Tensor:
    """first_m · second_{m+δ}, B×channels×H×W each, over the channels: B×k²×H×W; anything where m+δ lies outside."""
    size = first.shape[2:]
    first, second = first.flatten(2), second.flatten(2)
    products = [
        F.pad((first[:, :, here] * second[:, :, there]).sum(1), (here.start, first.shape[2] - here.stop))
        for here, there in _neighbours(kernel, *size)
    ]
    return torch.stack(products, dim=1).unflatten(2, size)


def retain_values(value: Tensor, weights: Tensor) -> Tensor:
    """LᵀV, the folding of LR into the values: out[j] = Σ_δ L[j−δ, δ] · V[j−δ], terms outside the map dropped.

    value: B×C×H×W. weights: B×k²×H×W from `retention_weights`. Returns B×C×H×W.
    """
    folded = torch.zeros_like(value, memory_format=torch.contiguous_format)
    _add_folded(folded, value, weights)
    return folded


def _add_folded(folded: Tensor, value: Tensor, weights: Tensor) -> None:
    """Add `retain_values` of value and weights to `folded`, whose maps are contiguous."""
    size, kernel = value.shape[2:], round(weights.shape[1] ** 0.5)
    sums, value, weights = folded.flatten(2), value.flatten(2), weights.flatten(2)
    for index, (here, there) in enumerate(_neighbours(kernel, *size)):
        sums[:, :, there].addcmul_(weights[:, index : index + 1, here], value[:, :, here])


def retain_rows(rows: Tensor, weights: Tensor) -> Tensor:
    """LR on rows of a map: out[n, m] = Σ_δ L[m, δ] · rows[n, m+δ], terms outside the map dropped.

    rows: B×M×H×W. weights: B×k²×H×W from `retention_weights`. Returns B×M×H×W.
    """
    size, kernel = rows.shape[2:], round(weights.shape[1] ** 0.5)
    rows, weights = rows.flatten(2), weights.flatten(2)
    retained = torch.zeros_like(rows)
    for index, (here, there) in enumerate(_neighbours(kernel, *size)):
        retained[:, :, here].addcmul_(weights[:, index : index + 1, here], rows[:, :, there])
    return retained.unflatten(2, size)


def fold_retention(query: Tensor, key: Tensor, value: Tensor, kernel: int, weights: str = "learnt") -> Tensor:
    """`retain_values` of `value` by the `retention_weights` of query and key; keeps no windows for the backward."""
    if torch.compiler.is_exporting():
        return retain_values(value, retention_weights(query, key, kernel, weights))
    return _FoldedRetention.apply(query, key, value, kernel, weights)


class _FoldedRetention(torch.autograd.Function):
    """Backward, with dF the gradient of the folded values: dV = LR on the rows of dF; dL[m, δ] = V_m · dF_{m+δ}."""

    @staticmethod
    def forward(ctx, query, key, value, kernel, kind):
        weights = query.new_empty(len(query), kernel**2, *query.shape[2:])
        folded = torch.empty_like(value, memory_format=torch.contiguous_format)

        def weigh(image):
            weights[image] = retention_weights(query[image], key[image], kernel, kind)

        def fold(part):
            _add_folded(folded[part].zero_(), value[part], weights[part[0]])

        for_each(weigh, _images(query), query.device)
        for_each(fold, _parts(value), query.device)
        ctx.save_for_backward(query, key, value, weights)
        ctx.options = kernel, kind
        return folded

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_folded):
        query, key, value, weights = ctx.saved_tensors
        kernel, kind = ctx.options
        grad_query, grad_key, grad_value = (torch.empty_like(tensor) for tensor in (query, key, value))
        parts = _parts(value)
        weight_sums = [None] * len(parts)

        def unfold(item):
            index, part = item
            gradient = grad_folded[part]
            grad_value[part] = retain_rows(gradient, weights[part[0]])
            if kind == "learnt":
                weight_sums[index] = _neighbour_products(value[part], gradient, kernel)

        def unweigh(image):
            slope = weights[image] * (1 - weights[image])
            shares = [total for part, total in zip(parts, weight_sums, strict=True) if part[0] == image]
            grad_scores = slope.mul_(torch.stack(shares).sum(0))
            grad_query[image] = retain_rows(key[image], grad_scores)
            grad_key[image] = retain_values(query[image], grad_scores)

        for_each(unfold, enumerate(parts), query.device)
        if kind == "box":
            return None, None, grad_value, None, None
        for_each(unweigh, _images(query), query.device)
        return grad_query, grad_key, grad_value, None, None


def _images(tensor: Tensor) -> list[slice]:
    return [slice(image, image + 1) for image in range(len(tensor))]


def _parts(value: Tensor) -> list[tuple[slice, slice]]:
    """Index of image and channels of each part that is folded at a time."""
    share = math.ceil(value.shape[1] / threads_for(value.device))
    channels = max(1, min(share, FOLDED // value[0, 0].numel()))
    starts = range(0, value.shape[1], channels)
    return [(image, slice(start, start + channels)) for image in _images(value) for start in starts]
