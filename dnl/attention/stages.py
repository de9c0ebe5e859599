"""Denoised non-local attention as pure functions: gates, the three stages, and the block's output.

Implements the attention of the Denoised Non-local network (Song, Li, Guo, Huang, "Denoised Non-Local Neural
Network for Semantic Segmentation", IEEE TNNLS 2023), for N = H·W cells:

    raw        A      = softmax_j(q_i · k_j)                     no 1/√d scale
    rectified  A′     = A ⊙ G                                    Global Rectifying (GR), not renormalised
    retained   A″[n,m] = Σ_δ L[m,δ] · A′[n,m+δ]                  Local Retention (LR), L[m,δ] = sigmoid(q_m · k_{m+δ})

`attention_stages` gives rows of the three maps for chosen queries. `denoised_attention` gives A″V without ever
building an N×N map: LR moves from the attention map to the values, A″V = A′(LᵀV), where LᵀV is a k×k local
operation, and A′ is streamed over blocks of queries, forward and backward: by fused Triton kernels on a GPU
(`dnl.attention.fused`), else block by block in PyTorch (`dnl.attention.streamed`), with the binary gate class by
class (`dnl.attention.class_sorted`).
"""

from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import NamedTuple, ParamSpec

import torch
from torch import Tensor

from dnl.attention.class_sorted import class_sorted_attention
from dnl.attention.retention import LR_WEIGHTS, fold_retention, retain_rows, retention_weights
from dnl.attention.streamed import Options, StreamedAttention
from dnl.attention.value_dtype import faster_value_dtype

GATES = ("sigmoid", "binary", "similarity")

# Rows of scores held at a time: 128 × N float32 is half a MiB per 1024 cells, so that a block stays in a core's cache
# between its passes, and is still large enough for the matrix products to run at full speed.
QUERY_BLOCK = 128

# The deepest queries for which the fused kernels' blocks fit a GPU's registers and shared memory.
FUSED_DEPTH = 128


P = ParamSpec("P")


class AttentionStages(NamedTuple):
    """Rows of the three maps, each B×M×H×W: entry [b, m, y, x] is what query m gives to cell (y, x). Values ≥ 0."""

    raw: Tensor
    rectified: Tensor
    retained: Tensor


