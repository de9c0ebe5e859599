"""How the tokens of one attention lie: which groups are heads, windows and images, and which cell each token is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from analysis.catch.attentions import Attention
from analysis.catch.displaced import aside_of, root_of
from analysis.catch.lineage import Source
from analysis.catch.places import SPAN, Sources


@dataclass(frozen=True, eq=False)
class Side:
    """The queries or the keys. cells: images×windows×tokens, the cell of each on a map of `grid` (height, width), row
    by row; -1 for none (class and register tokens, padding, object queries). known: False where nothing tells of
    places, so that tokens are counted as they come. ordered: whether the model itself tells which token is which cell
    (False: the order of the model's own input). volume: the sizes of a map of more than two axes, slices or frames
    first, which `grid` has one below another; None for a plane. aside: how the map lies where not evenly over each
    image that the model was given, in words. root: the input of the model that it comes from, None if unknown.
    """

    cells: np.ndarray
    grid: tuple[int, int]
    known: bool = True
    ordered: bool = True
    volume: tuple[int, ...] | None = None
    aside: str | None = None
    root: Source | None = None


@dataclass(frozen=True, eq=False)
class Layout:
    """groups: images×windows×heads, which group of the call's leading axes each is."""

    groups: np.ndarray
    query: Side
    key: Side

    @property
    def windows(self) -> int:
        """Of each image."""
        return self.groups.shape[1]

    @property
    def same_cells(self) -> bool:
        """Whether queries and keys are the same cells."""
        query, key = self.query, self.key
        alike = query.grid == key.grid and query.cells.shape == key.cells.shape and not self.of_two_inputs
        return alike and bool((query.cells == key.cells).all())

    @property
    def of_two_inputs(self) -> bool:
        """Whether queries and keys are known to come from different inputs of the model, such as two images."""
        query, key = self.query, self.key
        told = query.ordered and key.ordered and query.root is not None and key.root is not None
        return told and query.root is not key.root


def layout_of(attention: Attention, images: int | None) -> Layout:
    """images: in the batch, None if unknown. Raises NotOverTokens where the softmax is not over tokens."""
    sources = Sources()
    query, key = attention.numbers(sources)
    *leading, queries, keys = attention.shape
    groups = math.prod(leading)
    told = [_Told.of(numbers, sources) for numbers in (query, key)]
    last = partial(_last_cells, attention)
    sides = [
        _Numbered.of(tokens, sources, attention.places.pooled, partial(last, side)) for side, tokens in enumerate(told)
    ]
    clusters = _clusters(told, groups)
    if clusters is None:
        return _by_shape(leading, queries, keys, images)
    return Layout(clusters, *(_side(side, clusters, count) for side, count in zip(sides, (queries, keys), strict=True)))


def _last_cells(attention: Attention, side: int) -> np.ndarray | None:
    """The last cell of its image that each token of the queries (0) or keys (1) is made of, groups×tokens, on whichever
    map; -1 for none. None where it is not known."""
    sources = Sources(from_end=True)
    numbers = attention.numbers(sources)[side]
    if numbers is None:
        return None
    raw = numbers.numpy().astype(np.int64)
    last = np.full(raw.shape, -1)
    for number in _origins(raw):
        own, cells = (raw > 0) & ((raw - 1) // SPAN == number), math.prod(sources[number].grid)
        last[own] = cells - 1 - ((raw[own] - 1) % SPAN) % cells
    return last


# --- cells -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Told:
    """The tokens of one side before its groups are sorted, groups×tokens each, on whichever maps they lie. raw: their
    cell numbers, 0 for none. images: of each, -1 for none."""

    raw: np.ndarray
    images: np.ndarray

    @classmethod
    def of(cls, numbers: Tensor | None, sources: Sources) -> _Told | None:
        """None where no token lies on a map, or where a group has a cell twice or cells of several images."""
        if numbers is None:
            return None
        raw = numbers.numpy().astype(np.int64)
        images = np.full(raw.shape, -1)
        for number in _origins(raw):
            own = (raw > 0) & ((raw - 1) // SPAN == number)
            images[own] = _on_map(raw, own, sources[number])[0][own]
        tokens = [group[group > 0] for group in raw]
        if not (raw > 0).any() or any(_is_repeated(group) for group in tokens) or not _is_constant(images, raw > 0):
            return None
        return cls(raw, images)


def _origins(raw: np.ndarray) -> list[int]:
    """The numbers of the sources that tokens come from."""
    return np.unique((raw[raw > 0] - 1) // SPAN).tolist()


def _on_map(raw: np.ndarray, own: np.ndarray, source: Source) -> tuple[np.ndarray, np.ndarray, int]:
    """The image and the cell of those tokens that lie on this source, and the width of its map."""
    inside, cells = (raw - 1) % SPAN, math.prod(source.grid)
    image, cell = inside // cells, inside % cells
    if source.given and len(source.axes) == 1 and _is_constant(cell, own) and not _is_constant(image, own):
        return cell, image, source.shape[0]  # N×B×C
    return image, cell, source.grid[1]


@dataclass(frozen=True, eq=False)
class _Numbered:
    """One side whose tokens lie on one map: groups×tokens each. cells: -1 for none."""

    cells: np.ndarray
    grid: tuple[int, int]
    ordered: bool
    volume: tuple[int, ...] | None
    source: Source

    @classmethod
    def of(
        cls,
        told: _Told | None,
        sources: Sources,
        pooled: Callable[[], bool],
        last: Callable[[], np.ndarray | None],
    ) -> _Numbered | None:
        """None where no token lies on a map, or they lie on several. pooled: whether one cell may stand for others.
        last: the last cell that each token is made of."""
        if told is None or len(origins := _origins(told.raw)) != 1:
            return None
        source, known = sources[origins[0]], told.raw > 0
        _, cell, width = _on_map(told.raw, known, source)
        rows, columns = np.unique(cell[known] // width), np.unique(cell[known] % width)
        ordered = not source.given
        scattered = len(found := np.unique(cell[known])) < len(rows) * len(columns)
        of_part = len(found) < math.prod(source.grid) and pooled() and _is_of_part(cell[known], last(), source)
        if of_part or (scattered and (source.given or len(source.axes) != 2 or pooled())):
            place, grid, ordered = np.searchsorted(found, cell), (1, len(found)), False  # no part of a grid
        elif scattered or (
            len(source.axes) == 2 and (_is_part(rows, source.grid[0], pooled) or _is_part(columns, width, pooled))
        ):
            place, grid = cell, source.grid  # a part of the map: the rest of it neither asks nor is asked
        else:  # the whole map, or a pooled or sub-sampled one, counted over the cells that are left of it
            place = np.searchsorted(rows, cell // width) * len(columns) + np.searchsorted(columns, cell % width)
            grid = len(rows), len(columns)
        return cls(np.where(known, place, -1), grid, ordered, _volume(source, cell[known], grid), source)


def _volume(source: Source, cells: np.ndarray, grid: tuple[int, int]) -> tuple[int, ...] | None:
    """The sizes of what is left of a map of more than two axes; None for a plane, for one slice alone, and for cells
    that fill no `grid`."""
    if len(source.axes) < 3:
        return None
    places = np.unravel_index(cells, [source.shape[axis] for axis in source.axes])
    sizes = tuple(len(np.unique(along)) for along in places)
    return sizes if max(sizes[:-2]) > 1 and (math.prod(sizes[:-1]), sizes[-1]) == grid else None


def _is_part(places: np.ndarray, length: int, pooled: Callable[[], bool]) -> bool:
    """Whether these are some of so many rows or columns, and not every second, third …, or such that stand for all
    where cells were pooled."""
    if len(places) == 1:
        return length > 1 and not (int(places[0]) == 0 and pooled())
    if len(places) == length:
        return False
    steps = np.diff(places)
    return bool((steps == 1).all()) or not (_is_even(places, int(steps[0]), length) or pooled())


def _is_of_part(cell: np.ndarray, last: np.ndarray | None, source: Source) -> bool:
    """Whether tokens are made of several cells each, of a part of the map alone: it lies on no grid over the whole."""
    if last is None:
        return False
    ends = last[last >= 0]
    merged = ends.shape == cell.shape and bool((ends != cell).any())
    return merged and (int(cell.min()), int(ends.max())) != (0, math.prod(source.grid) - 1)


def _is_even(places: np.ndarray, step: int, length: int) -> bool:
    """Whether places are `step` apart from the first edge to the last one, where at least half a step must be left:
    else it is the edge itself that was taken."""
    return bool((np.diff(places) == step).all() and places[0] < step <= 2 * (length - places[-1]))


def _is_constant(values: np.ndarray, known: np.ndarray) -> bool:
    """Whether each group has one value only."""
    return all(len(np.unique(own[told])) <= 1 for own, told in zip(values, known, strict=True))


def _is_repeated(values: np.ndarray) -> bool:
    return len(np.unique(values)) < len(values)


def _clusters(sides: list[_Told | None], groups: int) -> np.ndarray | None:
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
    aside, root = aside_of(side.source), root_of(side.source)
    return Side(side.cells[first], side.grid, True, side.ordered, side.volume, aside, root)


def _by_shape(leading: list[int], queries: int, keys: int, images: int | None) -> Layout:
    """Where nothing tells of places: images first, or the windows of one after the other, heads after them."""
    groups = math.prod(leading)
    count = leading[0] if len(leading) >= 2 else groups
    heads_first = len(leading) == 2 and leading[0] != images == leading[1]  # or windows, and as many heads as images
    if (len(leading) == 1 and groups != images) or len(leading) > 2 or heads_first:
        raise ValueError(
            f"computes {groups} maps of {queries}×{keys}, and nothing tells which of them are images, windows and "
            "heads; hook the module around it, which gets the tokens"
        )
    windows = count // images if images and count > images and count % images == 0 else 1
    found = np.arange(groups).reshape(count // windows, windows, groups // count if count else 1)
    parts = []
    for tokens in (queries, keys):
        cells = np.broadcast_to(np.arange(tokens), (*found.shape[:2], tokens))
        parts.append(Side(cells, (1, tokens), known=False))
    return Layout(found, *parts)
