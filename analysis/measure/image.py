"""One image's attention noise: a capture -> every metric of every query, in all stages and under the controls."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from analysis import noise
from analysis.capture import Capture, require_computable
from analysis.maps import stage_rows
from analysis.measure.gathering import Gathered, gather, gather_rows, uniform
from analysis.measure.passes import HOLLOW_THRESHOLDS
from analysis.measure.streaming import SortedCells, StreamedStages, fits_single_precision
from analysis.noise import DetectionScores, Leakage, QueryMetrics, QuerySets
from analysis.options import CONTROLS, MapOptions, own_stages, stages_there
from analysis.threads import one_thread, share

# AUC and average precision are exact, over all queries, up to this many cells; above, over a sample of queries.
EXACT_DETECTION_CELLS = 2700
DETECTION_SAMPLE = 1000

# The maps are computed in double precision up to this many cells, in single precision above where that holds their
# scores, unless asked otherwise.
DOUBLE_PRECISION_CELLS = 2700
PRECISIONS = ("auto", "float32", "float64")

# The pairs of rows behind the query dependence are compared in so many pieces, each small enough for the caches.
DEPENDENCE_PIECES = 8

LABEL_SOURCES = {"truth": "ground truth", "prediction": "prediction"}


class UnlabelledError(ValueError):
    """No cell of a map has a label, so that there is nothing to measure; the message says whose."""


@dataclass(frozen=True)
class MeasureOptions(MapOptions):
    """What is measured, and how.

    labels: "truth", or "prediction" to let the model's own prediction stand in on an unlabelled image.
    controls: which of CONTROLS to measure, as far as they apply.
    precision: "float64", "float32" (faster, for the maps alone), or "auto": float64 up to DOUBLE_PRECISION_CELLS
    cells, for finished maps, and where scores are too far apart for float32 (`fits_single_precision`). Where "auto"
    takes float32, a query's sums and metrics have an error of about 1e-5, but for what is counted: a cell more or less
    is a hollow, and keys that nearly tie, as under the box, may change places in a query's AUC and average precision.
    Keys that are other cells than the queries are always computed in float64.
    """

    labels: str = "truth"
    controls: tuple[str, ...] = CONTROLS
    precision: str = "auto"


class ImageReport(NamedTuple):
    """The noise of one image, for every query; M = N = h·w. NaN means "undefined" throughout.

    cells: (h, w) of the queries, 1×N where they have no place. labels: h×w int64 labels of the queries that were used,
    `ignore_index` where there is none. label_source: "ground truth" or "prediction".
    stages: stage -> QueryMetrics of all N queries in the order of the cells; keys those of STAGES that there are (no
    rectified without GR, no retained without LR) and those of CONTROLS that apply: no oracle where the labels are the
    prediction, neither oracle nor box where there is no LR.
    leakage: stage -> Leakage, over the queries that are valid in all of `compared_with`.
    hollow_curve: stage -> N×len(HOLLOW_THRESHOLDS) float32, the hollow fraction at each τ.
    detection: stage -> DetectionScores of `detection_queries` (flat cells, int64); empty if it was not asked for.
    detection_sampled: False where these are all queries, True where they are a seeded sample.
    boundary: N bool, a labelled cell with a labelled 8-neighbour of another label; no query without a place.
    gr_right: N bool, GR's class prediction agrees with the label; None without class_probs.
    query_dependence: 0 (every query gets the same raw map) … 1, NaN where no two queries have attention, and where keys
    are other cells than a single query.
    distinct_argmax_keys: cells that are the strongest raw key of some query; one whose row is emptied has none.
    options: what was measured, with "model" and "auto" resolved. image_sha256: as in Capture.
    key_labels: the labels of the keys on a grid of their own, int64; None where they are the queries' cells.
    """

    name: str
    cells: tuple[int, int]
    labels: np.ndarray
    label_source: str
    num_classes: int
    ignore_index: int
    stages: dict[str, QueryMetrics]
    leakage: dict[str, Leakage]
    hollow_curve: dict[str, np.ndarray]
    detection: dict[str, DetectionScores]
    detection_queries: np.ndarray
    detection_sampled: bool
    boundary: np.ndarray
    gr_right: np.ndarray | None
    query_dependence: float
    distinct_argmax_keys: int
    options: MeasureOptions = MeasureOptions()
    image_sha256: str | None = None
    key_labels: np.ndarray | None = None


def measure_capture(
    capture: Capture,
    options: MeasureOptions = MeasureOptions(),
    *,
    detection: bool = True,
    progress: Callable[[float], None] | None = None,
) -> ImageReport:
    """The noise report of one image. detection: AUC and average precision too.

    progress is called with the share done, 0 … 1; an exception raised in it ends the work and reaches the caller.
    Raises ValueError on labels or options that do not fit the capture, UnlabelledError where no cell has a label.
    """
    with one_thread() as threads:
        return _measure(capture, options, detection, progress or (lambda share: None), threads)


def _measure(
    capture: Capture, options: MeasureOptions, detection: bool, progress: Callable[[float], None], threads: int
) -> ImageReport:
    labels, key_labels = _labels(capture, options.labels)
    resolved = _resolve(capture, options, threads)
    apart = capture.key_size is not None
    sets = noise.query_sets(key_labels, ignore_index=capture.ignore_index, query_labels=labels if apart else None)
    same_as = _repeated_stages(resolved)
    computed = [stage for stage in _applying(resolved) if stage not in same_as and stage != "uniform"]
    detected, sampled = _detection_queries(sets) if detection else (np.zeros(0, np.int64), False)
    if apart:
        given = labels, key_labels
        gathered, strongest = gather_rows(capture, resolved, computed, given, detected, progress, threads)
    else:
        dtype = getattr(torch, resolved.precision)
        stages = StreamedStages(capture, SortedCells.of(sets), computed, resolved, dtype=dtype)
        gathered, strongest = gather(stages, detected, progress, threads)
    if "uniform" in resolved.controls:
        gathered["uniform"] = uniform(sets, key_labels, detected)
    found = {stage: _StageResult.of(parts, sets, detected) for stage, parts in gathered.items()}
    found = {stage: found[same_as.get(stage, stage)] for stage in _applying(resolved)}
    metrics = {stage: result.metrics for stage, result in found.items()}
    leaks = {
        stage: _leakage(gathered[same_as.get(stage, stage)], sets, metrics, stage, capture.num_classes)
        for stage in found
    }

    return ImageReport(
        name=capture.name,
        cells=labels.shape,
        labels=labels,
        label_source=LABEL_SOURCES[options.labels],
        num_classes=capture.num_classes,
        ignore_index=capture.ignore_index,
        stages=metrics,
        leakage=leaks,
        hollow_curve={stage: result.hollow_curve for stage, result in found.items()},
        detection={stage: result.detection for stage, result in found.items()} if detection else {},
        detection_queries=detected,
        detection_sampled=sampled,
        boundary=_boundary(capture, labels),
        gr_right=None if capture.class_probs is None else capture.class_probs.argmax(axis=0).ravel() == sets.labels,
        query_dependence=_query_dependence(capture, options.temperature, threads),
        distinct_argmax_keys=noise.count_keys(strongest),
        options=resolved,
        image_sha256=capture.image_sha256,
        key_labels=key_labels if apart else None,
    )


# --- what is asked for -----------------------------------------------------------------------------------------------


def _labels(capture: Capture, source: str) -> tuple[np.ndarray, np.ndarray]:
    """The labels of queries (h×w) and keys to measure against; ValueError unless the capture's labels can be used."""
    if source not in LABEL_SOURCES:
        raise ValueError(f"labels is {source!r}; choose one of {', '.join(LABEL_SOURCES)}")
    given = capture.labels if source == "truth" else capture.prediction
    words = f"{LABEL_SOURCES[source]} of {capture.name!r}"
    if given is None:
        raise ValueError(f"{capture.name!r} has no labels ({LABEL_SOURCES[source]}); noise is measured against labels")
    _check_size(capture, given, words)
    _check_classes(capture, given, words)
    labels = capture.cell_labels if source == "truth" else capture.cell_prediction
    assert labels is not None
    if capture.query_names is not None:
        _check_classes(capture, labels, f"list of the queries' classes of {capture.name!r}")
    if (labels == capture.ignore_index).all():
        if capture.query_names is not None:
            raise UnlabelledError(f"no query of {capture.name!r} has a class; noise needs the classes of queries")
        raise UnlabelledError(f"the {words} leaves every cell without a label; noise needs labelled cells")
    if capture.key_size is None:
        return labels, labels
    # The labels of keys go by the capture's reference.
    key_labels = (capture if source == "truth" else replace(capture, labels=None)).key_labels
    assert key_labels is not None
    if (key_labels == capture.ignore_index).all():
        raise UnlabelledError(f"the {words} leaves every key without a label; noise needs labelled keys")
    return labels, key_labels


