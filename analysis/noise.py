"""Attention noise: how much of a query's attention goes astray, and how unevenly the rest is spread.

The published method names two noises in words: interclass (attention on other classes) and intraclass (attention
that is uneven within the own class). The formulas here are this project's own definitions.

Setting: a row a of any stage, for a query cell i. Ignored cells and the query itself take no part. S is the other
cells of the query's class, D the cells of other classes. Kept mass κ = Σ_{S∪D} a; ã = a/κ. A row with κ < EMPTIED is
"emptied" (a gate took all of it): it has no ã and no metric but its mass. NaN inside arrays means "undefined".
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis.detection import DetectionScores, marked_keys, rank_scores

EMPTIED = 1e-6
HOLLOW_THRESHOLD = 0.25
MIN_CELLS = 5
MIN_IMAGES = 10


# --- metrics of a query ----------------------------------------------------------------------------------------------


class QueryMetrics(NamedTuple):
    """One value per query, float64 of length M unless said otherwise. NaN: undefined for this query.

    queries: flat cell indices, int64. labels: the queries' labels, int64; the ignore index marks a cell that is no
    query, where every metric is NaN. emptied: bool, True where a row holds less than EMPTIED.
    interclass_noise: Σ_D ã, in 0 … 1, low is good; undefined where S or D is empty, or the row is emptied. Known
    elsewhere as one minus "relevance mass accuracy".
    chance: |D|/|S∪D|, the interclass noise of uniform attention; undefined where S or D is empty.
    kept_mass: Σ_{S∪D} a. interclass_mass: Σ_D a, what really arrives from other classes.
    intraclass_noise: 1 − H(b)/log|S|, b = a on S renormalised, H the entropy; in 0 … 1, low is good.
    hollow_fraction: share of S with a < τ · mean_S a; in 0 … 1, low is good. Both undefined where |S| < 2; both 1
    where a row that is not emptied has nothing on S.
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


class QuerySets(NamedTuple):
    """M queries with the sizes of their sets S and D.

    queries, labels: as in QueryMetrics. labelled: M bool. classes: the label of each of the C columns of
    `RowSums.by_class`. own: M, the column of the query's own class (any column for a query without a label).
    same_count, other_count: |S| and |D|, M int64.
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


class _Rows(NamedTuple):
    """Rows without ignored cells, the query's own entry at 0, and which of the K labelled cells are S."""

    sets: QuerySets
    values: np.ndarray  # M×K
    same: np.ndarray  # M×K bool, S
    one_hot: np.ndarray  # K×C float64
    own_cell: np.ndarray  # M×K bool


def query_metrics(
    stage_rows: np.ndarray,
    labels: np.ndarray,
    queries: Sequence[int] | np.ndarray,
    *,
    ignore_index: int,
    hollow_threshold: float = HOLLOW_THRESHOLD,
) -> QueryMetrics:
    """The noise of M rows of one stage.

    stage_rows: M×N or M×h×w, what each query gives to every cell, not normalised, ≥ 0. labels: N or h×w integer cell
    labels. queries: the M flat cell indices. Works on M×N arrays: pass blocks of queries and join the results with
    `concatenate`. Raises ValueError on shapes that do not fit, and on rows that hold negative or non-finite values.
    """
    rows = _prepare(stage_rows, labels, queries, ignore_index)
    own = (np.arange(len(rows.values)), rows.sets.own)
    by_class = rows.values @ rows.one_hot
    # 0 log 0 is 0.
    log_by_class = (rows.values * np.log(np.maximum(rows.values, np.finfo(float).tiny))) @ rows.one_hot
    with np.errstate(divide="ignore", invalid="ignore"):
        threshold = hollow_threshold * by_class[own] / rows.sets.same_count
    sums = RowSums(
        by_class=by_class,
        same_log=log_by_class[own],
        all_log=log_by_class.sum(axis=1),
        highest=rows.values.max(axis=1, initial=0),
        below=((rows.values < threshold[:, None]) & rows.same).sum(axis=1),
    )
    return metrics_from_sums(rows.sets, sums)


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
            interclass_noise=_where(kept & both, other_mass / mass),
            chance=_where(both, sets.other_count / (sets.same_count + sets.other_count)),
            kept_mass=_where(sets.labelled, mass * scale),
            interclass_mass=_where(sets.labelled, other_mass * scale),
            intraclass_noise=_where(several, intraclass),
            hollow_fraction=_where(several, hollow),
            top_mass=_where(kept, sums.highest / mass),
            effective_keys=_where(kept, np.exp(all_entropy)),
        )


