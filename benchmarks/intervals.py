"""How often the intervals of analysis.intervals hold the truth, by simulation, and how wide they are.

    python -m benchmarks.intervals [--sets 2000] [--seed 0] [--only "101 of one sequence" …]

Every data set is drawn anew from a world whose mean is known; 95 % of the intervals should hold it. With 2000 sets a
coverage is right to ±0.01. Width: of the least interval that a mean of such images could have (1.96 standard errors as
the sets show them); 1 is what one would have who knew the standard error. Beside it the percentile bootstrap over
images, which takes all images as independent.

Images depend on each other as AR(1) of lag-1 correlation ρ within a sequence, or by half of their variance being their
group's. Values: `mean` Gaussian; `skewed` in 0 … 1, logit-normal, most of them near 0; `macro` such values of 11
classes, the rarest in one image of twenty, half of the variance the image's and half the class's; in runs of 12
neighbouring images where images are in order; `paired` differences of two networks' skewed values; `ratio` of skewed
values to a chance that varies as well. Drives have means of their own, about which the interval over drives' blocks
does speak; clusters have too, and the interval over them speaks of the world that they come from.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from analysis.intervals import Interval, mean_interval, ratio_interval

LEVEL = 0.95
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
CLASS_CENTRES = tuple(np.linspace(0.1, 0.6, 11).tolist())
CLASS_SHARES = np.array([1, 1, 1, 1, 0.9, 0.8, 0.6, 0.3, 0.15, 0.08, 0.05])  # of images that have the class
RUN = 12  # neighbouring images that have a rare class
DRIVE_OFFSET = 0.5  # in standard deviations of an image
RESAMPLES = 300  # of the bootstrap to compare with


class Layout(NamedTuple):
    """sizes: images in each group. kind: independent | sequences | clusters. target: the least coverage of a mean."""

    sizes: tuple[int, ...]
    kind: str
    correlation: float = 0.66
    target: float = math.nan

    @property
    def groups(self) -> np.ndarray | None:
        return None if self.kind == "independent" else np.repeat(np.arange(len(self.sizes)), self.sizes)


LAYOUTS = {
    "101 of one sequence": Layout((101,), "sequences", target=0.90),
    "233 of 2 drives": Layout((62, 171), "sequences", target=0.90),
    "200 of 20 groups": Layout((10,) * 20, "clusters", target=0.92),
    "101 independent": Layout((101,), "independent", target=0.94),
    "5 independent": Layout((5,), "independent", target=0.93),
    "3 independent": Layout((3,), "independent"),
    "10 independent": Layout((10,), "independent"),
    "1000 independent": Layout((1000,), "independent"),
    "20 independent": Layout((20,), "independent"),
    "30 of one sequence": Layout((30,), "sequences"),
    "50 of one sequence": Layout((50,), "sequences"),
    "101 of one sequence, ρ = 0": Layout((101,), "sequences", 0.0),
    "101 of one sequence, ρ = 0.85": Layout((101,), "sequences", 0.85),
    "200 of 5 drives": Layout((40,) * 5, "sequences"),
    "88 of 4 short drives": Layout((22,) * 4, "sequences"),
    "60 of 12 unequal groups": Layout((1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 10, 15), "clusters"),
}


class DataSet(NamedTuple):
    """values and, for a ratio, denominator: images, or images×classes; truth: what the interval should hold."""

    values: np.ndarray
    truth: float
    denominator: np.ndarray | None = None


def standard_normal(rng: np.random.Generator, layout: Layout, columns: int = 1) -> np.ndarray:
    """images×columns of mean 0 and variance 1, dependent as the layout says; half of the variance is each column's."""
    drawn = [_dependent(rng, layout, 1)] + ([_dependent(rng, layout, columns)] if columns > 1 else [])
    return sum(drawn) / math.sqrt(len(drawn))


def _dependent(rng: np.random.Generator, layout: Layout, columns: int) -> np.ndarray:
    noise = rng.standard_normal((sum(layout.sizes), columns))
    if layout.kind == "clusters":
        own = rng.standard_normal((len(layout.sizes), columns))
        return (np.repeat(own, layout.sizes, axis=0) + noise) / math.sqrt(2)
    if layout.kind == "sequences":
        fresh = math.sqrt(1 - layout.correlation**2)
        starts = set(np.cumsum((0, *layout.sizes)).tolist())
        for image in range(len(noise)):
            if image not in starts:
                noise[image] = layout.correlation * noise[image - 1] + fresh * noise[image]
    return noise


def skewed(latent: np.ndarray, centre: np.ndarray | float) -> np.ndarray:
    """Logit-normal values in 0 … 1, of which half lie below `centre`."""
    return 1 / (1 + np.exp(-(1.2 * latent + np.log(centre / (1 - centre)))))


def offsets(layout: Layout) -> np.ndarray:
    """What each image's drive adds to its latent value, images×1: always the same for a drive."""
    if layout.kind != "sequences":
        return np.zeros((sum(layout.sizes), 1))
    spread = DRIVE_OFFSET * (np.arange(len(layout.sizes)) % 2 - 0.5) if len(layout.sizes) > 1 else np.zeros(1)
    return np.repeat(spread, layout.sizes)[:, None]


@lru_cache
def expected(layout: Layout, centres: tuple[float, ...]) -> np.ndarray:
    """The means of the skewed values: images×centres."""
    values = [skewed(node + offsets(layout), np.array(centres)) for node in NODES]
    return np.tensordot(WEIGHTS / WEIGHTS.sum(), np.array(values), 1)


def draw_mean(rng: np.random.Generator, layout: Layout) -> DataSet:
    values = standard_normal(rng, layout) + offsets(layout)
    return DataSet(values[:, 0], float(offsets(layout).mean()))


