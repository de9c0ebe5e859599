"""All stages of one capture's attention, block by block of queries, boiled down to the sums behind the metrics.

Two choices make it fast. Cells are sorted by label, so that each class is one run of cells and a block of queries of
one class has its set S in one slice. And a block is held key by key, N×M for its M queries: a sum over a class adds
up vectors of M numbers, and LR, which mixes neighbouring keys, is a weighted sum of k² such vectors. Memory stays
O(N·M). Rows are left undivided by the softmax's sum, which comes in at the end as one factor for each query. Scores
are taken to base 2, whose powers torch computes several times faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.capture import Capture
from analysis.maps import oracle_probs
from analysis.noise import DetectionScores, QuerySets, RowSums, marked_keys, rank_scores
from analysis.options import MapOptions
from dnl.attention import offsets, retention_weights

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

    def run_of(self, block: Block) -> tuple[int, int]:
        """Where the class of a block's queries begins and ends; they must have one."""
        assert block.run is not None
        return self.runs[block.run]

    def blocks(self, size: int = QUERY_BLOCK) -> Iterator[Block]:
        """All N cells as blocks of at most `size` queries of one class."""
        unlabelled = None, (self.labelled, len(self.order))
        for run, (start, stop) in (*enumerate(self.runs), unlabelled):
            for first in range(start, stop, size):
                yield Block(first, min(first + size, stop), run)


class RawBlock(NamedTuple):
    """Raw attention of M queries: values N×M up to the factor `scale` (M); logs N×M: base 2, of the values, or None.

    strongest: M flat cells, the key with the highest attention, the first of equals.
    """

    values: Tensor
    logs: Tensor | None
    scale: Tensor
    strongest: np.ndarray


class Retention(NamedTuple):
    """LR as a sparse matrix on sorted cells: labelled×k² positions of neighbours, and their weights (0: outside).

    factor: what the results must be multiplied by. The box has weights of 1 and its 1/k² here: sums of single-precision
    values are then exact in double precision, and keys that tie go on to tie.
    """

    neighbours: Tensor
    weights: Tensor
    factor: float

    def apply(self, values: Tensor) -> Tensor:
        """Σ_δ L[m, δ] · values[m+δ] for each labelled key m: N×M -> labelled×M."""
        return F.embedding_bag(self.neighbours, values, per_sample_weights=self.weights, mode="sum")

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
        self._oracle: tuple[tuple[int, int], Retention] | None = None  # of the run that was last asked for

    def raw(self, block: Block) -> RawBlock:
        """Raw attention of a block, over all N keys."""
        chosen = slice(block.first, block.stop)
        if self.attention is None:
            logs = self.key @ self.query[chosen].T  # N×M
            logs -= logs.amax(0)
            values = logs.exp2()
            return RawBlock(values, logs, 1 / values.sum(0), self._strongest(logs))
        order = self.cells.order
        rows = self.attention[order[chosen]][:, order]
        values = torch.from_numpy(rows).to(self.dtype).T.contiguous()
        return RawBlock(values, None, values.new_ones(values.shape[1]), self._strongest(values - values.amax(0)))

    def maps(self, block: Block, raw: RawBlock) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each wanted stage but raw: its name, its values (N×M or labelled×M), and the factor of each query (M)."""
        rectified = raw.values
        if self.class_map is not None:
            gates = self.class_map @ self.class_map[block.first : block.stop].T
            if self.gate == "sigmoid":
                gates.sigmoid_()
            rectified = gates.mul_(raw.values)
        for stage in self.stages:
            if stage == "rectified":
                yield stage, rectified, raw.scale
            elif stage != "raw":
                retention = self._retention_of(stage, block)
                values = retention.apply(raw.values if stage == "oracle" else rectified)
                yield stage, values, raw.scale * retention.factor

    def _retention_of(self, stage: str, block: Block) -> Retention:
        if stage == "box":
            return self.box
        return self._oracle_retention(self.cells.run_of(block)) if stage == "oracle" else self.retention

    def _strongest(self, below_peak: Tensor) -> np.ndarray:
        """The first cell whose value is 0, the peak, for each query: N×M ≤ 0 -> M flat cells."""
        peaks = np.flatnonzero(below_peak.amax(1).numpy() == 0)
        peaks = peaks[np.argsort(self.cells.order[peaks])]
        return self.cells.order[peaks[np.argmax(below_peak[peaks].numpy(), axis=0)]]

    def _oracle_retention(self, run: tuple[int, int]) -> Retention:
        """The oracle gate lets the query's own class through alone: LR that reads nothing else."""
        kept = self._oracle  # read once: several threads may be here
        if kept is None or kept[0] != run:
            kept = self._oracle = run, self.retention.within(*run)
        return kept[1]

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


def _class_map(capture: Capture, gate: str) -> np.ndarray:
    """What a gate multiplies, classes×h×w: G = p·p, with p one-hot for the gates that compare classes."""
    if gate == "oracle":
        return oracle_probs(capture)
    assert capture.class_probs is not None  # as the gate is checked
    if gate == "binary":
        classes = np.arange(len(capture.class_probs))[:, None, None]
        return (capture.class_probs.argmax(axis=0) == classes).astype(np.float64)
    return capture.class_probs


def block_sums(
    values: Tensor, logs: Tensor | None, cells: SortedCells, block: Block, thresholds: Sequence[float]
) -> RowSums:
    """The sums of a block's queries, over labelled cells other than the query itself.

    values: N×M or labelled×M, unchanged on return. logs: base 2, of the values, used up; or None, to compute them.
    `below` is M×len(thresholds).
    """
    values = values[: cells.labelled]
    start, stop = cells.run_of(block)
    own_cells = values[block.first : block.stop].diagonal()
    given_to_itself = own_cells.clone()
    own_cells.zero_()
    if logs is None:
        logs = values.clamp_min(torch.finfo(values.dtype).tiny).log2_()
    logs = logs[: cells.labelled].mul_(values)  # 0 log 0 is 0
    by_class = torch.stack([values[slice(*run)].sum(0) for run in cells.runs])
    same, scratch = values[start:stop], logs[start:stop]
    same_log, all_log = (math.log(2) * part.sum(0) for part in (scratch, logs))
    mean = by_class[block.run] / (stop - start - 1 or 1)
    limits = [threshold * mean for threshold in thresholds]
    # The query itself stands at 0, below any limit but 0.
    below = torch.stack([torch.lt(same, limit, out=scratch).sum(0) - torch.sign(limit) for limit in limits], dim=1)
    highest = values.amax(0)
    own_cells.copy_(given_to_itself)
    return RowSums(*(_double(part) for part in (by_class.T, same_log, all_log, highest, below)))


def block_detection(values: Tensor, cells: SortedCells, block: Block, chosen: np.ndarray) -> DetectionScores:
    """AUC and average precision of the queries `chosen` (places in the block), whether defined or not."""
    columns = values[: cells.labelled].numpy()
    if len(chosen) < columns.shape[1]:
        columns = columns[:, chosen]
    # Marked key by key, as the block lies, where S is one run of it.
    keys = marked_keys(columns, slice(*cells.run_of(block)), (block.first + chosen, np.arange(len(chosen))))
    return rank_scores(np.ascontiguousarray(keys.T))


def _double(tensor: Tensor) -> np.ndarray:
    return tensor.double().numpy()
