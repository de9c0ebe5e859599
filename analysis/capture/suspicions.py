"""What is odd about arrays that are brought: said, or refused where hardly anybody can mean it."""

import math
from collections.abc import Sequence

import numpy as np

from dnl.classes import CAMVID, LabelSet
from dnl.codings import values_look_blended

# The public label sets in which a value other than 255, which always means no class, stands for none.
PUBLIC = (CAMVID,)

# How far the sum of a softmax's row may lie from 1.
SUM_TOLERANCE = 1e-3

# Of labels, in pixels: below it they are of cells, or so small that most borders have something thin beside them.
LEAST_SIDE = 64


def require_rows(attention: np.ndarray) -> None:
    """Raise ValueError for a map N×M whose columns sum to 1 while its rows do not: it may lie on its side."""
    rows, columns = attention.sum(axis=1), attention.sum(axis=0)
    if len(rows) > 1 and _off(columns) <= SUM_TOLERANCE < _off(rows):
        raise ValueError(
            f"the columns of attention sum to 1, and its rows to {_range(rows)}; row i must hold what cell i gives to "
            "the others: is it transposed? If so give it with its last two axes swapped, else divide its rows by their "
            "sums"
        )


def of_sums(sums: np.ndarray) -> tuple[str, ...]:
    """That rows with these sums are no distributions, if so."""
    if _off(sums) <= SUM_TOLERANCE:
        return ()
    return (f"the rows of the map sum to {_range(sums)}, not to 1; they stay as they are",)


def of_proportions(image_size: tuple[int, ...], cells: tuple[int, int]) -> tuple[str, ...]:
    """That the cells (height, width) cannot cover an image of this size evenly, if no size of a cell fits both sides
    to within one cell."""
    if _fits(image_size, cells):
        return ()
    height, width = cells
    swapped = f"; {width}×{height} would" if _fits(image_size, (width, height)) else ""
    return (
        f"the map's {height}×{width} cells do not fit the proportions of the {image_size[0]}×{image_size[1]} pixels "
        f"that they lie on{swapped}: if the model saw a crop, give crop=(top, left, height, width); if it padded the "
        "picture, pad it likewise",
    )


def of_few_pixels(size: tuple[int, ...], grids: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """That labels of this size, without an image, may have been meant one a cell. Raises ValueError where a grid has
    more cells than they have pixels on a side, so that some would have none."""
    given, *counts = ("×".join(map(str, shape)) for shape in (size, *grids))
    maps = " or ".join(dict.fromkeys(counts))
    for grid in grids:
        if any(pixels < count for pixels, count in zip(size, grid, strict=True)):
            raise ValueError(
                f"the labels are {given}, fewer than the map's {maps} cells; give one a cell, or one for each "
                "pixel of the image"
            )
    if all(pixels >= 2 * count for grid in grids for pixels, count in zip(size, grid, strict=True)):
        return ()
    return (
        f"the labels are {given}, hardly more than the map's {maps} cells, and are taken for those of an "
        "image's pixels: if they are meant one a cell, give them the size of the map",
    )


def set_ignoring(labels: Sequence[np.ndarray]) -> LabelSet | None:
    """The public label set whose value for no class is the largest value of labels that nobody named; None for none.

    Such labels hold as many classes as they name values, or one class less.
    """
    highest = max((int(array.max()) for array in labels if array.size), default=-1)
    return next((known for known in PUBLIC if known.ignore_index == highest), None)


def of_unnamed_labels(labels: Sequence[np.ndarray]) -> tuple[str, ...]:
    """That the last class of labels without a label set may be no class, if so."""
    known = set_ignoring(labels)
    if known is None:
        return ()
    return (
        f"the labels reach to {known.ignore_index}, which labels of {known.name} use for no class; here it counts as "
        f"a class: give the label set (label_set=dnl.classes.{known.name.upper()}), or one that names all "
        f"{known.ignore_index + 1} classes",
    )


def of_blended_labels(labels: np.ndarray, name: str) -> tuple[str, ...]:
    """That integer labels H×W on pixels hold, along borders, what smooth resizing leaves there, if so.

    name: "labels" or "prediction". Labels of few pixels, where most things are thin, tell nothing.
    """
    values = labels.clip(0, np.iinfo(np.uint16).max).astype(np.uint16)
    if min(labels.shape) < LEAST_SIDE or not values_look_blended(values):
        return ()
    return (
        f"along its borders the {name} map holds the classes in between, by their numbers, as smooth resizing leaves "
        "them, which the image processors of some networks do: resize it by nearest neighbour, unless these classes "
        "are there",
    )


def of_layers(shape: tuple[int, ...]) -> str:
    """What to do with an array of more axes than heads×queries×keys, to follow the sentence that refuses it."""
    if len(shape) == 4:
        return f": its first axis of {shape[0]} may be layers or images of a batch; give one of them"
    if len(shape) == 5:
        return f": its first axes of {shape[0]}×{shape[1]} may be layers and images; give one layer of one image"
    return ""


def _fits(image_size: tuple[int, ...], cells: tuple[int, int]) -> bool:
    least = max(pixels / (count + 1) for pixels, count in zip(image_size, cells, strict=True))
    most = min(pixels / (count - 1) if count > 1 else math.inf for pixels, count in zip(image_size, cells, strict=True))
    return least <= most


def _off(sums: np.ndarray) -> float:
    return float(np.abs(sums - 1).max(initial=0))


def _range(sums: np.ndarray) -> str:
    return f"{sums.min():.3g} … {sums.max():.3g}"
