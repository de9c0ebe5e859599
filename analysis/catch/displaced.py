"""How a map of cells lies over the images that the model was given, where not evenly: padded, cropped or mirrored
inside the model, cut into windows or tiles, or read off at places between the pixels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from analysis.catch.lineage import Move, Source
from analysis.catch.places import SPAN, Replay, Sources, constant_along, first_along


def aside_of(source: Source) -> str | None:
    """How the cells of this map lie on the images, in words to follow "its cells are"; None for evenly, and where
    nothing is known of it."""
    while (found := _below(source)) is not None:
        below, numbers = found
        if source.sampled:
            return "read off the image at places that the model chooses itself (grid_sample)"
        if numbers is not None and (words := _in_words(numbers, source, below)) is not None:
            return words
        source = below
    return None


def root_of(source: Source) -> Source | None:
    """The input of the model that this map comes from; None where that is not known."""
    while (found := _below(source)) is not None:
        source, _ = found
    return source if source.argument else None


def _below(source: Source) -> tuple[Source, Tensor | None] | None:
    """The map that this one was made of, and the numbers of its cells in the order in which they went in, images×h×w;
    None for the latter where all did as they lay."""
    place = source.parent
    while isinstance(place, Move) and place.kind == "widen":
        place = place.parents[0]
    if place is None or isinstance(place, Source):
        return None if place is None else (place, None)
    sources = Sources()
    numbers = Replay(0, sources).numbers(place)
    if numbers is None or not bool(numbers.any()):
        return None
    known = numbers[numbers > 0] - 1
    first, last = int(known.min()) // SPAN, int(known.max()) // SPAN
    if first != last:  # of several maps
        return None
    # Of an input whose channels do not lie where they were taken to, the cells are not known.
    misread = sources[first].given and numbers.ndim == 4 and not constant_along(numbers, 1)
    if numbers.ndim != 4 or misread:
        return sources[first], None
    return sources[first], first_along(numbers, 1) - first * SPAN


def _in_words(numbers: Tensor, source: Source, below: Source) -> str | None:
    """numbers: images×h×w, cell + 1 of a map below, 0 for none."""
    if len(below.axes) != 2:
        return None
    height, width = below.grid
    cells = numbers.long().numpy() - 1
    images, known = cells // (height * width), cells >= 0
    if not _are_images(images, cells % (height * width), known, below.shape[0]):
        return f"those of {len(cells)} windows or tiles that the model cuts {below.shape[0]} images into, one by one"
    own, told = cells[0] % (height * width), known[0]
    for line, lies, length, reach in (
        (_line(own // width, told, 1), "top to bottom", height, source.reach[0]),
        (_line(own % width, told, 0), "left to right", width, source.reach[1]),
    ):
        if line is None:
            return "not in the order of the image's pixels"
        if (words := _of_line(line, length, reach)) is not None:
            return f"those of the image {words}, {lies}"
    return None


def _are_images(images: np.ndarray, cells: np.ndarray, known: np.ndarray, count: int) -> bool:
    """Whether these are `count` images in their order, or as often as there are heads: each time the same cells."""
    number, again = np.arange(len(images)), len(images) // count
    if len(images) % count or (again > 1 and not ((cells == cells[0]) | ~known).all()):
        return False
    orders = (number // again, number % count)
    return any(not (images != order[:, None, None])[known].any() for order in orders)


def _line(along: np.ndarray, told: np.ndarray, axis: int) -> np.ndarray | None:
    """The one value of each row (axis 1) or column (axis 0), -1 for none; None where a row has several."""
    most = np.where(told, along, -1).max(axis)
    least = np.where(told, along, along.max(initial=0)).min(axis)
    return most if ((most == least) | ~told.any(axis)).all() else None


def _of_line(line: np.ndarray, length: int, reach: int) -> str | None:
    """How the rows or columns of a map went in, in words; None where all did, in their order, or every second, third …,
    or each twice, three times …

    What lies before the first and behind the last is a padding of the convolution's own where it reaches over it.
    """
    places = np.flatnonzero(line >= 0)
    inside = line[places]
    if len(line) % length == 0 and np.array_equal(inside, places // (len(line) // length)):
        return None  # each as often, in its place, though some may have been written over
    first, last = int(np.argmax(line == inside.min())), len(line) - 1 - int(np.argmax(line[::-1] == inside.max()))
    if first > last:
        return "mirrored"
    part = line[first : last + 1]
    step = int(part[1] - part[0]) if len(part) > 1 else max(length, 1)
    if step < 1 or not np.array_equal(part, np.arange(part[0], part[-1] + 1, step)):
        return "in another order"
    if part[0] >= step or part[-1] + step < length:
        return f"cropped to {part[0]} … {part[-1]} of its {length} pixels or cells"
    if max(first, len(line) - 1 - last) >= max(reach, 2):
        return f"padded from {len(part)} to {len(line)} pixels or cells"
    return None
