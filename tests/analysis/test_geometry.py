import numpy as np
import pytest
import torch

from analysis.geometry import Grid, cell_centres, cell_labels, cell_to_pixel, map_extent, pixel_to_cell


def test_corners_of_the_image_fall_on_corner_cells():
    size, cells = (360, 480), (45, 60)
    assert pixel_to_cell(0, 0, size, cells) == (0, 0)
    assert pixel_to_cell(359, 479, size, cells) == (44, 59)
    assert pixel_to_cell(359, 0, size, cells) == (44, 0)


def test_half_rounds_up():
    # 5 pixels on 3 cells: pixel y lies at y · 2/4, so pixels 1 and 3 lie exactly between two cells.
    assert [pixel_to_cell(y, 0, (5, 1), (3, 1))[0] for y in range(5)] == [0, 1, 1, 2, 2]


def test_one_cell_holds_every_pixel():
    assert pixel_to_cell(7, 9, (8, 10), (1, 1)) == (0, 0)
    assert pixel_to_cell(0, 5, (1, 10), (3, 2)) == (0, 1)


@pytest.mark.parametrize(("size", "cells"), [((360, 480), (45, 60)), ((37, 53), (5, 7)), ((33, 40), (1, 5))])
def test_the_centre_pixel_of_a_cell_lies_in_that_cell(size, cells):
    for row in range(cells[0]):
        for column in range(cells[1]):
            y, x = cell_to_pixel(row, column, size, cells)
            assert pixel_to_cell(y, x, size, cells) == (row, column)


def test_the_mapping_is_the_networks_own_geometry():
    # Under align_corners, a ramp 0 … h−1 resized to H pixels holds each pixel's cell coordinate.
    height, rows = 37, 5
    ramp = torch.arange(rows, dtype=torch.float64)[None, None, :, None].expand(1, 1, rows, 2)
    resized = torch.nn.functional.interpolate(ramp, (height, 2), mode="bilinear", align_corners=True)[0, 0, :, 0]
    expected = [int(np.floor(value + 0.5)) for value in resized.tolist()]
    assert [pixel_to_cell(y, 0, (height, 2), (rows, 1))[0] for y in range(height)] == expected


def test_positions_off_the_image_or_map_are_refused():
    with pytest.raises(ValueError, match=r"pixel .* off the image"):
        pixel_to_cell(8, 0, (8, 10), (2, 3))
    with pytest.raises(ValueError, match=r"cell .* off the map"):
        cell_to_pixel(0, -1, (8, 10), (2, 3))


@pytest.mark.parametrize(("size", "cells"), [((360, 480), (45, 60)), ((37, 53), (5, 7)), ((33, 40), (1, 5))])
def test_the_pixel_of_a_cell_is_the_one_nearest_to_its_centre(size, cells):
    rows, columns = cell_centres(size, cells)
    assert (len(rows), len(columns)) == cells
    for row, column in np.ndindex(cells):
        y, x = cell_to_pixel(row, column, size, cells)
        assert max(abs(y - rows[row]), abs(x - columns[column])) <= 0.5 + 1e-9


@pytest.mark.parametrize(("size", "cells"), [((360, 480), (45, 60)), ((37, 53), (5, 7)), ((33, 40), (1, 5))])
def test_a_map_drawn_in_its_extent_has_the_centres_of_its_cells_on_their_pixels(size, cells):
    left, right, bottom, top = map_extent(size, cells)
    rows, columns = (np.arange(count) + 0.5 for count in cells)
    drawn = top + (bottom - top) * rows / cells[0], left + (right - left) * columns / cells[1]
    for place, centres in zip(drawn, cell_centres(size, cells), strict=True):
        assert place == pytest.approx(centres)


def test_the_extent_by_hand():
    assert map_extent((5, 9), (3, 5)) == (-1, 9, 5, -1)
    assert map_extent((5, 9), (1, 1)) == (-0.5, 8.5, 4.5, -0.5)


def test_labels_of_cells_by_majority():
    # 4×6 pixels on 2×2 cells: rows 0–1 | 2–3 (1.5 · … half up), columns 0–2 | 3–5.
    labels = np.array(
        [
            [0, 0, 1, 2, 2, 2],
            [0, 1, 1, 9, 9, 9],  # left: three 0, three 1, a tie; right: three 2, three 9 (no class), a tie
            [3, 3, 3, 9, 9, 9],
            [1, 1, 1, 9, 2, 2],
        ]
    )
    expected = [[0, 2], [1, 255]]
    assert cell_labels(labels, (2, 2), num_classes=4, ignore_index=255).tolist() == expected


def test_labels_of_cells_against_a_plain_loop():
    rng = np.random.default_rng(3)
    size, cells, classes, ignore = (23, 41), (4, 6), 5, 11
    labels = rng.choice([0, 1, 2, 3, 4, 7, ignore], size=size).astype(np.uint8)
    votes = np.zeros((*cells, classes + 1), int)
    for y in range(size[0]):
        for x in range(size[1]):
            value = labels[y, x]
            votes[pixel_to_cell(y, x, size, cells)][value if value < classes else classes] += 1
    expected = votes.argmax(axis=2)
    expected[expected == classes] = ignore
    before = labels.copy()
    assert (cell_labels(labels, cells, classes, ignore) == expected).all()
    assert (labels == before).all()


def test_a_cell_without_pixels_has_no_label():
    labels = np.zeros((2, 1), int)
    assert cell_labels(labels, (3, 1), 2, 255).ravel().tolist() == [0, 255, 0]


def test_labels_must_be_two_dimensional():
    with pytest.raises(ValueError, match="H×W"):
        cell_labels(np.zeros((2, 2, 3), int), (1, 1), 2, 255)


@pytest.mark.parametrize("size", [(47, 83), (6, 11), (30, 12)])
def test_labels_of_cells_are_painted_on_their_own_pixels(size):
    cells = np.random.default_rng(0).integers(0, 4, (6, 11))
    painted = Grid(size, cells.shape).spread(cells, 255)
    for y, x in np.ndindex(size):
        assert painted[y, x] == cells[pixel_to_cell(y, x, size, (6, 11))]
    assert (cell_labels(painted, (6, 11), 4, 255) == cells).all()
