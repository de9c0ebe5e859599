import numpy as np
import pytest
import torch

from analysis.geometry import PLACEMENTS, Grid, pixel_to_cell


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
            y, x = Grid(size, cells).pixel_at(row, column)
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
        Grid((8, 10), (2, 3)).pixel_at(0, -1)


@pytest.mark.parametrize(("size", "cells"), [((360, 480), (45, 60)), ((37, 53), (5, 7)), ((33, 40), (1, 5))])
def test_the_pixel_of_a_cell_is_the_one_nearest_to_its_centre(size, cells):
    rows, columns = Grid(size, cells).centres()
    assert (len(rows), len(columns)) == cells
    for row, column in np.ndindex(cells):
        y, x = Grid(size, cells).pixel_at(row, column)
        assert max(abs(y - rows[row]), abs(x - columns[column])) <= 0.5 + 1e-9


@pytest.mark.parametrize(("size", "cells"), [((360, 480), (45, 60)), ((37, 53), (5, 7)), ((33, 40), (1, 5))])
def test_a_map_drawn_in_its_extent_has_the_centres_of_its_cells_on_their_pixels(size, cells):
    left, right, bottom, top = Grid(size, cells).extent()
    rows, columns = (np.arange(count) + 0.5 for count in cells)
    drawn = top + (bottom - top) * rows / cells[0], left + (right - left) * columns / cells[1]
    for place, centres in zip(drawn, Grid(size, cells).centres(), strict=True):
        assert place == pytest.approx(centres)


def test_the_extent_by_hand():
    assert Grid((5, 9), (3, 5)).extent() == (-1, 9, 5, -1)
    assert Grid((5, 9), (1, 1)).extent() == (-0.5, 8.5, 4.5, -0.5)


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
    assert Grid((4, 6), (2, 2)).votes(labels, num_classes=4, ignore_index=255).tolist() == expected


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
    assert (Grid(size, cells).votes(labels, classes, ignore) == expected).all()
    assert (labels == before).all()


def test_a_cell_without_pixels_has_no_label():
    labels = np.zeros((2, 1), int)
    assert Grid((2, 1), (3, 1)).votes(labels, 2, 255).ravel().tolist() == [0, 255, 0]


def test_labels_must_be_those_of_the_image():
    with pytest.raises(ValueError, match="H×W"):
        Grid((2, 2), (1, 1)).votes(np.zeros((2, 2, 3), int), 2, 255)


@pytest.mark.parametrize("size", [(47, 83), (6, 11), (30, 12)])
def test_labels_of_cells_are_painted_on_their_own_pixels(size):
    cells = np.random.default_rng(0).integers(0, 4, (6, 11))
    painted = Grid(size, cells.shape).spread(cells, 255)
    for y, x in np.ndindex(size):
        assert painted[y, x] == cells[pixel_to_cell(y, x, size, (6, 11))]
    assert (Grid(size, (6, 11)).votes(painted, 4, 255) == cells).all()


# --- blocks and crops ------------------------------------------------------------------------------------------------


def test_the_patch_under_each_pixel_of_a_vision_transformer():
    """224×224 pixels, 14×14 patches of 16×16 pixels: the block, for all 50,176 pixels."""
    grid = Grid((224, 224), (14, 14), "blocks")
    patches = np.kron(np.arange(196).reshape(14, 14), np.ones((16, 16), int))
    found = [[row * 14 + column for x in range(224) for row, column in [grid.cell_at(y, x)]] for y in range(224)]
    assert (np.array(found) == patches).all()
    assert (grid.spread(np.arange(196).reshape(14, 14), -1) == patches).all()
    assert (grid.votes(patches, 196, 255) == np.arange(196).reshape(14, 14)).all()
    corners = Grid((224, 224), (14, 14)).spread(np.arange(196).reshape(14, 14), -1)
    assert (corners != patches).mean() == pytest.approx(0.38, abs=0.005)  # what the corners' geometry would mistake


def test_a_block_s_votes_are_those_of_its_pixels_alone():
    labels = np.zeros((8, 6), int)
    labels[3, 1], labels[0, 2:4] = 1, 2  # one of four pixels; and two of the first two blocks' eight
    labels[4:6, 4:6] = 3
    votes = Grid((8, 6), (4, 3), "blocks").votes(labels, 4, 255)
    assert votes.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 3], [0, 0, 0]]
    assert Grid((8, 6), (8, 6), "blocks").votes(labels, 4, 255).tolist() == labels.tolist()


CROPS = [None, (0, 0, 1, 1), (3, 2, 17, 11), (0, 5, 20, 8)]
MANY_SIZES = [((h, w), (r, c)) for h, w in ((20, 13), (21, 17)) for r, c in ((1, 1), (2, 3), (5, 9), (7, 13), (20, 13))]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(("size", "cells"), MANY_SIZES)
def test_the_pixel_of_a_cell_lies_in_it_and_votes_undo_spreading_wherever_cells_have_pixels(
    size, cells, placement, crop
):
    grid = Grid(size, cells, placement, crop)
    top, left, height, width = grid.seen
    found = np.full(size, -1)
    for y, x in np.ndindex(size):
        if top <= y < top + height and left <= x < left + width:
            row, column = grid.cell_at(y, x)
            found[y, x] = row * cells[1] + column
        else:
            with pytest.raises(ValueError, match="off the part that the model saw"):
                grid.cell_at(y, x)
    numbers = np.arange(cells[0] * cells[1]).reshape(cells)
    assert (grid.spread(numbers, -1) == found).all()
    votes = grid.votes(found, numbers.size, 10**6)
    for row, column in np.ndindex(cells):
        y, x = grid.pixel_at(row, column)
        assert top <= y < top + height and left <= x < left + width
        has_pixels = (found == numbers[row, column]).any()
        assert votes[row, column] == (numbers[row, column] if has_pixels else 10**6)
        if has_pixels:
            assert grid.cell_at(y, x) == (row, column)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(("size", "cells"), MANY_SIZES)
def test_centres_are_those_of_a_map_drawn_in_its_extent(size, cells, placement, crop):
    grid = Grid(size, cells, placement, crop)
    left, right, bottom, top = grid.extent()
    drawn = [
        first + (last - first) * (np.arange(count) + 0.5) / count
        for first, last, count in zip((top, left), (bottom, right), cells, strict=True)
    ]
    for places, centres in zip(drawn, grid.centres(), strict=True):
        # One pixel has no room for the centres of several corners.
        assert places == pytest.approx(centres) or 1 in grid.seen[2:]


def test_the_extent_of_blocks_is_that_of_their_pixels():
    assert Grid((5, 9), (3, 5), "blocks").extent() == (-0.5, 8.5, 4.5, -0.5)
    assert Grid((5, 9), (3, 5), "blocks", (1, 2, 3, 6)).extent() == (1.5, 7.5, 3.5, 0.5)


def test_a_crop_and_a_placement_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="choose one of corners, blocks"):
        Grid((5, 9), (3, 5), "patches")
    for crop in ((0, 0, 6, 9), (-1, 0, 2, 2), (3, 8, 1, 2), (0, 0, 0, 3)):
        with pytest.raises(ValueError, match="leaves the image of 5×9"):
            Grid((5, 9), (3, 5), crop=crop)
