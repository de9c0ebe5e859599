"""Random attention of small maps, and reports on it, for the tests of this room."""

import numpy as np

from analysis import noise
from analysis.capture import Capture
from analysis.measure import ImageReport, data_set_summary
from analysis.measure.passes import HOLLOW_THRESHOLDS
from analysis.options import CONTROLS, STAGES
from dnl.classes import CAMVID

CLASSES = ("sky", "road", "car", "tree")
CELLS = (3, 5)
IGNORE = 9
EVERY = np.arange(15)


def make_report(seed, *, name=None, labels=None, detection=True, emptied=(), oracle_emptied=()):
    """A report on random attention; `emptied`: queries whose rectified row is empty, `oracle_emptied` likewise."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, IGNORE], CELLS, p=[0.4, 0.3, 0.2, 0.1]) if labels is None else labels
    rows = {stage: rng.random((15, 15)) ** 3 for stage in (*STAGES, *CONTROLS)}
    rows["rectified"][list(emptied)] = 0
    rows["oracle"][list(oracle_emptied)] = 0
    common = {"ignore_index": IGNORE}
    curve = {
        stage: np.stack(
            [
                noise.query_metrics(values, labels, EVERY, hollow_threshold=threshold, **common).hollow_fraction
                for threshold in HOLLOW_THRESHOLDS
            ],
            axis=1,
        ).astype(np.float32)
        for stage, values in rows.items()
    }
    return ImageReport(
        name=name or f"image-{seed}",
        cells=CELLS,
        labels=labels,
        label_source="ground truth",
        num_classes=4,
        ignore_index=IGNORE,
        stages={stage: noise.query_metrics(values, labels, EVERY, **common) for stage, values in rows.items()},
        leakage={
            stage: noise.leakage(values, labels, EVERY, num_classes=4, **common) for stage, values in rows.items()
        },
        hollow_curve=curve,
        detection={stage: noise.detection_scores(values, labels, EVERY, **common) for stage, values in rows.items()}
        if detection
        else {},
        detection_queries=EVERY,
        detection_sampled=False,
        boundary=rng.random(15) < 0.5,
        gr_right=rng.random(15) < 0.6,
        query_dependence=rng.random(),
        distinct_argmax_keys=int(rng.integers(1, 15)),
    )


def summary_of(records, **options):
    return data_set_summary(records, CLASSES, **{"min_cells": 2, "min_images": 2, **options})


def make_capture(height=7, width=12, *, seed=0, **changes):
    """Random attention on a small map: a common class, a rare one, one of a single cell, and ignored cells."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 3, 5, CAMVID.ignore_index], (height, width), p=[0.4, 0.3, 0.15, 0.05, 0.1])
    labels[0, 0] = 8
    parts = {
        "query": rng.normal(size=(6, height, width)).astype(np.float32),
        "key": rng.normal(size=(6, height, width)).astype(np.float32),
        "class_probs": rng.dirichlet(np.full(11, 0.3), (height, width)).transpose(2, 0, 1).astype(np.float32),
        "labels": labels,
        "label_set": CAMVID,
        "gate": "sigmoid",
        "lr_kernel": 3,
    }
    return Capture(**{**parts, **changes})
