"""Attention noise, defined and computed: arrays in, numbers out.

Of a query (`analysis.noise.query`, where the definitions stand), of a map (`analysis.noise.whole_map`), and of the
classes of an image or a data set (`analysis.noise.classes`). The published method names two noises in words; the
formulas here are this project's own definitions.
"""

from analysis.noise.classes import (
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
from analysis.noise.detection import DetectionScores, marked_keys, rank_scores
from analysis.noise.query import (
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
from analysis.noise.whole_map import (
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
    "marked_keys",
    "mean_dependence",
    "metrics_from_sums",
    "query_dependence",
    "query_metrics",
    "query_pairs",
    "query_sets",
    "rank_scores",
    "row_divergences",
    "summarise",
    "times_chance",
]
