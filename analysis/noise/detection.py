"""How well attention detects the query's class: area under the ROC curve and average precision of each row.

Every row is sorted once, as whole numbers: the bits of a float that is not negative are ordered like the float, and
shifted up by one they leave room for a mark "this cell is in S". Nothing of the value is lost, and the sort of plain
numbers is many times faster than one that carries a permutation along.
"""

from typing import Any, NamedTuple

import numpy as np


class DetectionScores(NamedTuple):
    """How well a row detects the query's class: area under the ROC curve and average precision, each of length M.

    In 0 … 1, high is good. NaN where the row is emptied, |S| < 2, D is empty, or the query cell has no label.
    """

    auc: np.ndarray
    average_precision: np.ndarray


def marked_keys(values: np.ndarray, same: Any, own_cell: Any) -> np.ndarray:
    """Values as whole numbers that sort like them: floats ≥ 0 -> unsigned integers of the same shape and width.

    same, own_cell: what NumPy takes as an index into the values, M×K bool say. The last bit marks S. The query's own
    cell comes behind everything, unmarked.
    """
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    keys = (values + 0.0).view(unsigned)  # a copy, in which −0 has become 0
    keys <<= unsigned.type(1)
    keys[same] |= unsigned.type(1)
    keys[own_cell] = np.iinfo(unsigned).max - 1
    return keys


def rank_scores(keys: np.ndarray, *, own_cells: int = 1) -> DetectionScores:
    """AUC and average precision of M rows of `marked_keys`, which are sorted in place; NaN without S or without D.

    own_cells: how many entries of a row are the query's own, 0 where queries are no keys. Fastest where S is as large
    in all rows, as it is for queries of one class.
    """
    keys.sort(axis=1)
    marked = (keys & keys.dtype.type(1)).astype(bool)
    positives = np.count_nonzero(marked, axis=1)
    counted = keys.shape[1] - own_cells
    if len(keys) and (positives == positives[0]).all():
        pairs, precision, tied = _sums_without_ties(keys, marked, positives[0], counted)
        if tied.any():
            pairs[tied], precision[tied] = _sums(keys[tied], positives[tied], counted)
    else:
        pairs, precision = _sums(keys, positives, counted)
    with np.errstate(divide="ignore", invalid="ignore"):
        return DetectionScores(pairs / (positives * (counted - positives)), precision / positives)


def _sums_without_ties(
    keys: np.ndarray, marked: np.ndarray, positives: int, counted: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `_sums` gives for rows with as many cells of S each, and which rows have ties and need that: M bool.

    At place p of n, n − p cells are not below the cell there; of S, those are it and the ones found after it.
    """
    flat = keys.ravel()
    found = np.flatnonzero(marked)
    tied = (flat[found] - flat[found - 1] <= 1).reshape(len(keys), positives)  # equal but for the mark
    place = found.reshape(len(keys), positives) - np.arange(len(keys))[:, None] * keys.shape[1]
    pairs = place.sum(axis=1) - positives * (positives - 1) / 2
    same_above = np.arange(positives, 0, -1.0)
    precision = (1 / np.arange(counted, 0, -1.0))[place]
    precision *= same_above
    return pairs, precision.sum(axis=1), tied.any(axis=1)  # no product of matrices: a row's sum is its own


def _sums(keys: np.ndarray, positives: np.ndarray, counted: int) -> tuple[np.ndarray, np.ndarray]:
    """Over the cells of S in each of M sorted rows: how many of D are below, ties by half, and the precision at each.

    positives: |S| of each row. counted: cells of a row that take part.
    """
    rows, width = keys.shape
    flat = keys.ravel()
    found = np.flatnonzero(flat & flat.dtype.type(1))  # the cells of S, row by row, from the lowest attention up
    row, place = np.divmod(found, width)
    rank = np.arange(len(found)) - np.repeat(positives.cumsum() - positives, positives)  # of a cell within S
    below = place - rank  # how many of D are not above this cell
    level, tied = _ties(flat, found, row, width)
    same_above = positives[row] - rank[level]  # how many of S are not below it, itself among them
    other_above = (counted - positives)[row] - below + tied
    pairs = np.bincount(row, weights=below - tied / 2, minlength=rows)
    precision = np.bincount(row, weights=same_above / (same_above + other_above), minlength=rows)
    return pairs, precision


def _ties(flat: np.ndarray, found: np.ndarray, row: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """For each cell of S: the first cell of S with the same value (an index into `found`), and how many of D tie.

    Among equal values those of D are sorted first: they end right before the first cell of S.
    """
    first = np.ones(len(found), bool)
    first[1:] = (flat[found[1:]] != flat[found[:-1]]) | (row[1:] != row[:-1])
    starts = np.flatnonzero(first)
    group = first.cumsum() - 1
    before = found[starts] - 1
    begin = row[starts] * width
    mixed = np.flatnonzero((before >= begin) & (flat[before] == flat[found[starts]] - 1))
    tied = np.zeros(len(starts), np.int64)
    tied[mixed] = before[mixed] + 1 - _run_start(flat, begin[mixed], before[mixed])
    return starts[group], tied[group]


def _run_start(flat: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where the run of equal numbers that ends at `high` begins, at `low` or later; sorted in between."""
    value = flat[high]
    while (low < high).any():
        middle = (low + high) // 2
        smaller = flat[middle] < value
        low, high = np.where(smaller, middle + 1, low), np.where(smaller, high, middle)
    return low
