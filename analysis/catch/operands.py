"""The weights of one attention call: rows of softmax(scale · q·k + bias), or of a finished map; and their check.

Leading axes (images, windows, heads) are counted as one: `groups`, row by row as they lie in the call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from analysis.catch.contractions import ONE_ROW, Product, arranged

# How far the caught rows times the values may lie from what the module passed on, relative to its largest value.
TOLERANCE = 1e-4
# How far a row of a softmax may leave 1.
SUM_TOLERANCE = 1e-3
# A row whose cells hold less is empty: spreading it would blow up rounding.
EMPTY = 1e-12
# How many groups, and rows of each, a check looks at.
SAMPLED_GROUPS, SAMPLED_ROWS = 6, 8
# How many rows are held at a time where it looks at all.
QUERY_BLOCK = 256


@dataclass(frozen=True, eq=False)
class QueryKey:
    """softmax(scale · q·k + bias). query: …×N×d; key: …×M×d. leading: what … is broadcast to.

    bias: float (added to the scores) or bool (True takes part), to be broadcast to …×N×M; or None. causal: key j
    takes part for query i where j ≤ i.
    """

    query: Tensor
    key: Tensor
    leading: tuple[int, ...]
    scale: float
    bias: Tensor | None = None
    causal: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(groups, queries, keys)."""
        return math.prod(self.leading), self.query.shape[-2], self.key.shape[-2]

    @property
    def distributes(self) -> bool:
        """Always: each row is a distribution, or 0 where a mask leaves no key."""
        return True

    @property
    def is_plain(self) -> bool:
        """Whether query and key say all, without a bias or mask."""
        return self.bias is None and not self.causal

    @property
    def nbytes(self) -> int:
        """Of what is kept."""
        return sum(tensor.nbytes for tensor in (self.query, self.key, self.bias) if tensor is not None)

    def operands(self, group: int) -> tuple[Tensor, Tensor]:
        """Query N×d, without the scale, and key M×d of one group."""
        return _of_group(self.query, self.leading, group), _of_group(self.key, self.leading, group)

    def of_groups(self, groups: Sequence[int]) -> QueryKey:
        """Copies of what these groups have, which are counted from 0 on then."""
        query, key = (_stacked(tensor, self.leading, groups) for tensor in (self.query, self.key))
        bias = None if self.bias is None else _stacked(self.bias, self.leading, groups)
        return replace(self, query=query, key=key, leading=(len(groups),), bias=bias)

    def rows(self, group: int, queries: Tensor) -> Tensor:
        """The rows of these queries, len(queries)×keys in float64; all 0 where a mask leaves no key."""
        query = _of_group(self.query, self.leading, group)[queries.to(self.query.device)].double()
        scores = query @ _of_group(self.key, self.leading, group).double().t() * self.scale
        if self.causal:
            keys = torch.arange(scores.shape[1], device=scores.device)
            scores = scores.masked_fill(keys > queries.to(scores.device)[:, None], -math.inf)
        if self.bias is not None:
            bias = _of_group(self.bias, self.leading, group)
            bias = bias[queries.to(bias.device)] if bias.shape[0] > 1 else bias
            scores = scores.masked_fill(~bias, -math.inf) if bias.dtype == torch.bool else scores + bias.double()
        return torch.softmax(scores, -1).nan_to_num(0.0)


@dataclass(frozen=True, eq=False)
class FinishedMap:
    """Weights as the model computed them: …×N×M in its own precision."""

    weights: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """(groups, queries, keys)."""
        return math.prod(self.weights.shape[:-2]), self.weights.shape[-2], self.weights.shape[-1]

    @property
    def leading(self) -> tuple[int, ...]:
        """The sizes of the axes before queries and keys."""
        return tuple(self.weights.shape[:-2])

    @property
    def nbytes(self) -> int:
        """Of what is kept."""
        return self.weights.nbytes

    @cached_property
    def sums(self) -> tuple[float, float]:
        """The least and the largest sum of a row."""
        sums = self.weights.sum(-1, dtype=torch.float32)
        return (float(sums.min()), float(sums.max())) if sums.numel() else (1.0, 1.0)

    @cached_property
    def distributes(self) -> bool:
        """Whether each row is a distribution, or 0; mixed heads make others. Half precision rounds each entry."""
        slack = max(SUM_TOLERANCE, 4 * torch.finfo(self.weights.dtype).eps)
        sums = self.weights.sum(-1, dtype=torch.float32)
        told = ((sums - 1).abs() <= slack) | (sums == 0)
        return bool(told.all()) and not bool((self.weights < 0).any())

    def of_groups(self, groups: Sequence[int]) -> FinishedMap:
        """Copies of what these groups have, which are counted from 0 on then."""
        return FinishedMap(_stacked(self.weights, self.leading, groups))

    @property
    def is_plain(self) -> bool:
        """Never: there is no query and key."""
        return False

    def rows(self, group: int, queries: Tensor) -> Tensor:
        """The rows of these queries, len(queries)×keys in float64."""
        return _of_group(self.weights, self.weights.shape[:-2], group)[queries.to(self.weights.device)].double()


