"""From images to a data set: what each image contributes, and the figures with their uncertainty.

An ImageRecord holds sums per class, so that records are small, can be kept in files and add up in any order of work.
`data_set_summary` turns records into means: over the queries of a class in an image, over images, over classes
(macro), with bootstrap intervals over images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from analysis import noise
from analysis.measure.image import HOLLOW_THRESHOLDS, ImageReport, compared_with, metric_map
from analysis.noise import ClassSums, DetectionScores, Leakage, image_noise, macro_means
from analysis.options import CONTROLS, STAGES

# Which queries count: all of them, those at a border between labels or not, those that GR's class has right or wrong.
SPLITS = ("all", "boundary", "interior", "gr_right", "gr_wrong")
RECORD_METRICS = (*noise.METRICS, *DetectionScores._fields)
# What a summary holds for each stage; chance stands beside the interclass noise.
METRICS = tuple(metric for metric in RECORD_METRICS if metric != "chance")
STAGE_PAIRS = (("rectified", "raw"), ("retained", "rectified"), ("retained", "raw"))

RESAMPLES = 1000
INTERVAL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """What one image contributes. S stages (controls among them), K classes that have a cell, T hollow thresholds.

    classes: K class indices, ascending. cells: K, labelled cells of each.
    totals, counts: SPLITS × S × RECORD_METRICS × K, the sum of a metric over the valid queries of a class, and their
    number. leakage_totals: S×K×K and leakage_queries: S×K, as in `noise.Leakage`.
    hollow_totals: S×K×T, sums of the hollow fraction at each threshold over the queries that "hollow_fraction" counts.
    emptied: S, rows. left_out: one for each of RECORD_METRICS, labelled queries without a value in some of the three
    stages. queries: labelled queries. effective_keys: of every raw row that has them. detection_queries: labelled
    queries whose AUC and average precision were measured, 0 for none.
    noise_maps: stage -> h×w float32 interclass noise of each cell, NaN undefined.
    options: gate, lr_kernel, lr_weights and temperature, as `attention_rows` takes them. image_sha256: as in Capture.
    """

    name: str
    label_source: str
    stages: tuple[str, ...]
    classes: np.ndarray
    cells: np.ndarray
    totals: np.ndarray
    counts: np.ndarray
    leakage_totals: np.ndarray
    leakage_queries: np.ndarray
    hollow_totals: np.ndarray
    emptied: np.ndarray
    left_out: np.ndarray
    queries: int
    effective_keys: np.ndarray
    query_dependence: float
    distinct_argmax_keys: int
    detection_queries: int
    detection_sampled: bool
    noise_maps: dict[str, np.ndarray]
    options: dict[str, Any]
    image_sha256: str | None


# --- an image --------------------------------------------------------------------------------------------------------


def image_record(report: ImageReport) -> ImageRecord:
    """Gather one image's queries by class and split.

    The three stages are compared on the queries that are valid in all three; a control on those that are valid in
    the three and in itself, so that no control takes a query away from the method's own figures.
    """
    labels = report.labels.ravel()
    labelled = labels[labels != report.ignore_index]
    classes, cells = np.unique(labelled, return_counts=True)
    stages = tuple(stage for stage in (*STAGES, *CONTROLS) if stage in report.stages)
    totals = np.zeros((len(SPLITS), len(stages), len(RECORD_METRICS), len(classes)))
    counts = np.zeros(totals.shape, np.int64)
    detected = report.detection_queries if report.detection else np.empty(0, np.int64)
    lacking = {}
    for split, (name, selected) in enumerate(_splits(report).items()):
        for place, stage in enumerate(stages):
            sums, emptied, left_out = _class_sums(report, stage, selected)
            totals[split, place] = [sums[metric].total[classes] for metric in RECORD_METRICS]
            counts[split, place] = [sums[metric].count[classes] for metric in RECORD_METRICS]
            if name == "all":
                lacking[stage] = emptied, left_out
    return ImageRecord(
        name=report.name,
        label_source=report.label_source,
        stages=stages,
        classes=classes,
        cells=cells,
        totals=totals,
        counts=counts,
        leakage_totals=np.stack([report.leakage[stage].total[np.ix_(classes, classes)] for stage in stages]),
        leakage_queries=np.stack([report.leakage[stage].queries[classes] for stage in stages]),
        hollow_totals=np.stack([_hollow_totals(report, stage, classes) for stage in stages]),
        emptied=np.array([lacking[stage][0] for stage in stages]),
        left_out=np.array([lacking[STAGES[0]][1][metric] for metric in RECORD_METRICS]),
        queries=len(labelled),
        effective_keys=_finite(report.stages["raw"].effective_keys),
        query_dependence=report.query_dependence,
        distinct_argmax_keys=report.distinct_argmax_keys,
        detection_queries=int((labels[detected] != report.ignore_index).sum()),
        detection_sampled=report.detection_sampled,
        noise_maps={stage: metric_map(report, stage, "interclass_noise").astype(np.float32) for stage in STAGES},
        options=report.options.as_dict(),
        image_sha256=report.image_sha256,
    )


def _splits(report: ImageReport) -> dict[str, np.ndarray]:
    """Which queries are in each of SPLITS: bool of length N."""
    every = np.ones(report.labels.size, bool)
    right = wrong = ~every
    if report.gr_right is not None:
        right, wrong = report.gr_right, ~report.gr_right
    return dict(zip(SPLITS, (every, report.boundary, ~report.boundary, right, wrong), strict=True))


def _class_sums(report: ImageReport, stage: str, selected: np.ndarray):
    """metric -> ClassSums of one stage over the selected queries; its emptied rows; metric -> queries left out."""
    compared = compared_with(stage)
    gathered = image_noise(
        {name: report.stages[name] for name in compared}, report.labels, report.num_classes, selected=selected
    )
    sums, left_out = dict(gathered.sums[stage]), dict(gathered.left_out)
    labels = report.labels.ravel()[report.detection_queries]
    counted = selected[report.detection_queries] & (labels != report.ignore_index)
    for metric in DetectionScores._fields:
        valid = np.zeros(len(labels), bool)
        total: np.ndarray = np.zeros(report.num_classes)
        if report.detection:
            values = [getattr(report.detection[name], metric) for name in compared]
            valid = counted & np.isfinite(values).all(axis=0)
            own = getattr(report.detection[stage], metric)[valid]
            total = np.bincount(labels[valid], weights=own, minlength=report.num_classes)
        sums[metric] = ClassSums(total, np.bincount(labels[valid], minlength=report.num_classes))
        left_out[metric] = int(counted.sum() - valid.sum()) if report.detection else 0
    return sums, gathered.emptied[stage], left_out


def _hollow_totals(report: ImageReport, stage: str, classes: np.ndarray) -> np.ndarray:
    """Sums of the hollow curve by class, K×T, over the queries that count for the stage's hollow fraction."""
    valid = np.all([np.isfinite(report.stages[name].hollow_fraction) for name in compared_with(stage)], axis=0)
    member = (report.labels.ravel() == classes[:, None]) & valid  # K×N
    return member.astype(np.float64) @ np.where(valid[:, None], report.hollow_curve[stage], 0)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


