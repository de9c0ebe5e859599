"""The binary gate's attention as one dense block per class.

The gate is 1 within a class and 0 between classes. With the cells sorted by their most probable class, A ⊙ G is block
diagonal: Σ_c n_c² products with the values in place of N², while the softmax's denominators still see every key.
Nothing is approximated; on street scenes Σ_c (n_c/N)² is about 0.2.
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnl.attention.parallel import results
from dnl.attention.streamed import Options, StreamedAttention


def class_sorted_attention(query: Tensor, key: Tensor, value: Tensor, probs: Tensor, options: Options) -> Tensor:
    """(A ⊙ G) V with the binary gate: query, key B×d×N; value B×C×N; probs B×classes×N -> B×C×N."""
    classes = probs.argmax(1)  # B×N
    order = classes.argsort(dim=1, stable=True)
    spans = [_runs(torch.bincount(image, minlength=probs.shape[1]).tolist()) for image in classes]
    gathered = StreamedAttention.apply(*_Reordered.apply(order, query, key, value), None, options._replace(spans=spans))
    (restored,) = _Reordered.apply(order.argsort(dim=1), gathered)
    return restored


class _Reordered(torch.autograd.Function):
    """The cells of several tensors, B×C×N each, in another order, B×N.

    Threads of our own take them, as these are short operations around blocks whose threads need the cores. Autograd
    must not see those: it goes back through the operations of several threads in the order in which these happened to
    begin, so that the sum of three gradients would come out with other last digits each time.
    """

    @staticmethod
    def forward(ctx: Any, order: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(order)
        return _all_taken(tensors, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (order,) = ctx.saved_tensors
        return None, *_all_taken(gradients, order.argsort(dim=1))


def _all_taken(tensors: Sequence[Tensor], cells: Tensor) -> tuple[Tensor, ...]:
    return tuple(results([partial(take_cells, tensor, cells) for tensor in tensors], cells.device))


def take_cells(tensor: Tensor, cells: Tensor) -> Tensor:
    """The cells of each image in another order: B×C×N by B×N. The result lies in memory as the tensor does."""
    rows = tensor.transpose(1, 2)
    if rows.is_contiguous():
        return torch.stack([image[order] for image, order in zip(rows, cells, strict=True)]).transpose(1, 2)
    return torch.stack([image[:, order] for image, order in zip(tensor, cells, strict=True)])


def _runs(counts: list[int]) -> list[slice]:
    """Consecutive slices of these lengths, without the empty ones."""
    return [slice(stop - count, stop) for stop, count in zip(accumulate(counts), counts, strict=True) if count]
