"""Where pixels and attention cells lie on each other.

The network resizes with `align_corners=True`: the corner pixels of the image lie on the corner cells of the map, so
image row y of H falls into cell row round(y·(h−1)/(H−1)) of h; columns alike. Sizes are (height, width) throughout.
"""

import numpy as np


def pixel_to_cell(y: int, x: int, image_size: tuple[int, int], cells: tuple[int, int]) -> tuple[int, int]:
    """The (row, column) of the cell into which pixel (y, x) falls. Raises ValueError for a pixel off the image."""
    _require_inside("pixel", (y, x), image_size, "image")
    rows, columns = (_cell_of_pixels(*sides) for sides in zip(image_size, cells, strict=True))
    return int(rows[y]), int(columns[x])


def cell_to_pixel(row: int, column: int, image_size: tuple[int, int], cells: tuple[int, int]) -> tuple[int, int]:
    """The pixel (y, x) nearest to the centre of a cell. Raises ValueError for a cell off the map."""
    _require_inside("cell", (row, column), cells, "map")
    y, x = (
        _round(index * (pixels - 1) / (count - 1)) if count > 1 else (pixels - 1) // 2
        for index, pixels, count in zip((row, column), image_size, cells, strict=True)
    )
    return y, x


def cell_centres(image_size: tuple[int, int], cells: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the centres of the cells lie, in pixels: h rows y and w columns x, float64, not rounded."""
    y, x = (
        np.linspace(0, pixels - 1, count) if count > 1 else np.array([(pixels - 1) / 2])
        for pixels, count in zip(image_size, cells, strict=True)
    )
    return y, x


def map_extent(image_size: tuple[int, int], cells: tuple[int, int]) -> tuple[float, float, float, float]:
    """The edges (left, right, bottom, top) of a map's cells in pixels; it covers a little more than the image.

    Pixel (y, x) covers y − ½ … y + ½ and x − ½ … x + ½. A single row or column of cells is as long as the image.
    """
    (top, bottom), (left, right) = (_edges(*sides) for sides in zip(image_size, cells, strict=True))
    return left, right, bottom, top


def cell_labels(labels: np.ndarray, cells: tuple[int, int], num_classes: int, ignore_index: int) -> np.ndarray:
    """The most frequent label among each cell's pixels, ties to the lowest class.

    labels: H×W integer; a value outside 0 … num_classes − 1, or equal to `ignore_index`, means "ignore", which has a
    vote like any class (the last in a tie). Returns h×w int64, `ignore_index` where ignore wins or no pixel falls.
    """
    if labels.ndim != 2:
        raise ValueError(f"labels are {labels.shape}; they must be H×W")
    rows, columns = (_cell_of_pixels(*sides) for sides in zip(labels.shape, cells, strict=True))
    values = labels.astype(np.int64)
    ignored = (values < 0) | (values >= num_classes) | (values == ignore_index)
    candidates = np.where(ignored, num_classes, values)
    count = cells[0] * cells[1]
    cell = rows[:, None] * cells[1] + columns[None, :]  # H×W
    votes = np.bincount((cell * (num_classes + 1) + candidates).ravel(), minlength=count * (num_classes + 1))
    votes = votes.reshape(count, num_classes + 1)
    winner = votes.argmax(axis=1)
    winner[(winner == num_classes) | (votes.sum(axis=1) == 0)] = ignore_index
    return winner.reshape(cells)


def spread_labels(labels: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """One label a cell, painted on the cell's pixels: h×w -> H×W; `cell_labels` undoes it where every cell has one."""
    rows, columns = (_cell_of_pixels(*sides) for sides in zip(image_size, labels.shape, strict=True))
    return labels[rows[:, None], columns]


def _cell_of_pixels(pixels: int, count: int) -> np.ndarray:
    """The cell index of each pixel along one side of `pixels` pixels and `count` cells: int64 of length `pixels`."""
    if pixels == 1 or count == 1:
        return np.zeros(pixels, np.int64)
    # Half rounds up. In whole numbers, so that no rounding error moves a pixel that lies exactly between two cells.
    return (2 * np.arange(pixels) * (count - 1) + (pixels - 1)) // (2 * (pixels - 1))


def _edges(pixels: int, count: int) -> tuple[float, float]:
    """Where the first of `count` cells along a side of `pixels` pixels begins and the last one ends."""
    if count == 1:
        return -0.5, pixels - 0.5
    half = (pixels - 1) / (count - 1) / 2
    return -half, pixels - 1 + half


def _round(value: float) -> int:
    return int(np.floor(value + 0.5))


def _require_inside(what: str, position: tuple[int, int], size: tuple[int, int], where: str) -> None:
    if not all(0 <= index < side for index, side in zip(position, size, strict=True)):
        raise ValueError(
            f"{what} ({position[0]}, {position[1]}) is off the {where}, which has {size[0]} rows and {size[1]} columns"
        )
