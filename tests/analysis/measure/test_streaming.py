import numpy as np
import pytest
import torch

from analysis import noise
from analysis.measure.streaming import Block, SortedCells, StreamedStages, block_detection, block_sums
from analysis.options import MapOptions
from tests.analysis.measure.small import make_capture

LABELS = np.array([[2, 0, 9], [0, 2, 2]])
THRESHOLDS = (0.25, 1.0)


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
    assert cells.run_of(blocks[1]) == (2, 5)
    assert list(sorted_cells(np.full((1, 2), 9)).blocks()) == [Block(0, 2, None)]


def test_the_sums_of_a_block_are_those_of_its_rows():
    """Rows given key by key (K×M) in the order of the cells, against `noise.query_metrics` on the rows themselves."""
    cells = sorted_cells()
    rows = np.random.default_rng(0).random((6, 6))
    for block in list(cells.blocks(2))[:-1]:
        queries = cells.order[block.first : block.stop]
        values = torch.from_numpy(rows[queries][:, cells.order].T.copy())
        kept = values.clone()
        sums = block_sums(values, None, cells, block, THRESHOLDS)
        assert torch.equal(values, kept)
        sets = noise.query_sets(LABELS, queries, ignore_index=9)
        for place, threshold in enumerate(THRESHOLDS):
            found = noise.metrics_from_sums(sets, sums._replace(below=sums.below[:, place]))
            wanted = noise.query_metrics(rows[queries], LABELS, queries, ignore_index=9, hollow_threshold=threshold)
            for name, values_found, values_wanted in zip(found._fields, found, wanted, strict=True):
                np.testing.assert_allclose(values_found, values_wanted, atol=1e-12, err_msg=name)
        scores = block_detection(values, cells, block, np.arange(len(queries)))
        wanted = noise.detection_scores(rows[queries], LABELS, queries, ignore_index=9)
        both = noise.defined_scores(scores, sets, np.ones(len(queries)))
        np.testing.assert_allclose(both, wanted, atol=1e-12)


def test_raw_rows_sum_to_one_up_to_their_factor():
    capture = make_capture(3, 4)
    cells = SortedCells.of(noise.query_sets(capture.cell_labels, ignore_index=capture.ignore_index))
    stages = StreamedStages(capture, cells, [], MapOptions().of(capture), dtype=torch.float64)
    for block in cells.blocks():
        raw = stages.raw(block)
        assert (raw.values.sum(0) * raw.scale).numpy() == pytest.approx(1)
        assert raw.values.amax(0).numpy() == pytest.approx(1)
