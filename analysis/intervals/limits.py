"""Means of images with intervals that keep their promise: 95 % of them hold the truth, for few images and for videos.

A figure of a data set is a mean over images, or over images for each class and then over classes (the macro mean).
Images of one drive or scene resemble each other, so an interval needs *parts* that can be taken as independent
(`analysis.intervals.parts`).

A part's error is what its images add to the mean by differing from their class's mean. The variance of the mean is the
sum of the squared errors, raised for each class by k / (k − 1) if k parts have it, so that rare classes count in full.
The limits are by bootstrap-t for many images or groups, by Student's t with its skewness corrected for few images and
for very many, and by Student's t for few groups and for blocks. `python -m benchmarks.intervals` shows how often they
hold the truth: less than 95 % for very skewed values, and where images stay alike over more than a tenth of a sequence.

- Hall, "On the removal of skewness by transformation", 1992.
- Bell, McCaffrey, "Bias reduction in standard errors for linear regression with multi-stage samples", 2002: degrees of
  freedom where a few parts bear most of the weight.
"""

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from analysis.intervals.parts import (
    LARGEST,
    LEAST_PARTS,
    Cut,
    Sample,
    images_by_class,
    numbers,
    require_seed,
    sample_of,
    speaks_of,
    too_few,
)

# Blocks of an interval: four degrees of freedom are kept.
CUT = Cut(least=4, most=20, each=1)
LEAST_BOOTSTRAP = 20  # parts
MOST_BOOTSTRAP = 300  # of more the corrected Student's t says the same, in a hundredth of the time
RESAMPLES = 4000


class Interval(NamedTuple):
    """The mean of a sample of images and the limits of its interval, both None where there is none, for `reason`.

    method: in words. speaks_of: what the interval is about, such as "images like these" or "this one sequence".
    images: that have a value. groups: of these images; each is its own where none were given. parts: taken as
    independent. effective_images: independent images that would give as narrow an interval, at most `images`; None
    without one. block_length: images in a block, None without blocks.
    """

    mean: float
    low: float | None
    high: float | None
    level: float
    method: str
    speaks_of: str
    reason: str | None
    images: int
    groups: int
    parts: int
    effective_images: float | None
    block_length: float | None


