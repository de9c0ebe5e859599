"""How the tokens of one attention lie: which groups are heads, windows and images, and which cell each token is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.catch.attentions import Attention, MapPlaces, TokenPlaces
from analysis.catch.lineage import Move, Place, Source
from analysis.catch.places import SPAN, Replay, constant_along, first_along


class NotOverTokens(ValueError):
    """There is no softmax over tokens; the message says what there is instead, as in "'path' …"."""


@dataclass(frozen=True, eq=False)
class Side:
    """The queries or the keys. cells: images×windows×tokens, the cell of each on a map of `grid` (height, width), row
    by row; -1 for none (class and register tokens, padding, object queries). known: False where nothing tells of
    places, so that tokens are counted as they come. ordered: whether the model itself tells which token is which cell
    (False: the order of the model's own input)."""

    cells: np.ndarray
    grid: tuple[int, int]
    known: bool = True
    ordered: bool = True


@dataclass(frozen=True, eq=False)
class Layout:
    """groups: images×windows×heads, which group of the call's leading axes each is."""

    groups: np.ndarray
    query: Side
    key: Side


def layout_of(attention: Attention, images: int | None) -> Layout:
    """images: in the batch, None if unknown. Raises NotOverTokens where the softmax is not over tokens."""
    sources: list[Source] = []
    if isinstance(attention.places, TokenPlaces):
        query, key = _of_tokens(attention, attention.places, sources)
    else:
        query, key = _of_map(attention, attention.places, sources)
    *leading, queries, keys = attention.shape
    groups = math.prod(leading)
    sides = [_Numbered.of(numbers, sources) for numbers in (query, key)]
    clusters = _clusters(sides, groups)
    if clusters is None:
        return _by_shape(leading, queries, keys, images, sides)
    return Layout(clusters, *(_side(side, clusters, count) for side, count in zip(sides, (queries, keys), strict=True)))


# --- numbers of tokens -----------------------------------------------------------------------------------------------


def _of_tokens(attention: Attention, places: TokenPlaces, sources) -> list[Tensor | None]:
    """groups×tokens for queries and keys."""
    found: list[Tensor | None] = []
    for place in (places.query, places.key):
        numbers = Replay(0, sources).numbers(place)
        if numbers is not None:
            _require_channels(numbers, -1)
            numbers = first_along(numbers, -1)
            if numbers.ndim > 1 and len(places.leading) >= numbers.ndim - 1 and len(places.leading):
                own, wanted = numbers.shape[-2], places.leading[-1]
                if own not in (1, wanted) and wanted % own == 0:  # fewer heads of keys than of queries
                    numbers = numbers.repeat_interleave(wanted // own, -2)
            numbers = numbers.expand(*places.leading, numbers.shape[-1]).reshape(-1, numbers.shape[-1])
        found.append(numbers)
    return found


def _require_channels(numbers: Tensor, axis: int) -> None:
    if not constant_along(numbers, axis):
        raise NotOverTokens(
            "compares channels: its products of queries and keys run over the tokens, so its softmax is over channels "
            "and there is no map over tokens to show"
        )


def _of_map(attention: Attention, places: MapPlaces, sources) -> list[Tensor | None]:
    """groups×tokens for queries and keys, which side of the product is which being told by how they vary."""
    along = Replay("softmax").numbers(places.place)
    if along is not None:
        along = _arranged(along, places)
        if along.shape[-1] > 1 and not _varies(along, -1):
            raise NotOverTokens(
                "has a softmax over another axis than the one that is summed over with the values (over the queries, "
                "say), so that its weights are no attention of a query to the keys"
            )
    scores = _scores(places.place)
    if scores is None:
        return [None, None]
    assert scores.letters is not None
    for place, letters in zip(scores.parents, (scores.letters.first, scores.letters.second), strict=True):
        numbers = Replay(0, sources).numbers(place)
        for letter in scores.letters.summed if numbers is not None else "":
            _require_channels(numbers, letters.index(letter))
    sides: list[Tensor | None] = []
    for side in (0, 1):
        numbers = Replay(side, sources).numbers(places.place)
        sides.append(None if numbers is None else _arranged(numbers, places))
    return _queries_and_keys(sides, attention.shape)


def _queries_and_keys(sides: list[Tensor | None], shape) -> list[Tensor | None]:
    first, second = sides
    if (first is not None and _varies(first, -1)) or (second is not None and _varies(second, -2)):
        first, second = second, first
    query = None if first is None or _varies(first, -1) else first[..., 0].reshape(-1, shape[-2])
    key = None if second is None or _varies(second, -2) else second[..., 0, :].reshape(-1, shape[-1])
    return [query, key]


def _varies(numbers: Tensor, axis: int) -> bool:
    return numbers.stride(axis) != 0 and bool((numbers != numbers.narrow(axis, 0, 1)).any())


def _arranged(numbers: Tensor, places: MapPlaces) -> Tensor:
    return numbers.permute([places.letters.index(letter) for letter in places.order])


def _scores(place: Place | None) -> Move | None:
    """The product of queries and keys that a map began with."""
    waiting, seen = [place], set()
    while waiting:
        last = waiting.pop()
        if not isinstance(last, Move) or id(last) in seen:
            continue
        seen.add(id(last))
        if last.kind == "scores":
            return last
        waiting.extend(reversed(last.parents))
    return None


# --- cells -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Numbered:
    """One side before its groups are sorted: groups×tokens each. cells, images: -1 for none."""

    raw: np.ndarray
    cells: np.ndarray
    images: np.ndarray
    grid: tuple[int, int]
    ordered: bool

    @classmethod
    def of(cls, numbers: Tensor | None, sources: list[Source]) -> _Numbered | None:
        """None where no token lies on a map, or they lie on several."""
        if numbers is None:
            return None
        raw = numbers.numpy().astype(np.int64)
        known = raw > 0
        origins = np.unique((raw[known] - 1) // SPAN)
        if len(origins) != 1:
            return None
        source = sources[int(origins[0])]
        width, inside = source.grid[1], (raw - 1) % SPAN
        image, cell = inside // math.prod(source.grid), inside % math.prod(source.grid)
        # A pooled or sub-sampled map is counted over the cells that are left of it.
        rows, columns = np.unique(cell[known] // width), np.unique(cell[known] % width)
        place = np.searchsorted(rows, cell // width) * len(columns) + np.searchsorted(columns, cell % width)
        grid = len(rows), len(columns)
        return cls(raw, np.where(known, place, -1), np.where(known, image, -1), grid, not source.given)


def _clusters(sides: list[_Numbered | None], groups: int) -> np.ndarray | None:
    """images×windows×heads of groups: heads are groups with the same tokens. None where that cannot be told."""
    told = [side for side in sides if side is not None]
    if not told:
        return None
    same: dict[bytes, list[int]] = {}
    for group in range(groups):
        same.setdefault(b"".join(side.raw[group].tobytes() for side in told), []).append(group)
    windows: dict[int, list[list[int]]] = {}
    for members in same.values():
        images = np.unique(np.concatenate([side.images[members[0]] for side in told]))
        images = images[images >= 0]
        if len(images) != 1:
            return None
        windows.setdefault(int(images[0]), []).append(members)
    counts = {(len(of_image), len(members)) for of_image in windows.values() for members in of_image}
    if len(counts) != 1:
        return None
    return np.array([windows[image] for image in sorted(windows)])


def _side(side: _Numbered | None, clusters: np.ndarray, tokens: int) -> Side:
    first = clusters[:, :, 0]
    if side is None:
        return Side(np.broadcast_to(np.arange(tokens), (*first.shape, tokens)), (1, tokens), known=False)
    return Side(side.cells[first], side.grid, ordered=side.ordered)


def _by_shape(leading, queries: int, keys: int, images: int | None, sides) -> Layout:
    """Where nothing tells of places: images first, heads after them."""
    groups = math.prod(leading)
    if len(leading) >= 2:
        count = leading[0]
    else:
        count = images if images and groups % images == 0 else groups
    found = np.arange(groups).reshape(count, 1, groups // count if count else 1)
    parts = []
    for tokens in (queries, keys):
        cells = np.broadcast_to(np.arange(tokens), (count, 1, tokens))
        parts.append(Side(cells, (1, tokens), known=False))
    return Layout(found, *parts)
