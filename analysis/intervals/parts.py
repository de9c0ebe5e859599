"""The parts of a sample that can be taken as independent: images, groups, or blocks of neighbouring images.

Images of one drive or scene resemble each other, so:

    images without groups            the images themselves
    LEAST_GROUPS groups or more      the groups
    fewer groups, in order           blocks of neighbouring images, long enough to forget each other

Politis, White, "Automatic block-length selection for the dependent bootstrap", 2004, corrected by Patton, Politis,
White, 2009: how far images resemble their neighbours. Blocks here are BLOCK_LENGTHS times that length, so that their
means are nearly independent. Bootstraps of blocks of that length cover 83 % where intervals over these cover 93 % (101
images of one sequence, lag-1 correlation 0.66).
"""

import math
import operator
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

LARGEST = 1e100  # value: the squares and cubes of larger ones may leave the numbers there are
LEAST_PARTS = 3  # independent parts that an interval or a test needs
LEAST_GROUPS = 10  # for an interval over groups rather than within them
LEAST_SEQUENCE = 30  # images that a group needs to be cut into blocks
BLOCK_LENGTHS = 3.0  # a block in lengths of Politis and White


class Cut(NamedTuple):
    """How many blocks long groups are cut into at least and at most, all together; `each`: so many more for each."""

    least: int
    most: int
    each: int = 0


def numbers(values: ArrayLike, name: str) -> np.ndarray:
    """Values of images as float64, NaN where there is none: n, or n×classes. name: of what they are, for messages.

    Raises ValueError for what is no table of numbers, masked entries, and numbers beyond LARGEST.
    """
    if np.ma.is_masked(values):
        raise ValueError(f"{name} are a masked array; give NaN where an image has no value, as by .filled(numpy.nan)")
    try:
        table = np.asarray(values)
        if table.dtype.kind not in "biufO":
            raise TypeError(f"they are of the kind {table.dtype}")
        table = table.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} are no real numbers ({error}); give one a image, or images×classes") from error
    if table.ndim not in (1, 2):
        raise ValueError(f"{name} are {table.shape}; they must be one a image, or images×classes")
    if np.isinf(table).any():
        raise ValueError(f"{name} must be finite, or NaN where an image has none")
    if (largest := np.abs(table).max(initial=0, where=~np.isnan(table))) > LARGEST:
        raise ValueError(f"{name} reach {largest:.2g}; they can be reckoned with up to {LARGEST:.0g}: divide them")
    return table


def require_seed(seed: int) -> None:
    """Refuse, by ValueError, what is no whole number from 0 up: nobody could draw the same again."""
    try:
        whole = not isinstance(seed, bool | np.bool_) and operator.index(seed) >= 0
    except TypeError:
        whole = False
    if not whole:
        raise ValueError(f"seed is {seed!r}; it must be a whole number, 0 or more")