def detection_scores(
    stage_rows: np.ndarray, labels: np.ndarray, queries: Sequence[int] | np.ndarray, *, ignore_index: int
) -> DetectionScores:
    """AUC and average precision of each row as a detector of S within S∪D; arguments as in `query_metrics`.

    Sorts every row, so it costs several times what `query_metrics` does. Equal values share their rank: AUC counts a
    tied pair as one half, and precision is read at the end of each group of ties.
    """
    rows = _prepare(stage_rows, labels, queries, ignore_index)
    scores = rank_scores(marked_keys(rows.values, rows.same, rows.own_cell))
    return defined_scores(scores, rows.sets, rows.values.sum(axis=1))


def defined_scores(scores: DetectionScores, sets: QuerySets, mass: np.ndarray) -> DetectionScores:
    """The scores with NaN where they are undefined. mass: what each row holds in S∪D, of length M."""
    defined = has_noise(sets) & (sets.same_count >= 2) & (mass >= EMPTIED)
    return DetectionScores(*(_where(defined, score) for score in scores))


def has_noise(sets: QuerySets) -> np.ndarray:
    """Queries for which interclass noise has a meaning: labelled, neither S nor D empty. Bool of length M."""
    return sets.labelled & (sets.same_count > 0) & (sets.other_count > 0)


