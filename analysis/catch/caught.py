"""One attention that was caught: its rows by cell, and a Capture of it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from analysis.capture import Capture
from analysis.catch import asides
from analysis.catch.captures import Rows, capture_of, rows_of_cells, rows_of_others, rows_of_window, unknown_windows
from analysis.catch.layout import Layout
from analysis.catch.operands import Weights, spread
from analysis.catch.placing import Given, asks_without_a_place, placed_layout, require_sizes
from analysis.catch.volumes import lying, notes_of, require_no_pictures
from analysis.catch.windows import Window


def capture_of_caught(
    caught: Caught,
    height: int | None = None,
    width: int | None = None,
    *,
    item: int = 0,
    head: int | str = "mean",
    window: tuple[int, int] | None = None,
    queries: str | None = None,
    key_size: tuple[int, int] | None = None,
    class_tokens: int | None = None,
    last_tokens: int | None = None,
    key_class_tokens: int | None = None,
    order: Sequence[int] | None = None,
    **description: Any,
) -> Capture:
    """The attention of one image of the batch, as the model used it.

    height, width: of the queries' map, and key_size (h′, w′) of the keys' where it is another: needed only where the
    model does not say, as for tokens that are its own input. So are the counts of tokens that are no cells, and
    `order`; all are as in `placed`. Windows of a known partition are stitched onto the image.
    item: which image of the batch. head: a number, or "mean" for the mean of the heads' maps.
    window: (row, column) among the windows, for the attention inside this one alone; image, labels and crop are those
    of the whole picture. queries: "cells", or "others" for those without a place (class and register tokens, object
    queries), which get names by their number; None takes cells where there are any.
    description: image, labels, class_probs and so on, as for `Capture.from_qk`; cells are blocks of pixels unless
    `placement` says otherwise. A DenoisedNonLocal2d gives class_probs, gate, lr_kernel and lr_weights itself.

    softmax(q·k) of one head keeps query and key. With a bias, a mask, mixed heads or the mean of several heads the
    capture holds the finished map, up to 1 GiB, as its `notes` say. What tokens that are no cells had of each row is
    in `dropped`. Warns where another run of the model may give another map, and where the cells lie in a volume or not
    evenly over the image. Raises ValueError, in one sentence, for what does not fit.
    """
    if (height is None) != (width is None):
        raise ValueError("only one of height and width is given; give both, or neither where the model says")
    if queries not in (None, "cells", "others"):
        raise ValueError(f"queries is {queries!r}; choose 'cells', or 'others' for those without a place")
    caught.check(item, head)
    size = caught.own.get("size") if height is None or width is None else (height, width)
    others = queries == "others"
    if queries is None and asks_without_a_place(caught.layout, size):
        others, size = True, None
    require_sizes(caught.layout, size, key_size, others, caught.path)
    placed = caught.placed(
        size, key_size, class_tokens=class_tokens, last_tokens=last_tokens, key_class_tokens=key_class_tokens,
        order=order,
    )  # fmt: skip
    known = {"placement": "blocks", "name": caught.path} | _own(caught, item) | description
    rows, part = _rows(placed, item, others, window)
    sides = lying(placed.layout, rows, part)
    require_no_pictures(caught.path, sides, known)
    asides.require_no_pictures(caught.path, placed.layout, known)
    stacked, beside = notes_of(caught.path, sides), asides.notes_of(caught.path, placed.layout)
    if part is not None and not stacked:
        known = _within(part, placed.layout.query.grid, known)
    for doubt in (*stacked, *beside, *caught.doubts):
        warnings.warn(doubt, stacklevel=2)
    capture = capture_of(caught.weights, placed.layout, rows, item, caught.places_of(head), known)
    notes = (*stacked, *beside, *caught.notes, *capture.notes)
    return dataclasses.replace(capture, notes=notes, layer=caught.path, head=head if caught.heads > 1 else None)


def _rows(placed: Caught, item: int, others: bool, window: tuple[int, int] | None) -> tuple[Rows, Window | None]:
    """The rows that are asked for, and where the window lies that is asked for alone."""
    if others:
        return rows_of_others(placed.layout, item, placed.path), None
    if window is None:
        return rows_of_cells(placed.layout, item, placed.path), None
    return rows_of_window(placed.layout, item, window, placed.path)


def _own(caught: Caught, item: int) -> dict[str, Any]:
    """What our own block knows of itself."""
    if not caught.own:
        return {}
    probs = caught.own["class_probs"]
    own = {name: caught.own[name] for name in ("gate", "lr_kernel", "lr_weights")}
    return own | {"placement": "corners", "class_probs": None if probs is None else probs[item]}


def _within(window: Window, grid: tuple[int, int], description: dict[str, Any]) -> dict[str, Any]:
    """What is known of the whole picture, for a window of its map alone."""
    shown = [description[name] for name in ("image", "labels", "prediction") if description.get(name) is not None]
    if not shown:
        return description
    size = max(tuple(array.shape[:2]) for array in shown)
    crop = window.part_of(description.get("crop") or (0, 0, *size), grid)
    if crop is None:
        raise ValueError(
            f"the window's cells lie apart on the picture (rows {', '.join(map(str, window.rows))}; columns "
            f"{', '.join(map(str, window.columns))} of the map); leave image and labels out"
        )
    return description | {"crop": crop}


@dataclass(frozen=True, eq=False)
class Caught:
    """path: of the module. form: how the attention was written. weights: rows of each group. layout: what the groups
    and tokens are. notes: sentences for whoever looks at it; doubts: those among them that `capture` warns of. own:
    what our own block does with the weights. kept: the numbers of the heads that were kept, None for all.
    """

    path: str
    form: str
    weights: Weights
    layout: Layout
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    own: dict = dataclasses.field(default_factory=dict)
    kept: tuple[int, ...] | None = None

    # Its many arguments and their meaning stand above.
    capture = capture_of_caught

    @property
    def images(self) -> int:
        """In the batch."""
        return len(self.layout.groups)

    @property
    def windows(self) -> int:
        """Of each image; 1 where every token sees every key."""
        return self.layout.windows

    @property
    def heads(self) -> int:
        """Of each window; those that were kept."""
        return self.layout.groups.shape[2]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of these heads in the module."""
        return tuple(range(self.heads)) if self.kept is None else self.kept

    @property
    def same_tokens(self) -> bool:
        """Whether queries and keys are the same cells."""
        return self.layout.same_cells

    @property
    def unplaced(self) -> list[int]:
        """Which queries of a window are no cells: class and register tokens, object queries, padding."""
        return np.flatnonzero(self.layout.query.cells[0, 0] < 0).tolist()

    def placed(
        self,
        size: tuple[int, int] | None = None,
        key_size: tuple[int, int] | None = None,
        *,
        class_tokens: int | None = None,
        last_tokens: int | None = None,
        key_class_tokens: int | None = None,
        order: Sequence[int] | None = None,
    ) -> Caught:
        """With queries on a map of `size` (height, width) and keys on one of `key_size`, where the model does not say.

        class_tokens, last_tokens: leading and trailing tokens that are no cells (None: as the model says, else none);
        key_class_tokens: leading ones of the keys, where there are not as many. order: which cell each token is, flat,
        where the model does not say. Raises ValueError for what contradicts the model.
        """
        given = Given(size, class_tokens, last_tokens, order)
        return dataclasses.replace(
            self, layout=placed_layout(self.layout, given, key_size, key_class_tokens, self.path)
        )

    def rows(self, queries: Sequence[int], *, item: int = 0, head: int | str = "mean") -> np.ndarray:
        """What these query cells give to every key cell: len(queries)×cells of the key map, float64.

        queries: flat cells of the query map. head: a number, or "mean". Where some keys are no cells, each row of each
        head is divided by what it gives to cells, as if spread over these alone; rows of mixed heads stay as they are.
        """
        self.check(item, head)
        rows = np.zeros((len(queries), int(np.prod(self.layout.key.grid))))
        places = self._places(queries, item)
        for window in sorted({window for window, _ in places}):
            wanted = [at for at, (own, _) in enumerate(places) if own == window]
            rows[wanted] = self.token_rows([places[at][1] for at in wanted], item=item, window=window, head=head)
        return rows

    def token_rows(
        self, tokens: Sequence[int], *, item: int = 0, window: int = 0, head: int | str = "mean"
    ) -> np.ndarray:
        """Rows of queries by their number in the sequence of a window, such as object queries that are no cells: as
        `rows` gives them."""
        self.check(item, head)
        count = self.layout.query.cells.shape[2]
        if not all(0 <= token < count for token in tokens):
            raise ValueError(f"tokens are {list(tokens)}; {self.path!r} has the queries 0 … {count - 1}")
        rows = np.zeros((len(tokens), int(np.prod(self.layout.key.grid))))
        places = self.layout.key.cells[item, window]
        heads = self.places_of(head)
        for number in heads:
            found = self._every(tokens, item, window, number)
            cells = found[:, places >= 0]
            rows[:, places[places >= 0]] += (spread(cells, self.weights) if (places < 0).any() else cells) / len(heads)
        return rows

    def share_of_extra(self, queries: Sequence[int], *, item: int = 0, head: int | str = "mean") -> np.ndarray:
        """How much of each row goes to keys that are no cells (class and register tokens, padding)."""
        self.check(item, head)
        heads = self.places_of(head)
        shares = np.zeros(len(queries))
        for at, (window, token) in enumerate(self._places(queries, item)):
            extra = self.layout.key.cells[item, window] < 0
            shares[at] = np.mean([self._every([token], item, window, number)[0, extra].sum() for number in heads])
        return shares

    def check(self, item: int, head: int | str) -> None:
        """Raise ValueError for an image or a head that is not there."""
        if not 0 <= item < self.images:
            raise ValueError(f"item is {item}, but the batch has the images 0 … {self.images - 1}")
        if head == "mean" and self.kept is not None:
            raise ValueError(
                f"of the heads of {self.path!r} only {', '.join(map(str, self.kept))} were kept, and their mean is not "
                "that of the layer; choose one of them"
            )
        if head != "mean" and (isinstance(head, str) or head not in self.numbers):
            if self.kept is not None:
                raise ValueError(f"head is {head!r}; of {self.path!r} {', '.join(map(str, self.kept))} were kept")
            raise ValueError(
                f"head is {head!r}; choose 0 … {self.heads - 1}, or 'mean' for the mean of the heads' maps"
            )

    def places_of(self, head: int | str) -> Sequence[int]:
        """Which of the kept heads these are: one, or all for "mean"."""
        return range(self.heads) if head == "mean" else [self.numbers.index(int(head))]

    def _every(self, tokens: Sequence[int], item: int, window: int, head: int) -> np.ndarray:
        """Rows over all keys, those that are no cells too: len(tokens)×M float64."""
        group = int(self.layout.groups[item, window, head])
        return self.weights.rows(group, torch.as_tensor(tokens)).cpu().numpy()

    def _places(self, queries: Sequence[int], item: int) -> list[tuple[int, int]]:
        """The window and token of each query cell."""
        cells, places = self.layout.query.cells[item], []
        for query in map(int, queries):
            windows, tokens = np.nonzero(cells == query)
            if len(windows) > 1:
                raise ValueError(f"{unknown_windows(self.layout, self.path)}: query {query} occurs in {len(windows)}")
            if not len(windows) or query < 0:
                count = int(np.prod(self.layout.query.grid))
                raise ValueError(
                    f"query {query} is no cell that asks in {self.path!r}; its queries are the cells 0 … {count - 1}"
                )
            places.append((int(windows[0]), int(tokens[0])))
        return places
