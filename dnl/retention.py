"""Local Retention (LR): its weights, LR on rows of a map, and LR folded into the values.

With L[m, δ] = sigmoid(q_m · k_{m+δ}) over the k×k offsets δ, retained attention is A″ = A′Lᵀ, so that A″V = A′(LᵀV): a
local operation on the values takes the place of one on the N×N map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnl.parallel import for_each

LR_WEIGHTS = ("learnt", "box")

# Channels that are folded at a time: with their k² windows they stay in a core's cache.
CHANNELS = 64


def offsets(kernel: int) -> list[tuple[int, int]]:
    """The k² offsets (dy, dx) of a k×k window, row by row: the order of LR's weights."""
    reach = kernel // 2
    return [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]


def retention_weights(query: Tensor, key: Tensor, kernel: int, weights: str = "learnt") -> Tensor:
    """LR weights L[m, δ] = sigmoid(q_m · k_{m+δ}): B×k²×H×W in [0, 1], δ in the order of `offsets`.

    Where m+δ lies outside the map the entry is sigmoid(0); nothing reads it. weights="box" gives 1/k² everywhere.
    """
    if weights == "box":
        batch, _, height, width = query.shape
        return query.new_full((batch, kernel**2, height, width), 1 / kernel**2)
    return torch.sigmoid(_neighbour_products(query, key, kernel))


def _neighbour_products(first: Tensor, second: Tensor, kernel: int) -> Tensor:
    """first_m · second_{m+δ}, B×channels×H×W each, over the channels: B×k²×H×W, 0 where m+δ lies outside."""
    height, width = first.shape[2:]
    reach = kernel // 2
    padded = F.pad(second, (reach,) * 4)
    windows = (_window(padded, dy + reach, dx + reach, height, width) for dy, dx in offsets(kernel))
    return torch.stack([(first * window).sum(1) for window in windows], dim=1)


def retain_values(value: Tensor, weights: Tensor) -> Tensor:
    """LᵀV, the folding of LR into the values: out[j] = Σ_δ L[j−δ, δ] · V[j−δ], terms outside the map dropped.

    value: B×C×H×W. weights: B×k²×H×W from `retention_weights`. Returns B×C×H×W.
    """
    height, width = value.shape[2:]
    kernel = round(weights.shape[1] ** 0.5)
    reach = kernel // 2
    padded_value, padded_weights = F.pad(value, (reach,) * 4), F.pad(weights, (reach,) * 4)
    folded = torch.zeros_like(value)
    for index, (dy, dx) in enumerate(offsets(kernel)):
        weight = _window(padded_weights[:, index : index + 1], reach - dy, reach - dx, height, width)
        folded.addcmul_(weight, _window(padded_value, reach - dy, reach - dx, height, width))
    return folded


def retain_rows(rows: Tensor, weights: Tensor) -> Tensor:
    """LR on rows of a map: out[n, m] = Σ_δ L[m, δ] · rows[n, m+δ], terms outside the map dropped.

    rows: B×M×H×W. weights: B×k²×H×W from `retention_weights`. Returns B×M×H×W.
    """
    height, width = rows.shape[2:]
    kernel = round(weights.shape[1] ** 0.5)
    reach = kernel // 2
    padded = F.pad(rows, (reach,) * 4)
    retained = torch.zeros_like(rows)
    for index, (dy, dx) in enumerate(offsets(kernel)):
        window = _window(padded, dy + reach, dx + reach, height, width)
        retained.addcmul_(weights[:, index : index + 1], window)
    return retained


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
        folded = torch.empty_like(value)

        def weigh(image):
            weights[image] = retention_weights(query[image], key[image], kernel, kind)

        def fold(part):
            folded[part] = retain_values(value[part], weights[part[0]])

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
    starts = range(0, value.shape[1], CHANNELS)
    return [(image, slice(start, start + CHANNELS)) for image in _images(value) for start in starts]


def _window(padded: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    return padded[:, :, top : top + height, left : left + width]
