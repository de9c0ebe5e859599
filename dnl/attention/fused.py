"""Gated attention as fused Triton kernels for GPUs: the same function as `dnl.attention.streamed`, never an N×N map.

A program holds a block of queries and walks over the keys: scores, running softmax (the sums so far are scaled anew
when a larger score turns up), gate from the class probabilities, product with the values. The denominators sum the
numerators before the gate, which is not renormalised. The backward computes the scores again from the log-sum-exps
that the forward keeps: one kernel for the gradients of the scores and of the class similarity, run once with the
queries and once with the keys as its rows, and one for the values.

Why not FlexAttention: it changes scores before the softmax and normalises after it, so a gate on the finished weights
takes a second pass for the ungated denominators, and its score function sees indices alone and cannot hold the dot
product of two cells' class probabilities, nor give them a gradient without an N×N tensor of similarities.

Needs the package `triton`, which comes with PyTorch for CUDA. TRITON_INTERPRET=1 runs the kernels on a CPU, for tests.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from dnl.attention.class_sorted import take_cells

LOG2_E = tl.constexpr(math.log2(math.e))

GATE_CODES = {None: 0, "binary": 1, "sigmoid": 2, "similarity": 3}  # from "sigmoid" on they read the probabilities
NO_GATE, BINARY, SIGMOID, SIMILARITY = (tl.constexpr(code) for code in GATE_CODES.values())

# Queries and keys per block, and the most channels of the values that one program sums up in registers; the kernel for
# the scores' gradients, which needs more shared memory, takes a quarter of them at a time. In float32 it is half. So
# compiled for compute capability 8.0, no kernel needs more than the 99 KiB of shared memory of the smallest devices.
BLOCK_ROWS, BLOCK_OTHERS, MAX_CHANNELS = 64, 32, 256


def fused_attention(query: Tensor, key: Tensor, value: Tensor, probs: Tensor | None, gate: str | None) -> Tensor:
    """(softmax(qᵀk) ⊙ G) V: query, key B×d×N; value B×C×N -> B×C×N in the dtype of `value`, differentiable.

    probs: B×classes×N, needed with a gate. Scores and all sums are in float32; the products take the tensors in the
    dtypes that they have (probs in that of `value`). float32 is multiplied exactly unless
    torch.backends.cuda.matmul.allow_tf32 is set. d up to 128, classes up to 256.
    """
    if probs is None or gate is None:
        return _FusedAttention.apply(_rows(query), _rows(key), _rows(value), None, None, None).transpose(1, 2)
    if gate != "binary":
        prob_rows = _rows(probs).to(value.dtype)
        return _FusedAttention.apply(_rows(query), _rows(key), _rows(value), prob_rows, None, gate).transpose(1, 2)
    classes, order = probs.argmax(1).sort(dim=1, stable=True)
    in_order = (_rows(take_cells(tensor, order)) for tensor in (query, key, value))
    gathered = _FusedAttention.apply(*in_order, None, classes.to(torch.int32), gate).transpose(1, 2)
    return take_cells(gathered, order.argsort(dim=1))


def _rows(tensor: Tensor) -> Tensor:
    """B×C×N as contiguous B×N×C."""
    return tensor.transpose(1, 2).contiguous()


class _FusedAttention(torch.autograd.Function):
    """On rows: query, key B×N×d; value B×N×C; probs B×N×classes or None; classes B×N or None."""

    @staticmethod
    def forward(ctx, query, key, value, probs, classes, gate):
        output = torch.empty_like(value)
        log_sum_exp = query.new_empty(query.shape[:2], dtype=torch.float32)
        sizes = _sizes(query, value, probs, gate)
        _forward_kernel[_grid(query, value.shape[2], sizes["CHANNELS"])](
            query, key, value, _or(probs, value), _or(classes, value), output, log_sum_exp, **sizes
        )
        ctx.save_for_backward(query, key, value, probs, classes, output, log_sum_exp)
        ctx.gate = gate
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        query, key, value, probs, classes, output, log_sum_exp = ctx.saved_tensors
        grad_output = grad_output.to(value.dtype).contiguous()
        correction = (grad_output.float() * output.float()).sum(-1)  # B×N
        sizes = _sizes(query, value, probs, ctx.gate)
        score_sizes = {**sizes, "CHANNELS": max(16, sizes["CHANNELS"] // 4)}
        grad_query, grad_key = (torch.empty_like(tensor, dtype=torch.float32) for tensor in (query, key))
        # The similarity p·p is symmetric in its two cells: one gradient as the query, one as the key.
        grad_probs = [None if probs is None else torch.empty_like(probs, dtype=torch.float32) for _ in range(2)]
        gate_inputs = (_or(probs, value), _or(classes, value))
        softmax = (log_sum_exp, correction)
        _scores_backward_kernel[_grid(query)](
            query, key, grad_output, value, *gate_inputs, *softmax, grad_query, _or(grad_probs[0], grad_query),
            ROWS_ARE_QUERIES=True, **score_sizes,
        )  # fmt: skip
        _scores_backward_kernel[_grid(query)](
            key, query, value, grad_output, *gate_inputs, *softmax, grad_key, _or(grad_probs[1], grad_key),
            ROWS_ARE_QUERIES=False, **score_sizes,
        )  # fmt: skip
        grad_value = torch.empty_like(value)
        _value_backward_kernel[_grid(query, value.shape[2], sizes["CHANNELS"])](
            query, key, grad_output, *gate_inputs, log_sum_exp, grad_value, **sizes
        )
        both = None if probs is None else (grad_probs[0] + grad_probs[1]).to(probs.dtype)
        return grad_query.to(query.dtype), grad_key.to(key.dtype), grad_value, both, None, None


def _or(tensor: Tensor | None, stand_in: Tensor) -> Tensor:
    """A kernel takes a pointer in every place; where the gate needs none it is not read."""
    return stand_in if tensor is None else tensor


def _grid(query: Tensor, channels: int = 1, block: int = 1) -> tuple[int, int, int]:
    """Programs: blocks of rows, blocks of channels, images."""
    return triton.cdiv(query.shape[1], BLOCK_ROWS), triton.cdiv(channels, block), query.shape[0]


def _sizes(query: Tensor, value: Tensor, probs: Tensor | None, gate: str | None) -> dict:
    """The kernels' sizes. Blocks of `tl.dot` are powers of two of at least 16; what exceeds a tensor is zero."""
    depth, channels, num_classes = query.shape[2], value.shape[2], 1 if probs is None else probs.shape[2]
    most_channels = MAX_CHANNELS // 2 if value.dtype == torch.float32 else MAX_CHANNELS
    # A product of a float32 tensor with one in half precision is one in float32.
    single = torch.float32 in (query.dtype, value.dtype)
    # Read by its newer name, which follows `allow_tf32` too; that one cannot be read once the newer one was set.
    exact = single and torch.backends.cuda.matmul.fp32_precision != "tf32"
    return {
        "cells": query.shape[1],
        "depth": depth,
        "channels": channels,
        "num_classes": num_classes,
        "GATE": GATE_CODES[gate],
        "PRECISION": "ieee" if exact else "tf32",
        "num_warps": 8,
        "num_stages": 2 if value.dtype == torch.float32 else 3,
        "ROWS": BLOCK_ROWS,
        "OTHERS": BLOCK_OTHERS,
        "DEPTH": max(16, triton.next_power_of_2(depth)),
        "CHANNELS": min(most_channels, max(16, triton.next_power_of_2(channels))),
        "CLASSES": max(16, triton.next_power_of_2(num_classes)),
    }


