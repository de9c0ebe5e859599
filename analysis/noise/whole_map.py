"""Attention noise of a map: where each class's attention goes, and whether the queries differ at all."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.noise.query import EMPTIED, QuerySets, has_noise, prepared_rows


class Leakage(NamedTuple):
    """Where the attention of each class goes: sums over queries, so that blocks and images add up.

    total: classes×classes float64, [c, c′] is the normalised mass that queries of class c give to class c′.
    queries: how many queries of each class that is: those whose interclass noise is defined.
    """

    total: np.ndarray
    queries: np.ndarray

    def plus(self, other: "Leakage") -> "Leakage":
        """Both together: that of the queries of either."""
        return Leakage(self.total + other.total, self.queries + other.queries)

    def matrix(self) -> np.ndarray:
        """The leakage matrix, classes×classes: means, each row sums to 1; a class without queries has NaN."""
        with np.errstate(invalid="ignore"):
            return self.total / self.queries[:, None]


def leakage(
    stage_rows: np.ndarray,
    labels: np.ndarray,
    queries: Sequence[int] | np.ndarray,
    *,
    num_classes: int,
    ignore_index: int,
    query_labels: np.ndarray | None = None,
) -> Leakage:
    """The leakage of M rows; arguments as in `query_metrics`, labels below `num_classes` or `ignore_index`."""
    rows = prepared_rows(stage_rows, labels, queries, ignore_index, query_labels)
    return leakage_from_sums(rows.sets, rows.values @ rows.one_hot, num_classes=num_classes)


def leakage_from_sums(
    sets: QuerySets,
    by_class: np.ndarray,
    scale: np.ndarray | float = 1.0,
    *,
    num_classes: int,
    selected: np.ndarray | None = None,
) -> Leakage:
    """The leakage of M queries from the mass on each class, M×C; `scale` as in `metrics_from_sums`.

    selected: bool of length M, the queries that may count (all, by default).
    """
    mass = by_class.sum(axis=1)
    valid = has_noise(sets) & (mass * scale >= EMPTIED)
    if selected is not None:
        valid &= selected
    total = np.zeros((num_classes, num_classes))
    if valid.any():
        shares = np.zeros((int(valid.sum()), num_classes))
        shares[:, sets.classes] = by_class[valid] / mass[valid, None]
        np.add.at(total, sets.labels[valid], shares)
    return Leakage(total, np.bincount(sets.labels[valid], minlength=num_classes))


def query_pairs(cells: int, pairs: int = 256, *, seed: int = 0) -> np.ndarray:
    """`pairs` random pairs of different query cells out of `cells`: pairs×2 int64, the same for the same seed."""
    if cells < 2:
        raise ValueError(f"the map has {cells} cells; a pair of different queries needs at least 2")
    rng = np.random.default_rng(seed)
    first = rng.integers(0, cells, pairs)
    # A step of 1 … cells − 1 around the map never comes back to where it began.
    return np.stack([first, (first + rng.integers(1, cells, pairs)) % cells], axis=1)


def query_dependence(first_rows: np.ndarray, second_rows: np.ndarray) -> float:
    """Mean of `row_divergences`: 0 (every query the same map) … 1 (disjoint), emptied rows left out.

    NaN where no pair is left.
    """
    return mean_dependence(row_divergences(first_rows, second_rows))


def row_divergences(first_rows: np.ndarray, second_rows: np.ndarray) -> np.ndarray:
    """Jensen–Shannon divergence between paired rows, over log 2: P numbers in 0 … 1, NaN where a row is emptied.

    first_rows, second_rows: P×N or P×h×w, row p of one against row p of the other, over all cells, normalised here.
    """
    first, second = (np.asarray(rows, np.float64).reshape(len(rows), -1) for rows in (first_rows, second_rows))
    if first.shape != second.shape:
        raise ValueError(f"the rows are {first.shape} and {second.shape}; pairs of rows need the same shape")
    valid = (first.sum(axis=1) >= EMPTIED) & (second.sum(axis=1) >= EMPTIED)
    first, second = (rows[valid] / rows[valid].sum(axis=1, keepdims=True) for rows in (first, second))
    divergence = _entropy((first + second) / 2) - (_entropy(first) + _entropy(second)) / 2
    divergences = np.full(len(valid), np.nan)
    divergences[valid] = np.clip(divergence / np.log(2), 0, 1)
    return divergences


def mean_dependence(divergences: np.ndarray) -> float:
    """The query dependence out of `row_divergences`; NaN where all are NaN."""
    valid = divergences[np.isfinite(divergences)]
    return float(valid.mean()) if valid.size else math.nan


def argmax_keys(rows: np.ndarray) -> np.ndarray:
    """The strongest key of each query: rows M×N or M×h×w -> int64 of length M, flat cells, the first of equals.

    −1 for an emptied row, of which no key is left.
    """
    flat = rows.reshape(len(rows), -1)
    return np.where(flat.sum(axis=1, dtype=np.float64) >= EMPTIED, flat.argmax(axis=1), -1)


def distinct_argmax_keys(rows: np.ndarray) -> int:
    """How many different cells are the strongest key of some query, emptied rows left out: rows M×N or M×h×w."""
    return count_keys(argmax_keys(rows))


def count_keys(strongest: np.ndarray) -> int:
    """How many different cells `argmax_keys` has found, of one block of queries or of several together."""
    return int(np.unique(strongest[strongest >= 0]).size)


def _entropy(distribution: np.ndarray) -> np.ndarray:
    return -(distribution * np.log(np.maximum(distribution, np.finfo(float).tiny))).sum(axis=1)