Weights = QueryKey | FinishedMap


def spread(cells: np.ndarray, weights: Weights) -> np.ndarray:
    """What cells get of each row, divided by its sum; the rows of mixed heads, no distributions, stay as they are."""
    if not weights.distributes:
        return cells
    sums = cells.sum(-1, keepdims=True)
    return np.divide(cells, sums, out=np.zeros_like(cells), where=sums > EMPTY)


def _of_group(tensor: Tensor, leading: tuple[int, ...], group: int) -> Tensor:
    """The matrix of one group; the tensor's leading axes may be missing, or of size 1 where they are broadcast."""
    if tensor.ndim < 2:
        tensor = tensor.expand(1, *tensor.shape[-1:]) if tensor.ndim else tensor.expand(1, 1)
    indices = []
    for size in reversed(leading):
        indices.append(group % size)
        group //= size
    own = tensor.shape[:-2]
    wanted = indices[: len(own)][::-1]
    return tensor[tuple(0 if size == 1 else index for size, index in zip(own, wanted, strict=True))]


def _stacked(tensor: Tensor, leading: tuple[int, ...], groups: Sequence[int]) -> Tensor:
    """len(groups)×…, what each group has; a matrix that all groups share stays one."""
    if math.prod(tensor.shape[:-2]) == 1:
        return tensor.reshape(tensor.shape[-2:]) if tensor.ndim > 2 else tensor
    return torch.stack([_of_group(tensor, leading, group) for group in groups])


def fused_weights(query, key, attn_mask, is_causal: bool, scale: float | None, enable_gqa: bool) -> QueryKey:
    """The weights of one call of scaled_dot_product_attention, on copies of what it was given."""
    query, key = (_as_computed(tensor) for tensor in (query, key))
    if enable_gqa and key.shape[-3] != query.shape[-3]:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    leading = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    bias = None if attn_mask is None else _without_broadcast(attn_mask.detach()).clone()
    scale = query.shape[-1] ** -0.5 if scale is None else float(scale)
    return QueryKey(query, key, tuple(leading), scale, bias, is_causal)


def flex_weights(query, key, score_mod, block_mask, scale: float) -> FinishedMap:
    """The finished map of one eager call of flex_attention, whose score_mod may be any function of score and position.

    block_mask: as the higher-order operator gets it, the mask_mod last.
    """
    query, key = query.detach(), key.detach()
    if key.shape[-3] != query.shape[-3]:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = (query.float() @ key.float().transpose(-2, -1)) * scale  # B×heads×N×M
    positions = torch.meshgrid(*(torch.arange(size, device=scores.device) for size in scores.shape), indexing="ij")
    scores = _for_each(score_mod, scores, *positions)
    allowed = _for_each(block_mask[-1], *positions)
    scores = scores.masked_fill(~allowed, -math.inf)
    return FinishedMap(torch.softmax(scores, -1).nan_to_num(0.0))


def _for_each(function, *tensors: Tensor) -> Tensor:
    """A function of single numbers, which may look things up in tensors, for all entries at once."""
    # Here alone: it brings PyTorch's compiler along, which takes a second to import.
    from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex

    with TransformGetItemToIndex():
        for _ in range(tensors[0].ndim):
            function = torch.vmap(function)
        return function(*tensors)


def _as_computed(tensor: Tensor) -> Tensor:
    """A copy in the precision of the product: autocast lowers it inside the call."""
    copy = tensor.detach()
    device = copy.device.type
    if torch.is_autocast_enabled(device) and copy.dtype == torch.float32:
        return copy.to(torch.get_autocast_dtype(device))
    return copy.clone()


