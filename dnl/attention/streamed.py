"""Gated attention streamed over blocks of queries: forward and backward in PyTorch, on any device, without an N×N map.

For one image with N cells, in the notation of `dnl.attention`:

    forward    Y_i  = Σ_j A_ij G_ij V_j                              A = softmax_j(q_i · k_j)
    backward   D    = Y_i · dY_i = Σ_j A_ij dA_ij                    the softmax's correction, from C numbers a query
               dS   = A ⊙ (G ⊙ dY Vᵀ − D)                            gradient of the scores
               dp·p = A ⊙ dY Vᵀ ⊙ G′                                 gradient of the class similarity

The forward keeps Y and one log-sum-exp per query; the backward computes each block of A again. Nearly all of the time
goes into matrix products, as long as a block stays in the cache and is passed over few times; hence exponentials to
base 2 (PyTorch's `exp` takes four times as long on a CPU, its `exp2` is as exact), operations in place, and the
softmax's division after the product, on C numbers a query instead of N. What every block is multiplied with is packed
once. On a CPU each core takes blocks of its own.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnl.attention.matrix_product import add_product, adds_in_place, packed, product
from dnl.attention.parallel import for_each, results, threads_for

# Small maps are taken in larger blocks, up to this many scores, so that the products stay worth their call.
BLOCK_SCORES = 2**18

# Forward, a block is of this many times as many rows where AVX2 is all there is: the product with the values gains more
# by it than the passes over the scores lose (0.90 to 0.97 of the time on a Zen 3). Backward it is the other way round.
FORWARD_TIMES = 2 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 1


class Options(NamedTuple):
    """How to stream. gate: None, "sigmoid", "similarity" or "binary". query_block: rows of scores held at a time, or
    FORWARD_TIMES as many.

    spans: for each image the runs of cells that attend to each other alone, which is the binary gate's G on cells
    sorted by class. None: all cells to all. value_dtype: of the products with the values and their gradients.
    overwrite_value: the output may take the memory of the values, which is dense and of no use to others.
    """

    gate: str | None
    query_block: int
    spans: list[list[slice]] | None = None
    value_dtype: torch.dtype | None = None
    overwrite_value: bool = False

    def spans_of(self, image: int, cells: int) -> list[slice]:
        """The runs of cells of image number `image`, of `cells` cells."""
        return [slice(0, cells)] if self.spans is None else self.spans[image]

    def blocks(self, span: slice, cells: int, threads: int) -> list[slice]:
        """The span cut evenly into blocks of queries, as many for each thread where a whole map is more than one."""
        length = span.stop - span.start
        count = math.ceil(length / max(self.query_block, BLOCK_SCORES // cells))
        if self.spans is None and count > 1:
            count = math.ceil(count / threads) * threads
        size = math.ceil(length / count)
        return [slice(start, min(start + size, span.stop)) for start in range(span.start, span.stop, size)]


class StreamedAttention(torch.autograd.Function):
    """(A ⊙ G) V on flattened maps, all of one dtype: query, key B×d×N; value B×C×N -> B×C×N.

    probs: B×classes×N for the gates "sigmoid" and "similarity", else None.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, probs: Tensor | None, options: Options) -> Tensor:
        """Keeps the output and one log-sum-exp per query for the backward."""
        images, values = _prepared(query, key, value, probs, options)
        batch, _, cells = value.shape
        threads = threads_for(query.device)
        larger = options._replace(query_block=options.query_block * FORWARD_TIMES)
        # Packed values are a copy. Memory fetched from the system costs up to a tenth of the time on small maps.
        is_free = options.overwrite_value and not any(ctx.needs_input_grad) and _all_packed(values)
        # Cell by cell, as the products give it: the layout of "channels last".
        output = _cell_by_cell(value if is_free else value.new_empty(value.shape))
        log_sum_exp = query.new_empty(batch, cells, 1)
        blocks: list[tuple] = []
        for b, image in enumerate(images):
            for span, span_value in values[b]:
                for rows in larger.blocks(span, cells, threads):
                    blocks.append((image, span, rows, span_value, output[b].t()[rows], log_sum_exp[b, rows], options))
        for_each(lambda block: _forward_block(*block), blocks, query.device)
        ctx.save_for_backward(query, key, value, probs, output, log_sum_exp)
        ctx.options = options
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """grad_output: B×C×N. Gradients of the inputs, each as large as its input; None of the options."""
        with torch.autocast(grad_output.device.type, enabled=False):
            return *_backward(ctx, grad_output), None


