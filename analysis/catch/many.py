"""The layers of one image out of several attentions that were caught, with as little work as they need."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from analysis.capture import Capture, Layer, Layers
from analysis.catch.captures import Rows, rows_of_cells
from analysis.catch.caught import Caught
from analysis.catch.operands import QueryKey

COMMON = ("image", "labels", "prediction", "label_set", "name")
# What makes the cells of an attention other than those that the model tells.
PLACING = ("window", "queries", "key_size", "class_tokens", "last_tokens", "key_class_tokens", "order")


def layers_of(
    caught: dict[str, Caught],
    left_out: dict[str, str],
    size: tuple[int | None, int | None],
    item: int,
    heads: int | Sequence[int] | None,
    options: dict[str, Any],
) -> Layers:
    """caught: by the layer's name. left_out: what else there was, and why there is nothing to show. size, item,
    options: as in `Caught.capture`. heads: of each layer, None for all. Raises ValueError where nothing is left."""
    if not caught:
        raise ValueError(next(iter(left_out.values()), "no attention was watched while the model ran"))
    options = {"name": "image"} | options
    layers = []
    for name, one in caught.items():
        for doubt in one.doubts:
            warnings.warn(doubt, stacklevel=3)
        layers.append(_layer(name, one, size, item, _chosen(one, heads), options))
    first = layers[0].options
    found = Layers(tuple(layers), left_out)
    return found.described(**{part: first[part] for part in COMMON if part in first})


def _chosen(caught: Caught, heads: int | Sequence[int] | None) -> list[int]:
    if heads is None:
        return list(caught.numbers)
    wanted = [heads] if isinstance(heads, int) else list(heads)
    for head in wanted:
        caught.check(0, head)
    if not wanted:
        raise ValueError("heads names none; give their numbers, or None for all")
    return wanted


def _layer(
    name: str, caught: Caught, size: tuple[int | None, int | None], item: int, heads: list[int], options: dict[str, Any]
) -> Layer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notes say the same
        first = caught.capture(*size, item=item, head=heads[0], **options)
        rows = _plain_rows(caught, size, item, options)
        if rows is not None and first.query is not None:
            return _of_tokens(name, caught, rows, item, heads, first)
        rest = [caught.capture(*size, item=item, head=head, **options) for head in heads[1:]]
    return Layer.of([first, *rest], name, heads)


def _plain_rows(caught: Caught, size: tuple, item: int, options: dict[str, Any]) -> Rows | None:
    """The rows where all tokens ask each other and are cells of one map, or none; None where it is otherwise."""
    if not (isinstance(caught.weights, QueryKey) and caught.weights.is_plain and caught.windows == 1):
        return None
    if options.get("window") is not None or options.get("queries") == "others":
        return None
    placed = caught.own.get("size") if None in size else size
    given = {part: options[part] for part in PLACING if part in options and part not in ("window", "queries")}
    layout = caught.placed(placed, given.pop("key_size", None), **given).layout
    return rows_of_cells(layout, item, caught.path) if layout.same_cells else None


def _of_tokens(name: str, caught: Caught, rows: Rows, item: int, heads: list[int], first: Capture) -> Layer:
    """The layer as its tokens, those that are no cells first: what they have of each row is worked out when a capture
    is asked for."""
    places = rows.keys[int(rows.windows[0])]
    others = np.flatnonzero(places < 0)
    tokens = torch.from_numpy(np.concatenate([others, rows.tokens]))
    weights = caught.weights
    assert isinstance(weights, QueryKey)
    arrays: dict[str, list[np.ndarray]] = {"query": [], "key": []}
    for head in heads:
        group = int(caught.layout.groups[item, 0, caught.numbers.index(head)])
        query, key = (side[tokens.to(side.device)] for side in weights.operands(group))
        arrays["query"].append((query.double() * weights.scale).float().cpu().numpy())
        arrays["key"].append(key.float().cpu().numpy())
    layer = Layer.of([first], name, [heads[0]])
    options = {part: value for part, value in layer.options.items() if part != "dropped"}
    return Layer(
        name,
        layer.cells,
        layer.key_cells,
        tuple(heads),
        {part: np.stack(found) for part, found in arrays.items()},
        options | {"class_tokens": len(others)},
        layer.notes,
    )