def _outside_compiled_graphs(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """The function as it is, also where a model is compiled: a graph can hold neither threads nor packed operands."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return call


@_outside_compiled_graphs
def denoised_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    class_probs: Tensor | None = None,
    *,
    gate: str | None = "sigmoid",
    lr_kernel: int | None = 3,
    lr_weights: str = "learnt",
    value_dtype: torch.dtype | str | None = None,
) -> Tensor:
    """A″V, the values gathered by retained attention: B×C×H×W in the dtype of `value`.

    query, key: B×d×H×W. value: B×C×H×W. class_probs: B×classes×H×W, a distribution over classes in each cell;
    needed unless `gate` is None. gate: one of GATES, or None for no GR. lr_kernel: odd side of the LR window, or
    None for no LR. lr_weights: "learnt" (the method) or "box" (a constant 1/k² in its place, a control).
    Memory stays O(N·(C + d + classes)) forward and backward. Half-precision inputs are computed in float32,
    because the unscaled scores need its range; on a GPU the products take them as they are and scores and sums are
    float32. value_dtype: torch.bfloat16 multiplies the attention with the values, and their gradients, in that dtype:
    faster on some processors, slower on others, with errors of about 0.5 % of the output's largest value; "auto" takes
    it where a short measurement, once a process, finds it faster. Raises ValueError on shapes or options that do not
    fit. Has first derivatives alone.
    """
    check_inputs(query, key, class_probs, gate=gate, lr_kernel=lr_kernel, lr_weights=lr_weights)
    _check_value(value, query)
    dtype = value.dtype
    query, key, value = _of_like_precision(query, key, value)
    with torch.autocast(query.device.type, enabled=False):
        value_dtype = _products_dtype(value_dtype, value)
        if value_dtype is None and takes_fused_path(query, key, value):
            value_dtype = dtype
        value = at_least_float32(value)
        if lr_kernel is not None:
            value = fold_retention(at_least_float32(query), at_least_float32(key), value, lr_kernel, lr_weights)
        return _gated_attention(query, key, value, class_probs, gate, value_dtype, lr_kernel is not None).to(dtype)


def attention_stages(
    query: Tensor,
    key: Tensor,
    class_probs: Tensor | None = None,
    *,
    queries: Tensor | None = None,
    gate: str | None = "sigmoid",
    lr_kernel: int | None = 3,
    lr_weights: str = "learnt",
    temperature: float = 1.0,
) -> AttentionStages:
    """The exact rows of the three stages for M query cells, each B×M×H×W.

    queries: M flat cell indices y·W + x (int64), None for all N cells. `temperature` divides the scores of the
    softmax alone, not those of LR; 1 is the method. Other arguments as in `denoised_attention`. Without a gate
    rectified equals raw; without LR retained equals rectified. Raises ValueError on arguments that do not fit.
    """
    check_inputs(query, key, class_probs, gate=gate, lr_kernel=lr_kernel, lr_weights=lr_weights)
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0 (1 is the method)")
    height, width = query.shape[2:]
    cells = height * width
    if queries is None:
        queries = torch.arange(cells, device=query.device)
    elif queries.numel() and not (0 <= int(queries.min()) and int(queries.max()) < cells):
        raise ValueError(
            f"query cells run from {int(queries.min())} to {int(queries.max())}; a {height}×{width} map has cells "
            f"0 … {cells - 1}"
        )
    query, key = at_least_float32(query), at_least_float32(key)
    with torch.autocast(query.device.type, enabled=False):
        scores = torch.einsum("bdm,bdn->bmn", query.flatten(2)[:, :, queries], key.flatten(2))
        raw = torch.softmax(scores / temperature, dim=-1)
        rectified = raw
        if gate is not None:
            assert class_probs is not None  # as checked above
            probs = class_probs.to(raw.dtype).flatten(2)
            rectified = raw * gate_rows(probs[:, :, queries], probs, gate)
    raw, rectified = (rows.unflatten(-1, (height, width)) for rows in (raw, rectified))
    retained = rectified
    if lr_kernel is not None:
        retained = retain_rows(rectified, retention_weights(query, key, lr_kernel, lr_weights))
    return AttentionStages(raw, rectified, retained)


def check_inputs(
    query: Tensor,
    key: Tensor,
    class_probs: Tensor | None,
    *,
    gate: str | None,
    lr_kernel: int | None,
    lr_weights: str = "learnt",
) -> None:
    """Raise ValueError, saying what came and what is needed, unless the arguments fit each other.

    Arguments as in `denoised_attention`: query, key B×d×H×W, class_probs B×classes×H×W.
    """
    if query.ndim != 4 or query.shape != key.shape:
        raise ValueError(
            f"query is {tuple(query.shape)} and key {tuple(key.shape)}; both must have the same shape B×d×H×W"
        )
    if 0 in (query.shape[0], *query.shape[2:]):
        raise ValueError(f"query and key are {tuple(query.shape)}; there must be at least one image and one cell")
    if gate is not None:
        if gate not in GATES:
            raise ValueError(f"gate is {gate!r}; choose one of {', '.join(GATES)}, or None for no GR")
        if class_probs is None:
            raise ValueError(f"gate {gate!r} needs class_probs (B×classes×H×W); pass them, or gate=None for no GR")
        if class_probs.ndim != 4 or class_probs.shape[0] != query.shape[0] or class_probs.shape[2:] != query.shape[2:]:
            raise ValueError(
                f"class_probs is {tuple(class_probs.shape)} but query is {tuple(query.shape)}; "
                "class_probs must be B×classes×H×W of the same batch, height and width"
            )
    if lr_kernel is not None and (lr_kernel < 1 or lr_kernel % 2 == 0):
        raise ValueError(f"lr_kernel is {lr_kernel}; it must be an odd number of cells (1, 3, 5 …), or None for no LR")
    if lr_weights not in LR_WEIGHTS:
        raise ValueError(f"lr_weights is {lr_weights!r}; choose one of {', '.join(LR_WEIGHTS)}")


def _check_value(value: Tensor, query: Tensor) -> None:
    if value.ndim != 4 or value.shape[0] != query.shape[0] or value.shape[2:] != query.shape[2:]:
        raise ValueError(
            f"value is {tuple(value.shape)} but query is {tuple(query.shape)}; value must be B×C×H×W of the same "
            "batch, height and width"
        )


def gate_rows(query_probs: Tensor, class_probs: Tensor, gate: str) -> Tensor:
    """GR gates G[m, n] of M queries against N keys: B×M×N in [0, 1].

    query_probs: B×classes×M. class_probs: B×classes×N. sigmoid: σ(p·p) as the authors' code computes it;
    binary: 1 where both cells have the same most probable class, as the paper's abstract says; similarity: p·p.
    """
    if gate == "binary":
        same = query_probs.argmax(1)[:, :, None] == class_probs.argmax(1)[:, None, :]
        return same.to(class_probs.dtype)
    similarity = torch.einsum("bcm,bcn->bmn", query_probs, class_probs)
    return torch.sigmoid(similarity) if gate == "sigmoid" else similarity


def mean_attention_row(query: Tensor, key: Tensor) -> Tensor:
    """The mean over all queries of the raw attention rows, streamed: query, key B×d×H×W -> B×H×W, sum 1."""
    query, key = at_least_float32(query), at_least_float32(key)
    flat_query, flat_key = query.flatten(2), key.flatten(2)
    cells = flat_key.shape[2]
    total = flat_key.new_zeros(flat_key.shape[0], cells)
    with torch.autocast(query.device.type, enabled=False):
        for start in range(0, cells, QUERY_BLOCK):
            scores = torch.einsum("bdm,bdn->bmn", flat_query[:, :, start : start + QUERY_BLOCK], flat_key)
            total = total + torch.softmax(scores, dim=-1).sum(1)
    return (total / cells).unflatten(-1, query.shape[2:])


@_outside_compiled_graphs
def gated_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    class_probs: Tensor | None = None,
    *,
    gate: str | None = None,
    value_dtype: torch.dtype | str | None = None,
) -> Tensor:
    """(softmax(qᵀk) ⊙ G) V without an N×N map, in the dtype of `value`: arguments as in `denoised_attention`.

    Raises ValueError where they do not fit.
    """
    check_inputs(query, key, class_probs, gate=gate, lr_kernel=None)
    _check_value(value, query)
    dtype = value.dtype
    query, key, value = _of_like_precision(query, key, value)
    with torch.autocast(query.device.type, enabled=False):
        products = _products_dtype(value_dtype, value)
        value = at_least_float32(value)
        return _gated_attention(query, key, value, class_probs, gate, products, overwrite_value=False).to(dtype)


def _gated_attention(query, key, value, class_probs, gate, value_dtype, overwrite_value: bool) -> Tensor:
    """`gated_attention` of arguments that fit; overwrite_value: as in `Options`."""
    size = value.shape[2:]
    query, key, value = (tensor.flatten(2) for tensor in (query, key, value))
    probs = None if gate is None or class_probs is None else class_probs.to(value.dtype).flatten(2)
    if torch.compiler.is_exporting():
        gathered = _dense_attention(at_least_float32(query), at_least_float32(key), value, probs, gate)
    elif takes_fused_path(query, key, value):
        from dnl.attention.fused import fused_attention  # Triton is not on every machine

        products = value if value_dtype is None else value.to(value_dtype)
        gathered = fused_attention(query, key, products, probs, gate).to(value.dtype)
    else:
        query, key = at_least_float32(query), at_least_float32(key)
        options = Options(gate, QUERY_BLOCK, value_dtype=value_dtype, overwrite_value=overwrite_value)
        if probs is not None and gate == "binary":
            gathered = class_sorted_attention(query, key, value, probs, options)
        else:
            gathered = StreamedAttention.apply(query, key, value, probs, options)
    return gathered.unflatten(-1, size)


def _products_dtype(value_dtype: torch.dtype | str | None, value: Tensor) -> torch.dtype | None:
    """The dtype of the products with the values, B×C×H×W, where it is another than their own; ValueError for a word but
    "auto"."""
    if isinstance(value_dtype, str):
        if value_dtype != "auto":
            raise ValueError(f'value_dtype is {value_dtype!r}; give a dtype of torch, None or "auto"')
        if value.dtype == torch.float64 or torch.compiler.is_exporting():
            return None
        return faster_value_dtype(value.shape[1], value.shape[2] * value.shape[3], value.device)
    return value_dtype


def _dense_attention(query: Tensor, key: Tensor, value: Tensor, probs: Tensor | None, gate: str | None) -> Tensor:
    """The same product as it is written, N×N map and all, on flattened maps: in operations that can be exported."""
    attention = torch.softmax(query.transpose(1, 2) @ key, dim=-1)
    if probs is not None and gate is not None:
        attention = attention * gate_rows(probs, probs, gate)
    return value @ attention.transpose(1, 2)


def takes_fused_path(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether the Triton kernels serve these tensors: on a CUDA device, not in float64, heads that fit a program.

    query, key: B×d×N or B×d×H×W; value the same with its C channels.
    """
    return (
        all(tensor.is_cuda and tensor.dtype != torch.float64 for tensor in (query, key, value))
        and query.shape[1] <= FUSED_DEPTH
        and find_spec("triton") is not None
    )


def _of_like_precision(*tensors: Tensor) -> list[Tensor]:
    """The tensors as they are, or all in float64 where one is."""
    double = any(tensor.dtype == torch.float64 for tensor in tensors)
    return [tensor.double() if double else tensor for tensor in tensors]


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor, of any shape, in float32, or as it is when float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
