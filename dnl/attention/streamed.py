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
once. On a CPU each core takes blocks of its own: forward some queries with all keys, since a row has one softmax;
backward some queries with as many keys, which suits all of its products.
"""

import math
from collections.abc import Callable, Iterable
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
# by it than the passes over the scores lose (0.90 to 0.97 of the time on a Zen 3).
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

    def blocks(self, span: slice, keys: int, threads: int) -> list[slice]:
        """The span cut evenly into the queries of blocks of so many keys, as many for each thread where a whole map is
        more than one.
        """
        longest = max(self.query_block, BLOCK_SCORES // keys)
        return _cut(span, longest, threads if self.spans is None else 1)

    def tiles(self, image: int, cells: int, parts: int) -> list[slice]:
        """The cells cut evenly into the keys of the backward's blocks on a CPU, as many tiles for each of the parts.

        A block is square, or has more keys where the image's spans have few queries, as long as each part has some.
        """
        queries = cells // len(self.spans_of(image, cells))
        side = max(self.query_block, math.isqrt(BLOCK_SCORES))
        wide = min(BLOCK_SCORES // max(1, queries), math.ceil(cells / parts))
        return _cut(slice(0, cells), max(side, wide), parts)


def _cut(span: slice, longest: int, parts: int) -> list[slice]:
    """The span cut evenly into slices of at most `longest`; where that is more than one, into a multiple of `parts`."""
    length = span.stop - span.start
    count = math.ceil(length / longest)
    if count > 1:
        count = math.ceil(count / parts) * parts
    size = math.ceil(length / count)
    return [slice(start, min(start + size, span.stop)) for start in range(span.start, span.stop, size)]


class StreamedAttention(torch.autograd.Function):
    """(A ⊙ G) V on flattened maps, all of one dtype: query, key B×d×N; value B×C×N -> B×C×N.

    probs: B×classes×N for the gates "sigmoid" and "similarity", else None.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, probs: Tensor | None, options: Options) -> Tensor:
        """Keeps the output and one log-sum-exp per query for the backward."""
        batch, _, cells = value.shape
        span_values = (
            partial(_span_values, value[b], options.spans_of(b, cells), options.value_dtype) for b in range(batch)
        )
        images, values = _prepared(query, key, probs, span_values)
        keys = results([partial(_keys, image, slice(0, cells)) for image in images], query.device)
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
                    filled = output[b].t()[rows], log_sum_exp[b, rows]
                    blocks.append((image, keys[b], rows, span, span_value, *filled, options))
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
    """An image's inputs but the values, laid out for the products; query_rows · keyᵀ are the scores to base 2."""

    query: Tensor  # d×N, like the next two contiguous
    key: Tensor  # d×N
    probs: Tensor | None  # classes×N
    query_rows: Tensor  # N×d
    prob_rows: Tensor | None  # N×classes


class _Keys(NamedTuple):
    """Some of an image's cells as keys, packed."""

    key_rows: Tensor  # n×d
    prob_rows: Tensor | None  # n×classes