# --- a data set ------------------------------------------------------------------------------------------------------


def least_images(images: int) -> int:
    """The images that a class needs to count in a set of `images`: MIN_IMAGES, or 1 in sets of fewer images."""
    return noise.MIN_IMAGES if images >= noise.MIN_IMAGES else 1


def measured_images(records: Sequence[ImageRecord]) -> list[dict]:
    """Which images the records are of, as JSON values: name, SHA-256 of the pixels, what they were measured against."""
    return [
        {"name": record.name, "sha256": record.image_sha256, "measured_against": record.label_source}
        for record in records
    ]


def classes_of_few_cells(
    records: Sequence[ImageRecord], class_names: Sequence[str], min_cells: int = noise.MIN_CELLS
) -> list[str]:
    """The classes that have cells, but in no image `min_cells` of them: they have no mean."""
    most = np.zeros(len(class_names), np.int64)
    for record in records:
        most[record.classes] = np.maximum(most[record.classes], record.cells)
    return [name for name, cells in zip(class_names, most, strict=True) if 0 < cells < min_cells]


def data_set_summary(
    records: Sequence[ImageRecord],
    class_names: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    min_cells: int = noise.MIN_CELLS,
    min_images: int = noise.MIN_IMAGES,
) -> dict:
    """The figures of a data set of at least one image, ready for JSON: what is undefined is None.

    Macro means: over a class's queries in each image where it has `min_cells` cells, over images, over the classes
    with `min_images` such images. low, high: 95 % bootstrap intervals over images, None for a single image; a class
    that a resample lacks is skipped there, and per_class says in how many resamples it was. Differences are paired by
    image. micro: over all queries. For one image pass min_images=1. Raises ValueError without records.
    """
    if not records:
        raise ValueError("there is no image to summarise; give at least one record")
    tables = _Tables(records, len(class_names), min_cells)
    weights = bootstrap_weights(len(records), resamples, seed)

    def estimate(table: np.ndarray) -> _Estimate:
        return _estimate(table, weights, min_images)

    def difference(later: str, earlier: str, metric: str) -> dict:
        return estimate(tables.table("all", later, metric) - tables.table("all", earlier, metric)).macro

    images_of_class = np.isfinite(tables.table("all", "raw", "interclass_noise")).sum(axis=0)
    return {
        "images": len(records),
        "queries": sum(record.queries for record in records),
        "label_source": " and ".join(sorted({record.label_source for record in records})),
        "stages": {
            stage: {metric: _metric_block(tables, stage, metric, class_names, estimate) for metric in METRICS}
            for stage in tables.stages
        },
        "differences": {
            f"{later} - {earlier}": {metric: difference(later, earlier, metric) for metric in METRICS}
            for later, earlier in STAGE_PAIRS
        },
        "leakage": {stage: _rows(tables.leakage(stage).matrix()) for stage in tables.stages},
        "hollow_curve": {
            "thresholds": list(HOLLOW_THRESHOLDS),
            "stages": {
                stage: [
                    estimate(tables.hollow_table(stage, place)).macro["mean"] for place in range(len(HOLLOW_THRESHOLDS))
                ]
                for stage in tables.stages
            },
        },
        "query_dependence": float(np.mean([record.query_dependence for record in records])),
        "distinct_argmax_keys": float(np.mean([record.distinct_argmax_keys for record in records])),
        "effective_keys": _median([record.effective_keys for record in records]),
        "emptied": {stage: tables.emptied(stage) for stage in tables.stages},
        "left_out": {
            metric: int(sum(record.left_out[RECORD_METRICS.index(metric)] for record in records)) for metric in METRICS
        },
        "classes_left_out": {
            name: int(count) for name, count in zip(class_names, images_of_class, strict=True) if count < min_images
        },
        "detection": {
            "queries": sum(record.detection_queries for record in records),
            "sampled": any(record.detection_sampled for record in records),
        },
        "limits": {"min_cells": min_cells, "min_images": min_images},
        "bootstrap": {"resamples": resamples, "seed": seed, "level": 0.95},
    }


