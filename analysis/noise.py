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


class DetectionScores(NamedTuple):
    """How well a row detects the query's class: area under the ROC curve and average precision, each of length M.

    In 0 … 1, high is good. NaN where the row is emptied, |S| < 2, D is empty, or the query cell has no label.
    """

    auc: np.ndarray
    average_precision: np.ndarray


class _Rows(NamedTuple):
    """Rows without ignored cells, the query's own entry at 0, and which of the K labelled cells are S."""

    values: np.ndarray  # M×K
    same: np.ndarray  # M×K bool, S
    one_hot: np.ndarray  # K×classes float64
    classes: np.ndarray  # the label of each column of one_hot
    own_class: np.ndarray  # M, index into `classes`
    queries: np.ndarray
    labels: np.ndarray
    labelled: np.ndarray  # M bool
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
    values, everyone = rows.values, np.arange(len(rows.queries))
    own = (everyone, rows.own_class)
    mass, same_mass, other_mass = _split(values @ rows.one_hot, own)
    same_count, other_count = _set_sizes(rows)
    # Σ a log a gives every entropy below: H(a/κ) = log κ − (Σ a log a)/κ. 0 log 0 is 0.
    log_mass, same_log_mass, _ = _split((values * np.log(np.maximum(values, np.finfo(float).tiny))) @ rows.one_hot, own)

    kept = rows.labelled & (mass >= EMPTIED)
    both = rows.labelled & (same_count > 0) & (other_count > 0)
    several = kept & (same_count >= 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        threshold = hollow_threshold * same_mass / same_count
        below = (values < threshold[:, None]) & rows.same
        entropy = np.clip(np.log(same_mass) - same_log_mass / same_mass, 0, None)
        intraclass = np.clip(1 - entropy / np.log(same_count), 0, 1)
        hollow = below.sum(axis=1) / same_count
        # A row that has nothing on its own class is one single hollow.
        intraclass, hollow = (np.where(same_mass > 0, metric, 1.0) for metric in (intraclass, hollow))
        total_entropy = np.clip(np.log(mass) - log_mass / mass, 0, None)
        return QueryMetrics(
            queries=rows.queries,
            labels=rows.labels,
            emptied=rows.labelled & ~kept,
            interclass_noise=_where(kept & both, other_mass / mass),
            chance=_where(both, other_count / (same_count + other_count)),
            kept_mass=_where(rows.labelled, mass),
            interclass_mass=_where(rows.labelled, other_mass),
            intraclass_noise=_where(several, intraclass),
            hollow_fraction=_where(several, hollow),
            top_mass=_where(kept, values.max(axis=1, initial=0) / mass),
            effective_keys=_where(kept, np.exp(total_entropy)),
        )


def concatenate(parts: Sequence[NamedTuple]) -> NamedTuple:
    """Join the results of several blocks of queries (QueryMetrics or DetectionScores), in order; at least one part."""
    return type(parts[0])(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def detection_scores(
    stage_rows: np.ndarray, labels: np.ndarray, queries: Sequence[int] | np.ndarray, *, ignore_index: int
) -> DetectionScores:
    """AUC and average precision of each row as a detector of S within S∪D; arguments as in `query_metrics`.

    Sorts every row, so it costs several times what `query_metrics` does. Equal values share their rank: AUC counts a
    tied pair as one half, and precision is read at the end of each group of ties.
    """
    rows = _prepare(stage_rows, labels, queries, ignore_index)
    # The query itself is no candidate: sorted behind all others, and cut off.
    positives, negatives = _set_sizes(rows)
    candidates = positives + negatives
    keys = np.where(rows.own_cell, np.inf, -rows.values)
    order = np.argsort(keys, axis=1)
    keys = np.take_along_axis(keys, order, axis=1)  # M×K, from the highest attention to the lowest
    same = np.take_along_axis(rows.same, order, axis=1)
    place = np.arange(keys.shape[1])
    starts = np.ones(keys.shape, bool)
    starts[:, 1:] = keys[:, 1:] != keys[:, :-1]
    ends = np.ones(keys.shape, bool)
    ends[:, :-1] = starts[:, 1:]
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, place, keys.shape[1])[:, ::-1], axis=1)[:, ::-1]
    defined = rows.labelled & (rows.values.sum(axis=1) >= EMPTIED) & (positives >= 2) & (negatives >= 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        midrank = candidates[:, None] - (first + last) / 2  # 1 for the lowest attention
        rank_sum = np.where(same, midrank, 0).sum(axis=1)
        auc = (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
        hits = np.take_along_axis(same.cumsum(axis=1), last, axis=1)
        precision = np.where(same, hits / (last + 1), 0).sum(axis=1) / positives
    return DetectionScores(_where(defined, auc), _where(defined, precision))


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
    classes = np.unique(labels)  # the ignore index may be one of them: its column of one_hot is zero
    query_labels = labels[queries]
    labelled = query_labels != ignore_index
    own_cell = taking_part[None, :] == queries[:, None]
    values[own_cell] = 0
    return _Rows(
        values=values,
        same=(labels[taking_part][None, :] == query_labels[:, None]) & ~own_cell,
        one_hot=(labels[taking_part][:, None] == classes).astype(np.float64),
        classes=classes,
        own_class=np.searchsorted(classes, query_labels),
        queries=queries,
        labels=query_labels,
        labelled=labelled,
        own_cell=own_cell,
    )


def _set_sizes(rows: _Rows) -> tuple[np.ndarray, np.ndarray]:
    """|S| and |D| of each query."""
    same = rows.same.sum(axis=1)
    return same, rows.one_hot.shape[0] - rows.own_cell.sum(axis=1) - same


def _split(by_class: np.ndarray, own: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums per class (M×classes) -> total, own class, other classes. Nothing is found by subtraction, so that a row
    without a trace of other classes has exactly 0 there."""
    same = by_class[own]
    others = by_class.copy()
    others[own] = 0
    other = others.sum(axis=1)
    return same + other, same, other


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
    by_class = rows.values @ rows.one_hot
    mass = by_class.sum(axis=1)
    same_count, other_count = _set_sizes(rows)
    valid = rows.labelled & (mass >= EMPTIED) & (same_count > 0) & (other_count > 0)
    known = rows.classes != ignore_index
    shares = np.zeros((int(valid.sum()), num_classes))
    shares[:, rows.classes[known]] = by_class[valid][:, known] / mass[valid, None]
    total = np.zeros((num_classes, num_classes))
    np.add.at(total, rows.labels[valid], shares)
    return Leakage(total, np.bincount(rows.labels[valid], minlength=num_classes))


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