def images_by_class(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values, as `numbers` gives them, as images×classes without empty rows and columns, and which images stayed:
    bool of length n. Raises ValueError where there is no value."""
    table = values[:, None] if values.ndim == 1 else values
    present = np.isfinite(table)
    if not present.any():
        raise ValueError(f"none of {table.size} values is a number; there is no mean")
    kept = np.asarray(present.any(axis=1))
    return table[kept][:, present.any(axis=0)], kept


class Sample(NamedTuple):
    """part_of: the part of each image. stratum_of: the stratum of each part; parts are compared with those of their
    stratum. kind: images | groups | blocks. runs: the images, in order, of each group that is cut into blocks."""

    part_of: np.ndarray
    stratum_of: np.ndarray
    groups: int
    kind: str
    runs: tuple[np.ndarray, ...] = ()


def sample_of(
    table: np.ndarray,
    kept: np.ndarray,
    groups: Sequence[Hashable] | np.ndarray | None,
    order: ArrayLike | None,
    cut: Cut,
) -> Sample:
    """The images that stayed in `table`, cut into parts. Raises ValueError for groups and an order that are none."""
    images = len(table)
    places = np.arange(images) if order is None else _ranks(_one_each("order", order, kept))
    labels: Iterable[Hashable] = range(images) if order is None else [0] * images
    if groups is not None:
        labels = _one_each("groups", groups, kept)
    number: dict[Hashable, int] = {}
    group_of = np.array([number.setdefault(label, len(number)) for label in labels])
    if len(number) == images:
        return Sample(np.arange(images), np.zeros(images, int), images, "images")
    whole = Sample(group_of, np.zeros(len(number), int), len(number), "groups")
    if len(number) >= LEAST_GROUPS:
        return whole
    runs = [np.flatnonzero(group_of == group) for group in range(len(number))]
    runs = [run[np.argsort(places[run])] for run in runs]
    return _blocks(table, runs, cut) or whole


def _one_each(name: str, given: Any, kept: np.ndarray) -> list:
    """The entries of the images that stayed.

    Raises ValueError unless every image has one, and where one that stayed has None, NaN or what has no hash.
    """
    if np.ma.is_masked(given):
        raise ValueError(f"{name} is a masked array; it needs an entry for each image")
    try:
        entries = list(given)
    except TypeError as error:
        raise ValueError(f"{name} is {given!r}; it must be a sequence with an entry for each image") from error
    if len(entries) != len(kept):
        raise ValueError(f"{name} has {len(entries)} entries for {len(kept)} images; it needs one for each")
    entries = [entry for entry, stays in zip(entries, kept, strict=True) if stays]
    for entry in entries:
        try:
            hash(entry)
            missing = entry is None or bool(entry != entry)
        except TypeError as error:  # pandas' NA is neither equal nor other
            raise ValueError(
                f"{name} holds {entry!r}; an entry must be a number, a text or a tuple of these"
            ) from error
        if missing:
            raise ValueError(f"{name} holds {entry!r} for an image; give each image a number or a text")
    return entries


def _ranks(entries: list) -> np.ndarray:
    """The place of each entry among all; equal ones in order. Raises ValueError where they cannot be compared."""
    try:
        places = sorted(range(len(entries)), key=entries.__getitem__)
    except TypeError as error:
        raise ValueError(f"order holds what cannot be compared ({error}); give numbers or texts alone") from error
    return np.argsort(places)


def _blocks(table: np.ndarray, runs: Sequence[np.ndarray], cut: Cut) -> Sample | None:
    """The sample in blocks; None where no group is long enough.

    runs: the images of each group in order. Blocks are compared within their group. Groups that are too short are
    one block each and are compared with each other; one alone is compared with the blocks of the largest group.
    """
    long = [run for run in runs if len(run) >= LEAST_SEQUENCE]
    if not long:
        return None
    images = sum(map(len, long))
    longest = images / (cut.least + cut.each * len(long))
    length = float(np.clip(BLOCK_LENGTHS * alike_length(table, long), images / cut.most, longest))
    short = len(runs) - len(long)
    largest = int(np.argmax([len(run) for run in runs]))
    part_of = np.zeros(len(table), int)
    strata: list[int] = []
    for group, run in enumerate(runs):
        is_long = len(run) >= LEAST_SEQUENCE
        for block in np.array_split(run, max(2, round(len(run) / length)) if is_long else 1):
            part_of[block] = len(strata)
            strata.append(group if is_long else largest if short == 1 else -1)
    return Sample(part_of, np.unique(strata, return_inverse=True)[1], len(runs), "blocks", tuple(long))


def alike_length(table: np.ndarray, runs: Sequence[np.ndarray]) -> float:
    """The block length of Politis and White (circular), in images, from all classes and runs together."""
    images = sum(map(len, runs))
    patience = max(5, math.ceil(math.sqrt(math.log10(images))))
    furthest = min(math.ceil(math.sqrt(images)) + patience, max(map(len, runs)) - 1)
    products, pairs = np.zeros(furthest + 1), np.zeros(furthest + 1)
    for run in runs:
        present = np.isfinite(table[run])
        count = np.maximum(present.sum(axis=0), 1)
        values = np.where(present, table[run], 0)
        values = np.where(present, values - values.sum(axis=0) / count, 0)
        for lag in range(min(furthest + 1, len(run))):
            products[lag] += (values[lag:] * values[: len(run) - lag]).sum()
            pairs[lag] += (present[lag:] & present[: len(run) - lag]).sum()
    if products[0] <= 0:
        return 1.0
    correlation = products / np.maximum(pairs, 1) / (products[0] / pairs[0])
    small = np.abs(correlation[1:]) < 2 * math.sqrt(math.log10(images) / images)
    starts = (lag for lag in range(furthest - patience + 1) if small[lag : lag + patience].all())
    last = next(starts, int(np.flatnonzero(~small).max(initial=0)) + 1)
    lags = np.arange(1, min(2 * max(last, 1), furthest) + 1)
    weights = np.minimum(1, 2 * (1 - lags / len(lags))) * correlation[lags]
    spread, slope = 1 + 2 * weights.sum(), 2 * (lags * weights).sum()
    longest = min(3 * math.sqrt(images), images / 3)
    return float(np.clip((1.5 * images * (slope / spread) ** 2) ** (1 / 3), 1, longest)) if spread > 0 else 1.0


def speaks_of(images: int, sample: Sample) -> str:
    """What figures of a sample are about, such as "images like these" or "this one sequence"."""
    if sample.kind == "blocks" or sample.groups == 1 < images:
        return "this one sequence" if sample.groups == 1 else f"these {sample.groups} groups"
    return f"{sample.kind} like these"


def too_few(images: int, sample: Sample) -> str:
    """Why a sample of fewer than LEAST_PARTS parts has neither interval nor test."""
    if sample.kind == "images":
        return f"{images} image{'s' * (images > 1)}: an interval needs {LEAST_PARTS}"
    which = "one sequence" if sample.groups == 1 else f"{sample.groups} groups"
    needed = f"{LEAST_SEQUENCE} images of one sequence, or {LEAST_PARTS} groups"
    return f"{images} images of {which}: an interval needs {needed}"
