"""Attention rollout over layers: a map derived from several, not one that the network computed.

Abnar & Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020: each layer is the mean of its heads' maps, half
of each row stays where it is (the residual connection), and the layers are multiplied: R = Ã_L · … · Ã_1 with
Ã = ½·A + ½·I.
"""

import math
from typing import Any

import numpy as np

from analysis.capture import brought
from analysis.capture.layers import Layer, Layers

ROLLOUT = "rollout (derived)"
# Multiplications: a second or two.
MAX_PRODUCTS = 3 * 10**10
NOTE = (
    "This map is derived: the attention rollout of {count} layers, {first} to {last} (Abnar and Zuidema 2020). The "
    "network did not compute it: each layer is the mean of its heads, and half of each row stays where it is."
)


def rollout(layers: Layers) -> Layer:
    """The rollout over all layers, first to last, as a layer of one finished map.

    Tokens that are no cells take part on the way, and are dropped in the end. Raises ValueError, in one sentence, where
    the layers do not share their tokens, or it would take too long.
    """
    if (reason := why_no_rollout(layers)) is not None:
        raise reason
    first = layers.layers[0]
    found = np.eye(_tokens(first))
    for layer in layers:
        rows = _mean_map(layer)
        rows /= np.maximum(rows.sum(axis=1, keepdims=True), brought.SMALLEST)
        found = 0.5 * (rows @ found) + 0.5 * found
    kept = ("image", "labels", "prediction", "label_set", "name", "placement", "crop", "class_tokens", "last_tokens")
    options: dict[str, Any] = {name: first.options[name] for name in kept if name in first.options}
    note = NOTE.format(count=len(layers), first=layers.names[0], last=layers.names[-1])
    maps = {"attention": found[None].astype(np.float32)}
    return Layer(ROLLOUT, first.cells, first.key_cells, (0,), maps, options, (note,))


def why_no_rollout(layers: Layers) -> ValueError | None:
    """Why these layers have no rollout; None where they have one. Nothing is computed."""
    try:
        _require_shared(layers)
    except ValueError as error:
        return error
    tokens = _tokens(layers.layers[0])
    depth = sum(len(layer.heads) * next(iter(layer.arrays.values())).shape[-1] for layer in layers)
    products = tokens**2 * (len(layers) * tokens + depth)
    if products <= MAX_PRODUCTS:
        return None
    return ValueError(
        f"the rollout of {len(layers)} layers of {tokens} tokens takes {products:.1g} multiplications, more than "
        f"{MAX_PRODUCTS:.1g}; choose fewer layers, or run the network on a smaller image"
    )


def _tokens(layer: Layer) -> int:
    return math.prod(layer.cells) + _extra(layer).count


def _require_shared(layers: Layers) -> None:
    first = layers.layers[0]
    if len(layers) < 2:
        raise ValueError("rollout goes over several layers, and there is one")
    for layer in layers:
        if layer.options.get("key_size") is not None or layer.options.get("query_names") is not None:
            raise ValueError(
                f"rollout needs layers whose keys are their queries' tokens, and those of {layer.name} are others"
            )
        if layer.cells != first.cells or _extra(layer) != _extra(first):
            raise ValueError(
                f"rollout needs layers that share their tokens, and {layer.name} has {_words(layer)} but {first.name} "
                f"{_words(first)}"
            )
        if layer.options.get("signed"):
            raise ValueError(f"rollout needs shares, and {layer.name} has weights below 0")
        if layer.options.get("dropped") is not None:
            raise ValueError(
                f"rollout needs all tokens, and those of {layer.name} that are no cells are not there any more"
            )


def _extra(layer: Layer) -> brought.Extra:
    return brought.Extra(layer.options.get("class_tokens", 0), layer.options.get("last_tokens", 0))


def _words(layer: Layer) -> str:
    extra = _extra(layer).count
    return brought.in_words(layer.cells) + (f" cells and {extra} more" if extra else " cells")


def _mean_map(layer: Layer) -> np.ndarray:
    """tokens×tokens float64: the mean of the heads' maps over all tokens."""
    if layer.finished:
        return brought.as_floats(layer.arrays["attention"], "attention").mean(axis=0, dtype=np.float64)
    query, key = (_token_rows(layer, part) for part in ("query", "key"))
    mean = np.zeros((query.shape[1],) * 2)
    for one_query, one_key in zip(query, key, strict=True):
        scores = one_query @ one_key.T * layer.options.get("scale", 1.0)
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        mean += scores / scores.sum(axis=1, keepdims=True) / len(query)
    return mean


def _token_rows(layer: Layer, part: str) -> np.ndarray:
    """heads×tokens×d float64."""
    array = brought.as_floats(layer.arrays[part], part).astype(np.float64)
    if array.ndim == 4:  # heads×d×h×w
        return array.reshape(*array.shape[:2], -1).swapaxes(1, 2)
    return array
