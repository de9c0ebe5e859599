"""The attention of modules whose inside no function mode sees: nn.MultiheadAttention and nn.TransformerEncoderLayer in
evaluation, which choose a native path, and this project's own block, which streams.

Queries and keys are computed from the module's own input and weights, as its documentation says, and a few rows are
taken through to the module's output, which they must give.
"""

from __future__ import annotations

import inspect
import math
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.catch.attentions import Attention
from analysis.catch.lineage import Lineages, Move, Part, Place
from analysis.catch.operands import QueryKey, sample, tolerance
from analysis.catch.tokens import TokenPlaces
from dnl.attention import attention_stages
from dnl.network import DenoisedNonLocal2d, class_distribution

MULTIHEAD = inspect.signature(nn.MultiheadAttention.forward)
ENCODER_LAYER = inspect.signature(nn.TransformerEncoderLayer.forward)
OURS = inspect.signature(DenoisedNonLocal2d.forward)
NATIVE = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)


def chooses_path(module: nn.Module) -> bool:
    """Whether this module may take a native path now. A subclass with a forward of its own does not."""
    return not module.training and any(
        isinstance(module, kind) and type(module).forward is kind.forward for kind in NATIVE
    )


def is_ours(module: nn.Module) -> TypeGuard[DenoisedNonLocal2d]:
    """Whether it is this project's own attention block."""
    return isinstance(module, DenoisedNonLocal2d)


# --- nn.MultiheadAttention -------------------------------------------------------------------------------------------


def of_multihead(module: nn.MultiheadAttention, args, kwargs, output, lineages: Lineages) -> Attention:
    """The attention of one call that gave `output`, (B×N×E or N×B×E, weights)."""
    given = MULTIHEAD.bind(module, *args, **kwargs).arguments
    query, key, value = (given[name] for name in ("query", "key", "value"))
    places = [_tokens_place(module, lineages.of(tokens).place, tokens) for tokens in (query, key)]
    query, key, value = (_batch_first(module, tokens) for tokens in (query, key, value))
    found = output[0] if isinstance(output, tuple) else output
    inside = _Multihead(module, query, key, value, given.get("attn_mask"), given.get("key_padding_mask"))
    attention = inside.attention(places)
    attention.error = inside.error(_batch_first(module, found), lambda rows, item, queries: rows)
    return attention


def of_encoder_layer(layer: nn.TransformerEncoderLayer, args, kwargs, output: Tensor, lineages: Lineages) -> Attention:
    """The attention inside a layer that took the native path, which calls no module inside it."""
    given = ENCODER_LAYER.bind(layer, *args, **kwargs).arguments
    tokens, mask, padding = given["src"], given.get("src_mask"), given.get("src_key_padding_mask")
    place = lineages.of(tokens).place
    if tokens.is_nested:
        padding = ~torch.nested.to_padded_tensor(torch.nested.nested_tensor(
            [torch.ones(len(one), device=one.device) for one in tokens.unbind()]), 0).bool()  # fmt: skip
        tokens, output = (torch.nested.to_padded_tensor(one, 0) for one in (tokens, output))
    before = layer.norm1(tokens) if layer.norm_first else tokens
    inside = _Multihead(layer.self_attn, before, before, before, mask, padding)

    def through(rows: Tensor, item: int, queries: Tensor) -> Tensor:
        x = tokens[item, queries] + rows
        if layer.norm_first:
            return x + layer._ff_block(layer.norm2(x))
        x = layer.norm1(x)
        return layer.norm2(x + layer._ff_block(x))

    attention = inside.attention([_tokens_place(layer.self_attn, place, tokens)] * 2)
    attention.error = inside.error(output, through)
    return attention


def _batch_first(module: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    if tokens.ndim == 2:
        return tokens[None]
    return tokens if module.batch_first else tokens.transpose(0, 1)


def _tokens_place(module: nn.MultiheadAttention, place: Place | None, tokens: Tensor) -> Place | None:
    """Where tokens lie, as B×1×N×E."""
    if place is None or tokens.ndim == 2:
        return None
    part = Part(0, place.shape)
    if not module.batch_first:
        batch, count = place.shape[1], place.shape[0]
        place = Move("move", (batch, count, place.shape[2]), (place,), Tensor.transpose, (part, 0, 1))
    batch, count, depth = place.shape
    return Move("move", (batch, 1, count, depth), (place,), Tensor.unsqueeze, (Part(0, place.shape), 1))


class _Multihead:
    """softmax(q·k / √d + mask) of nn.MultiheadAttention from tokens B×N×E and B×M×E, and its output for some rows."""

    def __init__(self, module: nn.MultiheadAttention, query, key, value, attn_mask, key_padding_mask):
        self.module, self.heads = module, module.num_heads
        projected = [
            F.linear(tokens, weight, bias)
            for tokens, weight, bias in zip((query, key, value), *_projections(module), strict=True)
        ]
        for place, extra in ((1, module.bias_k), (2, module.bias_v)):
            if extra is not None:
                projected[place] = torch.cat([projected[place], extra.expand(len(query), 1, -1)], 1)
        if module.add_zero_attn:
            projected[1:] = [F.pad(tokens, (0, 0, 0, 1)) for tokens in projected[1:]]
        q, k, self.value = (tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2) for tokens in projected)
        extra_keys = k.shape[2] - key.shape[1]
        mask = _merged(attn_mask, key_padding_mask, len(query), self.heads, extra_keys)
        self.weights = QueryKey(q.detach(), k.detach(), tuple(q.shape[:2]), q.shape[-1] ** -0.5, mask)
        self.extra_keys = extra_keys

    def attention(self, places: list[Place | None]) -> Attention:
        query, key = places
        if key is not None and self.extra_keys:
            batch, _, count, depth = key.shape
            padded = (batch, 1, count + self.extra_keys, depth)
            key = Move("move", padded, (key,), F.pad, (Part(0, key.shape), (0, 0, 0, self.extra_keys)))
        leading, allowed = self.weights.leading, tolerance(self.value.dtype)
        shape = (*leading, *self.weights.shape[1:])
        tokens = TokenPlaces(query, key, leading)
        return Attention("nn.MultiheadAttention", self.weights, shape, tokens, allowed=allowed)

    def error(self, output: Tensor, through) -> float:
        """How far the rows, times the values, projected and taken `through` the rest, lie from the output B×N×E."""
        batch, _, count, _ = self.weights.query.shape
        worst = 0.0
        for item, queries in sample((batch, count, 0)):
            rows = [self.weights.rows(item * self.heads + head, queries) for head in range(self.heads)]
            gathered = torch.cat([row @ self.value[item, head].double() for head, row in enumerate(rows)], -1)
            found = through(self.module.out_proj(gathered.to(self.value.dtype)), item, queries)
            truth = output[item, queries]
            told = truth.isfinite().all(-1) & (rows[0].sum(-1) > 0) & (truth != 0).any(-1)
            if told.any():
                off = (found[told] - truth[told]).double().abs().max() / truth[told].double().abs().max()
                worst = max(worst, float(off))
        return worst


