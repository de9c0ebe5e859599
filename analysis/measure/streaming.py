"""All stages of one capture's attention, block by block of queries, boiled down to the sums behind the metrics.

Two choices make it fast. Cells are sorted by label, so that each class is one run of cells and a block of queries of
one class has its set S in one slice. And a block is held key by key, N×M for its M queries: a sum over a class adds
up vectors of M numbers, and LR, which mixes neighbouring keys, is a weighted sum of k² such vectors. Memory stays
O(N·M). Rows are left undivided by the softmax's sum, which comes in at the end as one factor for each query. Scores
are taken to base 2, whose powers torch computes several times faster.
"""

from __future__ import annotations

import importlib.util
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from analysis.capture import Capture
from analysis.maps import oracle_probs
from analysis.measure.passes import Passes, Place, Rows
from analysis.measure.plain import PlainPasses
from analysis.noise import EMPTIED, QuerySets
from analysis.options import MapOptions
from analysis.threads import share
from dnl.attention import offsets, retention_weights

# Scores to base 2 up to here, and as far apart within a row, keep their powers among float32's normal numbers and a
# query's metrics within 1e-5 of those in float64 (measured). Beyond, the weakest keys of a row are all 0 alike.
SINGLE_PRECISION_SCORES = 126

# Queries at a time: a multiple of the vector width, and few enough for a block to stay near the core.
QUERY_BLOCK = 64


class Block(NamedTuple):
    """Queries first … stop − 1 in the order of `SortedCells`, all of the class of run `run` (None: no label)."""

    first: int
    stop: int
    run: int | None


@dataclass(frozen=True)
class SortedCells:
    """The cells in the order of their labels, those without one last.

    order: N flat cells. runs: (start, stop) of each class in that order, classes as in `QuerySets.classes`.
    labelled: how many cells have a label.
    """

    order: np.ndarray
    runs: tuple[tuple[int, int], ...]
    labelled: int

    @classmethod
    def of(cls, sets: QuerySets) -> SortedCells:
        """sets: those of all N cells."""
        order = np.lexsort((sets.queries, np.where(sets.labelled, sets.own, len(sets.classes))))
        sizes = np.bincount(sets.own[sets.labelled], minlength=len(sets.classes))
        stops = sizes.cumsum()
        runs = tuple((int(stop - size), int(stop)) for size, stop in zip(sizes, stops, strict=True))
        return cls(order, runs, int(sizes.sum()))

    def place_of(self, block: Block) -> Place:
        """Where a block's queries stand; they must have a class."""
        assert block.run is not None
        return Place(self.runs, block.run, block.first)

    def blocks(self, size: int = QUERY_BLOCK) -> Iterator[Block]:
        """All N cells as blocks of at most `size` queries of one class."""
        unlabelled = None, (self.labelled, len(self.order))
        for run, (start, stop) in (*enumerate(self.runs), unlabelled):
            for first in range(start, stop, size):
                yield Block(first, min(first + size, stop), run)


class RawBlock(NamedTuple):
    """Raw attention of M queries, N×M up to the factor `scale` (M). The thread's next block is put in its place.

    strongest: M flat cells, the key with the highest attention, the first of equals; −1 where a row is emptied.
    """

    rows: Rows
    scale: np.ndarray
    strongest: np.ndarray


class Retention(NamedTuple):
    """LR as a sparse matrix on sorted cells: labelled×k² positions of neighbours, and their weights (0: outside).

    factor: what the results must be multiplied by. The box has weights of 1 and its 1/k² here: sums of single-precision
    values are then exact in double precision, and keys that tie go on to tie.
    """

    neighbours: Tensor
    weights: Tensor
    factor: float

    def within(self, start: int, stop: int) -> Retention:
        """LR that reads the keys start … stop − 1 alone."""
        inside = (self.neighbours >= start) & (self.neighbours < stop)
        return self._replace(weights=self.weights * inside)