def checkpoint_differences(
    records: Mapping[str, Sequence[ImageRecord]],
    num_classes: int,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    min_cells: int = noise.MIN_CELLS,
    min_images: int = noise.MIN_IMAGES,
) -> dict:
    """How checkpoints differ: "second - first" -> {"images": n, "stages": {stage: {metric: {"mean", "low", "high"}}}}.

    records: checkpoint name -> its records. Paired by image: only images and classes that both have are compared.
    """
    differences = {}
    for first, second in combinations(records, 2):
        own, other = ({record.name: record for record in records[name]} for name in (first, second))
        shared = [name for name in own if name in other]
        stages: dict[str, dict] = {}
        if shared:
            earlier = _Tables([own[name] for name in shared], num_classes, min_cells)
            later = _Tables([other[name] for name in shared], num_classes, min_cells)
            weights = bootstrap_weights(len(shared), resamples, seed)
            for stage in (stage for stage in earlier.stages if stage in later.stages):
                stages[stage] = {}
                for metric in METRICS:
                    table = later.table("all", stage, metric) - earlier.table("all", stage, metric)
                    stages[stage][metric] = _estimate(table, weights, min_images).macro
        differences[f"{second} - {first}"] = {"images": len(shared), "stages": stages}
    return differences


def bootstrap_weights(images: int, resamples: int, seed: int) -> np.ndarray | None:
    """How often each image is drawn in each resample: resamples×images float64; None for a single image."""
    if images < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, images, (resamples, images))
    place = np.arange(resamples)[:, None] * images + drawn
    return np.bincount(place.ravel(), minlength=resamples * images).reshape(resamples, images).astype(np.float64)


class _Estimate(NamedTuple):
    """macro: {"mean", "low", "high"} of a table images×classes. classes: the same, "images" and "resamples" (how many
    of them hold the class) for each class in the macro mean."""

    macro: dict
    classes: dict[int, dict]


def _estimate(table: np.ndarray, weights: np.ndarray | None, min_images: int) -> _Estimate:
    means = macro_means(table, min_images=min_images)
    shown = np.flatnonzero(np.isfinite(means))
    if not shown.size:
        return _Estimate({"mean": None, "low": None, "high": None}, {})
    table, means = table[:, shown], means[shown]
    present = np.isfinite(table)
    # Without resamples (a single image) no value has an interval.
    weights = np.zeros((0, len(table))) if weights is None else weights
    drawn = weights @ present  # resamples×classes, the images of each class
    held = drawn > 0
    resampled = _divide(weights @ np.where(present, table, 0), drawn)
    macro = _divide(np.where(held, resampled, 0).sum(axis=1), held.sum(axis=1))
    classes = {
        int(shown[place]): {
            **_interval(means[place], resampled[:, place]),
            "images": int(present[:, place].sum()),
            "resamples": int(held[:, place].sum()),
        }
        for place in range(len(shown))
    }
    return _Estimate(_interval(means.mean(), macro), classes)