def _check_size(capture: Capture, given: np.ndarray, words: str) -> None:
    """Raises ValueError unless the labels are those of the image, or one a cell, and every cell has one."""
    placed = [] if capture.query_names is not None else [capture.cells]
    placed += [] if capture.key_size is None else [capture.key_size]
    if placed and capture.image is not None and given.shape not in (placed[0], capture.image.shape[:2]):
        raise ValueError(
            f"the {words} has {_by(given.shape)} labels, but its image has {_by(capture.image.shape[:2])} pixels and "
            f"its map {_by(placed[0])} cells; the labels must have one of these sizes"
        )
    for cells in placed:
        if given.shape[0] < cells[0] or given.shape[1] < cells[1]:
            raise ValueError(
                f"the {words} has {_by(given.shape)} labels for a map of {_by(cells)} cells; give at least one label a "
                "cell"
            )


def _check_classes(capture: Capture, given: np.ndarray, words: str) -> None:
    unknown = np.unique(given[((given < 0) | (given >= capture.num_classes)) & (given != capture.ignore_index)])
    if unknown.size:
        raise ValueError(
            f"the {words} holds the unknown class {', '.join(map(str, unknown[:5]))}; classes are 0 … "
            f"{capture.num_classes - 1}, and {capture.ignore_index} for no label"
        )


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _resolve(capture: Capture, options: MeasureOptions, threads: int) -> MeasureOptions:
    """The options with "model" and "auto" replaced, and only the controls that apply; ValueError unless they fit."""
    if options.precision not in PRECISIONS:
        raise ValueError(f"precision is {options.precision!r}; choose one of {', '.join(PRECISIONS)}")
    if unknown := [control for control in options.controls if control not in CONTROLS]:
        raise ValueError(f"there is no control {unknown[0]!r}; choose from {', '.join(CONTROLS)}")
    _check_attention(capture, options)
    stage_rows(capture, [0], options)  # one row goes the plain way: whatever does not fit is said there
    own = options.of(capture)
    applying = {"uniform"}
    apart = capture.key_size is not None
    if own.lr_kernel is not None:
        applying |= {"box", "oracle"} if options.labels == "truth" and not apart else {"box"}
    precision = "float64" if apart else options.precision
    if precision == "auto":
        # A finished map may hold many equal values, which single precision would not keep equal under the box.
        exact = capture.attention is not None or capture.height * capture.width <= DOUBLE_PRECISION_CELLS
        single = not exact and fits_single_precision(capture, options.temperature, threads)
        precision = "float32" if single else "float64"
    return replace(
        options,
        **own.as_dict(),
        controls=tuple(control for control in CONTROLS if control in options.controls and control in applying),
        precision=precision,
    )