class StreamedStages:
    """The stages and controls of a capture, computed for one block of queries at a time.

    options: checked, every "model" resolved.
    stages: which of rectified, retained, oracle and box are wanted beside raw; box and oracle need LR.
    """

    def __init__(
        self,
        capture: Capture,
        cells: SortedCells,
        stages: Sequence[str],
        options: MapOptions,
        *,
        dtype: torch.dtype,
    ) -> None:
        self.cells, self.stages, self.dtype = cells, stages, dtype
        self.passes = fastest_passes()
        self.gate, kernel = options.gate, options.lr_kernel
        assert not isinstance(kernel, str)  # "model" is resolved
        self.attention = capture.attention
        if capture.query is not None and capture.key is not None:
            self.query = self._by_cell(capture.query) / (options.temperature * math.log(2))
            self.key = self._by_cell(capture.key)
        self.class_map = None if options.gate is None else self._by_cell(_class_map(capture, options.gate))
        if kernel is not None:
            self.retention = self._retention(capture, kernel, options.lr_weights)
            if "box" in stages:
                self.box = self._retention(capture, kernel, "box")
        self._buffers = threading.local()
        self._oracle: tuple[tuple[int, int], Retention] | None = None  # of the run that was last asked for

    def raw(self, block: Block) -> RawBlock:
        """Raw attention of a block, over all N keys; without sums where its queries have no label."""
        order, chosen = self.cells.order, slice(block.first, block.stop)
        place = None if block.run is None else self.cells.place_of(block)
        if self.attention is None:
            scores = self._product("scores", self.key, self.query[chosen])
            found = self.passes.softmax(scores, order, place)
        else:
            rows = self.attention[order[chosen]]
            sorted_rows = torch.from_numpy(rows[:, order]).to(self.dtype).T.contiguous()
            found = self.passes.finished(sorted_rows, order, place)
            emptied = rows.sum(axis=1, dtype=np.float64) < EMPTIED
            found = found._replace(strongest=np.where(emptied, -1, found.strongest))
        return RawBlock(found.rows, 1 / found.totals, found.strongest)

    def maps(self, block: Block, raw: RawBlock) -> Iterator[tuple[str, Rows, np.ndarray]]:
        """Each wanted stage but raw: its name, its rows, which the next stage overwrites, and the factor of each query
        (M)."""
        rectified, place = raw.rows, self.cells.place_of(block)
        if self.class_map is not None:
            similarity = self._product("similarity", self.class_map, self.class_map[block.first : block.stop])
            rectified = self.passes.gate(similarity, raw.rows.values, place, sigmoid=self.gate == "sigmoid")
        for stage in self.stages:
            if stage == "rectified":
                yield stage, rectified, raw.scale
            elif stage != "raw":
                neighbours, weights, factor = self._retention_of(stage, place)
                values = (raw.rows if stage == "oracle" else rectified).values
                out = self._buffer("retained", len(neighbours), values.shape[1])
                yield stage, self.passes.retain(values, neighbours, weights, out, place), raw.scale * factor

    def _retention_of(self, stage: str, place: Place) -> Retention:
        if stage == "box":
            return self.box
        return self._oracle_retention(place.runs[place.own]) if stage == "oracle" else self.retention

    def _oracle_retention(self, run: tuple[int, int]) -> Retention:
        """The oracle gate lets the query's own class through alone: LR that reads nothing else."""
        kept = self._oracle  # read once: several threads may be here
        if kept is None or kept[0] != run:
            kept = self._oracle = run, self.retention.within(*run)
        return kept[1]

    def _product(self, name: str, keys: Tensor, queries: Tensor) -> Tensor:
        """keys · queries: N×d, M×d -> N×M."""
        return torch.mm(keys, queries.T, out=self._buffer(name, len(keys), len(queries)))

    def _buffer(self, name: str, keys: int, queries: int) -> Tensor:
        """keys×queries of the thread's own memory, for one block: what the system gives anew it clears first."""
        kept = vars(self._buffers).get(name)
        if kept is None or len(kept) < keys * queries:
            with torch.inference_mode(False):  # so that it can be used in either mode
                kept = torch.empty(keys * max(queries, QUERY_BLOCK), dtype=self.dtype)
            setattr(self._buffers, name, kept)
        return kept[: keys * queries].view(keys, queries)

    def _by_cell(self, maps: np.ndarray) -> Tensor:
        """C×h×w -> N×C in the order of the cells."""
        flat = maps.reshape(len(maps), -1)[:, self.cells.order]
        return torch.from_numpy(np.ascontiguousarray(flat.T)).to(self.dtype)

    def _retention(self, capture: Capture, kernel: int, kind: str) -> Retention:
        height, width = capture.cells
        if kind == "box":
            weights = torch.ones((kernel**2, height * width), dtype=self.dtype)
        else:
            query, key = (torch.from_numpy(maps)[None].to(self.dtype) for maps in (capture.query, capture.key))
            weights = retention_weights(query, key, kernel, kind)[0].flatten(1)  # k²×N
        order = self.cells.order[: self.cells.labelled]
        position = np.empty(height * width, np.int64)
        position[self.cells.order] = np.arange(height * width)
        row, column = np.divmod(order, width)
        dy, dx = np.array(offsets(kernel)).T
        row, column = row[:, None] + dy, column[:, None] + dx  # labelled×k²
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        neighbours = position[row.clip(0, height - 1) * width + column.clip(0, width - 1)]
        weights = weights.T[torch.from_numpy(order)] * torch.from_numpy(inside)
        return Retention(torch.from_numpy(neighbours), weights.contiguous(), 1 / kernel**2 if kind == "box" else 1.0)