def mean_interval(
    values: ArrayLike,
    groups: Sequence[Hashable] | np.ndarray | None = None,
    order: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean of `values` over images with its interval; for paired differences pass the differences.

    values: n, or n×classes for the macro mean: over the images that have a class, then over classes. NaN: absent; an
    image without any value and a class without any are left out.
    groups: the group of each image (drive, scene, folder). None: one sequence where `order` is given, else every image
    is independent. order: the image's place in its group, only compared; None: images stand in order.
    level: 0 … 1, of how many samples the interval is to hold the truth. seed: of the bootstrap, a whole number from 0.
    Raises ValueError for shapes that do not fit, infinite values and values beyond 1e100, values of which none is
    finite, masked arrays, groups or an order with None or NaN for an image that has a value, and a level or a seed that
    is none.
    """
    table, kept = images_by_class(numbers(values, "values"))
    sample = sample_of(table, kept, groups, order, CUT)
    mean = float(np.nanmean(table, axis=0).mean())
    return _interval(mean, table, sample, level, seed)


def ratio_interval(
    numerator: ArrayLike,
    denominator: ArrayLike,
    groups: Sequence[Hashable] | np.ndarray | None = None,
    order: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The ratio of two means over the same images, such as noise × chance; `mean` is the ratio.

    numerator, denominator: as the values of `mean_interval`; what one lacks is left out of both. The denominator's mean
    should be many of its standard errors away from 0: the interval is that of a straight line through it.
    Raises ValueError as `mean_interval` does, and for a denominator whose mean is 0.
    """
    above, below = numbers(numerator, "the numerator's values"), numbers(denominator, "the denominator's values")
    if above.shape != below.shape:
        raise ValueError(
            f"numerator and denominator are {above.shape} and {below.shape}; their shapes must be the same"
        )
    both = np.isfinite(above) & np.isfinite(below)
    above, kept = images_by_class(np.where(both, above, np.nan))
    below, _ = images_by_class(np.where(both, below, np.nan))
    base = float(np.nanmean(below, axis=0).mean())
    if base == 0 or np.nanmax(np.abs(above)) > LARGEST * abs(base):
        raise ValueError(f"the denominator's mean is {base:.2g}; there is no ratio")
    ratio = float(np.nanmean(above, axis=0).mean()) / base
    return _interval(ratio, (above - ratio * below) / base, sample_of(above, kept, groups, order, CUT), level, seed)


# --- from parts to limits ---------------------------------------------------------------------------------------------


class _Spread(NamedTuple):
    """errors: what each part adds to the mean's error. variance: of the mean, with its degrees of freedom."""

    errors: np.ndarray
    variance: float
    freedom: float


def _interval(mean: float, table: np.ndarray, sample: Sample, level: float, seed: int) -> Interval:
    _require_level(level)
    require_seed(seed)
    images, parts = len(table), len(sample.stratum_of)
    length = images / parts if sample.kind == "blocks" else None
    spread, reason = None, None
    if parts < LEAST_PARTS:
        reason = too_few(images, sample)
    else:
        spread = _spread(table, sample.part_of, sample.stratum_of)
        if spread is None:
            reason = f"no class is in two {sample.kind}: nothing tells how much they differ"
    low = high = effective = None
    method = "none"
    if spread is not None:
        method, low, high = _limits(mean, spread, sample, level, seed)
        effective = float(images)
        if parts < images and spread.variance > 0:
            alone = _spread(table, np.arange(images), sample.stratum_of[sample.part_of])
            effective *= min(alone.variance / spread.variance, 1) if alone else 1
    return Interval(
        mean,
        low,
        high,
        level,
        method,
        speaks_of(images, sample),
        reason,
        images,
        sample.groups,
        parts,
        effective,
        length,
    )


def _require_level(level: float) -> None:
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"level is {level!r}; it must be a number between 0 and 1, such as 0.95")


def _spread(table: np.ndarray, part_of: np.ndarray, stratum_of: np.ndarray) -> _Spread | None:
    """How the parts of a sample differ; None where no class is in two parts of a stratum.

    A class that is in no two parts of a stratum says nothing of its own spread; it is given that of the others.
    """
    parts, classes, strata = len(stratum_of), table.shape[1], int(stratum_of.max()) + 1
    present = np.isfinite(table)
    totals, counts = np.where(present, table, 0), present.astype(np.float64)
    if parts < len(table):
        member = (part_of == np.arange(parts)[:, None]).astype(np.float64)
        totals, counts = member @ totals, member @ counts
    images = counts.sum(axis=0)
    errors = (totals - counts * (totals.sum(axis=0) / images)) / images  # parts×classes, of the class's mean
    shares = counts / images
    holds = counts > 0
    holding = holds.sum(axis=0)
    lost = np.array([holds[stratum_of == stratum].any(axis=0) for stratum in range(strata)]).sum(axis=0)
    known = holding > lost
    if not known.any():
        return None
    # The errors of a class around its own mean are too small by one part in each stratum.
    errors = errors[:, known] * np.sqrt(holding[known] / (holding - lost)[known])
    of_part = errors.sum(axis=1) / classes
    centre = np.bincount(stratum_of, of_part) / np.bincount(stratum_of)
    of_part = of_part - centre[stratum_of]
    typical = ((errors**2).sum(axis=0) / (shares[:, known] ** 2).sum(axis=0)).mean()  # variance of a part's class mean
    variance = of_part @ of_part + typical * ((shares[:, ~known].sum(axis=1) / classes) ** 2).sum()
    # What the parts weigh in the variance if half of it is the image's and half the class's own.
    weights = (shares**2).sum(axis=1) + shares.sum(axis=1) ** 2
    freedom = weights.sum() ** 2 / (weights**2).sum() * (1 - strata / parts)
    return _Spread(of_part, float(variance), max(float(freedom), 1))


