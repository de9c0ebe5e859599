import numpy as np
import pytest

from analysis.noise import detection_scores
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