def fits_single_precision(capture: Capture, temperature: float, threads: int) -> bool:
    """Whether float32 holds the scores of a capture with query and key: see SINGLE_PRECISION_SCORES.

    No score is larger than the lengths of query and key allow; where these do not tell, a block of queries has its
    scores computed, which costs up to half as much as the metrics of large maps.
    """
    assert capture.query is not None and capture.key is not None
    query = torch.from_numpy(capture.query).flatten(1).float().T / (temperature * math.log(2))
    key = torch.from_numpy(capture.key).flatten(1).float()
    most = 2 * query.norm(dim=1) * key.norm(dim=0).max()  # apart, of the scores of each query

    @torch.inference_mode()
    def reach(first: int) -> float:
        """At least the largest score, or difference of two, of a block's queries."""
        if (bound := float(most[first : first + QUERY_BLOCK].max())) <= SINGLE_PRECISION_SCORES:
            return bound
        lowest, highest = (query[first : first + QUERY_BLOCK] @ key).aminmax(dim=1)
        return float(torch.stack([-lowest, highest, highest - lowest]).max())

    return all(found <= SINGLE_PRECISION_SCORES for found in share(reach, range(0, len(query), QUERY_BLOCK), threads))


@cache
def fastest_passes() -> Passes:
    """The compiled passes where Numba is installed and works, else the plain ones.

    Warns where it is there and does not work: it may be too old for NumPy, or find no folder to keep its results in.
    """
    if importlib.util.find_spec("numba") is None:
        return PlainPasses()
    try:
        from analysis.measure.compiled import CompiledPasses  # Numba is large, and not everyone has it

        passes = CompiledPasses()
        passes.finished(torch.ones(2, 1, dtype=torch.float64), np.arange(2), Place(((0, 2),), own=0, first=0))
    except Exception as error:  # whatever another release of it, or a damaged one, raises
        warnings.warn(
            f"Numba is installed and does not work ({type(error).__name__}: {error}), so noise is measured without it, "
            "in twice the time; mend it with `pip install --upgrade numba`, or remove it",
            stacklevel=2,
        )
        return PlainPasses()
    return passes


def _class_map(capture: Capture, gate: str) -> np.ndarray:
    """What a gate multiplies, classes×h×w: G = p·p, with p one-hot for the gates that compare classes."""
    if gate == "oracle":
        return oracle_probs(capture)
    assert capture.class_probs is not None  # as the gate is checked
    if gate == "binary":
        classes = np.arange(len(capture.class_probs))[:, None, None]
        return (capture.class_probs.argmax(axis=0) == classes).astype(np.float64)
    return capture.class_probs