def _projections(module: nn.MultiheadAttention) -> tuple[list, list]:
    """Weights and biases of query, key and value."""
    if module.in_proj_weight is not None:
        weights = list(module.in_proj_weight.chunk(3))
    else:
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    return weights, [None] * 3 if module.in_proj_bias is None else list(module.in_proj_bias.chunk(3))


def _merged(attn_mask, key_padding_mask, batch: int, heads: int, extra_keys: int) -> Tensor | None:
    """Both masks as one to be broadcast to batch×heads×N×M: bool (True takes part), or float to be added."""
    masks = []
    if attn_mask is not None:
        masks.append(attn_mask.unflatten(0, (batch, heads)) if attn_mask.ndim == 3 else attn_mask[None, None])
    if key_padding_mask is not None:
        masks.append((key_padding_mask if key_padding_mask.ndim == 2 else key_padding_mask[None])[:, None, None])
    if extra_keys:
        masks = [F.pad(mask, (0, extra_keys)) for mask in masks]
    if not masks:
        return None
    if all(mask.dtype == torch.bool for mask in masks):
        merged = masks[0] if len(masks) == 1 else masks[0] | masks[1]
        return None if not merged.any() else ~merged
    added = [
        torch.zeros(mask.shape, device=mask.device).masked_fill(mask, -math.inf) if mask.dtype == torch.bool else mask
        for mask in masks
    ]
    merged = added[0] if len(added) == 1 else added[0] + added[1]
    return merged.detach().clone() if merged.any() else None


# --- our own block ---------------------------------------------------------------------------------------------------


def of_our_block(block: DenoisedNonLocal2d, args, kwargs, output: Tensor, lineages: Lineages) -> Attention:
    """The raw attention of our own block, and in `own` what its capture takes: class_probs, gate, lr_kernel …"""
    given = OURS.bind(block, *args, **kwargs).arguments
    features = given["features"]
    place = lineages.of(features).place
    maps = block.query(features), block.key(features)
    query, key = (one.flatten(2).transpose(1, 2).contiguous() for one in maps)
    weights = QueryKey(query.detach(), key.detach(), (len(query),), 1.0)
    tokens = None if place is None else _flattened(place)
    places = TokenPlaces(tokens, tokens, weights.leading)
    attention = Attention(
        "this project's own block", weights, (len(query), *weights.shape[1:]), places, allowed=tolerance(output.dtype)
    )
    if block.attention_source != "learnt":
        attention.problem = f"runs with {block.attention_source} rows in place of its own attention"
        return attention
    logits = given.get("class_logits")
    probs = None if logits is None else class_distribution(logits, features.shape[2:])
    attention.own = {
        "size": tuple(features.shape[2:]), "class_probs": probs, "gate": block.gate, "lr_kernel": block.lr_kernel,
        "lr_weights": block.lr_weights,
    }  # fmt: skip
    attention.error = _error_of_ours(block, maps, features, probs, output)
    return attention


def _flattened(place: Place) -> Move:
    """B×C×h×w -> B×N×C."""
    batch, depth, height, width = place.shape
    flat = Move("move", (batch, depth, height * width), (place,), torch.flatten, (Part(0, place.shape), 2))
    return Move("move", (batch, height * width, depth), (flat,), Tensor.transpose, (Part(0, flat.shape), 1, 2))


def _error_of_ours(block, maps, features: Tensor, probs: Tensor | None, output: Tensor) -> float:
    value, worst = block.value(features).flatten(2).double(), 0.0
    options: dict[str, Any] = {"gate": block.gate, "lr_kernel": block.lr_kernel, "lr_weights": block.lr_weights}
    for item, cells in sample((len(features), value.shape[2], 0)):
        query, key = (one[item : item + 1].double() for one in maps)
        own = None if probs is None else probs[item : item + 1].double()
        rows = attention_stages(query, key, own, queries=cells.to(features.device), **options).retained[0].flatten(1)
        gathered = (rows @ value[item].t()).t()  # C×M
        found = block.gamma.double() * gathered + features[item].flatten(1)[:, cells].double()
        truth = output[item].flatten(1)[:, cells].double()
        worst = max(worst, float((found - truth).abs().max() / truth.abs().max().clamp_min(1e-30)))
    return worst
