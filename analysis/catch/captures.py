"""A Capture of one caught attention: which of its rows are asked for, on which grids, and the map or query and key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.capture import MAX_MAP_CELLS, Capture
from analysis.catch.layout import Layout
from analysis.catch.operands import QueryKey, Weights, spread
from analysis.catch.windows import Window, window_at

QUERY_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows to be taken: which window and which token of it each is, on a grid of queries, over a grid of keys.

    names: of queries without a place, None where they are cells. keys: for each token of each window, its place on the
    grid of keys, -1 for none.
    """

    windows: np.ndarray
    tokens: np.ndarray
    size: tuple[int, int]
    keys: np.ndarray
    key_size: tuple[int, int]
    same_cells: bool
    names: tuple[str, ...] | None = None


def capture_of(
    weights: Weights, layout: Layout, rows: Rows, item: int, heads: Sequence[int], description: dict[str, Any]
) -> Capture:
    """Of the mean of these heads. description: as of Capture.from_qk, without `head` and `key_size`; its name is said
    in errors."""
    own_keys = rows.keys[rows.windows[0]]
    whole_keys = len(set(rows.windows)) == 1 and int((own_keys >= 0).sum()) == math.prod(rows.key_size)
    if rows.names is not None:
        description = {"query_names": rows.names} | description
    if not rows.same_cells:
        description["key_size"] = rows.key_size
    drops = bool((rows.keys[np.unique(rows.windows)] < 0).any())
    if isinstance(weights, QueryKey) and weights.is_plain and len(heads) == 1 and whole_keys:
        if drops:
            description["dropped"] = _gathered(weights, layout, rows, item, heads, with_map=False)[1]
        query, key = _operands(weights, layout, rows, item, heads[0])
        return Capture.from_qk(query, key, *rows.size, **description)
    if math.prod(rows.size) * math.prod(rows.key_size) > MAX_MAP_CELLS**2:
        raise ValueError(
            f"{description['name']!r} has a map of {math.prod(rows.size)}×{math.prod(rows.key_size)} cells, of more "
            "than 1 GiB; choose one head, or ask for a few rows with rows()"
        )
    found, dropped = _gathered(weights, layout, rows, item, heads)
    if drops:
        description["dropped"] = dropped
    description.pop("lr_weights", None)
    return Capture.from_attention(found, *rows.size, signed=True, **description)


def _operands(weights: QueryKey, layout: Layout, rows: Rows, item: int, head: int) -> tuple[Tensor, Tensor]:
    """Query N×d with the scale, and key N′×d, cell by cell."""
    window = int(rows.windows[0])
    query, key = weights.operands(int(layout.groups[item, window, head]))
    tokens = np.empty(math.prod(rows.key_size), np.int64)
    places = rows.keys[window]
    tokens[places[places >= 0]] = np.flatnonzero(places >= 0)
    query = query[torch.as_tensor(rows.tokens, device=query.device)].double() * weights.scale
    return query.float().cpu(), key[torch.as_tensor(tokens, device=key.device)].float().cpu()


def _gathered(
    weights: Weights, layout: Layout, rows: Rows, item: int, heads: Sequence[int], with_map: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The map N×N′ float32, mean over heads, and the share of each row that goes to no cell, of the queries' grid."""
    count = len(rows.tokens)
    found = np.zeros((count if with_map else 0, math.prod(rows.key_size)), np.float32)
    elsewhere = np.zeros(count, np.float32)
    for window in np.unique(rows.windows):
        places = rows.keys[window]
        own = np.flatnonzero(rows.windows == window)
        for start in range(0, len(own), QUERY_BLOCK):
            block = own[start : start + QUERY_BLOCK]
            for head in heads:
                group = int(layout.groups[item, window, head])
                every = weights.rows(group, torch.as_tensor(rows.tokens[block])).cpu().numpy()
                elsewhere[block] += every[:, places < 0].sum(1) / len(heads)
                if with_map:
                    part = spread(every[:, places >= 0], weights) if (places < 0).any() else every
                    found[block[:, None], places[places >= 0]] += (part / len(heads)).astype(np.float32)
    return found, np.clip(elsewhere, 0, 1).reshape(rows.size)


# --- which rows ------------------------------------------------------------------------------------------------------


def rows_of_cells(layout: Layout, item: int, path: str) -> Rows:
    """All cells of the map, in all windows. Raises ValueError where the cells of windows are not known."""
    query, key = layout.query, layout.key
    count = math.prod(query.grid)
    places = query.cells[item]
    inside = places >= 0
    times = np.bincount(places[inside], minlength=count)
    if (times != 1).any():
        asking = int((times > 0).sum())
        if (times > 1).any():
            raise ValueError(_repeated(layout, item, path))
        raise ValueError(
            f"{path!r} has {asking} queries on a map of {query.grid[0]}×{query.grid[1]} cells in image {item}; "
            "the other cells ask nothing, so there is no whole map: take the rows of some queries with rows()"
        )
    windows, tokens = np.empty(count, np.int64), np.empty(count, np.int64)
    found = np.nonzero(inside)
    windows[places[inside]], tokens[places[inside]] = found
    return Rows(windows, tokens, query.grid, key.cells[item], key.grid, layout.same_cells)


def rows_of_window(layout: Layout, item: int, window: tuple[int, int], path: str) -> tuple[Rows, Window]:
    """The cells of one window, and where they lie. Raises ValueError for one that is not there."""
    query, key = layout.query, layout.key
    number, asking = window_at(query, item, window, path)
    asked = Window.of(key, item, number)
    if asking is None or asked is None:
        raise ValueError(unknown_windows(layout, path))
    tokens = asking.tokens()
    keys = np.full(key.cells[item].shape, -1)
    own = asked.tokens()
    keys[number, own] = np.arange(len(own))
    same = layout.same_cells and asking.size == asked.size
    rows = Rows(np.full(len(tokens), number), tokens, asking.size, keys, asked.size, same)
    return rows, asking


def rows_of_others(layout: Layout, item: int, path: str) -> Rows:
    """The queries that are no cells, or all where none has a place."""
    query, key = layout.query, layout.key
    places = query.cells[item, 0]
    told = query.known and query.ordered
    tokens = np.flatnonzero(places < 0)
    if not len(tokens) and not told:
        tokens = np.arange(len(places))
    if not len(tokens):
        raise ValueError(f"all queries of {path!r} are cells; leave queries out")
    if layout.windows != 1:
        raise ValueError(
            f"{path!r} computes its attention in {layout.windows} windows per image, each with such tokens of "
            "its own; take their rows with token_rows(tokens, window=number)"
        )
    word = "token" if told else "query"
    names = tuple(f"{word} {token}" for token in tokens)
    windows = np.zeros(len(tokens), np.int64)
    return Rows(windows, tokens, (1, len(tokens)), key.cells[item], key.grid, False, names)


def _repeated(layout: Layout, item: int, path: str) -> str:
    query = layout.query
    if all((places == query.cells[item, 0]).all() for places in query.cells[item]):
        return (
            f"{path!r} asks with the same {query.cells.shape[2]} queries, cells of a map of {query.grid[0]}×"
            f"{query.grid[1]}, in each of its {layout.windows} windows, or heads that choose keys of their own, so "
            "that no cell has one row alone; take the rows of one of them with token_rows(tokens, window=number)"
        )
    return unknown_windows(layout, path)


def unknown_windows(layout: Layout, path: str) -> str:
    """That windows cannot be put on the map."""
    return (
        f"{path!r} computes its attention in {layout.windows} windows per image, and how they lie on it is not "
        "known; take the rows of a window with token_rows(tokens, window=number)"
    )
