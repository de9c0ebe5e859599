"""Attention noise, defined and computed: arrays in, numbers out.

Of a query (`analysis.query_noise`, where the definitions stand), of a map (`analysis.map_noise`), and of the classes of
an image or a data set (`analysis.class_noise`). The published method names two noises in words; the formulas here are
this project's own definitions.
"""

from analysis.class_noise import (
    MIN_CELLS,
    MIN_IMAGES,
    ClassSums,
    ImageNoise,
    MetricSummary,
    class_table,
    image_noise,
    macro_means,
    summarise,
    times_chance,
)
from analysis.detection import DetectionScores
from analysis.map_noise import (
    Leakage,
    argmax_keys,
    distinct_argmax_keys,
    leakage,
    leakage_from_sums,
    mean_dependence,
    query_dependence,
    query_pairs,
    row_divergences,
)
from analysis.query_noise import (
    EMPTIED,
    HOLLOW_THRESHOLD,
    METRICS,
    QueryMetrics,
    QuerySets,
    RowSums,
    concatenate,
    defined_scores,
    detection_scores,
    has_noise,
    metrics_from_sums,
    query_metrics,
    query_sets,
)

__all__ = [
    "EMPTIED",
    "HOLLOW_THRESHOLD",
    "METRICS",
    "MIN_CELLS",
    "MIN_IMAGES",
    "ClassSums",
    "DetectionScores",
    "ImageNoise",
    "Leakage",
    "MetricSummary",
    "QueryMetrics",
    "QuerySets",
    "RowSums",
    "argmax_keys",
    "class_table",
    "concatenate",
    "defined_scores",
    "detection_scores",
    "distinct_argmax_keys",
    "has_noise",
    "image_noise",
    "leakage",
    "leakage_from_sums",
    "macro_means",
    "mean_dependence",
    "metrics_from_sums",
    "query_dependence",
    "query_metrics",
    "query_pairs",
    "query_sets",
    "row_divergences",
    "summarise",
    "times_chance",
]