class _Image(NamedTuple):
    """An image's inputs but the values, laid out for the products; query_rows · key_rowsᵀ are the scores to base 2."""

    query: Tensor  # d×N, like the next two as it came
    key: Tensor  # d×N
    probs: Tensor | None  # classes×N
    query_rows: Tensor  # N×d
    key_rows: Tensor  # N×d, packed
    prob_rows: Tensor | None  # N×classes
    key_prob_rows: Tensor | None  # N×classes, packed


class _Gradients(NamedTuple):
    """Shapes as the inputs', of one image or of all."""

    query: Tensor
    key: Tensor
    value: Tensor
    probs: Tensor | None


def _backward(ctx, grad_output):
    """The gradients of query, key, value and probs, each as large as its input."""
    query, key, value, probs, output, log_sum_exp = ctx.saved_tensors
    options, cells, threads = ctx.options, query.shape[2], threads_for(query.device)
    images, values = _prepared(query, key, value, probs, options, transposed=True)
    gradients = _Gradients(*map(_unfilled, (query, key, value, probs)))
    # A single image is shared out as well. Who adds to which sum is fixed, so that gradients come out the same
    # each time.
    shares = max(1, threads // len(images))
    parts = []
    for b, image in enumerate(images):
        blocks = [
            (span, rows, span_value) for span, span_value in values[b] for rows in options.blocks(span, cells, threads)
        ]
        totals = _Gradients(*(None if tensor is None else tensor[b] for tensor in gradients))
        for share in range(shares):
            sums = totals if share == 0 else _Gradients(*map(_unfilled, totals))
            parts.append((image, blocks[share::shares], grad_output[b], output[b], log_sum_exp[b], sums))
    in_place = adds_in_place(query)
    for_each(lambda part: _backward_blocks(*part, options, in_place), parts, query.device)
    sums = [part[-1] for part in parts]
    for share in range(1, shares):
        pairs = zip(chain(*sums[::shares]), chain(*sums[share::shares]), strict=True)
        for_each(lambda pair: pair[0].add_(pair[1]), [pair for pair in pairs if pair[0] is not None], query.device)
    return gradients


def _prepared(query, key, value, probs, options: Options, transposed: bool = False):
    """Of all images, their `_Image` and their `_span_values`."""
    batch, cells, dtype = range(len(query)), query.shape[2], options.value_dtype
    values: list[Callable] = [
        partial(_span_values, value[b], options.spans_of(b, cells), dtype, transposed) for b in batch
    ]
    images: list[Callable] = [partial(_image, query[b], key[b], None if probs is None else probs[b]) for b in batch]
    done = results(values + images, query.device)
    return done[len(batch) :], done[: len(batch)]


def _span_values(value: Tensor, spans: list[slice], dtype: torch.dtype | None, transposed: bool) -> list[tuple]:
    """Each span with its values, packed in the products' dtype: value C×N -> C×n, or n×C where transposed."""
    packed_values = []
    for span in spans:
        span_value = _cast(value[:, span], dtype)
        packed_values.append((span, packed(span_value.t() if transposed else span_value)))
    return packed_values


def _all_packed(values: list[list[tuple]]) -> bool:
    return all(span_value.is_mkldnn for spans in values for _, span_value in spans)


def _image(query: Tensor, key: Tensor, probs: Tensor | None) -> _Image:
    query_rows, key_rows = (query.t() * math.log2(math.e)).contiguous(), packed(key.t())
    if probs is None:
        return _Image(query, key, None, query_rows, key_rows, None, None)
    prob_rows = probs.t().contiguous()
    return _Image(query, key, probs, query_rows, key_rows, prob_rows, packed(prob_rows))


def _forward_block(image, span, rows, span_value, output, log_sum_exp, options) -> None:
    """Fill the output (M×C) and log-sum-exp (M×1, to base 2) of a block of queries; span_value: C×n, packed."""
    scores = product(image.query_rows[rows], image.key_rows)  # M×N
    peak = scores.amax(-1, keepdim=True)
    numerators = scores.sub_(peak).exp2_()
    denominators = numerators.sum(-1, keepdim=True)
    torch.add(peak, denominators.log2(), out=log_sum_exp)
    if image.probs is not None:
        numerators *= _gates(image, rows, options.gate)
    gathered = product(_cast(numerators[:, span], options.value_dtype), span_value)  # M×C
    torch.div(gathered, denominators, out=output)


def _backward_blocks(image, blocks, grad_output, output, log_sum_exp, gradients, options, in_place) -> None:
    """Fill the gradients with those of some of an image's blocks. grad_output, output: C×N; log_sum_exp: N×1."""
    for gradient in gradients:
        if gradient is not None:
            gradient.zero_()
    probs = None if image.probs is None else image.probs.contiguous()
    image = image._replace(query=image.query.contiguous(), key=image.key.contiguous(), probs=probs)
    for span, rows, span_value in blocks:
        _backward_block(image, span, rows, span_value, grad_output, output, log_sum_exp, gradients, options, in_place)


def _backward_block(
    image, span, rows, span_value, grad_output, output, log_sum_exp, gradients, options: Options, in_place: bool
) -> None:
    """Add the gradients of one block of queries; span_value: n×C, packed; in_place: as in `add_product`."""
    gate, dtype = options.gate, options.value_dtype
    attention = product(image.query_rows[rows], image.key_rows).sub_(log_sum_exp[rows]).exp2_()  # M×N
    correction = (grad_output[:, rows] * output[:, rows]).sum(0)[:, None]  # M×1
    grad_block = _cast(grad_output[:, rows], dtype)  # C×M
    gates = None if image.probs is None else _gates(image, rows, gate)
    gated = attention[:, span].contiguous() if gates is None else attention * gates
    add_product(gradients.value[:, span], grad_block, _cast(gated, dtype), in_place)
    # After the sums of all channels, each as large as the scores: so many are never held beside it.
    grad_gated = product(grad_block.t(), span_value).to(attention.dtype)  # M×n, gradient of A′
    # A ⊙ dA′ ⊙ G, or without G: what both the scores' and the similarity's gradients are made of.
    weighted = grad_gated.mul_(attention if gate == "similarity" else gated)
    del gated  # as large as the scores
    grad_scores = attention.mul_(-correction)
    if gates is not None and gate == "similarity":
        grad_scores.addcmul_(weighted, gates)
    else:
        grad_scores[:, span] += weighted
    gradients.query[:, rows] = product(image.key, grad_scores)
    add_product(gradients.key, image.query[:, rows], grad_scores, in_place)
    if gates is not None:
        if gate == "sigmoid":  # G′ = G (1 − G)
            weighted.addcmul_(weighted, gates, value=-1)
        gradients.probs[:, rows] += product(image.probs, weighted)
        add_product(gradients.probs, image.probs[:, rows], weighted, in_place)


def _gates(image: _Image, rows: slice, gate: str | None) -> Tensor:
    """G of a block of queries against all keys: M×N."""
    assert image.prob_rows is not None and image.key_prob_rows is not None  # gates are for those alone that have probs
    return product(image.prob_rows[rows], image.key_prob_rows, "sigmoid" if gate == "sigmoid" else "none")


def _cell_by_cell(memory: Tensor) -> Tensor:
    """The same memory as a tensor of its shape, B×C×N, with each cell's channels side by side."""
    if memory.transpose(1, 2).is_contiguous():
        return memory
    batch, channels, cells = memory.shape
    return memory.view(batch, cells, channels).transpose(1, 2)


def _unfilled(tensor: Tensor | None) -> Tensor | None:
    """A contiguous tensor of the same shape; `empty_like` would keep the strides."""
    return None if tensor is None else tensor.new_empty(tensor.shape)


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor if dtype is None else tensor.to(dtype)