def _without_broadcast(tensor: Tensor) -> Tensor:
    for axis in range(tensor.ndim):
        if tensor.stride(axis) == 0 and tensor.shape[axis] > 1:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


def plain_weights(scores: Product, scale: float | None, weights: Tensor, *, every: bool) -> QueryKey | None:
    """Query and key whose softmax gives these weights (…×N×M), or None where a bias, a mask or a mixing of heads, or
    half precision, makes them differ by more than TOLERANCE in total variation. scale: None where it is to be found
    from the weights. every: compare all rows, not some."""
    for product in (scores, scores.swapped()):
        letters = product.letters
        row, column = letters.rows() or ONE_ROW, letters.swapped().rows()
        if not (column and letters.summed):
            continue
        leading = "".join(letter for letter in letters.out if letter not in row + column)
        query = arranged(product.first, letters.first, leading + row, letters.summed)
        key = arranged(product.second, letters.second, leading + column, letters.summed)
        groups = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
        found = QueryKey(query, key, tuple(groups), 1.0 if scale is None else scale)
        if found.shape != (math.prod(weights.shape[:-2]), *weights.shape[-2:]):
            continue
        if scale is None:
            found = replace(found, scale=_fitted_scale(found, weights))
        if _gives(found, weights, every):
            return found
    return None


def _fitted_scale(found: QueryKey, weights: Tensor) -> float:
    """The slope of log weights against q·k within rows, over a sample of those of the first group; NaN without one."""
    group, queries = sample(found.shape)[0]
    rows = _of_group(weights, weights.shape[:-2], group)[queries.to(weights.device)].double()
    query, key = found.operands(group)
    scores = query[queries.to(query.device)].double() @ key.double().t()
    told = (rows > torch.finfo(weights.dtype).tiny).double()
    logs, scores = (
        told * (values - (told * values).sum(-1, keepdim=True) / told.sum(-1, keepdim=True))
        for values in (rows.clamp_min(torch.finfo(weights.dtype).tiny).log(), scores)
    )
    return float((logs * scores).sum() / scores.square().sum())


def _gives(found: QueryKey, weights: Tensor, every: bool) -> bool:
    for group, queries in _blocks(found.shape) if every else sample(found.shape):
        truth = _of_group(weights, weights.shape[:-2], group)[queries.to(weights.device)].double()
        if not (found.rows(group, queries) - truth).abs().sum(-1).max() <= TOLERANCE:
            return False
    return True


def _blocks(shape: tuple[int, int, int]) -> Iterator[tuple[int, Tensor]]:
    """All queries of all groups, some at a time."""
    groups, queries, _ = shape
    for group in range(groups):
        for block in torch.arange(queries).split(QUERY_BLOCK):
            yield group, block


def sample(shape: tuple[int, int, int]) -> list[tuple[int, Tensor]]:
    """Some groups and some queries of each, spread evenly, with the first and the last."""
    groups, queries, _ = shape
    some = torch.linspace(0, queries - 1, min(queries, SAMPLED_ROWS)).round().long()
    return [(int(group), some) for group in torch.linspace(0, groups - 1, min(groups, SAMPLED_GROUPS)).round()]


def distance(weights: Weights, value: Tensor, passed_on: Tensor, leading: tuple[int, ...]) -> float:
    """How far weights · value lie from what was passed on (…×N×c), relative to its largest value, over a sample."""
    worst = 0.0
    for group, queries in sample(weights.shape):
        rows = weights.rows(group, queries)
        gathered = rows @ _of_group(value.detach(), leading, group).double()
        truth = _of_group(passed_on.detach(), leading, group)[queries.to(passed_on.device)].double()
        told = truth.isfinite().all(-1) & (rows.sum(-1) > 0)  # a masked row has no value that one could agree on
        if told.any():
            truth, gathered = truth[told], gathered[told]
            worst = max(worst, float((truth - gathered).abs().max() / truth.abs().max().clamp_min(1e-30)))
    return worst


def tolerance(dtype: torch.dtype) -> float:
    """TOLERANCE, or what the precision of the module allows."""
    return max(TOLERANCE, 8 * torch.finfo(dtype).eps)
