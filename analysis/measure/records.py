"""What one image contributes to the figures of a data set.

An ImageRecord holds sums per class, so that records are small, can be kept in files and add up in any order of work.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis import noise
from analysis.measure.image import ImageReport, compared_with, metric_map
from analysis.noise import ClassSums, DetectionScores, image_noise
from analysis.options import CONTROLS, STAGES, own_stages

# Which queries count: all of them, those at a border between labels or not, those that GR's class has right or wrong.
SPLITS = ("all", "boundary", "interior", "gr_right", "gr_wrong")
RECORD_METRICS = (*noise.METRICS, *DetectionScores._fields)


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """What one image contributes. S stages (controls among them), K classes that have a cell, T hollow thresholds.

    classes: K class indices, ascending. cells: K, labelled queries of each, 0 for a class that only keys have.
    totals, counts: SPLITS × S × RECORD_METRICS × K, the sum of a metric over the valid queries of a class, and their
    number. leakage_totals: S×K×K and leakage_queries: S×K, as in `noise.Leakage`.
    hollow_totals: S×K×T, sums of the hollow fraction at each threshold over the queries that "hollow_fraction" counts.
    emptied: S, rows. left_out: one for each of RECORD_METRICS, labelled queries without a value in some of the
    stages. queries: labelled queries. effective_keys: of every raw row that has them. detection_queries: labelled
    queries whose AUC and average precision were measured, 0 for none.
    noise_maps: stage -> h×w float32 interclass noise of each cell, NaN undefined.
    options: gate, lr_kernel, lr_weights and temperature, as `attention_rows` takes them. image_sha256: as in Capture.
    group, place: where the image comes from, as the data set's Origin says; None where that is not known.
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
    distinct_argmax_keys: float
    detection_queries: int
    detection_sampled: bool
    noise_maps: dict[str, np.ndarray]
    options: dict[str, Any]
    image_sha256: str | None
    group: str | None = None
    place: int | None = None


def image_record(report: ImageReport) -> ImageRecord:
    """Gather one image's queries by class and split.

    The stages are compared on the queries that are valid in all of them; a control on those that are valid in them
    and in itself, so that no control takes a query away from the method's own figures.
    """
    labels = report.labels.ravel()
    effective_keys = report.stages["raw"].effective_keys
    labelled = labels[labels != report.ignore_index]
    known = labelled if report.key_labels is None else report.key_labels[report.key_labels != report.ignore_index]
    classes = np.union1d(labelled, known)
    cells = np.bincount(np.searchsorted(classes, labelled), minlength=len(classes))
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
        effective_keys=effective_keys[np.isfinite(effective_keys)],
        query_dependence=report.query_dependence,
        distinct_argmax_keys=report.distinct_argmax_keys,
        detection_queries=int((labels[detected] != report.ignore_index).sum()),
        detection_sampled=report.detection_sampled,
        noise_maps={
            stage: metric_map(report, stage, "interclass_noise").astype(np.float32) for stage in own_stages(stages)
        },
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


def _class_sums(
    report: ImageReport, stage: str, selected: np.ndarray
) -> tuple[dict[str, ClassSums], int, dict[str, int]]:
    """metric -> ClassSums of one stage over the selected queries; its emptied rows; metric -> queries left out."""
    compared = compared_with(stage, report.stages)
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
    valid = np.all(
        [np.isfinite(report.stages[name].hollow_fraction) for name in compared_with(stage, report.stages)], axis=0
    )
    member = (report.labels.ravel() == classes[:, None]) & valid  # K×N
    return member.astype(np.float64) @ np.where(valid[:, None], report.hollow_curve[stage], 0)
