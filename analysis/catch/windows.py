"""Where the windows of one attention lie on its map, and which of them is at a row and column of windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.catch.layout import Side


@dataclass(frozen=True, eq=False)
class Window:
    """A window that holds the cells of some rows and columns of the map, in the order of its tokens.

    places: for each token, its cell on the map, -1 for none. rows, columns: of the map.
    """

    places: np.ndarray
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    width: int

    @classmethod
    def of(cls, side: Side, item: int, number: int) -> Window | None:
        """None where the window's cells are no rows and columns of the map."""
        places, width = side.cells[item, number], side.grid[1]
        inside = places[places >= 0]
        rows = tuple(dict.fromkeys((inside // width).tolist()))
        columns = tuple(dict.fromkeys((inside % width).tolist()))
        if not len(inside) or len(rows) * len(columns) != len(inside) or len(np.unique(inside)) != len(inside):
            return None
        return cls(places, rows, columns, width)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in cells."""
        return len(self.rows), len(self.columns)

    def tokens(self) -> np.ndarray:
        """The window's tokens that are cells, row by row of the window."""
        token_of = {int(place): token for token, place in enumerate(self.places) if place >= 0}
        return np.array([token_of[row * self.width + column] for row in self.rows for column in self.columns])

    def part_of(self, seen: tuple[int, int, int, int], grid: tuple[int, int]) -> tuple[int, int, int, int] | None:
        """(top, left, height, width) in pixels of the window, where the map of `grid` lies in blocks on the part `seen`
        of an image; None where its cells lie apart, at opposite edges of the picture or in a dilated grid."""
        edges = []
        for start, pixels, cells, own in zip(seen[:2], seen[2:], grid, (self.rows, self.columns), strict=True):
            if list(own) != list(range(own[0], own[0] + len(own))):
                return None
            first, last = (-(-edge * pixels // cells) for edge in (own[0], own[-1] + 1))
            edges.append((start + first, last - first))
        (top, height), (left, width) = edges
        return top, left, height, width


def window_at(side: Side, item: int, wanted: tuple[int, int], path: str) -> tuple[int, Window | None]:
    """The number of the window at (row, column) of the windows, and its cells; None where windows are no rectangles.

    Rows and columns of windows count in the order in which the model takes them. Raises ValueError for one that is
    not there.
    """
    count = side.cells.shape[1]
    windows = [Window.of(side, item, number) for number in range(count)]
    rows = list(dict.fromkeys(frozenset(window.rows) for window in windows if window))
    columns = list(dict.fromkeys(frozenset(window.columns) for window in windows if window))
    if any(window is None for window in windows) or len(rows) * len(columns) != count:
        return 0, None
    row, column = wanted
    if not (0 <= row < len(rows) and 0 <= column < len(columns)):
        raise ValueError(
            f"window is ({row}, {column}), but {path!r} has {len(rows)}×{len(columns)} windows per image; rows run "
            f"from 0 to {len(rows) - 1}, columns to {len(columns) - 1}"
        )
    for number, window in enumerate(windows):
        if window and frozenset(window.rows) == rows[row] and frozenset(window.columns) == columns[column]:
            return number, window
    return 0, None
