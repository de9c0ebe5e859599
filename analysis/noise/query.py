"""Attention noise of a query: how much of its attention goes astray, and how unevenly the rest is spread.

The published method names two noises in words: interclass (attention on other classes) and intraclass (attention
that is uneven within the own class). The formulas here are this project's own definitions.

Setting: a row a of any stage, for a query cell i. Ignored cells and the query itself take no part. S is the other
cells of the query's class, D the cells of other classes. Kept mass κ = Σ_{S∪D} a; ã = a/κ. A row with κ < EMPTIED is
"emptied" (a gate took all of it): it has no ã and no metric but its mass. NaN inside arrays means "undefined".

Where the keys are other cells than the queries (pooled keys, cross-attention), S and D are cells of the keys' grid, by
the labels there, and the query's class is given apart, as `query_labels`. No key is the query's own cell then: each
takes part.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from analysis.noise.detection import DetectionScores, marked_keys, rank_scores

EMPTIED = 1e-6
HOLLOW_THRESHOLD = 0.25
# How far below its limit a hollow must lie, in shares of it: a mean of equal values is rounded, and they equal it.
_ROUNDING = {"float32": 1e-5, "float64": 1e-11}


class QueryMetrics(NamedTuple):
    """One value per query, float64 of length M unless said otherwise. NaN: undefined for this query.

    queries: flat cell indices, int64. labels: the queries' labels, int64; the ignore index marks a cell that is no
    query, where every metric is NaN. emptied: bool, True where a row holds less than EMPTIED.
    interclass_noise: Σ_D ã, in 0 … 1, low is good; undefined where S or D is empty, or the row is emptied. Known
    elsewhere as one minus "relevance mass accuracy".
    chance: |D|/|S∪D|, the interclass noise of uniform attention; undefined where S or D is empty.
    kept_mass: Σ_{S∪D} a. interclass_mass: Σ_D a, what really arrives from other classes.
    intraclass_noise: 1 − H(b)/log|S|, b = a on S renormalised, H the entropy; in 0 … 1, low is good.
    hollow_fraction: share of S with a < τ · mean_S a, by more than rounding; in 0 … 1, low is good. Both undefined
    where |S| < 2; both 1 where a row that is not emptied has nothing on S.
    top_mass: the largest ã. effective_keys: exp(H(ã)), from 1 to |S∪D|.
    """

    queries: np.ndarray
    labels: np.ndarray
    emptied: np.ndarray
    interclass_noise: np.ndarray
    chance: np.ndarray
    kept_mass: np.ndarray
    interclass_mass: np.ndarray
    intraclass_noise: np.ndarray
    hollow_fraction: np.ndarray
    top_mass: np.ndarray
    effective_keys: np.ndarray


METRICS = QueryMetrics._fields[3:]

Results = TypeVar("Results", QueryMetrics, DetectionScores)


class QuerySets(NamedTuple):
    """M queries with the sizes of their sets S and D.

    queries, labels: as in QueryMetrics. labelled: M bool. classes: the label of each of the C columns of
    `RowSums.by_class`, those of the keys and, where these are other cells, of the queries. own: M, the column of the
    query's own class (any column for a query without a label). same_count, other_count: |S| and |D|, M int64.
    """

    queries: np.ndarray
    labels: np.ndarray
    labelled: np.ndarray
    classes: np.ndarray
    own: np.ndarray
    same_count: np.ndarray
    other_count: np.ndarray


class RowSums(NamedTuple):
    """What every metric but AUC and AP is made of, float64; a row may be given up to a factor of its own.

    by_class: M×C, the mass on each class. same_log, all_log: Σ a log a over S and over S∪D, each of length M.
    highest: the largest a in S∪D. below: how many of S lie under τ · mean_S a.
    """

    by_class: np.ndarray
    same_log: np.ndarray
    all_log: np.ndarray
    highest: np.ndarray
    below: np.ndarray


class LabelledRows(NamedTuple):
    """Rows without ignored cells, the query's own entry at 0, and which of the K labelled cells are S.

    own_cells: how many entries of a row are the query's own, 0 where the keys are other cells.
    """

    sets: QuerySets
    values: np.ndarray  # M×K
    same: np.ndarray  # M×K bool, S
    one_hot: np.ndarray  # K×C float64
    own_cell: np.ndarray  # M×K bool
    own_cells: int


def query_metrics(
    stage_rows: np.ndarray,
    labels: np.ndarray,
    queries: Sequence[int] | np.ndarray,
    *,
    ignore_index: int,
    query_labels: np.ndarray | None = None,
    hollow_threshold: float = HOLLOW_THRESHOLD,
) -> QueryMetrics:
    """The noise of M rows of one stage.

    stage_rows: M×N or M×h×w, what each query gives to every cell, not normalised, ≥ 0. labels: N or h×w integer cell
    labels. queries: the M flat cell indices. query_labels: None where the queries are cells of `labels`; where the
    keys are other cells, the labels of all queries on a grid of their own, which `queries` are flat indices of.
    Works on M×N arrays: pass blocks of queries and join the results with `concatenate`. Raises ValueError on shapes
    that do not fit, on rows that hold negative or non-finite values, on labels and queries that are no whole numbers,
    and on masked arrays.
    """
    rows = prepared_rows(stage_rows, labels, queries, ignore_index, query_labels)
    sums = row_sums(rows, [hollow_threshold])
    return metrics_from_sums(rows.sets, sums._replace(below=sums.below[:, 0]))


def hollow_share(threshold: float, precision: str = "float64") -> float:
    """τ less what rounding can do: a cell with less than this share of the mean is a hollow.

    precision: "float32" or "float64", in which the rows are.
    """
    return threshold * (1 - _ROUNDING[precision])


def row_sums(rows: LabelledRows, thresholds: Sequence[float]) -> RowSums:
    """The sums of M rows, for `metrics_from_sums`; `below` has one column a threshold τ: M×len(thresholds)."""
    own = (np.arange(len(rows.values)), rows.sets.own)
    by_class = rows.values @ rows.one_hot
    # 0 log 0 is 0.
    log_by_class = (rows.values * np.log(np.maximum(rows.values, np.finfo(float).tiny))) @ rows.one_hot
    with np.errstate(divide="ignore", invalid="ignore"):
        limits = [hollow_share(threshold) * by_class[own] / rows.sets.same_count for threshold in thresholds]
    below = [((rows.values < limit[:, None]) & rows.same).sum(axis=1) for limit in limits]
    return RowSums(
        by_class=by_class,
        same_log=log_by_class[own],
        all_log=log_by_class.sum(axis=1),
        highest=rows.values.max(axis=1, initial=0),
        below=np.stack(below, axis=1),
    )


def metrics_from_sums(sets: QuerySets, sums: RowSums, scale: np.ndarray | float = 1.0) -> QueryMetrics:
    """The metrics of M queries. scale: M numbers (or one), what each row of `sums` must be multiplied by to be a."""
    same_mass, other_mass = _split(sums.by_class, sets.own)
    mass = same_mass + other_mass
    kept = sets.labelled & (mass * scale >= EMPTIED)
    both = has_noise(sets)
    several = kept & (sets.same_count >= 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        # H(a/κ) = log κ − (Σ a log a)/κ.
        entropy = np.clip(np.log(same_mass) - sums.same_log / same_mass, 0, None)
        intraclass = np.clip(1 - entropy / np.log(sets.same_count), 0, 1)
        hollow = sums.below / sets.same_count
        # A row that has nothing on its own class is one single hollow.
        intraclass, hollow = (np.where(same_mass > 0, metric, 1.0) for metric in (intraclass, hollow))
        all_entropy = np.clip(np.log(mass) - sums.all_log / mass, 0, None)
        return QueryMetrics(
            queries=sets.queries,
            labels=sets.labels,
            emptied=sets.labelled & ~kept,
            interclass_noise=where_defined(kept & both, other_mass / mass),
            chance=where_defined(both, sets.other_count / (sets.same_count + sets.other_count)),
            kept_mass=where_defined(sets.labelled, mass * scale),
            interclass_mass=where_defined(sets.labelled, other_mass * scale),
            intraclass_noise=where_defined(several, intraclass),
            hollow_fraction=where_defined(several, hollow),
            top_mass=where_defined(kept, sums.highest / mass),
            effective_keys=where_defined(kept, np.exp(all_entropy)),
        )


def detection_scores(
    stage_rows: np.ndarray,
    labels: np.ndarray,
    queries: Sequence[int] | np.ndarray,
    *,
    ignore_index: int,
    query_labels: np.ndarray | None = None,
) -> DetectionScores:
    """AUC and average precision of each row as a detector of S within S∪D; arguments as in `query_metrics`.

    Sorts every row, so it costs several times what `query_metrics` does. Equal values share their rank: AUC counts a
    tied pair as one half, and precision is read at the end of each group of ties.
    """
    rows = prepared_rows(stage_rows, labels, queries, ignore_index, query_labels)
    return defined_scores(found_scores(rows), rows.sets, rows.values.sum(axis=1))


def found_scores(rows: LabelledRows) -> DetectionScores:
    """AUC and average precision of M rows, whether they are defined or not."""
    return rank_scores(marked_keys(rows.values, rows.same, rows.own_cell), own_cells=rows.own_cells)


def defined_scores(scores: DetectionScores, sets: QuerySets, mass: np.ndarray) -> DetectionScores:
    """The scores with NaN where they are undefined. mass: what each row holds in S∪D, of length M."""
    defined = has_noise(sets) & (sets.same_count >= 2) & (mass >= EMPTIED)
    return DetectionScores(*(where_defined(defined, score) for score in scores))


def has_noise(sets: QuerySets) -> np.ndarray:
    """Queries for which interclass noise has a meaning: labelled, neither S nor D empty. Bool of length M."""
    return sets.labelled & (sets.same_count > 0) & (sets.other_count > 0)


def concatenate(parts: Sequence[Results]) -> Results:
    """Join the results of several blocks of queries (QueryMetrics or DetectionScores), in order; at least one part."""
    return type(parts[0])(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def query_sets(
    labels: np.ndarray,
    queries: Sequence[int] | np.ndarray | None = None,
    *,
    ignore_index: int,
    query_labels: np.ndarray | None = None,
) -> QuerySets:
    """The sets of M queries (flat cells, None for all) by the cell labels, N or h×w integers.

    query_labels: as in `query_metrics`.
    """
    labels = whole_numbers(labels, "labels")
    apart = query_labels is not None
    labels_of_queries = labels if query_labels is None else whole_numbers(query_labels, "query_labels")
    queries = np.arange(len(labels_of_queries)) if queries is None else whole_numbers(queries, "queries")
    own_labels = labels_of_queries[queries]
    labelled = own_labels != ignore_index
    classes, sizes = np.unique(labels[labels != ignore_index], return_counts=True)
    if apart:  # a class that no key has is a column too, an empty one
        known, held = classes, sizes
        classes = np.union1d(known, labels_of_queries[labels_of_queries != ignore_index])
        sizes = np.zeros(len(classes), np.int64)
        sizes[np.searchsorted(classes, known)] = held
    own = np.minimum(np.searchsorted(classes, own_labels), max(len(classes) - 1, 0))
    if not len(classes):  # one empty class, so that every query has a column
        classes, sizes = np.array([ignore_index]), np.array([0])
    itself = 0 if apart else 1
    same = np.where(labelled, sizes[own] - itself, 0)
    return QuerySets(
        queries=queries,
        labels=own_labels,
        labelled=labelled,
        classes=classes,
        own=own,
        same_count=same,
        other_count=sizes.sum() - itself * labelled - same,
    )


def whole_numbers(values: ArrayLike, name: str) -> np.ndarray:
    """Labels or cells of any shape as a flat int64 array; floats may be whole. name: what they are, for messages.

    Raises ValueError for masked entries and for what is no whole number, such as NaN.
    """
    if np.ma.is_masked(values):
        raise ValueError(f"{name} are a masked array; give the index that means no label there, as by .filled(255)")
    numbers = np.asarray(values).ravel()
    if numbers.size and numbers.dtype.kind not in "biuf":
        raise ValueError(f"{name} are of the kind {numbers.dtype}; they must be whole numbers")
    if numbers.dtype.kind == "f" and not (whole := np.isfinite(numbers) & (numbers == np.trunc(numbers))).all():
        raise ValueError(f"{name} hold {numbers[~whole][0]:g}; they must be whole numbers, ignore_index for no label")
    return numbers.astype(np.int64)


def prepared_rows(
    stage_rows: np.ndarray,
    labels: np.ndarray,
    queries: Sequence[int] | np.ndarray,
    ignore_index: int,
    query_labels: np.ndarray | None = None,
) -> LabelledRows:
    """The rows as the metrics need them; arguments and errors as in `query_metrics`."""
    apart = query_labels is not None
    labels, queries = whole_numbers(labels, "labels"), whole_numbers(queries, "queries")
    if np.ma.is_masked(stage_rows):
        raise ValueError("the rows are a masked array; give 0 where a query gives nothing, as by .filled(0)")
    values = np.asarray(stage_rows, np.float64)
    values = values.reshape(len(values), math.prod(values.shape[1:]))
    if values.shape != (len(queries), len(labels)):
        raise ValueError(
            f"the rows are {np.shape(stage_rows)}; {len(queries)} queries on {len(labels)} labelled cells need "
            f"{len(queries)}×{len(labels)} values"
        )
    count = len(labels) if query_labels is None else np.size(query_labels)
    if len(queries) and not (queries.min() >= 0 and queries.max() < count):
        there = f"there are labels of the queries 0 … {count - 1}" if apart else f"the map has cells 0 … {count - 1}"
        raise ValueError(f"query cells run from {queries.min()} to {queries.max()}; {there}")
    taking_part = np.flatnonzero(labels != ignore_index)
    values = values[:, taking_part]  # a copy: the caller's rows stay as they are
    if values.size and not (values.min() >= 0 and values.max() < np.inf):
        raise ValueError("the rows hold negative or non-finite values; attention is finite and at least 0")
    sets = query_sets(labels, queries, ignore_index=ignore_index, query_labels=query_labels)
    own_cell = np.zeros(values.shape, bool) if apart else taking_part[None, :] == queries[:, None]
    values[own_cell] = 0
    return LabelledRows(
        sets=sets,
        values=values,
        same=(labels[taking_part][None, :] == sets.labels[:, None]) & ~own_cell,
        one_hot=(labels[taking_part][:, None] == sets.classes).astype(np.float64),
        own_cell=own_cell,
        own_cells=0 if apart else 1,
    )


def _split(by_class: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums per class (M×C) -> own class, other classes. Nothing is found by subtraction, so that a row without a
    trace of other classes has exactly 0 there."""
    everyone = np.arange(len(by_class))
    others = by_class.copy()
    others[everyone, own] = 0
    return by_class[everyone, own], others.sum(axis=1)


def where_defined(defined: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` where they are defined, NaN elsewhere: both of one shape."""
    return np.where(defined, values, np.nan)