class _Incoming(NamedTuple):
    """What the backward is given of an image."""

    gradient: Tensor  # N×C, in the dtype of the products with the values
    correction: Tensor  # N×1: −D
    log_sum_exp: Tensor  # N×1, to base 2


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
    given = zip(grad_output, output, log_sum_exp, strict=True)
    images, incoming = _prepared(query, key, probs, (partial(_incoming, *of, options.value_dtype) for of in given))
    gradients = _Gradients(*map(_unfilled, (query, key, value, probs)))
    # A single image is shared out as well. Who adds to which sum is fixed, so gradients come out the same each time.
    shares = max(1, threads // len(images))
    on_cpu = query.device.type == "cpu"
    tiles = [options.tiles(b, cells, shares) if on_cpu else [slice(0, cells)] for b in range(len(images))]
    shares = min(shares, max(map(len, tiles)))
    parts = []
    for b, image in enumerate(images):
        totals = _Gradients(*(None if tensor is None else tensor[b] for tensor in gradients))
        for share in range(shares):
            # Each share has keys of its own, and all queries.
            sums = totals._replace(query=_unfilled(totals.query), probs=_unfilled(totals.probs)) if share else totals
            parts.append((image, incoming[b], value[b], options.spans_of(b, cells), tiles[b][share::shares], sums))
    in_place = adds_in_place(query)
    for_each(lambda part: _backward_tiles(*part, options, in_place), parts, query.device)
    sums = [part[-1] for part in parts]
    for share in range(1, shares):
        pairs = zip(chain(*sums[::shares]), chain(*sums[share::shares]), strict=True)
        for_each(lambda pair: pair[0].add_(pair[1]), [pair for pair in pairs if pair[0] is not pair[1]], query.device)
    return gradients


def _prepared(query: Tensor, key: Tensor, probs: Tensor | None, others: Iterable[Callable]) -> tuple[list, list]:
    """The `_Image` of each image, and what another call for each of them returns, made at the same time."""
    batch = len(query)
    images = [partial(_image, query[b], key[b], None if probs is None else probs[b]) for b in range(batch)]
    done = results([*others, *images], query.device)
    return done[batch:], done[:batch]


def _incoming(grad_output: Tensor, output: Tensor, log_sum_exp: Tensor, dtype: torch.dtype | None) -> _Incoming:
    """grad_output, output: C×N. log_sum_exp: N×1. dtype: of the products with the values."""
    gradient = grad_output.t().contiguous()
    correction = (gradient * output.t()).sum(1, keepdim=True).neg_()
    return _Incoming(_cast(gradient, dtype), correction, log_sum_exp)


def _span_values(value: Tensor, spans: list[slice], dtype: torch.dtype | None) -> list[tuple[slice, Tensor]]:
    """Each span with its values, packed in the products' dtype: value C×N -> C×n."""
    return [(span, packed(_cast(value[:, span], dtype))) for span in spans]


def _all_packed(values: list[list[tuple]]) -> bool:
    return all(span_value.is_mkldnn for spans in values for _, span_value in spans)


def _image(query: Tensor, key: Tensor, probs: Tensor | None) -> _Image:
    query_rows = (query.t() * math.log2(math.e)).contiguous()
    query, key = query.contiguous(), key.contiguous()
    if probs is None:
        return _Image(query, key, None, query_rows, None)
    return _Image(query, key, probs.contiguous(), query_rows, probs.t().contiguous())


def _keys(image: _Image, keys: slice) -> _Keys:
    prob_rows = None if image.prob_rows is None else packed(image.prob_rows[keys])
    return _Keys(packed(image.key[:, keys].t()), prob_rows)


def _forward_block(image, keys, rows, span, span_value, output, log_sum_exp, options) -> None:
    """Fill the output (M×C) and log-sum-exp (M×1, to base 2) of a block of queries; span_value: C×n, packed."""
    scores = product(image.query_rows[rows], keys.key_rows)  # M×N
    peak = scores.amax(-1, keepdim=True)
    numerators = scores.sub_(peak).exp2_()
    denominators = numerators.sum(-1, keepdim=True)
    torch.add(peak, denominators.log2(), out=log_sum_exp)
    if image.probs is not None:
        numerators *= _gates(image, keys, rows, options.gate)
    gathered = product(_cast(numerators[:, span], options.value_dtype), span_value)  # M×C
    torch.div(gathered, denominators, out=output)


def _backward_tiles(image, incoming, value, spans, tiles, gradients, options: Options, in_place: bool) -> None:
    """Fill all gradients with what comes of these tiles of keys: of key and value only there, and there completely.

    value: C×N. spans: as in `Options`, of this image. in_place: as in `add_product`.
    """
    for gradient in gradients.query, gradients.probs:
        if gradient is not None:
            gradient.zero_()
    for tile in tiles:
        keys = _keys(image, tile)
        # Apart while they are added to: across a whole map, a tile's rows may lie so that they compete in the cache.
        sums = gradients._replace(
            key=image.key.new_zeros(len(image.key), tile.stop - tile.start),
            value=value.new_zeros(len(value), tile.stop - tile.start),
        )
        for span in spans:
            # Those keys of the tile that the queries' gates let through.
            met = slice(max(span.start, tile.start), max(span.start, tile.start, min(span.stop, tile.stop)))
            met_value = packed(_cast(value[:, met].t(), options.value_dtype))
            for rows in options.blocks(span, tile.stop - tile.start, 1):
                block = rows, tile, met
                _backward_block(image, incoming, keys, met_value, block, sums, options.gate, in_place)
        gradients.key[:, tile], gradients.value[:, tile] = sums.key, sums.value


def _backward_block(image, incoming, keys, met_value, block, sums, gate: str | None, in_place: bool) -> None:
    """Add the gradients of a block of queries and a tile of keys, whose own are as wide as the tile.

    block: the queries' cells, the tile's, and those of the tile that are met by gates other than 0. met_value: n×C, of
    the latter, packed.
    """
    rows, tile, met = block
    attention = product(image.query_rows[rows], keys.key_rows).sub_(incoming.log_sum_exp[rows]).exp2_()  # M×N
    grad_rows = incoming.gradient[rows]  # M×C
    inside = slice(met.start - tile.start, met.stop - tile.start)
    gates = None if image.probs is None else _gates(image, keys, rows, gate)
    gated = attention[:, inside] if gates is None else attention * gates
    add_product(sums.value[:, inside], grad_rows.t(), _cast(gated, grad_rows.dtype), in_place)
    grad_gated = product(grad_rows, met_value).to(attention.dtype)  # M×n, gradient of A′
    # A ⊙ dA′ ⊙ G, or without G: what both the scores' and the similarity's gradients are made of.
    weighted = grad_gated.mul_(attention if gate == "similarity" else gated)
    del gated  # as large as the scores
    grad_scores = attention.mul_(incoming.correction[rows])
    if gates is not None and gate == "similarity":
        grad_scores.addcmul_(weighted, gates)
    else:
        grad_scores[:, inside] += weighted
    add_product(sums.query[:, rows], image.key[:, tile], grad_scores.t(), in_place)
    add_product(sums.key, image.query[:, rows], grad_scores, in_place)
    if gates is not None:
        if gate == "sigmoid":  # G′ = G (1 − G)
            weighted.addcmul_(weighted, gates, value=-1)
        add_product(sums.probs[:, rows], image.probs[:, tile], weighted.t(), in_place)
        add_product(sums.probs[:, tile], image.probs[:, rows], weighted, in_place)


def _gates(image: _Image, keys: _Keys, rows: slice, gate: str | None) -> Tensor:
    """The gates of a block of queries and some keys, M×n."""
    assert image.prob_rows is not None and keys.prob_rows is not None  # gates are for those alone that have probs
    return product(image.prob_rows[rows], keys.prob_rows, "sigmoid" if gate == "sigmoid" else "none")


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