def _check_attention(capture: Capture, options: MeasureOptions) -> None:
    probs = capture.class_probs
    if probs is not None and not (probs.min() >= 0 and probs.max() < np.inf):
        raise ValueError(
            f"the class_probs of {capture.name!r} hold negative or non-finite values; a distribution is finite and at "
            "least 0"
        )
    if capture.query is not None and capture.key is not None:
        # Scores are divided by the temperature and taken to base 2.
        most = max(1.0, 1 / (options.temperature * math.log(2))) if options.temperature > 0 else 1.0
        try:
            require_computable(capture.query * np.float64(most), capture.key)
        except ValueError as error:
            at = "" if options.temperature == 1 else f" at temperature {options.temperature:g}"
            raise ValueError(f"{capture.name!r} cannot be measured{at}: {error}") from error
        return
    assert capture.attention is not None
    queries, keys = capture.height * capture.width, capture.key_cells[0] * capture.key_cells[1]
    if capture.attention.shape != (queries, keys):
        on_keys = "" if capture.key_size is None else f" and {_by(capture.key_size)} keys"
        raise ValueError(
            f"the attention map of {capture.name!r} is {_by(capture.attention.shape)}; {_by(capture.cells)} "
            f"cells{on_keys} need {queries}×{keys}"
        )
    if not (capture.attention.min() >= 0 and capture.attention.max() < np.inf):
        raise ValueError(
            f"the attention map of {capture.name!r} holds negative or non-finite values; attention is finite and at "
            "least 0"
        )


def _applying(options: MeasureOptions) -> tuple[str, ...]:
    return (*stages_there(options), *options.controls)


def _repeated_stages(options: MeasureOptions) -> dict[str, str]:
    """Stages that are another stage over again: stage -> the other one. The box is LR whose own weights are the box."""
    return {"box": "retained"} if options.lr_weights == "box" else {}


