"""Tests of paired differences by sign flips: two networks, or two stages, on the same images.

If neither is better, a difference is as likely to have the other sign. So each independent part (an image, a group, a
block of neighbouring images) is flipped, and p is the share of all flips whose mean is as far from 0 as the one found:
exactly for few parts, by FLIPS random ones for many. With k parts no p is below 2 / 2^k, whatever the data say; that
limit is `least_p`, and where it is above 0.05 nothing can be shown at that level.

Images of few groups are cut into blocks as `analysis.intervals.parts` does, but into at least ten of them, since five
blocks allow no p below 0.06. Shorter blocks still resemble their neighbours, and the flipped means vary too little. For
lag-1 correlation ρ and blocks of L images their variance falls short by about 2ρ / ((1 − ρ²) L), so it is raised by
that. `python -m benchmarks.paired` shows how often p is below 0.05 where there is no difference.

- Fisher, "The Design of Experiments", 1935, §21: flipping the signs of paired differences.
- Phipson, Smyth, "Permutation p-values should never be zero", 2010: the found order counts among the random ones.
- Canay, Romano, Shaikh, "Randomization tests under an approximate symmetry assumption", 2017: a few long parts.
- Holm, "A simple sequentially rejective multiple test procedure", 1979.
"""

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from analysis.intervals.limits import mean_interval
from analysis.intervals.parts import LEAST_PARTS, Cut, Sample, images_by_class, numbers, sample_of, speaks_of, too_few

BLOCKS = Cut(least=10, most=40)
MOST_EXACT = 12  # parts of which all flips are tried
FLIPS = 4999
CHUNK = 256  # parts whose signs are drawn at once
MOST_CORRELATION = 0.95
ROUNDING = 1e-9


class PairedTest(NamedTuple):
    """The mean of second − first over images, its interval, and the test of whether it is 0.

    low, high: of `mean_interval`, None where there is none. p: None where there is no test, for `reason`. least_p: the
    smallest that p could have been with so many parts. effect: the mean of the images' own differences in units of
    their standard deviation (Cohen's d of paired values), None where they do not differ. method, speaks_of: in words.
    images: that have a difference. parts: taken as independent, of which all can be flipped.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    least_p: float | None
    effect: float | None
    method: str
    speaks_of: str
    reason: str | None
    images: int
    parts: int


def paired_test(
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[Hashable] | np.ndarray | None = None,
    order: ArrayLike | None = None,
    seed: int = 0,
) -> PairedTest:
    """Whether `second` differs from `first` on the same images, two-sided.

    first, second: n, or n×classes for the macro mean; what one lacks (NaN) is left out of both. groups, order, seed: as
    in `mean_interval`. Raises ValueError as `mean_interval` does, and for shapes that differ.
    """
    before, after = numbers(first, "the first values"), numbers(second, "the second values")
    if before.shape != after.shape:
        raise ValueError(f"first and second are {before.shape} and {after.shape}; their shapes must be the same")
    interval = mean_interval(after - before, groups, order, seed=seed)
    table, kept = images_by_class(after - before)
    sample = sample_of(table, kept, groups, order, BLOCKS)
    parts = len(sample.stratum_of)
    about = speaks_of(len(table), sample)
    figures = interval.mean, interval.low, interval.high
    effect = _effect(np.nanmean(table, axis=1))
    if parts < LEAST_PARTS:
        return PairedTest(*figures, None, None, effect, "none", about, too_few(len(table), sample), len(table), parts)
    shares = _shares(table)
    p = _p_value(np.bincount(sample.part_of, shares), _shortfall(shares, sample), seed)
    flips = "all" if parts <= MOST_EXACT else f"{FLIPS:,} random"
    method = f"{flips} sign flips of {parts} {sample.kind}"
    least = max(2.0 ** (1 - parts), 0 if parts <= MOST_EXACT else 1 / (FLIPS + 1))
    return PairedTest(*figures, p, least, effect, method, about, None, len(table), parts)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values of several tests corrected by Holm's method, so that the chance of any false one is as each says alone.

    None, where there is no test, stays None and does not count. Raises ValueError for what is no p-value.
    """
    for p in p_values:
        if p is not None and not (isinstance(p, Real) and 0 <= p <= 1):
            raise ValueError(f"a p-value is {p!r}; it must be a number from 0 to 1, or None where there is no test")
    corrected: list[float | None] = [None] * len(p_values)
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[place] = largest
    return corrected


def _shares(table: np.ndarray) -> np.ndarray:
    """What each image adds to the macro mean: their sum is that mean."""
    present = np.isfinite(table)
    return (np.where(present, table, 0) / present.sum(axis=0)).sum(axis=1) / table.shape[1]


def _effect(differences: np.ndarray) -> float | None:
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    mean = float(differences.mean())
    return mean / spread if spread > ROUNDING * abs(mean) else None


def _shortfall(shares: np.ndarray, sample: Sample) -> float:
    """What the variance of flipped blocks lacks, as a share of it; 0 for other parts."""
    if not sample.runs:
        return 0.0
    products = squares = 0.0
    for run in sample.runs:
        own = shares[run] - shares[run].mean()
        products += float(own[1:] @ own[:-1])
        squares += float(own @ own)
    if squares == 0:
        return 0.0
    images = sum(map(len, sample.runs))
    # The correlation of values around their own mean is too low by about (1 + 4ρ) / n a run.
    bias = len(sample.runs) / images
    correlation = min(max((products / squares + bias) / (1 - 4 * bias), 0), MOST_CORRELATION)
    length = len(shares) / len(sample.stratum_of)
    return 2 * correlation / (1 - correlation**2) / length


def _p_value(parts: np.ndarray, shortfall: float, seed: int) -> float:
    """The share of flips whose sum is as far from 0 as the sum of `parts`. Parts of 0 have no sign to flip."""
    parts = parts[parts != 0]
    if not len(parts):
        return 1.0
    found = abs(parts.sum()) * (1 - ROUNDING)
    stretch = math.sqrt(1 + shortfall)
    if len(parts) <= MOST_EXACT:
        return float((stretch * np.abs(_every_sign(len(parts)) @ parts) >= found).mean())
    flipped = np.zeros(FLIPS)
    for chunk, start in enumerate(range(0, len(parts), CHUNK)):
        own = parts[start : start + CHUNK]
        flipped += _random_signs(seed, chunk)[:, : len(own)] @ own
    return float((1 + (stretch * np.abs(flipped) >= found).sum()) / (1 + FLIPS))


@lru_cache(maxsize=MOST_EXACT)
def _every_sign(parts: int) -> np.ndarray:
    """All signs of `parts` parts, 2^(parts − 1)×parts: the first is kept, since flipping all changes no distance."""
    numbers = np.arange(2 ** (parts - 1))[:, None]
    return 1.0 - 2.0 * (numbers >> np.arange(parts) & 1)[:, ::-1]


@lru_cache(maxsize=8)
def _random_signs(seed: int, chunk: int) -> np.ndarray:
    """FLIPS×CHUNK random signs."""
    return 1.0 - 2.0 * np.random.default_rng((seed, chunk)).integers(0, 2, (FLIPS, CHUNK))
