import numpy as np
import pytest
import torch

from analysis import noise
from analysis.measure.passes import Place
from analysis.measure.streaming import Block, SortedCells, StreamedStages, fits_single_precision
from analysis.options import MapOptions
from tests.analysis.measure.small import make_capture

LABELS = np.array([[2, 0, 9], [0, 2, 2]])


def sorted_cells(labels=LABELS, ignore_index=9) -> SortedCells:
    return SortedCells.of(noise.query_sets(labels, ignore_index=ignore_index))


def test_cells_are_sorted_by_their_class_and_those_without_one_come_last():
    cells = sorted_cells()
    assert cells.order.tolist() == [1, 3, 0, 4, 5, 2]
    assert cells.runs == ((0, 2), (2, 5)) and cells.labelled == 5


def test_blocks_hold_every_cell_once_and_one_class_each():
    cells = sorted_cells()
    blocks = list(cells.blocks(2))
    assert blocks == [Block(0, 2, 0), Block(2, 4, 1), Block(4, 5, 1), Block(5, 6, None)]
    assert cells.place_of(blocks[2]) == Place(((0, 2), (2, 5)), own=1, first=4)
    assert list(sorted_cells(np.full((1, 2), 9)).blocks()) == [Block(0, 2, None)]


def test_raw_rows_sum_to_one_up_to_their_factor():
    capture = make_capture(3, 4)
    cells = SortedCells.of(noise.query_sets(capture.cell_labels, ignore_index=capture.ignore_index))
    stages = StreamedStages(capture, cells, [], MapOptions().of(capture), dtype=torch.float64)
    for block in cells.blocks():
        raw = stages.raw(block)
        assert (raw.rows.values.sum(0).numpy() * raw.scale) == pytest.approx(1)
        assert raw.rows.values.amax(0).numpy() == pytest.approx(1)


def test_what_single_precision_holds():
    """Scores to base 2 up to 126, and as far apart in a row; a temperature divides them."""
    key = np.zeros((1, 1, 4), np.float32)
    key[0, 0] = np.log(2) * np.array([0, 30, -30, 60])  # 90 apart, to base 2

    def fits(scale, shift=0.0, temperature=1.0, threads=1):
        capture = make_capture(1, 4, key=scale * key + np.float32(shift), query=np.ones((1, 1, 4), np.float32))
        return fits_single_precision(capture, temperature, threads)

    assert fits(1) and fits(1.39) and fits(1, threads=2)
    assert not fits(1.41)  # 126.9 apart
    assert not fits(1, temperature=0.5) and fits(1.41, temperature=2)
    assert not fits(1, shift=50) and not fits(1, shift=-70)  # 60 + 72 and −30 − 101
