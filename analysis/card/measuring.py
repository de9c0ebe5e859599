"""Measuring what a checkpoint is worth, for its card.

Beside its scores, and those without the learnt attention (`dnl.evaluate`): the noise of the raw map, and of the
rectified and retained maps under every gate, the oracle and a constant box in LR's place among them; query dependence
and concentration.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from analysis import noise
from analysis.capture import Capture, capture_attention
from analysis.measure import (
    Estimator,
    ImageReport,
    MeasureOptions,
    grouping_of,
    interval_facts,
    measure_capture,
    range_of,
)
from analysis.noise import ImageNoise, MetricSummary, QueryMetrics, class_table, image_noise, summarise
from analysis.options import DEFAULT_LR_KERNEL, GATES
from dnl.checkpoints import load_checkpoint
from dnl.datasets import LabelledDataset, Origin, open_dataset
from dnl.network import SegmentationNetwork

# Of each gate in the card; box: retained with a constant box in place of LR's weights.
CARD_METRICS = ("interclass_noise", "hollow_fraction", "intraclass_noise", "kept_mass")
GATED_STAGES = ("rectified", "retained", "box")


class ImageMeasurement(NamedTuple):
    """One image's attention. `raw` holds the raw stage alone; `gates` the raw stage with those under each gate, all
    four compared on the same queries. effective_keys: of the raw row of every query for which they are defined."""

    raw: ImageNoise
    gates: dict[str, ImageNoise]
    effective_keys: np.ndarray
    query_dependence: float
    distinct_argmax_keys: int


def measure_image(capture: Capture, gates: Sequence[str] = GATES) -> ImageMeasurement:
    """All queries of one labelled image, every stage under each of `gates`, of which there must be one at least.

    A model without LR gets a window of DEFAULT_LR_KERNEL cells. Raises ValueError without labels.
    """
    if capture.cell_labels is None:
        raise ValueError(f"{capture.name!r} has no labels; noise is measured against labels")
    kernel = capture.lr_kernel or DEFAULT_LR_KERNEL
    reports = {gate: _measured(capture, gate, kernel) for gate in gates}
    labels, first = capture.cell_labels, next(iter(reports.values()))
    raw = first.stages["raw"]

    def noise_of(stages: Mapping[str, QueryMetrics]) -> ImageNoise:
        return image_noise(stages, labels, capture.num_classes)

    return ImageMeasurement(
        raw=noise_of({"raw": raw}),
        gates={
            gate: noise_of({stage: report.stages[stage] for stage in ("raw", *GATED_STAGES)})
            for gate, report in reports.items()
        },
        effective_keys=raw.effective_keys[np.isfinite(raw.effective_keys)],
        query_dependence=first.query_dependence,
        distinct_argmax_keys=first.distinct_argmax_keys,
    )


def _measured(capture: Capture, gate: str, kernel: int) -> ImageReport:
    options = MeasureOptions(gate=gate, lr_kernel=kernel, lr_weights="learnt", controls=("box",))
    return measure_capture(capture, options, detection=False)


def attention_metrics(
    images: Sequence[ImageMeasurement],
    class_names: Sequence[str],
    *,
    origins: Sequence[Origin] | None = None,
    min_cells: int = noise.MIN_CELLS,
    min_images: int = noise.MIN_IMAGES,
) -> dict:
    """The card's "attention", "gates", "query_dependence", "effective_keys" (median over all queries) and
    "distinct_argmax_keys" (mean an image) out of the measurements of at least one image.

    origins: the group and place of each, for the intervals; None where all are independent.
    """
    limits = {"min_cells": min_cells, "min_images": min_images}
    estimator = Estimator(grouping_of(origins or [Origin()] * len(images)), min_images)
    of_raw = [image.raw for image in images]
    raw = summarise(of_raw, **limits)["raw"]

    def entry(measured: Sequence[ImageNoise], stage: str, summary: Mapping[str, MetricSummary]) -> dict:
        tables = {metric: class_table(measured, stage, metric, min_cells=min_cells) for metric in CARD_METRICS}
        limits = {metric: estimator.macro(table, range_of(metric)) for metric, table in tables.items()}
        return _entry(summary, limits)

    gates = {}
    for gate in images[0].gates:
        of_gate = [image.gates[gate] for image in images]
        stages = summarise(of_gate, **limits)
        emptied = {stage: sum(image.emptied[stage] for image in of_gate) for stage in stages}
        entries = {stage: entry(of_gate, stage, summary) for stage, summary in stages.items()}
        gates[gate] = {**entries, "emptied": emptied}
    left_out = raw["interclass_noise"].left_out
    raw_table = class_table(of_raw, "raw", "interclass_noise", min_cells=min_cells)
    return {
        "attention": {
            "raw": entry(of_raw, "raw", raw),
            "intervals": interval_facts(estimator.interval(raw_table), estimator.grouping, estimator.seed),
            "images": len(images),
            "queries": raw["interclass_noise"].queries,
            "classes_left_out": {class_names[index]: count for index, count in left_out.items()},
        },
        "gates": gates,
        "query_dependence": float(np.mean([image.query_dependence for image in images])),
        "effective_keys": float(np.median(np.concatenate([image.effective_keys for image in images]))),
        "distinct_argmax_keys": float(np.mean([image.distinct_argmax_keys for image in images])),
    }


def _entry(summary: Mapping[str, MetricSummary], limits: Mapping[str, Mapping]) -> dict:
    """One stage in the card: macro means and their limits; interclass noise with its chance and its micro mean."""
    interclass = summary["interclass_noise"]
    entries = {
        metric: {"mean": summary[metric].mean, "low": limits[metric]["low"], "high": limits[metric]["high"]}
        for metric in CARD_METRICS
    }
    return {
        **entries,
        "interclass_noise": {
            **entries["interclass_noise"],
            "chance": summary["chance"].mean,
            "micro": interclass.micro,
            "micro_chance": summary["chance"].micro,
        },
    }


# --- a data set ------------------------------------------------------------------------------------------------------


def measure_attention(checkpoint: str, data: str, split: str, *, workers: int = 1) -> dict:
    """`attention_metrics` of a checkpoint over a split of CamVid, its images shared among `workers` processes."""
    dataset = open_dataset("camvid", data, split)
    names, count, origins = dataset.label_set.class_names, len(dataset), dataset.origins
    # Fresh processes: a fork of one in which torch has run threads can hang.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (checkpoint, data, split)) as pool:
        images = list(tqdm(pool.map(_measure_index, range(count)), desc="attention noise", total=count, leave=False))
    return {**attention_metrics(images, names, origins=origins), "attention_split": f"camvid {split}"}


# What a worker process works with.
_model: SegmentationNetwork
_dataset: LabelledDataset


def _start_worker(checkpoint: str, data: str, split: str) -> None:
    global _model, _dataset
    torch.set_num_threads(1)
    _model, _ = load_checkpoint(checkpoint)
    _dataset = open_dataset("camvid", data, split)


def _measure_index(index: int) -> ImageMeasurement:
    sample = _dataset[index]
    return measure_image(capture_attention(_model, sample.image, labels=sample.labels, name=sample.name, predict=False))
