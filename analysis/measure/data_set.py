"""From the records of images to the figures of a data set, with their uncertainty.

`data_set_summary` turns records into means: over the queries of a class in an image, over images, over classes
(macro), with the intervals of `analysis.intervals`.
"""

from collections.abc import Sequence
from math import inf

import numpy as np

from analysis import noise
from analysis.measure.differences import METRICS, NOISE_METRICS, stage_differences
from analysis.measure.estimates import NOTHING, Estimator, Range, entry, grouping_of, interval_facts
from analysis.measure.passes import HOLLOW_THRESHOLDS
from analysis.measure.records import RECORD_METRICS, SPLITS, ImageRecord
from analysis.measure.tables import Tables

# What a metric can be at all; the others are shares.
_RANGES: dict[str, Range] = {"kept_mass": (0, inf), "interclass_mass": (0, inf), "effective_keys": (1, inf)}
_SHARE: Range = (0, 1)
# Of each group.
GROUP_METRICS = NOISE_METRICS


def range_of(metric: str) -> Range:
    """The least and the greatest value that a metric can have."""
    return _RANGES.get(metric, _SHARE)


def least_images(images: int) -> int:
    """The images that a class needs to count in a set of `images`: MIN_IMAGES, or 1 in sets of fewer images."""
    return noise.MIN_IMAGES if images >= noise.MIN_IMAGES else 1


def measured_images(records: Sequence[ImageRecord]) -> list[dict]:
    """Which images the records are of, as JSON values: name, SHA-256 of the pixels, what they were measured against,
    where they come from."""
    return [
        {
            "name": record.name,
            "sha256": record.image_sha256,
            "measured_against": record.label_source,
            "group": record.group,
            "place": record.place,
        }
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
    min_cells: int = noise.MIN_CELLS,
    min_images: int = noise.MIN_IMAGES,
) -> dict:
    """The figures of a data set of at least one image, ready for JSON: what is undefined is None.

    Macro means: over a class's queries in each image where it has `min_cells` cells, over images, over the classes
    with `min_images` such images. low, high: 95 % intervals as `analysis.intervals` makes them, of images that come in
    the records' groups; None for too few images. "intervals" says how that of the raw interclass noise was made, what
    it speaks of, and why there is none. Differences are paired by image. micro: over all queries. "groups": the figures
    that a summary of each group alone would have. For one image pass min_images=1. Raises ValueError without records.
    """
    if not records:
        raise ValueError("there is no image to summarise; give at least one record")
    tables = Tables(records, len(class_names), min_cells)
    estimator = Estimator(grouping_of(records), min_images, seed)
    raw = tables.table("all", "raw", "interclass_noise")
    images_of_class = np.isfinite(raw).sum(axis=0)
    return {
        "images": len(records),
        "queries": sum(record.queries for record in records),
        "label_source": " and ".join(sorted({record.label_source for record in records})),
        "stages": {
            stage: {metric: _metric_block(tables, stage, metric, class_names, estimator) for metric in METRICS}
            for stage in tables.stages
        },
        "differences": stage_differences(tables, class_names, estimator),
        "groups": _groups(records, len(class_names), min_cells=min_cells, min_images=min_images, seed=seed),
        "leakage": {stage: _rows(tables.leakage(stage).matrix()) for stage in tables.stages},
        "hollow_curve": _hollow_curve(tables, estimator),
        "query_dependence": tables.query_dependence(),
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
        "intervals": interval_facts(estimator.interval(raw), estimator.grouping, seed),
    }


def _metric_block(tables: Tables, stage: str, metric: str, class_names: Sequence[str], estimator: Estimator) -> dict:
    """One metric of one stage in the summary: the macro mean, each class, each split."""
    whole, classes = split_block(tables, "all", stage, metric, estimator)
    splits = {split: split_block(tables, split, stage, metric, estimator)[0] for split in SPLITS[1:]}
    return {**whole, "per_class": {class_names[index]: entry for index, entry in classes.items()}, **splits}


def split_block(
    tables: Tables, split: str, stage: str, metric: str, estimator: Estimator
) -> tuple[dict, dict[int, dict]]:
    """The figures of one split, and those of its classes; interclass noise stands beside its chance."""
    table = tables.table(split, stage, metric)
    within = range_of(metric)
    macro, classes = estimator.estimate(table, within) if split == "all" else (estimator.macro(table, within), {})
    block = {**macro, "micro": tables.micro_mean(split, stage, metric)}
    if metric == "interclass_noise":
        chance = tables.table(split, stage, "chance")
        block |= _beside_chance(table, chance, estimator)
        block["micro_chance"] = tables.micro_mean(split, stage, "chance")
        chance_of_class = np.nanmean(chance[:, list(classes)], axis=0) if classes else []
        classes = {
            index: {**figures, "chance": float(own)}
            for (index, figures), own in zip(classes.items(), chance_of_class, strict=True)
        }
    return block, classes


def _beside_chance(table: np.ndarray, chance: np.ndarray, estimator: Estimator) -> dict:
    """The macro mean of chance, and what of it interclass noise is, with its interval."""
    ratio = estimator.ratio(table, chance)
    times = dict(NOTHING) if ratio is None else entry(ratio, (0, inf))
    return {
        "chance": estimator.macro_mean(chance),
        "times_chance": times["mean"],
        "times_chance_low": times["low"],
        "times_chance_high": times["high"],
    }


def _groups(
    records: Sequence[ImageRecord], num_classes: int, *, min_cells: int, min_images: int, seed: int
) -> dict[str, dict]:
    """Each group's number of images and, by stage, GROUP_METRICS as a summary of this group alone would have them."""
    members: dict[str, list[ImageRecord]] = {}
    for record in records:
        if record.group is not None:
            members.setdefault(record.group, []).append(record)
    groups = {}
    for name, own in members.items():
        tables = Tables(own, num_classes, min_cells)
        estimator = Estimator(grouping_of(own), min(min_images, least_images(len(own))), seed)
        groups[name] = {
            "images": len(own),
            "stages": {
                stage: {metric: _group_block(tables, stage, metric, estimator) for metric in GROUP_METRICS}
                for stage in tables.stages
            },
        }
    return groups


def _group_block(tables: Tables, stage: str, metric: str, estimator: Estimator) -> dict:
    table = tables.table("all", stage, metric)
    block = estimator.macro(table, range_of(metric))
    if metric == "interclass_noise":
        block |= _beside_chance(table, tables.table("all", stage, "chance"), estimator)
    return block


def _hollow_curve(tables: Tables, estimator: Estimator) -> dict:
    """The hollow fraction of each stage at each of HOLLOW_THRESHOLDS, macro means."""
    places = range(len(HOLLOW_THRESHOLDS))
    return {
        "thresholds": list(HOLLOW_THRESHOLDS),
        "stages": {
            stage: [estimator.macro_mean(tables.hollow_table(stage, place)) for place in places]
            for stage in tables.stages
        },
    }


def _rows(matrix: np.ndarray) -> list[list[float] | None]:
    """A matrix as lists, None for the rows that hold NaN."""
    return [row.tolist() if np.isfinite(row).all() else None for row in matrix]


def _median(parts: Sequence[np.ndarray]) -> float | None:
    values = np.concatenate(parts)
    return float(np.median(values)) if values.size else None
