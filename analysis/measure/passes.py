"""The passes over a block of queries: its softmax, the gate, LR, the sums of its rows, their AUC and average precision.

They are written twice: `analysis.measure.plain.PlainPasses` are operations of torch and NumPy, each of which goes over
the whole block; `analysis.measure.compiled.CompiledPasses` do the same in one compiled loop each, with Numba, which is
an optional extra. Both give the same numbers, up to rounding.

A block is held key by key, N×M for its M queries (`analysis.measure.streaming` says why), in single or double
precision. What "runs", "own" and "first" are stands in `Place`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from analysis.noise import DetectionScores, RowSums

# The shares τ of the own class's mean attention under which a cell counts as a hollow, for the curve over τ.
HOLLOW_THRESHOLDS = (0.05, 0.1, 0.25, 0.5, 1.0)


class Place(NamedTuple):
    """Where a block's queries stand among the cells, which are sorted by class.

    runs: (start, stop) of each class. own: whose of these the queries are of. first: the cell of the first query; the
    M queries are M cells in a row.
    """

    runs: tuple[tuple[int, int], ...]
    own: int
    first: int

    @property
    def labelled(self) -> int:
        """How many cells have a class; they come first."""
        return self.runs[-1][1]


class Rows(NamedTuple):
    """Values of M queries, N×M or labelled×M, and their sums over labelled cells other than the query itself.

    sums: `below` is M×len(HOLLOW_THRESHOLDS); None where no place was given.
    """

    values: Tensor
    sums: RowSums | None


class Softmax(NamedTuple):
    """Rows that are still to be divided by their totals, M numbers.

    strongest: the key with the highest value of each query, M flat cells, the first of equals.
    """

    rows: Rows
    totals: np.ndarray
    strongest: np.ndarray


class Passes(Protocol):
    """What a block goes through. What is "used up" holds anything afterwards; everything else is unchanged."""

    def softmax(self, scores: Tensor, order: np.ndarray, place: Place | None) -> Softmax:
        """Powers of the scores, the highest of each query 1.

        scores: N×M to base 2, used up. order: the flat cell of each of the N keys. place: None for no sums.
        """

    def finished(self, values: Tensor, order: np.ndarray, place: Place | None) -> Softmax:
        """The same of values that are no softmax's: N×M, whose totals are 1."""

    def gate(self, similarity: Tensor, values: Tensor, place: Place, *, sigmoid: bool) -> Rows:
        """values · similarity, or values · σ(similarity): N×M each; the similarity, at least 0, is used up."""

    def retain(self, values: Tensor, neighbours: Tensor, weights: Tensor, out: Tensor, place: Place) -> Rows:
        """Σ_k weights[m, k] · values[neighbours[m, k]]: N×M -> labelled×M, with k² neighbours of each labelled key.

        out: labelled×M, where the result may be put.
        """

    def detection(self, values: Tensor, place: Place, chosen: np.ndarray) -> DetectionScores:
        """AUC and average precision of the queries `chosen` (places in the block), whether defined or not."""