def _limits(mean: float, spread: _Spread, sample: Sample, level: float, seed: int) -> tuple[str, float, float]:
    """The method in words and the limits."""
    parts, error = len(sample.stratum_of), math.sqrt(spread.variance)
    over = f"over {parts} {sample.kind}"
    if error == 0:
        return f"Student's t {over}", mean, mean
    student = student_quantile(spread.freedom, level)
    if sample.kind != "blocks" and LEAST_BOOTSTRAP <= parts <= MOST_BOOTSTRAP:
        low, high = _bootstrap_t(spread.errors / error, level, seed)
        # The bootstrap knows of so many parts, not of what each weighs.
        stretch = student / student_quantile(parts - 1, level) * error
        if math.isfinite(low) and math.isfinite(high):
            return f"bootstrap-t {over}", mean - high * stretch, mean - low * stretch
    few = sample.kind == "groups" and parts < LEAST_BOOTSTRAP
    if few or sample.kind == "blocks":  # their means are less skewed, and too few to tell
        return f"Student's t {over}", mean - student * error, mean + student * error
    skewness = float(((spread.errors / error) ** 3).sum())  # of the mean
    low, high = (_undo_skewness(t, skewness) for t in (-student, student))
    return f"Student's t {over}, skewness corrected", mean - high * error, mean - low * error


def _undo_skewness(t: float, skewness: float) -> float:
    """Hall's cubic transformation backwards: from what is distributed as Student's t to the studentised mean."""
    if abs(skewness) < 1e-6:
        return t
    return 3 / skewness * (math.cbrt(1 + skewness * (t - skewness / 6)) - 1)


def _bootstrap_t(errors: np.ndarray, level: float, seed: int) -> tuple[float, float]:
    """Quantiles of the studentised mean of resampled errors; infinite where too many resamples have no spread."""
    drawn = errors.astype(np.float32)[_resamples(len(errors), seed)]
    mean = drawn.sum(axis=1)
    variance = np.einsum("rp,rp->r", drawn, drawn) - mean**2 / len(errors)
    studentised = np.where(mean < 0, -np.inf, np.inf)
    spread = variance > 1e-4
    studentised[spread] = mean[spread] / np.sqrt(variance[spread])
    low, high = np.quantile(studentised, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return float(low), float(high)


def _resamples(parts: int, seed: int) -> np.ndarray:
    """Which parts are in each resample: RESAMPLES×parts."""
    return (_random_words(seed)[:, :parts] * np.uint64(parts) >> np.uint64(32)).astype(np.intp)


@lru_cache(maxsize=2)
def _random_words(seed: int) -> np.ndarray:
    """RESAMPLES×MOST_BOOTSTRAP whole numbers below 2³², out of which every number of parts is drawn."""
    return np.random.default_rng(seed).integers(0, 2**32, (RESAMPLES, MOST_BOOTSTRAP), np.uint64)


@lru_cache(maxsize=1024)
def student_quantile(freedom: float, level: float) -> float:
    """The t that Student's distribution of `freedom` ≥ 1 degrees of freedom exceeds, up or down, in 1 − level.

    t = √freedom · tan φ has a density in φ of cos φ to the power freedom − 1; right to six digits. Raises ValueError.
    """
    _require_level(level)
    if not isinstance(freedom, Real) or not freedom >= 1:
        raise ValueError(f"freedom is {freedom!r}; it must be a number of degrees of freedom, 1 or more")
    freedom = min(freedom, 1e4)
    angles = np.linspace(0, min(np.pi / 2, 10 / math.sqrt(freedom)), 6001)  # what lies beyond is under 1e-20
    density = np.cos(angles) ** (freedom - 1)
    cumulative = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(freedom) * math.tan(np.interp(level, cumulative / cumulative[-1], angles))
