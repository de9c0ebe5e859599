import numpy as np
import pytest
import torch

from analysis import noise
from analysis.measure.gathering import Gathered, gather, uniform
from analysis.measure.passes import HOLLOW_THRESHOLDS
from analysis.measure.streaming import SortedCells, StreamedStages
from analysis.options import MapOptions
from tests.analysis.measure.small import make_capture


def make_stages(capture) -> StreamedStages:
    cells = SortedCells.of(noise.query_sets(capture.cell_labels, ignore_index=capture.ignore_index))
    options = MapOptions().of(capture)
    return StreamedStages(capture, cells, ["raw", "rectified", "retained"], options, dtype=torch.float64)


def test_uniform_attention_is_what_a_row_of_ones_gives():
    labels = np.array([[0, 0, 1], [0, 1, 9]])
    sets = noise.query_sets(labels, ignore_index=9)
    detected = np.array([0, 2])
    gathered = uniform(sets, labels, detected)
    place = HOLLOW_THRESHOLDS.index(noise.HOLLOW_THRESHOLD)
    found = noise.metrics_from_sums(sets, gathered.sums._replace(below=gathered.sums.below[:, place]), gathered.scale)
    rows = np.full((6, 6), 1 / 6)
    wanted = noise.query_metrics(rows, labels, np.arange(6), ignore_index=9)
    for name, values_found, values_wanted in zip(found._fields, found, wanted, strict=True):
        np.testing.assert_allclose(values_found, values_wanted, atol=1e-12, err_msg=name)
    scores = noise.detection_scores(rows[detected], labels, detected, ignore_index=9)
    assert gathered.detection.auc[0] == scores.auc[0] == 0.5
    assert gathered.detection.average_precision[0] == pytest.approx(scores.average_precision[0])


def test_cells_without_a_label_have_no_sums():
    capture = make_capture(3, 4)
    capture.labels[2, 3] = capture.ignore_index
    gathered, strongest = gather(make_stages(capture), np.zeros(0, np.int64), lambda share: None, 1)
    unlabelled = capture.cell_labels.ravel() == capture.ignore_index
    assert unlabelled.any()
    for stage in ("raw", "rectified", "retained"):
        assert (np.isnan(gathered[stage].sums.highest) == unlabelled).all()
    assert ((strongest >= 0) & (strongest < 12)).all()


def test_threads_and_progress_change_nothing():
    capture, shares = make_capture(9, 11), []
    one, strongest = gather(make_stages(capture), np.arange(5), shares.append, 1)
    several, same = gather(make_stages(capture), np.arange(5), lambda share: None, 3)
    assert shares == sorted(shares) and shares[-1] == 1
    assert (strongest == same).all()
    for stage in one:
        for first, second in zip(flat(one[stage]), flat(several[stage]), strict=True):
            np.testing.assert_array_equal(first, second)


def flat(gathered: Gathered) -> list[np.ndarray]:
    return [*gathered.sums, gathered.scale, *gathered.detection]
