"""Where pixels and attention cells lie on each other.

A network that resizes with `align_corners=True`, as ours do, lays the corner cells of a map on the corner pixels of the
image ("corners"): image row y of H falls into cell row round(y·(h−1)/(H−1)) of h. A cell of a transformer is a patch,
a block of pixels ("blocks"): row y falls into cell row floor(y·h/H). Columns alike. Sizes are (height, width)
throughout. `pixel_to_cell` and `cell_to_pixel` speak of corners.
"""

from dataclasses import dataclass

import numpy as np

PLACEMENTS = ("corners", "blocks")


@dataclass(frozen=True)
class Grid:
    """Cells of a map, and how they lie on an image.

    image_size: H×W pixels. cells: h×w. placement: one of PLACEMENTS. crop: (top, left, height, width) in pixels, the
    part of the image that the cells lie on, which is what the model saw; None for all of it. Raises ValueError for
    another placement and for a crop that leaves the image.
    """

    image_size: tuple[int, int]
    cells: tuple[int, int]
    placement: str = "corners"
    crop: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.placement not in PLACEMENTS:
            raise ValueError(f"placement is {self.placement!r}; choose one of {', '.join(PLACEMENTS)}")
        top, left, height, width = self.seen
        inside = top >= 0 and left >= 0 and top + height <= self.image_size[0] and left + width <= self.image_size[1]
        if min(height, width) < 1 or not inside:
            raise ValueError(
                f"the crop of {height}×{width} pixels from row {top}, column {left} leaves the image of "
                f"{self.image_size[0]}×{self.image_size[1]}; give (top, left, height, width) within it"
            )

    @property
    def seen(self) -> tuple[int, int, int, int]:
        """The crop; the whole image where there is none."""
        return (0, 0, *self.image_size) if self.crop is None else self.crop

    def cell_at(self, y: int, x: int) -> tuple[int, int]:
        """The (row, column) of the cell into which pixel (y, x) falls. Raises ValueError for a pixel off the cells."""
        _require_inside("pixel", (y, x), self.image_size, "image")
        top, left, height, width = self.seen
        if not (top <= y < top + height and left <= x < left + width):
            raise ValueError(
                f"pixel ({y}, {x}) is off the part that the model saw: rows {top} … {top + height - 1}, columns "
                f"{left} … {left + width - 1}"
            )
        rows, columns = self._cells_of_pixels()
        return int(rows[y - top]), int(columns[x - left])

    def pixel_at(self, row: int, column: int) -> tuple[int, int]:
        """The pixel (y, x) nearest to the centre of a cell. Raises ValueError for a cell off the map."""
        _require_inside("cell", (row, column), self.cells, "map")
        y, x = (
            start + _centre(index, pixels, count, self.placement)
            for index, start, pixels, count in zip((row, column), self.seen[:2], self.seen[2:], self.cells, strict=True)
        )
        return y, x

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the centres of the cells lie, in pixels: h rows y and w columns x, float64, not rounded."""
        y, x = (
            start + _centres(pixels, count, self.placement)
            for start, pixels, count in zip(self.seen[:2], self.seen[2:], self.cells, strict=True)
        )
        return y, x

    def extent(self) -> tuple[float, float, float, float]:
        """The edges (left, right, bottom, top) of the map's cells in pixels.

        Pixel (y, x) covers y − ½ … y + ½ and x − ½ … x + ½. Placed on corners, the cells cover a little more than the
        image; a single row or column of cells is as long as the image.
        """
        (top, bottom), (left, right) = (
            tuple(start + edge for edge in _edges(pixels, count, self.placement))
            for start, pixels, count in zip(self.seen[:2], self.seen[2:], self.cells, strict=True)
        )
        return left, right, bottom, top

    def votes(self, labels: np.ndarray, num_classes: int, ignore_index: int) -> np.ndarray:
        """The most frequent label among each cell's pixels, ties to the lowest class. Raises ValueError unless H×W.

        labels: H×W integer; a value outside 0 … num_classes − 1, or equal to `ignore_index`, means "ignore", which has
        a vote like any class (the last in a tie). Returns h×w int64, `ignore_index` where ignore wins or no pixel
        falls.
        """
        if labels.shape != tuple(self.image_size):
            raise ValueError(f"labels are {labels.shape}; they must be H×W")
        top, left, high, wide = self.seen
        rows, columns = self._cells_of_pixels()
        values = labels[top : top + high, left : left + wide].astype(np.int64)
        ignored = (values < 0) | (values >= num_classes) | (values == ignore_index)
        candidates = np.where(ignored, num_classes, values)
        count = self.cells[0] * self.cells[1]
        cell = rows[:, None] * self.cells[1] + columns[None, :]
        votes = np.bincount((cell * (num_classes + 1) + candidates).ravel(), minlength=count * (num_classes + 1))
        votes = votes.reshape(count, num_classes + 1)
        winner = votes.argmax(axis=1)
        winner[(winner == num_classes) | (votes.sum(axis=1) == 0)] = ignore_index
        return winner.reshape(self.cells)

    def spread(self, labels: np.ndarray, outside: int) -> np.ndarray:
        """One label a cell, painted on the cell's pixels: h×w -> H×W, `outside` beyond the crop.

        `votes` undoes it where every cell has a pixel.
        """
        top, left, high, wide = self.seen
        rows, columns = self._cells_of_pixels()
        painted = np.full(self.image_size, outside, labels.dtype)
        painted[top : top + high, left : left + wide] = labels[rows[:, None], columns]
        return painted

    def _cells_of_pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """The cell row of each pixel row of the crop, and the cell column of each pixel column, int64."""
        sides = zip(self.seen[2:], self.cells, strict=True)
        rows, columns = (_cell_of_pixels(pixels, count, self.placement) for pixels, count in sides)
        return rows, columns


def pixel_to_cell(y: int, x: int, image_size: tuple[int, int], cells: tuple[int, int]) -> tuple[int, int]:
    """The (row, column) of the cell into which pixel (y, x) falls. Raises ValueError for a pixel off the image."""
    return Grid(image_size, cells).cell_at(y, x)


def cell_to_pixel(row: int, column: int, image_size: tuple[int, int], cells: tuple[int, int]) -> tuple[int, int]:
    """The pixel (y, x) nearest to the centre of a cell. Raises ValueError for a cell off the map."""
    return Grid(image_size, cells).pixel_at(row, column)


def _cell_of_pixels(pixels: int, count: int, placement: str) -> np.ndarray:
    """The cell index of each pixel along one side of `pixels` pixels and `count` cells: int64 of length `pixels`."""
    if placement == "blocks":
        return np.arange(pixels) * count // pixels
    if pixels == 1 or count == 1:
        return np.zeros(pixels, np.int64)
    # Half rounds up. In whole numbers, so that no rounding error moves a pixel that lies exactly between two cells.
    return (2 * np.arange(pixels) * (count - 1) + (pixels - 1)) // (2 * (pixels - 1))


def _centre(index: int, pixels: int, count: int, placement: str) -> int:
    """The pixel nearest to the centre of a cell along one side."""
    if placement == "blocks":
        first, last = -(-index * pixels // count), -(-(index + 1) * pixels // count) - 1  # of the block's pixels
        return min(max((2 * index + 1) * pixels // (2 * count), first), max(last, first), pixels - 1)
    return _round(index * (pixels - 1) / (count - 1)) if count > 1 else (pixels - 1) // 2


def _centres(pixels: int, count: int, placement: str) -> np.ndarray:
    """The centres of the cells along one side, not rounded: float64 of length `count`."""
    if placement == "blocks":
        return (2 * np.arange(count) + 1) * pixels / (2 * count) - 0.5
    return np.linspace(0, pixels - 1, count) if count > 1 else np.array([(pixels - 1) / 2])


def _edges(pixels: int, count: int, placement: str) -> tuple[float, float]:
    """Where the first of `count` cells along a side of `pixels` pixels begins and the last one ends."""
    if count == 1 or placement == "blocks":
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
