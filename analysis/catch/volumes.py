"""Cells that lie in a volume, slices or frames first: this is said, and what needs a plane is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from analysis.catch.captures import Rows
from analysis.catch.layout import Layout, Side
from analysis.catch.windows import Window

PICTURES = ("image", "labels", "prediction")


class Lying(NamedTuple):
    """How the queries, the keys or both (`name`) lie: on a map of `grid` (height, width) cells, which shows the slices
    of `volume` one below another; None for a plane."""

    name: str
    grid: tuple[int, int]
    volume: tuple[int, ...] | None

    @property
    def map(self) -> tuple[tuple[int, int], tuple[int, ...] | None]:
        """What sides must have alike so that one picture of cells fits both."""
        return self.grid, self.volume

    def __str__(self) -> str:
        assert self.volume is not None
        sizes, grid = ("×".join(map(str, shape)) for shape in (self.volume, self.grid))
        return f"its {self.name} lie in a volume of {sizes}, shown slice below slice as {grid}"


def lying(layout: Layout, rows: Rows, window: Window | None = None) -> tuple[Lying, ...]:
    """Of what a capture of these rows shows. window: that of the queries, where it is one alone."""
    volumes = [
        side.volume if window is None else _of_window(side.volume, window) for side in (layout.query, layout.key)
    ]
    if rows.same_cells:
        return (Lying("cells", rows.size, volumes[0]),)
    keys = Lying("keys", rows.key_size, volumes[1])
    return (keys,) if rows.names is not None else (Lying("queries", rows.size, volumes[0]), keys)


def notes_of(path: str, found: Sequence[Lying]) -> tuple[str, ...]:
    """The sentence to say where any of these lie in a volume."""
    stacked = [str(side) for side in found if side.volume is not None]
    if not stacked:
        return ()
    return (
        f"{path}: {' and '.join(stacked)}; cells above and below each other there are not always neighbours, so that "
        "LR, which fills windows of a plane, does not fit",
    )


def require_no_pictures(path: str, found: Sequence[Lying], description: Mapping[str, Any]) -> None:
    """Raise ValueError for pictures beneath cells of a volume; labels of these cells themselves may come."""
    stacked = [side for side in found if side.volume is not None]
    if not stacked:
        return
    one_map = len({side.map for side in found}) == 1
    for name in PICTURES:
        given = description.get(name)
        if given is None or (name != "image" and one_map and np.shape(given) == stacked[0].grid):
            continue
        grid = "×".join(map(str, stacked[0].grid))
        instead = f", or give it for each of the {grid} cells" if name != "image" and one_map else ""
        raise ValueError(f"{name} cannot lie beneath {path!r}: {stacked[0]}; leave {name} out{instead}")


def require_mendable(path: str, layout: Layout, lr: str | None, probs: Tensor | None) -> None:
    """Raise ValueError for an LR, or class probabilities B×classes×h×w, that do not fit cells of a volume."""
    query, key = (_whole(name, side) for name, side in (("queries", layout.query), ("keys", layout.key)))
    if lr is not None and key.volume is not None:
        raise ValueError(f"{path!r}: {key}, and LR fills windows of a plane; leave lr out")
    stacked = query if query.volume is not None else key
    if probs is None or stacked.volume is None:
        return
    if query.map != key.map:
        raise ValueError(
            f"{path!r}: {stacked}, and its queries and keys lie otherwise, so that no class_probs fit both; leave gate "
            "out"
        )
    if tuple(probs.shape[2:]) != stacked.grid:
        raise ValueError(
            f"{path!r}: {stacked}; give class_probs of these cells, not {'×'.join(map(str, probs.shape[2:]))}"
        )


def _whole(name: str, side: Side) -> Lying:
    return Lying(name, side.grid, side.volume)


def _of_window(volume: tuple[int, ...] | None, window: Window) -> tuple[int, ...] | None:
    """The volume that a window has of a volume; None where it is of one slice."""
    if volume is None:
        return None
    slices = len({row // volume[-2] for row in window.rows})
    return (slices, len(window.rows) // slices, len(window.columns)) if slices > 1 else None
