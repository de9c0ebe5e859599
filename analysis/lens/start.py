"""The pixel that the lens shows before anyone has chosen one."""

from collections.abc import Sequence

import numpy as np

from analysis.capture import Capture
from analysis.maps import attention_rows
from analysis.noise import query_metrics

# Cells of each class that are tried, and how many of the noisiest are followed through GR and LR: enough to find noise
# where there is some, few enough not to be waited for.
TRIED_PER_CLASS = 48
FOLLOWED = 48
# How much less of a query's attention must fall on other classes in the end for the method to be seen at work.
LEAST_MENDED = 0.02
# A class that fills more of the image than this is background: no place for the eye to start.
BACKGROUND_SHARE = 0.2


def starting_pixel(capture: Capture) -> tuple[int, int]:
    """The pixel (y, x) to start on: its cell lies inside a region of its class (its 8 neighbours agree).

    Of some cells of each class, spread evenly over the image, the one whose interclass noise falls most from the raw
    to the retained map under the model's own GR and LR, and to little. Where none falls by LEAST_MENDED, the cell
    nearest to the image's centre, preferring classes that are no background; the central cell where there is no such
    cell. Of queries without a place (0, number): the first one that has a class, else the first one. Worked out once
    for a capture. Raises ValueError where there is no image.
    """
    return capture.remembered("starting pixel", _starting_pixel)


def places_of(captures: Sequence[Capture]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the pixels at which all captures, of one image, have a query.

    Queries without a place are the pixels (0, 0) … (0, Q − 1).
    """
    parts = [(0, 0, *each.cells) if each.query_names is not None else each.grid.seen for each in captures]
    tops, lefts, heights, widths = zip(*parts, strict=True)
    top, left = max(tops), max(lefts)
    bottom = min(start + side for start, side in zip(tops, heights, strict=True))
    right = min(start + side for start, side in zip(lefts, widths, strict=True))
    return top, left, bottom - top, right - left


def _starting_pixel(capture: Capture) -> tuple[int, int]:
    labels = capture.reference_labels
    if capture.query_names is not None:
        return 0, 0 if labels is None else int((labels != capture.ignore_index).argmax())
    cell = ((capture.height - 1) // 2, (capture.width - 1) // 2)
    if labels is not None:
        inside = inside_regions(labels) & (labels != capture.ignore_index)
        if inside.any():
            mended = _most_mended(capture, labels, inside)
            cell = _most_central(labels, inside) if mended is None else divmod(mended, capture.width)
    return capture.grid.pixel_at(*cell)


def inside_regions(labels: np.ndarray) -> np.ndarray:
    """h×w bool: the cell and its 8 neighbours share one label; cells at the rim of the map never do."""
    height, width = labels.shape
    padded = np.pad(labels.astype(np.int64), 1, constant_values=-1)
    neighbours = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.all([neighbour == labels for neighbour in neighbours], axis=0)


def _most_mended(capture: Capture, labels: np.ndarray, inside: np.ndarray) -> int | None:
    """The flat index of the tried cell whose interclass noise falls most and to little; None where none does."""
    if capture.key_size is not None or (capture.gate is None and capture.lr_kernel is None):
        return None

    def noise(rows: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Rounded, so that the last bits of another machine choose no other cell; −1 where it is undefined."""
        found = query_metrics(rows, labels, cells, ignore_index=capture.ignore_index).interclass_noise
        return np.nan_to_num(found, nan=-1.0).round(3)

    tried = np.concatenate(
        [_spread(np.flatnonzero(inside & (labels == label)), TRIED_PER_CLASS) for label in np.unique(labels[inside])]
    )
    raw = noise(attention_rows(capture, tried, gate=None, lr_kernel=None).raw, tried)
    noisiest = np.argsort(-raw, kind="stable")[:FOLLOWED]
    raw, tried = raw[noisiest], tried[noisiest]
    retained = noise(attention_rows(capture, tried).retained, tried)
    mended = np.where(retained >= 0, raw - retained, 0)
    best = int((mended * (1 - retained)).argmax())  # a map that stays noisy shows little
    return int(tried[best]) if mended[best] >= LEAST_MENDED else None


def _spread(cells: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the cells, evenly from the first to the last."""
    return cells[np.unique(np.linspace(0, len(cells) - 1, count).round().astype(int))]


def _most_central(labels: np.ndarray, inside: np.ndarray) -> tuple[int, int]:
    classes, counts = np.unique(labels, return_counts=True)
    small = inside & np.isin(labels, classes[counts <= BACKGROUND_SHARE * labels.size])
    candidates = np.argwhere(small if small.any() else inside)
    distances = ((candidates - (np.array(labels.shape) - 1) / 2) ** 2).sum(axis=1)
    row, column = candidates[distances.argmin()]
    return int(row), int(column)