def draw_skewed(rng: np.random.Generator, layout: Layout) -> DataSet:
    values = skewed(standard_normal(rng, layout) + offsets(layout), 0.12)
    return DataSet(values[:, 0], float(expected(layout, (0.12,)).mean()))


def draw_macro(rng: np.random.Generator, layout: Layout) -> DataSet:
    present = presence(rng, layout)
    values = skewed(standard_normal(rng, layout, len(CLASS_CENTRES)) + offsets(layout), np.array(CLASS_CENTRES))
    means = expected(layout, CLASS_CENTRES)
    return DataSet(np.where(present, values, np.nan), macro(np.where(present, means, np.nan)))


def draw_paired(rng: np.random.Generator, layout: Layout) -> DataSet:
    """Two networks' values: half of the variance is the image's and the same for both."""
    centres = 0.12, 0.2
    first, second = skewed(standard_normal(rng, layout, 2) + offsets(layout), np.array(centres)).T
    means = expected(layout, centres).mean(axis=0)
    return DataSet(second - first, float(means[1] - means[0]))


def draw_ratio(rng: np.random.Generator, layout: Layout) -> DataSet:
    centres = 0.12, 0.7
    noise, chance = skewed(standard_normal(rng, layout, 2) + offsets(layout), np.array(centres)).T
    means = expected(layout, centres).mean(axis=0)
    return DataSet(noise, float(means[0] / (0.5 + 0.45 * means[1])), 0.5 + 0.45 * chance)


FIGURES: dict[str, Callable[[np.random.Generator, Layout], DataSet]] = {
    "mean": draw_mean,
    "skewed": draw_skewed,
    "macro": draw_macro,
    "paired": draw_paired,
    "ratio": draw_ratio,
}


def presence(rng: np.random.Generator, layout: Layout) -> np.ndarray:
    """Which classes each image has: bool images×classes."""
    images = sum(layout.sizes)
    if layout.kind == "independent":
        return rng.random((images, len(CLASS_SHARES))) < CLASS_SHARES
    runs = -(-images // RUN)
    held = rng.random((runs, len(CLASS_SHARES))).argsort(axis=0) < np.maximum(1, np.round(CLASS_SHARES * runs))
    return np.repeat(held, RUN, axis=0)[:images]


def macro(table: np.ndarray) -> float:
    table = table.reshape(len(table), -1)
    table = table[:, np.isfinite(table).any(axis=0)]
    return float(np.nanmean(table, axis=0).mean())


def interval(data: DataSet, layout: Layout) -> Interval:
    if data.denominator is not None:
        return ratio_interval(data.values, data.denominator, layout.groups, level=LEVEL)
    return mean_interval(data.values, layout.groups, level=LEVEL)


def over_images(data: DataSet, weights: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap over images, weights: resamples×images."""

    def resampled(values: np.ndarray) -> np.ndarray:
        table = values.reshape(len(values), -1)
        present = np.isfinite(table)
        drawn = weights @ present
        held = drawn > 0
        means = np.divide(weights @ np.where(present, table, 0), drawn, out=np.zeros(drawn.shape), where=held)
        return means.sum(axis=1) / np.maximum(held.sum(axis=1), 1)

    values = resampled(data.values)
    if data.denominator is not None:
        values = values / resampled(data.denominator)
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


class Coverage(NamedTuple):
    """held: share of the intervals that hold the truth. width: half of an interval in the least one's. given: share of
    the data sets that have an interval at all. bootstrap: `held` by the bootstrap over images. seconds: for one."""

    held: float
    width: float
    given: float
    bootstrap: float
    seconds: float


def coverage(layout: Layout, figure: str, sets: int, seed: int = 0, *, bootstrap: bool = True) -> Coverage:
    rng = np.random.default_rng(seed)
    images = sum(layout.sizes)
    weights = rng.multinomial(images, np.full(images, 1 / images), RESAMPLES).astype(np.float64)
    held, widths, misses, of_bootstrap, seconds = 0, [], [], 0, 0.0
    for _ in range(sets):
        data = FIGURES[figure](rng, layout)
        start = time.perf_counter()
        found = interval(data, layout)
        seconds += time.perf_counter() - start
        misses.append(found.mean - data.truth)
        if found.low is not None and found.high is not None:
            held += found.low <= data.truth <= found.high
            widths.append((found.high - found.low) / 2)
        if bootstrap:
            low, high = over_images(data, weights)
            of_bootstrap += low <= data.truth <= high
    least = 1.96 * float(np.std(misses))
    given = len(widths)
    width = float(np.median(widths)) / least if given else math.nan
    return Coverage(held / max(given, 1), width, given / sets, of_bootstrap / sets, seconds / sets)


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of 95 % intervals by simulation.")
    parser.add_argument("--sets", type=int, default=2000, help="simulated data sets for each figure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=LAYOUTS, default=list(LAYOUTS), metavar="LAYOUT")
    arguments = parser.parse_args()
    print(f"{'':30}{'':>8}{'coverage':>9}{'target':>8}{'width':>7}{'given':>7}{'bootstrap':>11}{'ms':>7}")
    for name in arguments.only:
        layout = LAYOUTS[name]
        for figure in FIGURES:
            found = coverage(layout, figure, arguments.sets, arguments.seed)
            target = f"{layout.target:8.2f}" if figure == "mean" and layout.target > 0 else " " * 8
            print(
                f"{name:30}{figure:>8}{found.held:9.3f}{target}{found.width:7.2f}{found.given:7.2f}"
                f"{found.bootstrap:11.3f}{1000 * found.seconds:7.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
