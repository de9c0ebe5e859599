"""The tables of noise by layer and head as CSV: of heads, of their classes, and of every image."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from analysis import noise
from analysis.files.tables import csv_text
from analysis.measure import HEAD_METRICS, Head, ImageRecord
from analysis.report.records import SkippedImage
from analysis.report.tables import BESIDE_CHANCE, class_means

ENDS = ("", "_low", "_high")
_FIGURES = (*(f"{metric}{end}" for metric in HEAD_METRICS for end in ENDS), *BESIDE_CHANCE)
HEAD_HEADER = ("layer", "head", "stage", "images", "queries", *_FIGURES, "query_dependence")
CLASS_HEADER = ("layer", "head", "stage", "class", "images", *_FIGURES[: -len(BESIDE_CHANCE)], "chance")
IMAGE_HEADER = (
    *("image", "group", "place", "layer", "head", "stage", "label_source", "queries"),
    *HEAD_METRICS,
    "chance",
    "skipped",
)


def head_table(summary: Mapping) -> str:
    """per_head.csv: one row a head and stage; uniform attention, which no head changes, one row a layer."""
    rows: list[list] = []
    for layer, name, stage, figures, head in blocks(summary):
        queries = None if head is None else head["queries"]
        dependence = head["query_dependence"] if head is not None and stage == "raw" else None
        rows.append([layer, name, stage, summary["images"], queries, *_figures(figures), dependence])
    return csv_text(HEAD_HEADER, rows)


def class_table(summary: Mapping) -> str:
    """per_class.csv: one row a head, stage and class."""
    rows: list[list] = []
    for layer, name, stage, figures, _ in blocks(summary):
        for of_class, interclass in figures["interclass_noise"]["per_class"].items():
            row: list = [layer, name, stage, of_class, interclass["images"]]
            for metric in HEAD_METRICS:
                found = figures[metric]["per_class"].get(of_class, {})
                row += [found.get(end) for end in ("mean", "low", "high")]
            rows.append([*row, interclass["chance"]])
    return csv_text(CLASS_HEADER, rows)


def image_table(records: Mapping[Head, Sequence[ImageRecord]], skipped: Sequence[SkippedImage] = ()) -> str:
    """per_image.csv: one row an image, head and stage; means over the image's classes with MIN_CELLS cells.

    A skipped image has one row with the reason.
    """
    rows: list[list] = []
    for head, own in records.items():
        for record in own:
            enough = record.cells >= noise.MIN_CELLS
            for place, stage in enumerate(record.stages):
                means = class_means(record, place)
                values = [_mean(means[metric][enough]) for metric in (*HEAD_METRICS, "chance")]
                origin = [record.name, record.group, record.place, head.layer, head.head]
                rows.append([*origin, stage, record.label_source, record.queries, *values, None])
    for image in skipped:
        rows.append([image.name, image.group, image.place, *[None] * (len(IMAGE_HEADER) - 4), image.reason])
    return csv_text(IMAGE_HEADER, rows)


def blocks(summary: Mapping) -> Iterable[tuple[str, int | None, str, Mapping, Mapping | None]]:
    """Layer, head, stage, its figures, and the head's other facts; head None for controls of a whole layer."""
    for name, layer in summary["layers"].items():
        for number, head in layer["heads"].items():
            for stage, figures in head["stages"].items():
                yield name, int(number), stage, figures, head
        for stage, figures in layer["controls"].items():
            yield name, None, stage, figures, None


def _figures(block: Mapping) -> list:
    values = [block[metric][end] for metric in HEAD_METRICS for end in ("mean", "low", "high")]
    return values + [block["interclass_noise"][name] for name in BESIDE_CHANCE]


def _mean(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None
