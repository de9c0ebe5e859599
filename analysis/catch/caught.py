"""One attention that was caught: its rows by cell, and a Capture of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from analysis.catch.layout import Layout, Side
from analysis.catch.operands import Weights

# A row whose cells hold less is empty: spreading it would blow up rounding.
EMPTY = 1e-12


@dataclass(frozen=True, eq=False)
class Caught:
    """path: of the module. form: how the attention was written. weights: rows of each group. layout: what the groups
    and tokens are. notes: sentences for whoever looks at it. own: what our own block does with the weights.
    """

    path: str
    form: str
    weights: Weights
    layout: Layout
    notes: tuple[str, ...] = ()
    own: dict = dataclasses.field(default_factory=dict)

    @property
    def images(self) -> int:
        """In the batch."""
        return len(self.layout.groups)

    @property
    def windows(self) -> int:
        """Of each image; 1 where every token sees every key."""
        return self.layout.groups.shape[1]

    @property
    def heads(self) -> int:
        """Of each window."""
        return self.layout.groups.shape[2]

    @property
    def same_tokens(self) -> bool:
        """Whether queries and keys are the same cells."""
        query, key = self.layout.query, self.layout.key
        return (
            query.grid == key.grid and query.cells.shape == key.cells.shape and bool((query.cells == key.cells).all())
        )

    def placed(
        self,
        size: tuple[int, int] | None = None,
        key_size: tuple[int, int] | None = None,
        *,
        class_tokens: int | None = None,
        key_class_tokens: int | None = None,
        order: Sequence[int] | None = None,
    ) -> Caught:
        """With queries on a map of `size` (height, width) and keys on one of `key_size`, where the model does not say.

        class_tokens: leading tokens that are no cells (None: as the model says, else none); key_class_tokens: of the
        keys. order: which cell each token is, flat, where the model does not say. Raises ValueError for what
        contradicts the model.
        """
        query = _placed(self.layout.query, size, class_tokens, order, self.path, "queries")
        key_size = size if key_size is None and self._like_queries() else key_size
        key_class_tokens = class_tokens if key_class_tokens is None and self._like_queries() else key_class_tokens
        key = _placed(self.layout.key, key_size, key_class_tokens, order, self.path, "keys")
        return dataclasses.replace(self, layout=Layout(self.layout.groups, query, key))

    def _like_queries(self) -> bool:
        return self.layout.query.cells.shape == self.layout.key.cells.shape

    def rows(self, queries, *, item: int = 0, head: int | str = "mean") -> np.ndarray:
        """What these query cells give to every key cell: len(queries)×cells of the key map, float64.

        queries: flat cells of the query map. head: a number, or "mean". Where some keys are no cells, each row of each
        head is divided by what it gives to cells, as if spread over these alone; rows of mixed heads stay as they are.
        """
        self._check(item, head)
        where = self._where(item)
        rows = np.zeros((len(queries), int(np.prod(self.layout.key.grid))))
        places = [self._found(where, int(query)) for query in queries]
        for window in sorted({window for window, _ in places}):
            wanted = [at for at, (own, _) in enumerate(places) if own == window]
            rows[wanted] = self.token_rows([places[at][1] for at in wanted], item=item, window=window, head=head)
        return rows

    def token_rows(self, tokens, *, item: int = 0, window: int = 0, head: int | str = "mean") -> np.ndarray:
        """Rows of queries by their number in the sequence of a window, such as object queries that are no cells: as
        `rows` gives them."""
        self._check(item, head)
        count = self.layout.query.cells.shape[2]
        if not all(0 <= token < count for token in tokens):
            raise ValueError(f"tokens are {list(tokens)}; {self.path!r} has the queries 0 … {count - 1}")
        rows = np.zeros((len(tokens), int(np.prod(self.layout.key.grid))))
        keys = self.layout.key.cells[item, window]
        for number in range(self.heads) if head == "mean" else [int(head)]:
            group = int(self.layout.groups[item, window, number])
            found = self.weights.rows(group, torch.as_tensor(tokens)).cpu().numpy()
            rows[:, keys[keys >= 0]] += _spread(found[:, keys >= 0], found, self.weights.slack) / (
                self.heads if head == "mean" else 1
            )
        return rows

    @property
    def unplaced(self) -> list[int]:
        """Which queries of a window are no cells: class and register tokens, object queries, padding."""
        return np.flatnonzero(self.layout.query.cells[0, 0] < 0).tolist()

    def share_of_extra(self, queries, *, item: int = 0, head: int | str = "mean") -> np.ndarray:
        """How much of each row goes to keys that are no cells (class and register tokens, padding)."""
        self._check(item, head)
        heads = range(self.heads) if head == "mean" else [int(head)]
        where, shares = self._where(item), np.zeros(len(queries))
        for at, query in enumerate(queries):
            window, token = self._found(where, int(query))
            extra = self.layout.key.cells[item, window] < 0
            for number in heads:
                row = self.weights.rows(int(self.layout.groups[item, window, number]), torch.tensor([token]))
                shares[at] += float(row[0].cpu().numpy()[extra].sum()) / len(heads)
        return shares

    def _check(self, item: int, head: int | str) -> None:
        if not 0 <= item < self.images:
            raise ValueError(f"item is {item}, but the batch has the images 0 … {self.images - 1}")
        if head != "mean" and (isinstance(head, str) or not 0 <= head < self.heads):
            raise ValueError(
                f"head is {head!r}; choose 0 … {self.heads - 1}, or 'mean' for the mean of the heads' maps"
            )

    def _where(self, item: int) -> dict[int, list[tuple[int, int]]]:
        """For each query cell, its windows and its token in each."""
        found: dict[int, list[tuple[int, int]]] = {}
        for window, tokens in enumerate(self.layout.query.cells[item]):
            for token in np.flatnonzero(tokens >= 0):
                found.setdefault(int(tokens[token]), []).append((window, int(token)))
        return found

    def _found(self, where, query: int) -> tuple[int, int]:
        places = where.get(query, [])
        if len(places) == 1:
            return places[0]
        height, width = self.layout.query.grid
        if not places:
            raise ValueError(
                f"query {query} is no cell that asks in {self.path!r}; its queries are the cells 0 … "
                f"{height * width - 1}"
            )
        raise ValueError(
            f"{self.path!r} computes its attention in {self.windows} windows per image, and which cells they hold is "
            f"not known: query {query} occurs in {len(places)} of them"
        )


def _spread(cells: np.ndarray, rows: np.ndarray, slack: float) -> np.ndarray:
    """What cells get of each row, divided by its sum; mixed heads, whose rows are no distributions, stay as they are.

    slack: how far the sum of a row may lie from 1.
    """
    sums = rows.sum(-1)
    told = rows.min(initial=0) >= 0 and bool(((np.abs(sums - 1) <= slack) | (sums == 0)).all())
    if cells.shape == rows.shape or not told:
        return cells
    sums = cells.sum(-1, keepdims=True)
    return np.divide(cells, sums, out=np.zeros_like(cells), where=sums > EMPTY)


def _placed(side: Side, size, class_tokens: int | None, order, path: str, name: str) -> Side:
    tokens = side.cells.shape[2]
    extra = int((side.cells[0, 0] < 0).sum())
    if side.known and side.ordered:
        return _agreeing(side, size, class_tokens, path, name, extra)
    leading = class_tokens or 0
    if side.known and extra:  # the model itself added them
        leading = 0 if leading == extra else leading
    cells = np.where(side.cells >= leading, side.cells - leading, -1) if leading else side.cells
    count = int((cells[0, 0] >= 0).sum()) * (1 if side.cells.shape[1] == 1 else side.cells.shape[1])
    if side.cells.shape[1] > 1 and not side.known:
        count = int((cells[0, 0] >= 0).sum())
    grid = (side.grid if not leading else (1, count)) if size is None else tuple(size)
    if grid[0] * grid[1] != count:
        raise ValueError(_misfit(path, name, tokens, leading, grid, count))
    if order is not None:
        order = np.asarray(order)
        cells = np.where(cells >= 0, order[cells], -1)
    return Side(cells, grid, side.known, side.ordered)


def _agreeing(side: Side, size, class_tokens, path, name, extra: int) -> Side:
    height, width = side.grid
    if class_tokens is not None and side.cells.shape[1] == 1 and (side.cells[0, 0, :class_tokens] >= 0).any():
        where = "none" if not extra else f"{extra} of its tokens, not the first {class_tokens}"
        raise ValueError(
            f"{path!r}: class_tokens is {class_tokens}, but its first {name} lie on the map; without a place are "
            f"{where}"
        )
    if size is None or tuple(size) == side.grid:
        return side
    if 1 in side.grid and size[0] * size[1] == height * width:
        return dataclasses.replace(side, grid=tuple(size))
    raise ValueError(f"{path!r} works on a map of {height}×{width} {name}, not {size[0]}×{size[1]}; leave the size out")


def _misfit(path: str, name: str, tokens: int, leading: int, grid, count: int) -> str:
    extra = f", {leading} of them class tokens," if leading else ""
    return f"{path!r} sees {tokens} {name}{extra} but {grid[0]}×{grid[1]} = {grid[0] * grid[1]} cells need as many"
