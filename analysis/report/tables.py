"""The report's CSV files: every image, every class of every image, all figures, and the leakage matrices."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from analysis import noise
from analysis.files.tables import csv_text
from analysis.measure import GROUP_METRICS, RECORD_METRICS, SPLITS, ImageRecord
from analysis.options import OPTION_NAMES, option_cells
from analysis.report.paper import CSV_HEADER, csv_rows
from analysis.report.records import SkippedImage
from dnl import __version__
from dnl.files import write_atomically

IMAGE_HEADER = (
    "checkpoint",
    "image",
    "group",
    "place",
    "stage",
    "label_source",
    "queries",
    "classes",
    *RECORD_METRICS,
    "emptied",
    "query_dependence",
    "distinct_argmax_keys",
    "skipped",
)
CLASS_HEADER = (
    "checkpoint",
    "image",
    "group",
    "place",
    "stage",
    "class",
    "cells",
    "valid_queries",
    *RECORD_METRICS,
    "measured_against",
    *OPTION_NAMES,
    "checkpoint_sha256",
    "image_sha256",
    "version",
)


BESIDE_CHANCE = ("chance", "times_chance", "times_chance_low", "times_chance_high")
GROUP_HEADER = (
    "checkpoint",
    "group",
    "images",
    "stage",
    *(f"{metric}{end}" for metric in GROUP_METRICS for end in ("", "_low", "_high")),
    *BESIDE_CHANCE,
)


def write_image_table(path: Path, records: Mapping[str, Sequence[ImageRecord | SkippedImage]]) -> None:
    """One row an image and stage: means over the image's classes that have at least MIN_CELLS cells.

    records: checkpoint -> records. What is undefined is empty; a skipped image has one row with the reason.
    """
    rows: list[list] = []
    for checkpoint, of_checkpoint in records.items():
        for record in of_checkpoint:
            if isinstance(record, SkippedImage):
                origin = record.group, record.place
                rows.append([checkpoint, record.name, *origin, *[None] * (len(IMAGE_HEADER) - 5), record.reason])
                continue
            for place, stage in enumerate(record.stages):
                enough, means = record.cells >= noise.MIN_CELLS, _class_means(record, place)
                rows.append(
                    [
                        checkpoint,
                        record.name,
                        record.group,
                        record.place,
                        stage,
                        record.label_source,
                        record.queries,
                        int(enough.sum()),
                        *(_mean(values[enough]) for values in means),
                        int(record.emptied[place]),
                        _mean(np.array([record.query_dependence])),
                        record.distinct_argmax_keys,
                        None,
                    ]
                )
    _write(path, IMAGE_HEADER, rows)


def write_class_table(
    path: Path,
    records: Mapping[str, Sequence[ImageRecord | SkippedImage]],
    class_names: Sequence[str],
    hashes: Mapping[str, str],
) -> None:
    """One row an image, stage and class that has a cell there: means over the class's valid queries.

    valid_queries: those that count for the interclass noise. hashes: checkpoint -> SHA-256 of its file.
    """
    rows = []
    for checkpoint, of_checkpoint in records.items():
        for record in of_checkpoint:
            if isinstance(record, SkippedImage):
                continue
            options = option_cells(record.options)
            made_of = [record.label_source, *(options[name] for name in OPTION_NAMES)]
            made_of += [hashes[checkpoint], record.image_sha256, __version__]
            for place, stage in enumerate(record.stages):
                means = _class_means(record, place)
                valid = record.counts[SPLITS.index("all"), place, RECORD_METRICS.index("interclass_noise")]
                for column, label in enumerate(record.classes):
                    values = [float(value) if np.isfinite(value) else None for value in means[:, column]]
                    counted = [int(record.cells[column]), int(valid[column])]
                    image = [checkpoint, record.name, record.group, record.place]
                    rows.append([*image, stage, class_names[label], *counted, *values, *made_of])
    _write(path, CLASS_HEADER, rows)


def write_group_table(path: Path, summaries: Mapping[str, Mapping]) -> None:
    """One row a group and stage, with the figures that a report on this group alone would have.

    summaries: checkpoint -> its summary. Where images have no groups there is no row.
    """
    rows = []
    for checkpoint, summary in summaries.items():
        for group, of_group in summary["groups"].items():
            for stage, figures in of_group["stages"].items():
                row = [checkpoint, group, of_group["images"], stage]
                for metric in GROUP_METRICS:
                    row += [figures[metric][name] for name in ("mean", "low", "high")]
                interclass = figures["interclass_noise"]
                rows.append([*row, *(interclass[name] for name in BESIDE_CHANCE)])
    _write(path, GROUP_HEADER, rows)


def write_figure_table(path: Path, summaries: Mapping[str, Mapping], comparison: Mapping | None = None) -> None:
    """Every mean of noise with its interval, and every tested difference, one a row; as `paper.csv_rows` says."""
    _write(path, CSV_HEADER, csv_rows(summaries, comparison))


def write_leakage(path: Path, matrix: Sequence[Sequence[float] | None], class_names: Sequence[str]) -> None:
    """A leakage matrix with class names: rows are the queries' classes, columns the keys'; absent classes are empty."""
    nothing = [None] * len(class_names)
    rows = [[name, *(nothing if row is None else row)] for name, row in zip(class_names, matrix, strict=True)]
    _write(path, ("query class", *class_names), rows)


def class_means(record: ImageRecord, place: int) -> dict[str, np.ndarray]:
    """Metric -> K means over all valid queries of each class in the stage at `place`, NaN where there is none."""
    return dict(zip(RECORD_METRICS, _class_means(record, place), strict=True))


def _class_means(record: ImageRecord, place: int) -> np.ndarray:
    """RECORD_METRICS × K means over all valid queries of each class in one stage, NaN where there is none."""
    totals, counts = record.totals[SPLITS.index("all"), place], record.counts[SPLITS.index("all"), place]
    return np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)


def _mean(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    text = csv_text(header, rows)
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
