"""Gated attention streamed over blocks of queries: forward and backward in PyTorch, on any device, without an N×N map.

For one image with N cells, in the notation of `dnl.attention`:

    forward    Y_i  = Σ_j A_ij G_ij V_j                              A = softmax_j(q_i · k_j)
    backward   D    = Y_i · dY_i = Σ_j A_ij dA_ij                    the softmax's correction, from C numbers a query
               dS   = A ⊙ (G ⊙ dY Vᵀ − D)                            gradient of the scores
               dp·p = A ⊙ dY Vᵀ ⊙ G′                                 gradient of the class similarity

The forward keeps Y and one log-sum-exp per query; the backward computes each block of A again. Nearly all of the time
goes into matrix products, as long as a block stays in the cache and is passed over few times; hence exponentials to
base 2 (PyTorch's `exp` takes four times as long on a CPU, its `exp2` is as exact), operations in place, and the
softmax's division after the product, on C numbers a query instead of N.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnl.matrix_product import product

# Small maps are taken in larger blocks, up to this many scores, so that the products stay worth their call.
BLOCK_SCORES = 2**20


class Options(NamedTuple):
    """How to stream. gate: None, "sigmoid", "similarity" or "binary". query_block: rows of scores held at a time.

    spans: for each image the runs of cells that attend to each other alone, which is the binary gate's G on cells
    sorted by class. None: all cells to all. value_dtype: of the products with the values and their gradients.
    """

    gate: str | None
    query_block: int
    spans: list[list[slice]] | None = None
    value_dtype: torch.dtype | None = None


class StreamedAttention(torch.autograd.Function):
    """(A ⊙ G) V on flattened maps, all of one dtype: query, key B×d×N; value B×C×N -> B×C×N.

    probs: B×classes×N for the gates "sigmoid" and "similarity", else None.
    """

    @staticmethod
    def forward(ctx, query, key, value, probs, options: Options):
        output = torch.empty_like(value, memory_format=torch.contiguous_format)
        log_sum_exp = query.new_empty(query.shape[0], query.shape[2], 1)
        for b in range(len(query)):
            query_rows, key_rows = _score_rows(query[b], key[b])
            prob_rows = None if probs is None else probs[b].t().contiguous()
            for span in _spans(options, b, len(query_rows)):
                span_value = _cast(value[b][:, span].contiguous(), options.value_dtype)
                for rows in _blocks(span, len(query_rows), options.query_block):
                    scores = product(query_rows[rows], key_rows)  # M×N
                    peak = scores.amax(-1, keepdim=True)
                    numerators = scores.sub_(peak).exp2_()
                    denominators = numerators.sum(-1, keepdim=True)
                    log_sum_exp[b, rows] = peak + denominators.log2()
                    if probs is not None:
                        numerators *= _gates(prob_rows[rows], prob_rows, options.gate)
                    gathered = product(_cast(numerators[:, span], options.value_dtype), span_value)  # M×C
                    output[b][:, rows] = (gathered / denominators).t()
        ctx.save_for_backward(query, key, value, probs, output, log_sum_exp)
        ctx.options = options
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        query, key, value, probs, output, log_sum_exp = ctx.saved_tensors
        gradients = [None if tensor is None else torch.zeros_like(tensor) for tensor in (query, key, value, probs)]
        for b in range(len(query)):
            saved = (None if tensor is None else tensor[b] for tensor in (query, key, value, probs))
            image_gradients = (None if tensor is None else tensor[b] for tensor in gradients)
            correction = (grad_output[b] * output[b]).sum(0)[:, None]  # N×1
            spans = _spans(ctx.options, b, query.shape[2])
            _image_backward(
                *saved, grad_output[b], log_sum_exp[b], correction, spans, ctx.options, _Gradients(*image_gradients)
            )
        return *gradients, None


class _Gradients(NamedTuple):
    """Of one image, to be added to: d×N, d×N, C×N, classes×N or None."""

    query: Tensor
    key: Tensor
    value: Tensor
    probs: Tensor | None


def _image_backward(query, key, value, probs, grad_output, log_sum_exp, correction, spans, options, gradients) -> None:
    """Add one image's gradients, block by block. Tensors as in `StreamedAttention`, without the batch."""
    gate, dtype = options.gate, options.value_dtype
    query_rows, key_rows = _score_rows(query, key)
    key = key.contiguous()
    if probs is not None:
        probs, prob_rows = probs.contiguous(), probs.t().contiguous()
    for span in spans:
        value_rows = _cast(value[:, span].t().contiguous(), dtype)  # n×C
        for rows in _blocks(span, len(query_rows), options.query_block):
            attention = product(query_rows[rows], key_rows).sub_(log_sum_exp[rows]).exp2_()  # M×N
            grad_block = _cast(grad_output[:, rows].contiguous(), dtype)  # C×M
            grad_gated = product(grad_block.t(), value_rows).to(attention.dtype)  # M×n, gradient of A′
            gates = None if probs is None else _gates(prob_rows[rows], prob_rows, gate)
            gated = attention[:, span].contiguous() if gates is None else attention * gates
            gradients.value[:, span] += product(grad_block, _cast(gated, dtype).t())
            # A′ ⊙ dA′, which both the scores' and the similarity's gradients are made of.
            weighted = grad_gated.mul_(attention if gate == "similarity" else gated)
            grad_scores = attention.mul_(-correction[rows])
            if gate == "similarity":
                grad_scores.addcmul_(weighted, gates)
            else:
                grad_scores[:, span] += weighted
            gradients.query[:, rows] = product(key, grad_scores)
            gradients.key.add_(product(query[:, rows], grad_scores.t()))
            if probs is not None:
                if gate == "sigmoid":  # G′ = G (1 − G)
                    weighted.addcmul_(weighted, gates, value=-1)
                gradients.probs[:, rows] += product(probs, weighted)
                gradients.probs.add_(product(probs[:, rows], weighted.t()))


def _score_rows(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """N×d queries and keys whose products are the scores to base 2."""
    return (query.t() * math.log2(math.e)).contiguous(), key.t().contiguous()


def _gates(query_probs: Tensor, prob_rows: Tensor, gate: str) -> Tensor:
    """G of M queries, M×classes, against N keys, N×classes: M×N."""
    similarity = product(query_probs, prob_rows)
    return similarity.sigmoid_() if gate == "sigmoid" else similarity


def _spans(options: Options, image: int, cells: int) -> list[slice]:
    return [slice(0, cells)] if options.spans is None else options.spans[image]


def _blocks(span: slice, cells: int, query_block: int) -> list[slice]:
    """The span cut into blocks of queries."""
    size = max(query_block, BLOCK_SCORES // cells)
    return [slice(start, min(start + size, span.stop)) for start in range(span.start, span.stop, size)]


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor if dtype is None else tensor.to(dtype)