@triton.jit
def _place(ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Image, rows of cells and first channel of this program."""
    return tl.program_id(2), tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.program_id(1) * CHANNELS


@triton.jit
def _load(tensor, image, cell, cells, start, size, BLOCK: tl.constexpr):
    """cell × BLOCK of a B×cells×size tensor: entries start … of each cell, zero beyond either end."""
    entry = start + tl.arange(0, BLOCK)
    place = (image * cells + cell)[:, None].to(tl.int64) * size + entry[None, :]
    return tl.load(tensor + place, mask=(cell < cells)[:, None] & (entry < size)[None, :], other=0.0)


@triton.jit
def _store(tensor, block, image, cell, cells, start, size, BLOCK: tl.constexpr):
    entry = start + tl.arange(0, BLOCK)
    place = (image * cells + cell)[:, None].to(tl.int64) * size + entry[None, :]
    block = block.to(tensor.dtype.element_ty)
    tl.store(tensor + place, block, mask=(cell < cells)[:, None] & (entry < size)[None, :])


@triton.jit
def _gate(probs, classes, image, row, other, cells, num_classes,
          GATE: tl.constexpr, PRECISION: tl.constexpr, CLASSES: tl.constexpr):  # fmt: skip
    """G of rows × others in float32."""
    if GATE == BINARY:
        row_class = tl.load(classes + image * cells + row, mask=row < cells, other=-1)
        other_class = tl.load(classes + image * cells + other, mask=other < cells, other=-2)
        gate = tl.where(row_class[:, None] == other_class[None, :], 1.0, 0.0)
    else:
        row_probs = _load(probs, image, row, cells, 0, num_classes, CLASSES)
        other_probs = _load(probs, image, other, cells, 0, num_classes, CLASSES)
        gate = tl.dot(row_probs, tl.trans(other_probs), input_precision=PRECISION)
        if GATE == SIGMOID:
            gate = tl.sigmoid(gate)
    return gate


@triton.jit
def _forward_kernel(query, key, value, probs, classes, output, log_sum_exp, cells, depth, channels, num_classes,
                    GATE: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, OTHERS: tl.constexpr,
                    DEPTH: tl.constexpr, CHANNELS: tl.constexpr, CLASSES: tl.constexpr):  # fmt: skip
    image, row, channel = _place(ROWS, CHANNELS)
    row_query = _load(query, image, row, cells, 0, depth, DEPTH)
    peak = tl.full([ROWS], float("-inf"), tl.float32)
    denominator = tl.zeros([ROWS], tl.float32)
    total = tl.zeros([ROWS, CHANNELS], tl.float32)
    for start in range(0, cells, OTHERS):
        other = start + tl.arange(0, OTHERS)
        scores = tl.dot(
            row_query, tl.trans(_load(key, image, other, cells, 0, depth, DEPTH)), input_precision=PRECISION
        )
        scores = tl.where((other < cells)[None, :], LOG2_E * scores, float("-inf"))
        higher = tl.maximum(peak, tl.max(scores, 1))
        shrink = tl.exp2(peak - higher)
        numerators = tl.exp2(scores - higher[:, None])
        denominator = denominator * shrink + tl.sum(numerators, 1)
        peak = higher
        total = total * shrink[:, None]
        if GATE != NO_GATE:
            gate = _gate(probs, classes, image, row, other, cells, num_classes, GATE, PRECISION, CLASSES)
            numerators = numerators * gate
        # Sorted by class, most blocks have no class in common: nothing passes, and the values need not be read.
        if GATE != BINARY or tl.max(tl.max(gate, 1), 0) > 0:
            values = _load(value, image, other, cells, channel, channels, CHANNELS)
            total += tl.dot(numerators.to(values.dtype), values, input_precision=PRECISION)
    _store(output, total / denominator[:, None], image, row, cells, channel, channels, CHANNELS)
    if channel == 0:
        tl.store(log_sum_exp + image * cells + row, peak + tl.log2(denominator), mask=row < cells)


@triton.jit
def _scores_backward_kernel(own, others, own_features, other_features, probs, classes, log_sum_exp, correction,
                            grad_own, grad_probs, cells, depth, channels, num_classes,
                            ROWS_ARE_QUERIES: tl.constexpr, GATE: tl.constexpr, PRECISION: tl.constexpr,
                            ROWS: tl.constexpr, OTHERS: tl.constexpr, DEPTH: tl.constexpr,
                            CHANNELS: tl.constexpr, CLASSES: tl.constexpr):  # fmt: skip
    """Gradients of the queries (own = query, own_features = dY, other_features = V), or of the keys (the reverse)."""
    image, row, _ = _place(ROWS, CHANNELS)
    own_block = _load(own, image, row, cells, 0, depth, DEPTH)
    gradient = tl.zeros([ROWS, DEPTH], tl.float32)
    probs_gradient = tl.zeros([ROWS, CLASSES], tl.float32)
    for start in range(0, cells, OTHERS):
        other = start + tl.arange(0, OTHERS)
        other_block = _load(others, image, other, cells, 0, depth, DEPTH)
        scores = LOG2_E * tl.dot(own_block, tl.trans(other_block), input_precision=PRECISION)
        if ROWS_ARE_QUERIES:
            log_sums = tl.load(log_sum_exp + image * cells + row, mask=row < cells, other=0.0)[:, None]
            corrections = tl.load(correction + image * cells + row, mask=row < cells, other=0.0)[:, None]
        else:
            log_sums = tl.load(log_sum_exp + image * cells + other, mask=other < cells, other=0.0)[None, :]
            corrections = tl.load(correction + image * cells + other, mask=other < cells, other=0.0)[None, :]
        inside = (row < cells)[:, None] & (other < cells)[None, :]
        attention = tl.where(inside, tl.exp2(scores - log_sums), 0.0)
        grad_gated = tl.zeros([ROWS, OTHERS], tl.float32)  # gradient of A′
        for channel in range(0, channels, CHANNELS):
            own_part = _load(own_features, image, row, cells, channel, channels, CHANNELS)
            other_part = _load(other_features, image, other, cells, channel, channels, CHANNELS)
            grad_gated += tl.dot(own_part, tl.trans(other_part), input_precision=PRECISION)
        if GATE == NO_GATE:
            grad_scores = attention * (grad_gated - corrections)
        else:
            gate = _gate(probs, classes, image, row, other, cells, num_classes, GATE, PRECISION, CLASSES)
            grad_scores = attention * (grad_gated * gate - corrections)
            if GATE >= SIGMOID:
                grad_similarity = attention * grad_gated
                if GATE == SIGMOID:
                    grad_similarity = grad_similarity * gate * (1.0 - gate)
                other_probs = _load(probs, image, other, cells, 0, num_classes, CLASSES)
                grad_similarity = grad_similarity.to(other_probs.dtype)
                probs_gradient += tl.dot(grad_similarity, other_probs, input_precision=PRECISION)
        gradient += tl.dot(grad_scores.to(other_block.dtype), other_block, input_precision=PRECISION)
    _store(grad_own, gradient, image, row, cells, 0, depth, DEPTH)
    if GATE >= SIGMOID:
        _store(grad_probs, probs_gradient, image, row, cells, 0, num_classes, CLASSES)


@triton.jit
def _value_backward_kernel(query, key, grad_output, probs, classes, log_sum_exp, grad_value,
                           cells, depth, channels, num_classes,
                           GATE: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, OTHERS: tl.constexpr,
                           DEPTH: tl.constexpr, CHANNELS: tl.constexpr, CLASSES: tl.constexpr):  # fmt: skip
    """dV = A′ᵀ dY for a block of keys."""
    image, row, channel = _place(ROWS, CHANNELS)
    row_key = _load(key, image, row, cells, 0, depth, DEPTH)
    total = tl.zeros([ROWS, CHANNELS], tl.float32)
    for start in range(0, cells, OTHERS):
        other = start + tl.arange(0, OTHERS)
        other_query = _load(query, image, other, cells, 0, depth, DEPTH)
        scores = LOG2_E * tl.dot(row_key, tl.trans(other_query), input_precision=PRECISION)
        log_sums = tl.load(log_sum_exp + image * cells + other, mask=other < cells, other=0.0)
        inside = (row < cells)[:, None] & (other < cells)[None, :]
        gated = tl.where(inside, tl.exp2(scores - log_sums[None, :]), 0.0)  # A′, transposed
        if GATE != NO_GATE:
            gated = gated * _gate(probs, classes, image, row, other, cells, num_classes, GATE, PRECISION, CLASSES)
        gradients = _load(grad_output, image, other, cells, channel, channels, CHANNELS)
        total += tl.dot(gated.to(gradients.dtype), gradients, input_precision=PRECISION)
    _store(grad_value, total, image, row, cells, channel, channels, CHANNELS)
