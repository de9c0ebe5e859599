"""The binary gate's attention as one dense block per class.

The gate is 1 within a class and 0 between classes. With the cells sorted by their most probable class, A ⊙ G is block
diagonal: Σ_c n_c² products with the values in place of N², while the softmax's denominators still see every key.
Nothing is approximated; on street scenes Σ_c (n_c/N)² is about 0.2.
"""

from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from dnl.attention.parallel import results
from dnl.attention.streamed import Options, StreamedAttention


def class_sorted_attention(query: Tensor, key: Tensor, value: Tensor, probs: Tensor, options: Options) -> Tensor:
    """(A ⊙ G) V with the binary gate: query, key B×d×N; value B×C×N; probs B×classes×N -> B×C×N."""
    classes = probs.argmax(1)  # B×N
    order = classes.argsort(dim=1, stable=True)
    spans = [_runs(torch.bincount(image, minlength=probs.shape[1]).tolist()) for image in classes]
    # Short operations around the blocks, whose threads need the cores.
    in_order = results([partial(take_cells, tensor, order) for tensor in (query, key, value)], query.device)
    gathered = StreamedAttention.apply(*in_order, None, options._replace(spans=spans))
    (restored,) = results([lambda: take_cells(gathered, order.argsort(dim=1))], query.device)
    return restored


def take_cells(tensor: Tensor, cells: Tensor) -> Tensor:
    """The cells of each image in another order: B×C×N by B×N. The result lies in memory as the tensor does."""
    rows = tensor.transpose(1, 2)
    if rows.is_contiguous():
        return torch.stack([image[order] for image, order in zip(rows, cells, strict=True)]).transpose(1, 2)
    return torch.stack([image[:, order] for image, order in zip(tensor, cells, strict=True)])


def _runs(counts: list[int]) -> list[slice]:
    """Consecutive slices of these lengths, without the empty ones."""
    return [slice(stop - count, stop) for stop, count in zip(accumulate(counts), counts, strict=True) if count]
