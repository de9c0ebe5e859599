"""The records of images side by side: tables images×classes of each metric, stage and split."""

from collections.abc import Sequence

import numpy as np

from analysis.measure.records import RECORD_METRICS, SPLITS, ImageRecord
from analysis.noise import Leakage


class Tables:
    """The records side by side; a table is images×classes. stages: those that all records have."""

    def __init__(self, records: Sequence[ImageRecord], num_classes: int, min_cells: int):
        self.records, self.num_classes = records, num_classes
        self.stages = [stage for stage in records[0].stages if all(stage in record.stages for record in records)]
        self.enough_cells = self._spread([record.cells for record in records]) >= min_cells

    def table(self, split: str, stage: str, metric: str) -> np.ndarray:
        """Mean over a class's valid queries, NaN where it has too few cells or no valid query."""
        return self._means(*self._sums(split, stage, metric))

    def hollow_table(self, stage: str, threshold: int) -> np.ndarray:
        """Like `table`, for the hollow fraction at one of HOLLOW_THRESHOLDS, given by its place."""
        totals = [record.hollow_totals[record.stages.index(stage), :, threshold] for record in self.records]
        return self._means(self._spread(totals), self._sums("all", stage, "hollow_fraction")[1])

    def micro_mean(self, split: str, stage: str, metric: str) -> float | None:
        """The mean over all valid queries."""
        total, count = self._sums(split, stage, metric)
        return float(total.sum() / count.sum()) if count.any() else None

    def emptied(self, stage: str) -> int:
        """Emptied rows of a stage in all images."""
        return int(sum(record.emptied[record.stages.index(stage)] for record in self.records))

    def query_dependence(self) -> float | None:
        """The mean over the images that have one; None where none has."""
        known = [record.query_dependence for record in self.records if np.isfinite(record.query_dependence)]
        return float(np.mean(known)) if known else None

    def leakage(self, stage: str) -> Leakage:
        """The leakage matrix of a stage over all images."""
        leaks = Leakage(np.zeros((self.num_classes, self.num_classes)), np.zeros(self.num_classes, np.int64))
        for record in self.records:
            place = record.stages.index(stage)
            leaks.total[np.ix_(record.classes, record.classes)] += record.leakage_totals[place]
            leaks.queries[record.classes] += record.leakage_queries[place]
        return leaks

    def _sums(self, split: str, stage: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        part, column = SPLITS.index(split), RECORD_METRICS.index(metric)
        places = [(record, record.stages.index(stage)) for record in self.records]
        totals = [record.totals[part, place, column] for record, place in places]
        counts = [record.counts[part, place, column] for record, place in places]
        return self._spread(totals), self._spread(counts)

    def _means(self, total: np.ndarray, count: np.ndarray) -> np.ndarray:
        return np.where(self.enough_cells, divide(total, count), np.nan)

    def _spread(self, by_class: Sequence[np.ndarray]) -> np.ndarray:
        """Values of each record's own classes, put into columns for all classes; 0 elsewhere."""
        spread = np.zeros((len(self.records), self.num_classes), by_class[0].dtype)
        for row, record, values in zip(spread, self.records, by_class, strict=True):
            row[record.classes] = values
        return spread


def divide(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """total / count, NaN where the count is 0."""
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
