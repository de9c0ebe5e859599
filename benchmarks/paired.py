"""How often analysis.intervals.paired_test says "different" where nothing differs, and where something does.

    python -m benchmarks.paired [--sets 2000] [--seed 0] [--only "101 of one sequence" …]

Data sets are drawn as in benchmarks.intervals. Under the null, `gaussian` differences have mean 0; `networks` are two
networks whose skewed values in 0 … 1 come from the same distribution, half of their variance the image's own; `classes`
are such values of 11 classes, the rarest in one image of twenty. 5 % of the p-values should be below 0.05 (with 2000
sets a share is right to ±0.01). `shifted`: Gaussian differences whose mean is 0.6 of their standard deviation, of which
the more the better are found. Beside them sign flips over images, which take all images as independent.
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from analysis.intervals import paired_test
from benchmarks.intervals import CLASS_CENTRES, LAYOUTS, Layout, offsets, presence, skewed, standard_normal

SHIFT = 0.6
NAMES = (
    "101 of one sequence",
    "233 of 2 drives",
    "200 of 20 groups",
    "101 independent",
    "10 independent",
    "50 of one sequence",
    "101 of one sequence, ρ = 0",
    "101 of one sequence, ρ = 0.85",
    "200 of 5 drives",
)
Pair = tuple[np.ndarray, np.ndarray]


def draw_gaussian(rng: np.random.Generator, layout: Layout) -> Pair:
    values = standard_normal(rng, layout)[:, 0]
    return np.zeros_like(values), values


def draw_shifted(rng: np.random.Generator, layout: Layout) -> Pair:
    first, second = draw_gaussian(rng, layout)
    return first, second + SHIFT


def draw_networks(rng: np.random.Generator, layout: Layout) -> Pair:
    first, second = skewed(standard_normal(rng, layout, 2) + offsets(layout), 0.15).T
    return first, second


def draw_classes(rng: np.random.Generator, layout: Layout) -> Pair:
    present = presence(rng, layout)
    pair = [skewed(standard_normal(rng, layout, len(CLASS_CENTRES)), np.array(CLASS_CENTRES)) for _ in range(2)]
    first, second = (np.where(present, values, np.nan) for values in pair)
    return first, second


FIGURES: dict[str, Callable[[np.random.Generator, Layout], Pair]] = {
    "gaussian": draw_gaussian,
    "networks": draw_networks,
    "classes": draw_classes,
    "shifted": draw_shifted,
}


class Found(NamedTuple):
    """Shares of the data sets with p below 0.05 and below 0.01; by flips of single images; seconds for one test."""

    at_5: float
    at_1: float
    over_images: float
    seconds: float


def found(layout: Layout, figure: str, sets: int, seed: int = 0, *, over_images: bool = True) -> Found:
    rng = np.random.default_rng(seed)
    p_values, of_images, seconds = [], [], 0.0
    for _ in range(sets):
        first, second = FIGURES[figure](rng, layout)
        start = time.process_time()
        tested = paired_test(first, second, layout.groups)
        seconds += time.process_time() - start
        assert tested.p is not None
        p_values.append(tested.p)
        if over_images:
            of_images.append(paired_test(first, second).p)
    below = np.array(p_values)
    alone = float(np.mean([p is not None and p <= 0.05 for p in of_images])) if of_images else float("nan")
    return Found(float((below <= 0.05).mean()), float((below <= 0.01).mean()), alone, seconds / sets)


def main() -> None:
    parser = argparse.ArgumentParser(description="How often sign flips find a difference, by simulation.")
    parser.add_argument("--sets", type=int, default=2000, help="simulated pairs for each figure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=LAYOUTS, default=list(NAMES), metavar="LAYOUT")
    arguments = parser.parse_args()
    print(f"{'':30}{'':>10}{'p ≤ 0.05':>10}{'p ≤ 0.01':>10}{'over images':>13}{'CPU ms':>8}")
    for name in arguments.only:
        for figure in FIGURES:
            each = found(LAYOUTS[name], figure, arguments.sets, arguments.seed)
            print(
                f"{name:30}{figure:>10}{each.at_5:10.3f}{each.at_1:10.3f}{each.over_images:13.3f}"
                f"{1000 * each.seconds:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
