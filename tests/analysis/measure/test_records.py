import numpy as np
import pytest

from analysis.measure import RECORD_METRICS, SPLITS, image_record
from tests.analysis.measure.small import IGNORE, make_report, summary_of


def test_a_control_takes_no_query_away_from_the_stages():
    labels = np.repeat([[0], [1], [2]], 5, axis=1)
    whole, holed = (image_record(make_report(1, labels=labels, oracle_emptied=gone)) for gone in ((), (0, 6)))
    raw, oracle = holed.stages.index("raw"), holed.stages.index("oracle")
    assert (holed.counts[:, raw] == whole.counts[:, raw]).all()
    metric = RECORD_METRICS.index("kept_mass")
    assert list(holed.counts[0, oracle, metric]) == [4, 4, 5]
    assert holed.emptied[oracle] == 2 and holed.emptied[raw] == 0


def test_a_row_that_one_stage_empties_counts_in_none():
    labels = np.repeat([[0], [1], [2]], 5, axis=1)
    record = image_record(make_report(1, labels=labels, emptied=(0, 1, 14)))
    place = record.stages.index("raw")
    for metric in ("interclass_noise", "auc"):
        assert list(record.counts[0, place, RECORD_METRICS.index(metric)]) == [3, 5, 4]
        assert record.left_out[RECORD_METRICS.index(metric)] == 3
    summary = summary_of([record], min_images=1)
    assert summary["emptied"]["rectified"] == 3 and summary["emptied"]["raw"] == 0
    assert summary["left_out"]["auc"] == 3


def test_a_record_holds_the_classes_that_have_a_cell():
    labels = np.array([[3, 3, 3, 3, 3], [3, 1, 1, 1, IGNORE], [IGNORE] * 5])
    record = image_record(make_report(2, labels=labels))
    assert record.classes.tolist() == [1, 3] and record.cells.tolist() == [3, 6] and record.queries == 9
    assert record.totals.shape == record.counts.shape == (len(SPLITS), len(record.stages), len(RECORD_METRICS), 2)
    assert record.leakage_totals.shape == (len(record.stages), 2, 2)


def test_splits_add_up_to_the_whole():
    record = image_record(make_report(3))
    all_queries, boundary, interior, right, wrong = record.counts
    assert (boundary + interior == all_queries).all() and (right + wrong == all_queries).all()
    assert record.totals[1] + record.totals[2] == pytest.approx(record.totals[0])


def test_an_image_without_detection_or_class_probs_has_none_of_their_queries():
    record = image_record(make_report(4, detection=False)._replace(gr_right=None))
    assert record.detection_queries == 0 and not record.counts[:, :, RECORD_METRICS.index("auc")].any()
    assert not record.counts[SPLITS.index("gr_right")].any() and not record.counts[SPLITS.index("gr_wrong")].any()
