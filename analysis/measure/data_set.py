"""From the records of images to the figures of a data set, with their uncertainty.

`data_set_summary` turns records into means: over the queries of a class in an image, over images, over classes
(macro), with bootstrap intervals over images.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from analysis import noise
from analysis.measure.image import HOLLOW_THRESHOLDS
from analysis.measure.records import RECORD_METRICS, SPLITS, ImageRecord
from analysis.noise import Leakage, macro_means

# What a summary holds for each stage; chance stands beside the interclass noise.
METRICS = tuple(metric for metric in RECORD_METRICS if metric != "chance")
STAGE_PAIRS = (("rectified", "raw"), ("retained", "rectified"), ("retained", "raw"))

RESAMPLES = 1000
INTERVAL = (2.5, 97.5)  # percentiles


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

    images_of_class = np.isfinite(tables.table("all", "raw", "interclass_noise")).sum(axis=0)
    return {
        "images": len(records),
        "queries": sum(record.queries for record in records),
        "label_source": " and ".join(sorted({record.label_source for record in records})),
        "stages": {
            stage: {metric: _metric_block(tables, stage, metric, class_names, estimate) for metric in METRICS}
            for stage in tables.stages
        },
        "differences": _stage_differences(tables, estimate),
        "leakage": {stage: _rows(tables.leakage(stage).matrix()) for stage in tables.stages},
        "hollow_curve": _hollow_curve(tables, estimate),
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


# A table images×classes -> its figures.
Estimate = Callable[[np.ndarray], _Estimate]


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
    values = resampled[np.isfinite(resampled)]
    low, high = map(float, np.percentile(values, INTERVAL)) if values.size else (None, None)
    return {"mean": float(mean), "low": low, "high": high}


def _divide(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """total / count, NaN where the count is 0."""
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _metric_block(tables: "_Tables", stage: str, metric: str, class_names: Sequence[str], estimate: Estimate) -> dict:
    """One metric of one stage in the summary: the macro mean, each class, each split."""
    whole, classes = _split_block(tables, "all", stage, metric, estimate)
    splits = {split: _split_block(tables, split, stage, metric, estimate)[0] for split in SPLITS[1:]}
    return {**whole, "per_class": {class_names[index]: entry for index, entry in classes.items()}, **splits}


def _split_block(
    tables: "_Tables", split: str, stage: str, metric: str, estimate: Estimate
) -> tuple[dict, dict[int, dict]]:
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


def _stage_differences(tables: "_Tables", estimate: Estimate) -> dict:
    """What each step changes of each metric, paired by image: "later - earlier" -> metric -> its macro mean."""

    def difference(later: str, earlier: str, metric: str) -> dict:
        return estimate(tables.table("all", later, metric) - tables.table("all", earlier, metric)).macro

    return {
        f"{later} - {earlier}": {metric: difference(later, earlier, metric) for metric in METRICS}
        for later, earlier in STAGE_PAIRS
        if {later, earlier} <= set(tables.stages)
    }


def _hollow_curve(tables: "_Tables", estimate: Estimate) -> dict:
    """The hollow fraction of each stage at each of HOLLOW_THRESHOLDS, macro means."""
    places = range(len(HOLLOW_THRESHOLDS))
    return {
        "thresholds": list(HOLLOW_THRESHOLDS),
        "stages": {
            stage: [estimate(tables.hollow_table(stage, place)).macro["mean"] for place in places]
            for stage in tables.stages
        },
    }


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
