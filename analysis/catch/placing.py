"""Tokens put on a map where the model does not say where they lie, and what is asked for where it does not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.catch.layout import Layout, Side

Size = tuple[int, int]


@dataclass(frozen=True)
class Given:
    """What a user says of a sequence of tokens. size: (height, width) of its map. first, last: tokens that are no
    cells. order: which cell each token is, flat. None says nothing."""

    size: Size | None = None
    first: int | None = None
    last: int | None = None
    order: Sequence[int] | None = None


def placed_layout(layout: Layout, given: Given, key_size: Size | None, key_first: int | None, path: str) -> Layout:
    """given: of the queries, and of the keys where these are as many. Raises ValueError for what contradicts the
    model."""
    query, key = layout.query, layout.key
    of_keys = Given(key_size, key_first)
    if _alike(layout):
        # A key grid that the model tells stands; one that nobody names is that of the queries.
        told = key.known and key.ordered and 1 not in key.grid
        of_keys = Given(
            given.size if key_size is None and not told else key_size,
            given.first if key_first is None else key_first,
            given.last,
            given.order,
        )
    return Layout(layout.groups, _placed(query, given, path, "queries"), _placed(key, of_keys, path, "keys"))


def asks_without_a_place(layout: Layout, size: Size | None) -> bool:
    """Whether queries are to be told by their numbers: they lie on no map, and the keys do."""
    query, key = layout.query, layout.key
    if is_told(query):
        return False
    return is_told(key) and (size is None or size == (1, query.cells.shape[2]))


def require_sizes(layout: Layout, size: Size | None, key_size: Size | None, others: bool, path: str) -> None:
    """Raise ValueError where a size is missing that the model does not tell. others: no cells are asked for."""
    tokens, keys = layout.query.cells.shape[2], layout.key.cells.shape[2]
    if size is None and not others and not is_told(layout.query):
        raise ValueError(f"{path!r} sees {tokens} tokens; give the height and width of their map{_square_hint(tokens)}")
    if key_size is None and not is_told(layout.key) and (not _alike(layout) or size is None):
        raise ValueError(
            f"{path!r} has {tokens} queries and {keys} keys, and where the keys lie is not known; give "
            f"key_size=(height, width), such as (1, {keys}){_square_hint(keys, 'key_class_tokens')}"
        )


def is_told(side: Side) -> bool:
    """Whether the model says which cell each token is."""
    return side.known and side.ordered


def is_in_rows(side: Side) -> bool:
    """Whether the cells of each window come row by row, whichever rows and columns of the map they are."""
    width = side.grid[1]
    for places in side.cells.reshape(-1, side.cells.shape[2]):
        inside = places[places >= 0]
        ranks = [_by_appearance(part) for part in (inside // width, inside % width)]
        if (np.diff(ranks[0] * width + ranks[1]) <= 0).any():
            return False
    return True


def _by_appearance(values: np.ndarray) -> np.ndarray:
    """0 for each of the first value that appears, 1 for the next other one, …"""
    _, first, which = np.unique(values, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[which]


def _alike(layout: Layout) -> bool:
    """Whether keys may be the cells of the queries, by the number of tokens or of cells. Keys of which less is known
    than of the queries are others: slots of a memory, or means of cells, may be as many."""
    if _certainty(layout.key) < _certainty(layout.query):
        return False
    if layout.query.cells.shape == layout.key.cells.shape:
        return True
    query, key = ((side.cells[0] >= 0).sum(-1) for side in (layout.query, layout.key))
    return bool((query == key).all())


def _certainty(side: Side) -> int:
    """2 where the model tells the cells, 1 where their order is that of an input, 0 where nothing is known."""
    return int(side.known) + int(is_told(side))


def _placed(side: Side, given: Given, path: str, name: str) -> Side:
    if is_told(side):
        return _agreeing(side, given, path, name)
    extra = int((side.cells[0, 0] < 0).sum())
    first, last = given.first or 0, given.last or 0
    if side.known and extra and first + last == extra:  # the model itself added them
        first = last = 0
    whole = math.prod(side.grid) if side.known else side.cells.shape[2]
    count = whole - first - last
    grid = (side.grid if count == whole else (1, count)) if given.size is None else (given.size[0], given.size[1])
    if grid[0] * grid[1] != count:
        raise ValueError(_misfit(path, name, whole, first + last, grid))
    inside = (side.cells >= first) & (side.cells < whole - last)
    cells = np.where(inside, side.cells - first, -1)
    if given.order is not None:
        order = np.asarray(given.order)
        if order.shape != (count,) or not np.array_equal(np.sort(order), np.arange(count)):
            raise ValueError(f"order must name each of the cells 0 … {count - 1} once, one for each token")
        cells = np.where(inside, order[cells], -1)
    return Side(cells, grid, side.known, side.ordered)


def _agreeing(side: Side, given: Given, path: str, name: str) -> Side:
    """Of tokens whose cells the model tells: what is given must not contradict it."""
    height, width = side.grid
    tokens = side.cells[0, 0]
    extra = np.flatnonzero(tokens < 0).tolist()
    for count, at_end, words in ((given.first, False, "class_tokens"), (given.last, True, "last_tokens")):
        ends = tokens[len(tokens) - (count or 0) :] if at_end else tokens[: count or 0]
        if side.cells.shape[1] == 1 and (ends >= 0).any():
            where = f"its tokens {', '.join(map(str, extra[:6]))}" if extra else "none"
            raise ValueError(
                f"{path!r}: {words} is {count}, but its {'last' if at_end else 'first'} {name} lie on the map; without "
                f"a place are {where}"
            )
    if given.order is not None:
        raise ValueError(f"{path!r} itself tells which cell each of its {name} is; leave order out")
    if given.size is None:
        return side
    if tuple(given.size) == side.grid:
        if not is_in_rows(side):
            raise ValueError(
                f"the {name} of {path!r} do not come row by row, so that a size does not tell their cells; leave "
                "height and width out, and they are put on the image as the model itself reordered them"
            )
        return side
    if 1 in side.grid and given.size[0] * given.size[1] == height * width:
        return dataclasses.replace(side, grid=(given.size[0], given.size[1]))
    raise ValueError(
        f"{path!r} works on a map of {height}×{width} {name}, not {given.size[0]}×{given.size[1]}; leave the size out"
    )


def _misfit(path: str, name: str, tokens: int, extra: int, grid: Size) -> str:
    cells = grid[0] * grid[1]
    but = f", {extra} of them no cells," if extra else ""
    words = f"{path!r} sees {tokens} {name}{but} but {grid[0]}×{grid[1]} = {cells} cells need as many"
    surplus = tokens - cells
    if 0 < surplus <= 8 and surplus != extra:
        first = "if the first one is a class token" if surplus == 1 else f"if the first {surplus} are class tokens"
        last = "if it is the last one" if surplus == 1 else "if they are the last ones, or padding"
        words += f"; {first}, pass class_tokens={surplus}; {last}, pass last_tokens={surplus}"
    return words


def _square_hint(tokens: int, name: str = "class_tokens") -> str:
    """The square map that so many tokens would fill, if any, to follow a sentence."""
    for extra in range(9):
        side = math.isqrt(max(0, tokens - extra))
        if side > 1 and side * side == tokens - extra:
            words = f"; {tokens} would be {side}×{side}"
            return words + (f" and {extra} more, {name}={extra} if these come first" if extra else "")
    return ""