def _interval(mean: float, resampled: np.ndarray) -> dict:
    """The mean and the percentiles of its resampled values, of which NaN are left out."""
    values = _finite(resampled)
    low, high = map(float, np.percentile(values, INTERVAL)) if values.size else (None, None)
    return {"mean": float(mean), "low": low, "high": high}


def _divide(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """total / count, NaN where the count is 0."""
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _metric_block(
    tables: "_Tables",
    stage: str,
    metric: str,
    class_names: Sequence[str],
    estimate: Callable[[np.ndarray], _Estimate],
) -> dict:
    """One metric of one stage in the summary: the macro mean, each class, each split."""
    whole, classes = _split_block(tables, "all", stage, metric, estimate)
    splits = {split: _split_block(tables, split, stage, metric, estimate)[0] for split in SPLITS[1:]}
    return {**whole, "per_class": {class_names[index]: entry for index, entry in classes.items()}, **splits}


def _split_block(tables, split, stage, metric, estimate) -> tuple[dict, dict[int, dict]]:
    """The figures of one split, and those of its classes; interclass noise stands beside its chance."""
    macro, classes = estimate(tables.table(split, stage, metric))
    block = {**macro, "micro": tables.micro_mean(split, stage, metric)}
    if metric == "interclass_noise":
        chance, chance_of_class = estimate(tables.table(split, stage, "chance"))
        block |= {
            "chance": chance["mean"],
            "times_chance": macro["mean"] / chance["mean"] if chance["mean"] else None,
            "micro_chance": tables.micro_mean(split, stage, "chance"),
        }
        classes = {index: {**entry, "chance": chance_of_class[index]["mean"]} for index, entry in classes.items()}
    return block, classes


def _rows(matrix: np.ndarray) -> list[list[float] | None]:
    """A matrix as lists, None for the rows that hold NaN."""
    return [row.tolist() if np.isfinite(row).all() else None for row in matrix]


def _median(parts: Sequence[np.ndarray]) -> float | None:
    values = np.concatenate(parts)
    return float(np.median(values)) if values.size else None


class _Tables:
    """The records side by side, images×classes."""

    def __init__(self, records: Sequence[ImageRecord], num_classes: int, min_cells: int):
        self.records, self.num_classes = records, num_classes
        self.stages = [stage for stage in records[0].stages if all(stage in record.stages for record in records)]
        self.enough_cells = self._spread([record.cells for record in records]) >= min_cells

    def table(self, split: str, stage: str, metric: str) -> np.ndarray:
        """Mean over a class's valid queries, NaN where it has too few cells or no valid query."""
        return self._means(*self._sums(split, stage, metric))

    def hollow_table(self, stage: str, threshold: int) -> np.ndarray:
        """Like `table`, for the hollow fraction at one of HOLLOW_THRESHOLDS, given by its place."""
        totals = [record.hollow_totals[record.stages.index(stage), :, threshold] for record in self.records]
        return self._means(self._spread(totals), self._sums("all", stage, "hollow_fraction")[1])

    def micro_mean(self, split: str, stage: str, metric: str) -> float | None:
        """The mean over all valid queries."""
        total, count = self._sums(split, stage, metric)
        return float(total.sum() / count.sum()) if count.any() else None

    def emptied(self, stage: str) -> int:
        return int(sum(record.emptied[record.stages.index(stage)] for record in self.records))

    def leakage(self, stage: str) -> Leakage:
        leaks = Leakage(np.zeros((self.num_classes, self.num_classes)), np.zeros(self.num_classes, np.int64))
        for record in self.records:
            place = record.stages.index(stage)
            leaks.total[np.ix_(record.classes, record.classes)] += record.leakage_totals[place]
            leaks.queries[record.classes] += record.leakage_queries[place]
        return leaks

    def _sums(self, split: str, stage: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        part, column = SPLITS.index(split), RECORD_METRICS.index(metric)
        places = [(record, record.stages.index(stage)) for record in self.records]
        totals = [record.totals[part, place, column] for record, place in places]
        counts = [record.counts[part, place, column] for record, place in places]
        return self._spread(totals), self._spread(counts)

    def _means(self, total: np.ndarray, count: np.ndarray) -> np.ndarray:
        return np.where(self.enough_cells, _divide(total, count), np.nan)

    def _spread(self, by_class: Sequence[np.ndarray]) -> np.ndarray:
        """Values of each record's own classes, put into columns for all classes; 0 elsewhere."""
        spread = np.zeros((len(self.records), self.num_classes), by_class[0].dtype)
        for row, record, values in zip(spread, self.records, by_class, strict=True):
            row[record.classes] = values
        return spread
