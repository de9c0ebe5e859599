"""Means over images and classes with their intervals, of images that may come from the same drive, scene or folder."""

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from analysis.intervals import Interval, PairedTest, mean_interval, paired_test, ratio_interval
from analysis.measure.records import ImageRecord
from analysis.noise import macro_means
from dnl.datasets import Origin

LEVEL = 0.95
NOTHING = {"mean": None, "low": None, "high": None}
# What stands beside them where they are tested, and what of it classes have.
NO_TEST = dict.fromkeys("test" if name == "method" else name for name in PairedTest._fields[3:])
CLASS_TEST = ("mean", "low", "high", "p", "effect", "images")
Range = tuple[float, float]
ANY: Range = (-math.inf, math.inf)


class Grouping(NamedTuple):
    """Which images resemble each other, as `analysis.intervals` takes it.

    groups: of each image, None where all are independent; an image without a group is one of its own. order: the place
    of each image in its group, None where images stand in order.
    """

    groups: Sequence[Hashable] | None = None
    order: list[int] | None = None


def grouping_of(records: Iterable[ImageRecord | Origin]) -> Grouping:
    """The grouping of records or origins, of which each has a group, none has, or some have."""
    origins = [Origin(record.group, record.place) for record in records]
    if all(origin.group is None for origin in origins):
        return Grouping()
    groups = [origin.group if origin.group is not None else (index,) for index, origin in enumerate(origins)]
    places = [origin.place for origin in origins if origin.place is not None]
    return Grouping(groups, places if len(places) == len(origins) else None)


class Estimate(NamedTuple):
    """A table's figures, ready for JSON: mean, low and high of the macro mean, and of each class in it with the number
    of its images. low and high are None where there is no interval."""

    macro: dict
    classes: dict[int, dict]


class Estimator:
    """Means of tables images×classes, NaN where an image lacks a class, with 95 % intervals.

    min_images: that a class needs to count. seed: as in `mean_interval`. within: what the values can be at all; an
    interval ends there.
    """

    def __init__(self, grouping: Grouping, min_images: int, seed: int = 0):
        self.grouping, self.min_images, self.seed = grouping, min_images, seed

    def estimate(self, table: np.ndarray, within: Range = ANY) -> Estimate:
        """The macro mean and the classes in it."""
        shown = self._shown(table)
        classes = {
            int(column): {**self._entry(table[:, column], within), "images": int(np.isfinite(table[:, column]).sum())}
            for column in shown
        }
        return Estimate(self.macro(table, within), classes)

    def macro(self, table: np.ndarray, within: Range = ANY) -> dict:
        """The macro mean alone."""
        shown = self._shown(table)
        return self._entry(table[:, shown], within) if shown.size else dict(NOTHING)

    def test(self, first: np.ndarray, second: np.ndarray) -> Estimate:
        """The macro mean of second − first with the test of whether it is 0, and the classes in it likewise."""
        shown = self._shown(second - first)
        if not shown.size:
            return Estimate({**NOTHING, **NO_TEST}, {})
        classes = {
            int(column): {
                name: value
                for name, value in self._tested(first[:, column], second[:, column]).items()
                if name in CLASS_TEST
            }
            for column in shown
        }
        return Estimate(self._tested(first[:, shown], second[:, shown]), classes)

    def macro_mean(self, table: np.ndarray) -> float | None:
        """The macro mean without its interval."""
        means = macro_means(table, min_images=self.min_images)
        known = means[np.isfinite(means)]
        return float(known.mean()) if known.size else None

    def interval(self, table: np.ndarray) -> Interval | None:
        """The macro mean's interval with all that is known of it; None where no class counts."""
        shown = self._shown(table)
        return self._interval(table[:, shown]) if shown.size else None

    def ratio(self, table: np.ndarray, chance: np.ndarray) -> Interval | None:
        """The macro mean over that of chance, which is of the same images and classes; None where that is 0."""
        shown = self._shown(table)
        base = chance[:, shown]
        if not shown.size or not np.nanmax(np.abs(base)) > 0:
            return None
        return ratio_interval(table[:, shown], base, *self.grouping, level=LEVEL, seed=self.seed)

    def _shown(self, table: np.ndarray) -> np.ndarray:
        return np.flatnonzero(np.isfinite(macro_means(table, min_images=self.min_images)))

    def _interval(self, values: np.ndarray) -> Interval:
        return mean_interval(values, *self.grouping, level=LEVEL, seed=self.seed)

    def _tested(self, first: np.ndarray, second: np.ndarray) -> dict:
        found = paired_test(first, second, *self.grouping, seed=self.seed)._asdict()
        return {"test" if name == "method" else name: value for name, value in found.items()}

    def _entry(self, values: np.ndarray, within: Range) -> dict:
        return entry(self._interval(values), within)


def entry(found: Interval, within: Range = ANY) -> dict:
    """Mean, low and high of an interval, cut off where the values must end."""
    low, high = (None if limit is None else min(max(limit, within[0]), within[1]) for limit in (found.low, found.high))
    return {"mean": found.mean, "low": low, "high": high}


def interval_facts(found: Interval | None, grouping: Grouping, seed: int) -> dict:
    """What is known of an interval besides its limits, as JSON values. groups: None where images have none."""
    facts: dict = {"level": LEVEL, "seed": seed}
    if found is None:
        reason = "no class has enough images for a mean"
        return (
            facts
            | dict.fromkeys(("method", "speaks_of", "images", "groups", "parts", "effective_images", "block_length"))
            | {"reason": reason}
        )
    return facts | {
        "method": found.method,
        "speaks_of": found.speaks_of,
        "reason": found.reason,
        "images": found.images,
        "groups": None if grouping.groups is None else found.groups,
        "parts": found.parts,
        "effective_images": found.effective_images,
        "block_length": found.block_length,
    }