def concatenate(parts: Sequence[NamedTuple]) -> NamedTuple:
    """Join the results of several blocks of queries (QueryMetrics or DetectionScores), in order; at least one part."""
    return type(parts[0])(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def query_sets(
    labels: np.ndarray, queries: Sequence[int] | np.ndarray | None = None, *, ignore_index: int
) -> QuerySets:
    """The sets of M queries (flat cells, None for all) by the cell labels, N or h×w integers."""
    labels = np.asarray(labels).astype(np.int64).ravel()
    queries = np.arange(len(labels)) if queries is None else np.asarray(queries).astype(np.int64).ravel()
    classes, sizes = np.unique(labels[labels != ignore_index], return_counts=True)
    query_labels = labels[queries]
    labelled = query_labels != ignore_index
    own = np.minimum(np.searchsorted(classes, query_labels), max(len(classes) - 1, 0))
    if not len(classes):  # one empty class, so that every query has a column
        classes, sizes = np.array([ignore_index]), np.array([0])
    same = np.where(labelled, sizes[own] - 1, 0)
    return QuerySets(
        queries=queries,
        labels=query_labels,
        labelled=labelled,
        classes=classes,
        own=own,
        same_count=same,
        other_count=sizes.sum() - labelled - same,
    )


def _prepare(stage_rows, labels, queries, ignore_index) -> _Rows:
    labels = np.asarray(labels).astype(np.int64).ravel()
    queries = np.asarray(queries).astype(np.int64).ravel()
    values = np.asarray(stage_rows, np.float64)
    values = values.reshape(len(values), math.prod(values.shape[1:]))
    if values.shape != (len(queries), len(labels)):
        raise ValueError(
            f"the rows are {np.shape(stage_rows)}; {len(queries)} queries on {len(labels)} labelled cells need "
            f"{len(queries)}×{len(labels)} values"
        )
    if len(queries) and not (queries.min() >= 0 and queries.max() < len(labels)):
        raise ValueError(
            f"query cells run from {queries.min()} to {queries.max()}; the map has cells 0 … {len(labels) - 1}"
        )
    taking_part = np.flatnonzero(labels != ignore_index)
    values = values[:, taking_part]  # a copy: the caller's rows stay as they are
    if values.size and not (values.min() >= 0 and values.max() < np.inf):
        raise ValueError("the rows hold negative or non-finite values; attention is finite and at least 0")
    sets = query_sets(labels, queries, ignore_index=ignore_index)
    own_cell = taking_part[None, :] == queries[:, None]
    values[own_cell] = 0
    return _Rows(
        sets=sets,
        values=values,
        same=(labels[taking_part][None, :] == sets.labels[:, None]) & ~own_cell,
        one_hot=(labels[taking_part][:, None] == sets.classes).astype(np.float64),
        own_cell=own_cell,
    )


def _split(by_class: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums per class (M×C) -> own class, other classes. Nothing is found by subtraction, so that a row without a
    trace of other classes has exactly 0 there."""
    everyone = np.arange(len(by_class))
    others = by_class.copy()
    others[everyone, own] = 0
    return by_class[everyone, own], others.sum(axis=1)


def _where(defined: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(defined, values, np.nan)


# --- metrics of a map ------------------------------------------------------------------------------------------------


class Leakage(NamedTuple):
    """Where the attention of each class goes: sums over queries, so that blocks and images add up.

    total: classes×classes float64, [c, c′] is the normalised mass that queries of class c give to class c′.
    queries: how many queries of each class that is: those whose interclass noise is defined.
    """

    total: np.ndarray
    queries: np.ndarray

    def plus(self, other: "Leakage") -> "Leakage":
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
) -> Leakage:
    """The leakage of M rows; arguments as in `query_metrics`, labels below `num_classes` or `ignore_index`."""
    rows = _prepare(stage_rows, labels, queries, ignore_index)
    return leakage_from_sums(rows.sets, rows.values @ rows.one_hot, num_classes=num_classes)


def leakage_from_sums(
    sets: QuerySets, by_class: np.ndarray, scale: np.ndarray | float = 1.0, *, num_classes: int
) -> Leakage:
    """The leakage of M queries from the mass on each class, M×C; `scale` as in `metrics_from_sums`."""
    mass = by_class.sum(axis=1)
    valid = has_noise(sets) & (mass * scale >= EMPTIED)
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
    """Mean Jensen–Shannon divergence between paired rows, over log 2: 0 (every query the same map) … 1 (disjoint).

    first_rows, second_rows: P×N or P×h×w, row p of one against row p of the other, over all cells. Rows are
    normalised; a pair with an emptied row is left out. Raises ValueError when no pair is left.
    """
    first, second = (np.asarray(rows, np.float64).reshape(len(rows), -1) for rows in (first_rows, second_rows))
    if first.shape != second.shape:
        raise ValueError(f"the rows are {first.shape} and {second.shape}; pairs of rows need the same shape")
    valid = (first.sum(axis=1) >= EMPTIED) & (second.sum(axis=1) >= EMPTIED)
    if not valid.any():
        raise ValueError("no pair of rows holds attention; query dependence needs at least one pair")
    first, second = (rows[valid] / rows[valid].sum(axis=1, keepdims=True) for rows in (first, second))
    divergence = _entropy((first + second) / 2) - (_entropy(first) + _entropy(second)) / 2
    return float(np.clip(divergence / np.log(2), 0, 1).mean())


def argmax_keys(rows: np.ndarray) -> np.ndarray:
    """The strongest key of each query, a flat cell index: rows M×N or M×h×w -> int64 of length M."""
    return rows.reshape(len(rows), -1).argmax(axis=1)


def distinct_argmax_keys(rows: np.ndarray) -> int:
    """How many different cells are the strongest key of some query: rows M×N or M×h×w."""
    return int(np.unique(argmax_keys(rows)).size)


def _entropy(distribution: np.ndarray) -> np.ndarray:
    return -(distribution * np.log(np.maximum(distribution, np.finfo(float).tiny))).sum(axis=1)


# --- from queries to images, from images to a data set ---------------------------------------------------------------


class ClassSums(NamedTuple):
    """Sum of a metric over the queries of each class, and their number: two arrays of length classes."""

    total: np.ndarray
    count: np.ndarray


class ImageNoise(NamedTuple):
    """What one image contributes to the figures of a data set.

    cells: labelled cells of each class. sums: stage -> metric -> ClassSums, over the queries that are valid in every
    stage. emptied: stage -> emptied rows. left_out: metric -> labelled queries for which some stage has no value.
    """

    cells: np.ndarray
    sums: dict[str, dict[str, ClassSums]]
    emptied: dict[str, int]
    left_out: dict[str, int]


class MetricSummary(NamedTuple):
    """One metric of one stage over a data set; None where nothing could be averaged.

    mean: the macro mean, over images and then over classes. micro: the mean over all `queries` valid queries.
    class_means: class -> mean over its images, for the classes in the macro mean. left_out: class -> number of images
    it has, for the classes with too few.
    """

    mean: float | None
    micro: float | None
    queries: int
    class_means: dict[int, float]
    left_out: dict[int, int]


def image_noise(
    stages: Mapping[str, QueryMetrics], labels: np.ndarray, num_classes: int, *, selected: np.ndarray | None = None
) -> ImageNoise:
    """Gather one image's queries by class, on the queries that are valid in every stage of `stages`.

    stages: stage name -> metrics of the same queries. labels: the cell labels, N or h×w; anything outside
    0 … num_classes − 1 is no class. selected: bool of length M, the queries that count (all, by default); for splits.
    """
    names = list(stages)
    first = stages[names[0]]
    if any(not np.array_equal(stages[name].queries, first.queries) for name in names):
        raise ValueError(f"stages {', '.join(names)} hold different queries; compare stages on the same ones")
    flat = np.asarray(labels).ravel()
    is_class = (first.labels >= 0) & (first.labels < num_classes)
    counted = is_class if selected is None else is_class & selected
    held = counted & ~np.any([stages[name].emptied for name in names], axis=0)
    sums: dict[str, dict[str, ClassSums]] = {name: {} for name in names}
    left_out = {}
    for metric in METRICS:
        # Chance is averaged over the very queries whose interclass noise stands beside it.
        deciding = "interclass_noise" if metric == "chance" else metric
        valid = held & np.all([np.isfinite(getattr(stages[name], deciding)) for name in names], axis=0)
        left_out[metric] = int(counted.sum() - valid.sum())
        classes = first.labels[valid]
        count = np.bincount(classes, minlength=num_classes)
        for name in names:
            total = np.bincount(classes, weights=getattr(stages[name], metric)[valid], minlength=num_classes)
            sums[name][metric] = ClassSums(total, count)
    return ImageNoise(
        cells=np.bincount(flat[(flat >= 0) & (flat < num_classes)].astype(np.int64), minlength=num_classes),
        sums=sums,
        emptied={name: int((stages[name].emptied & counted).sum()) for name in names},
        left_out=left_out,
    )


def class_table(images: Sequence[ImageNoise], stage: str, metric: str, *, min_cells: int = MIN_CELLS) -> np.ndarray:
    """Mean per image and class: images×classes, NaN where the class has under `min_cells` cells or no valid query."""
    sums = [image.sums[stage][metric] for image in images]
    total, count = np.stack([s.total for s in sums]), np.stack([s.count for s in sums])
    enough = (np.stack([image.cells for image in images]) >= min_cells) & (count > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _where(enough, total / count)


def macro_means(table: np.ndarray, *, min_images: int = MIN_IMAGES) -> np.ndarray:
    """Mean of each class over its images, NaN for classes with fewer than `min_images`: images×classes -> classes."""
    present = np.isfinite(table)
    count = present.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(present, table, 0).sum(axis=0) / count
    return _where(count >= max(min_images, 1), means)


def summarise(
    images: Sequence[ImageNoise], *, min_cells: int = MIN_CELLS, min_images: int = MIN_IMAGES
) -> dict[str, dict[str, MetricSummary]]:
    """Stage -> metric -> MetricSummary over a data set of at least one image.

    Per class and image: the mean over the class's valid queries, if it has `min_cells` cells there. Macro: the mean
    over images, then over the classes with at least `min_images` such images. For a single image pass min_images=1.
    """
    return {
        stage: {metric: _summary(images, stage, metric, min_cells, min_images) for metric in METRICS}
        for stage in images[0].sums
    }


def times_chance(stage_summary: Mapping[str, MetricSummary]) -> float | None:
    """Macro interclass noise over macro chance: 1 is what uniform attention gets. None where either is undefined."""
    noise, chance = stage_summary["interclass_noise"].mean, stage_summary["chance"].mean
    return None if noise is None or not chance else noise / chance


def _summary(images, stage, metric, min_cells, min_images) -> MetricSummary:
    table = class_table(images, stage, metric, min_cells=min_cells)
    means = macro_means(table, min_images=min_images)
    shown = np.flatnonzero(np.isfinite(means))
    images_of_class = np.isfinite(table).sum(axis=0)
    total = sum(image.sums[stage][metric].total.sum() for image in images)
    queries = int(sum(image.sums[stage][metric].count.sum() for image in images))
    return MetricSummary(
        mean=float(means[shown].mean()) if shown.size else None,
        micro=float(total / queries) if queries else None,
        queries=queries,
        class_means={int(c): float(means[c]) for c in shown},
        left_out={int(c): int(images_of_class[c]) for c in np.flatnonzero(~np.isfinite(means))},
    )
