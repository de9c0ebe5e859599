"""Denoised non-local attention as pure functions: gates, the three stages, and the block's output."""

from dnl.attention.matrix_product import settle_additions
from dnl.attention.parallel import set_own_thread_count, without_subnormals
from dnl.attention.retention import LR_WEIGHTS, offsets, retain_rows, retain_values, retention_weights
from dnl.attention.stages import (
    GATES,
    AttentionStages,
    at_least_float32,
    attention_stages,
    check_inputs,
    denoised_attention,
    gate_rows,
    gated_attention,
    mean_attention_row,
)

__all__ = [
    "GATES",
    "LR_WEIGHTS",
    "AttentionStages",
    "at_least_float32",
    "attention_stages",
    "check_inputs",
    "denoised_attention",
    "gate_rows",
    "gated_attention",
    "mean_attention_row",
    "offsets",
    "retain_rows",
    "retain_values",
    "retention_weights",
    "set_own_thread_count",
    "settle_additions",
    "without_subnormals",
]
