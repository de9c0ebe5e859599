import numpy as np
import pytest

from analysis.noise import detection_scores
from analysis.noise.detection import marked_keys, rank_scores
from tests.analysis.noise.small import IGNORE

# What is undefined is NaN, and nothing is said about it while it is computed.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def test_ties_share_their_rank():
    # S = {0.5, 0.2}, D = {0.2, 0.1}: pairs 1, 1, ½, 1. The tie's precision is read at its end, 2 of 3.
    scores = detection_scores(np.array([[0, 0.5, 0.2, 0.2, 0.1]]), np.array([0, 0, 0, 1, 1]), [0], ignore_index=IGNORE)
    assert scores.auc[0] == pytest.approx(3.5 / 4)
    assert scores.average_precision[0] == pytest.approx((1 + 2 / 3) / 2)


def test_ranks_go_by_the_whole_value():
    def scores_of(row, labels):
        return detection_scores(np.array([row]), np.array(labels), [0], ignore_index=IGNORE)

    # −0 is 0: S = {−0, 0.5}, D = {0}, pairs ½ and 1.
    assert scores_of([0, -0.0, 0.5, 0.0], [0, 0, 0, 1]).auc[0] == pytest.approx(1.5 / 2)
    # The smallest and the largest values are told apart: S = {2e-300, 7}, D = {1e-300, 3}, pairs 1, 0, 1, 1.
    assert scores_of([0, 2e-300, 7, 1e-300, 3], [0, 0, 0, 1, 1]).auc[0] == pytest.approx(3 / 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_one_class_with_and_without_ties_equal_the_count_of_all_pairs(dtype):
    rng = np.random.default_rng(0)
    rows = rng.random((6, 23)).astype(dtype)
    rows[[1, 4]] = rows[[1, 4]].round(1)  # many ties, in S, in D and across
    rows[2, 8] = rows[2, 20]  # a single one
    inside, queries = slice(5, 14), np.arange(6, 12)
    own = np.arange(6), queries
    scores = rank_scores(marked_keys(rows, np.s_[:, inside], own))
    for row, query, auc, precision in zip(rows, queries, *scores, strict=True):
        same = np.array([row[cell] for cell in range(5, 14) if cell != query])
        other = np.concatenate([row[:5], row[14:]])
        pairs = (same[:, None] > other).mean() + (same[:, None] == other).mean() / 2
        at_least = [((same >= value).sum(), (other >= value).sum()) for value in same]
        assert auc == pytest.approx(pairs, abs=1e-12)
        assert precision == pytest.approx(np.mean([own / (own + others) for own, others in at_least]), abs=1e-12)
    alone = [rank_scores(marked_keys(rows[[i]], np.s_[:, inside], ([0], queries[[i]]))) for i in range(6)]
    for part in (0, 1):
        assert np.array_equal(scores[part], [one[part][0] for one in alone])
