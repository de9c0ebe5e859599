"""Attention noise of classes: from queries to images, from images to a data set."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis.noise.query import METRICS, QueryMetrics, where_defined, whole_numbers

MIN_CELLS = 5
MIN_IMAGES = 10


class ClassSums(NamedTuple):
    """Sum of a metric over the queries of each class, and their number: two arrays of length classes."""

    total: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # hides the count of a tuple's items


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
    Raises ValueError for labels that are no whole numbers.
    """
    names = list(stages)
    first = stages[names[0]]
    if any(not np.array_equal(stages[name].queries, first.queries) for name in names):
        raise ValueError(f"stages {', '.join(names)} hold different queries; compare stages on the same ones")
    flat = whole_numbers(labels, "labels")
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
        cells=np.bincount(flat[(flat >= 0) & (flat < num_classes)], minlength=num_classes),
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
        return where_defined(enough, total / count)


def macro_means(table: np.ndarray, *, min_images: int = MIN_IMAGES) -> np.ndarray:
    """Mean of each class over its images, NaN for classes with fewer than `min_images`: images×classes -> classes."""
    present = np.isfinite(table)
    count = present.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(present, table, 0).sum(axis=0) / count
    return where_defined(count >= max(min_images, 1), means)


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


def _summary(images: Sequence[ImageNoise], stage: str, metric: str, min_cells: int, min_images: int) -> MetricSummary:
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