def _detection_queries(sets: QuerySets) -> tuple[np.ndarray, bool]:
    """The flat cells whose AUC and AP are measured, in order, and whether they are a sample of the labelled ones."""
    if len(sets.queries) <= EXACT_DETECTION_CELLS:
        return sets.queries, False
    labelled = np.flatnonzero(sets.labelled)
    size = min(DETECTION_SAMPLE, len(labelled))
    return np.sort(np.random.default_rng(0).choice(labelled, size, replace=False)), True


# --- from sums to a report -------------------------------------------------------------------------------------------


def _query_dependence(capture: Capture, temperature: float, threads: int) -> float:
    """The query dependence of the raw map, over random pairs of queries."""

    def divergences(pairs: np.ndarray) -> np.ndarray:
        raw = stage_rows(capture, pairs.ravel(), MapOptions(None, None, temperature=temperature)).raw
        return noise.row_divergences(raw[::2], raw[1::2])

    count = capture.height * capture.width
    if capture.key_size is not None and count < 2:
        return float("nan")
    pieces = np.split(noise.query_pairs(count), DEPENDENCE_PIECES)
    return noise.mean_dependence(np.concatenate(list(share(divergences, pieces, threads))))


def compared_with(stage: str, there: Iterable[str]) -> tuple[str, ...]:
    """The stages in which a query must be valid to count in `stage`: those of STAGES that are `there`, and itself.

    So the stages are compared on the same queries, and no control takes a query away from the method's own figures.
    """
    return tuple(dict.fromkeys((*own_stages(there), stage)))


def _leakage(
    gathered: Gathered, sets: QuerySets, metrics: dict[str, QueryMetrics], stage: str, num_classes: int
) -> Leakage:
    """A stage's leakage, over the very queries of its interclass noise."""
    shared = np.all([np.isfinite(metrics[name].interclass_noise) for name in compared_with(stage, metrics)], axis=0)
    sums, scale, _ = gathered
    return noise.leakage_from_sums(sets, sums.by_class, scale, num_classes=num_classes, selected=shared)


class _StageResult(NamedTuple):
    metrics: QueryMetrics
    hollow_curve: np.ndarray
    detection: DetectionScores

    @classmethod
    def of(cls, gathered: Gathered, sets: QuerySets, detected: np.ndarray) -> "_StageResult":
        sums, scale, scores = gathered
        curve = [noise.metrics_from_sums(sets, sums._replace(below=below), scale) for below in sums.below.T]
        metrics = curve[HOLLOW_THRESHOLDS.index(noise.HOLLOW_THRESHOLD)]
        detected_sets = QuerySets(
            *(part if name == "classes" else part[detected] for name, part in sets._asdict().items())
        )
        return cls(
            metrics=metrics,
            hollow_curve=np.stack([at.hollow_fraction for at in curve], axis=1).astype(np.float32),
            detection=noise.defined_scores(scores, detected_sets, metrics.kept_mass[detected]),
        )


def _boundary(capture: Capture, labels: np.ndarray) -> np.ndarray:
    if capture.query_names is not None:
        return np.zeros(labels.size, bool)
    return boundary_cells(labels, capture.ignore_index).ravel()


# --- reading a report ------------------------------------------------------------------------------------------------


def boundary_cells(labels: np.ndarray, ignore_index: int) -> np.ndarray:
    """Labelled cells with a labelled 8-neighbour of another label: h×w labels -> h×w bool."""
    height, width = labels.shape
    padded = np.pad(labels, 1, constant_values=ignore_index)
    boundary = np.zeros(labels.shape, bool)
    for dy, dx in np.ndindex(3, 3):
        neighbour = padded[dy : dy + height, dx : dx + width]
        boundary |= (neighbour != ignore_index) & (neighbour != labels)
    return boundary & (labels != ignore_index)


def metric_map(report: ImageReport, stage: str, metric: str) -> np.ndarray:
    """A metric of every query painted at its cell, the noise map: h×w float64, NaN where it is undefined.

    One row of N numbers where the queries have no place.
    """
    return getattr(report.stages[stage], metric).reshape(report.cells)


def worst_queries(report: ImageReport, stage: str, metric: str = "interclass_noise", count: int = 10) -> np.ndarray:
    """The `count` queries with the highest value of a metric, highest first, ties by cell: flat indices, int64.

    Fewer where fewer have a value.
    """
    values = getattr(report.stages[stage], metric)
    defined = np.flatnonzero(np.isfinite(values))
    return defined[np.argsort(-values[defined], kind="stable")[:count]].astype(np.int64)
