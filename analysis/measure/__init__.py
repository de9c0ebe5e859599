"""Attention to numbers: of all queries of one image, and of a data set."""

from analysis.measure.by_head import HEAD_METRICS, Head, head_records, heads_summary, stages_of, unlike_classes
from analysis.measure.data_set import (
    GROUP_METRICS,
    classes_of_few_cells,
    data_set_summary,
    least_images,
    measured_images,
    range_of,
)
from analysis.measure.differences import NOISE_METRICS, checkpoint_differences
from analysis.measure.estimates import Estimator, grouping_of, interval_facts
from analysis.measure.heads import HeadNoise, noise_of_heads
from analysis.measure.image import (
    ImageReport,
    MeasureOptions,
    UnlabelledError,
    measure_capture,
    metric_map,
    worst_queries,
)
from analysis.measure.pooling import network_spread, pooled
from analysis.measure.records import RECORD_METRICS, SPLITS, ImageRecord, image_record

__all__ = [
    "GROUP_METRICS",
    "HEAD_METRICS",
    "NOISE_METRICS",
    "RECORD_METRICS",
    "SPLITS",
    "Estimator",
    "Head",
    "HeadNoise",
    "ImageRecord",
    "ImageReport",
    "MeasureOptions",
    "UnlabelledError",
    "checkpoint_differences",
    "classes_of_few_cells",
    "data_set_summary",
    "grouping_of",
    "head_records",
    "heads_summary",
    "image_record",
    "interval_facts",
    "least_images",
    "measure_capture",
    "measured_images",
    "metric_map",
    "network_spread",
    "noise_of_heads",
    "pooled",
    "range_of",
    "stages_of",
    "unlike_classes",
    "worst_queries",
]
