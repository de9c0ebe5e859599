import math

import numpy as np
import pytest

from analysis import noise
from analysis.noise import leakage_from_sums, query_metrics
from tests.analysis.noise.small import IGNORE

# What is undefined is NaN, and nothing is said about it while it is computed.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def test_leakage_worked_out_on_paper():
    labels = np.array([0, 0, 1, 1, IGNORE])
    rows = np.array([[9, 0.2, 0.2, 0, 5], [0.1, 9, 0.1, 0.2, 5], [0, 0, 9, 1, 5], [0, 0, 0, 9, 5], [1, 1, 1, 1, 1]])
    result = noise.leakage(rows, labels, np.arange(5), num_classes=3, ignore_index=IGNORE)
    assert result.queries.tolist() == [2, 1, 0]  # the last query of class 1 is emptied
    matrix = result.matrix()
    np.testing.assert_allclose(matrix[0], [(0.5 + 0.25) / 2, (0.5 + 0.75) / 2, 0])
    np.testing.assert_allclose(matrix[1], [0, 1, 0])
    assert np.isnan(matrix[2]).all()


def test_leakage_of_blocks_adds_up_and_agrees_with_interclass_noise():
    rng = np.random.default_rng(6)
    rows, labels = rng.random((15, 15)), rng.choice([0, 2, 3, IGNORE], 15, p=[0.3, 0.3, 0.3, 0.1])
    options = {"num_classes": 4, "ignore_index": IGNORE}
    whole = noise.leakage(rows, labels, np.arange(15), **options)
    parts = noise.leakage(rows[:6], labels, np.arange(6), **options).plus(
        noise.leakage(rows[6:], labels, np.arange(6, 15), **options)
    )
    np.testing.assert_allclose(parts.total, whole.total)
    assert parts.queries.tolist() == whole.queries.tolist() == [(labels == c).sum() for c in range(4)]
    matrix = whole.matrix()
    metrics = query_metrics(rows, labels, np.arange(15), ignore_index=IGNORE)
    for c in (0, 2, 3):
        assert matrix[c].sum() == pytest.approx(1)
        assert 1 - matrix[c, c] == pytest.approx(np.nanmean(metrics.interclass_noise[labels == c]))


def test_leakage_of_rows_that_are_given_up_to_a_factor():
    # The rows are (0.3, 0.1) and (3e-7, 1e-7) once they are scaled: the second one is emptied.
    sets = noise.query_sets(np.array([0, 0, 1]), [0, 1], ignore_index=IGNORE)
    by_class = np.array([[30.0, 10.0], [0.3, 0.1]])
    scaled = leakage_from_sums(sets, by_class, np.array([0.01, 1e-6]), num_classes=2)
    assert scaled.queries.tolist() == [1, 0] and scaled.total[0].tolist() == [0.75, 0.25]
    # Without a factor they are what they are: 8e-7 is emptied, 1e-6 is not.
    assert leakage_from_sums(sets, 2e-8 * by_class, num_classes=2).queries.tolist() == [0, 0]
    edge = leakage_from_sums(sets, np.array([[1e-6, 0.0], [0.9e-6, 0.0]]), num_classes=2)
    assert edge.queries.tolist() == [1, 0]


def test_row_divergences_pair_by_pair():
    # Not normalised, as maps of 1×2 cells: (1, 0) against (½, ½) is 0.311278 once over log 2, below.
    first = np.array([[[2.0, 0.0]], [[0.0, 8.0]], [[0.0, 0.0]], [[1.0, 3.0]], [[1.0, 0.0]], [[1e-6, 0.0]]])
    second = np.array([[[7.0, 7.0]], [[4.0, 0.0]], [[1.0, 1.0]], [[0.5, 1.5]], [[0.0, 0.0]], [[0.0, 1e-6]]])
    expected = (0.5623351 - 0.6931472 / 2) / math.log(2)
    divergences = noise.row_divergences(first, second)
    np.testing.assert_allclose(divergences, [expected, 1, np.nan, 0, np.nan, 1], atol=1e-6)
    assert noise.query_dependence(first, second) == pytest.approx(np.nanmean(divergences))


def test_row_divergences_stay_in_their_range_whatever_is_rounded():
    rng = np.random.default_rng(8)
    same = rng.random((500, 7), np.float32)
    apart = np.zeros((500, 7))
    apart[:, :3] = rng.random((500, 3))
    for divergences, exact in (
        (noise.row_divergences(same, 3 * same), 0),
        (noise.row_divergences(apart, np.roll(apart, 3, axis=1)), 1),
    ):
        assert divergences.min() >= 0 and divergences.max() <= 1
        np.testing.assert_allclose(divergences, exact, atol=1e-7)


def test_row_divergences_are_computed_in_double_precision():
    rng = np.random.default_rng(8)
    first, second = rng.random((20, 50)).astype(np.float32), rng.random((20, 50)).astype(np.float32)
    exact = noise.row_divergences(first.astype(np.float64), second.astype(np.float64))
    assert (noise.row_divergences(first, second) == exact).all()


def test_query_dependence_from_none_to_full():
    rows = np.array([[0.5, 0.5, 0, 0], [0.2, 0.3, 0.1, 0.4]])
    assert noise.query_dependence(rows, 3 * rows) == pytest.approx(0, abs=1e-12)
    assert noise.query_dependence(rows[:1], np.array([[0, 0, 1, 1]])) == pytest.approx(1)
    # p = (1, 0), q = (½, ½), mean (¾, ¼): H = 0.562335, 0, 0.693147.
    expected = (0.5623351 - 0.6931472 / 2) / math.log(2)
    assert noise.query_dependence(np.array([[1.0, 0]]), np.array([[1.0, 1]])) == pytest.approx(expected, abs=1e-6)


def test_query_dependence_leaves_emptied_rows_out():
    first, second = np.array([[1.0, 0], [0, 0]]), np.array([[0, 1.0], [1, 0]])
    assert noise.query_dependence(first, second) == pytest.approx(1)
    assert math.isnan(noise.query_dependence(first[1:], second[1:]))  # no pair is left
    with pytest.raises(ValueError, match="same shape"):
        noise.query_dependence(first, second[:1])


def test_query_pairs_are_seeded_and_never_a_query_with_itself():
    pairs = noise.query_pairs(3, 500, seed=1)
    assert (pairs == noise.query_pairs(3, 500, seed=1)).all()
    assert (pairs != noise.query_pairs(3, 500, seed=2)).any()
    assert (pairs[:, 0] != pairs[:, 1]).all() and pairs.min() == 0 and pairs.max() == 2
    assert len(np.unique(pairs, axis=0)) == 6
    assert noise.query_pairs(9).shape == (256, 2) and (noise.query_pairs(9) == noise.query_pairs(9, 256, seed=0)).all()
    assert sorted(map(tuple, np.unique(noise.query_pairs(2), axis=0))) == [(0, 1), (1, 0)]
    with pytest.raises(ValueError, match="the map has 1 cells; a pair of different queries needs at least 2"):
        noise.query_pairs(1)


def test_distinct_argmax_keys():
    assert noise.distinct_argmax_keys(np.array([[0, 3, 1], [0, 2, 1], [5, 0, 0]])) == 2


def test_emptied_rows_have_no_strongest_key():
    """Of the rows below the second sums to 0 and the third to less than 1e-6: no key is left to be the strongest."""
    rows = np.array([[0, 3, 1, 0], [0, 0, 0, 0], [0, 0, 9e-7, 0], [0, 0, 0, 1e-6], [2, 2, 0, 0]])
    assert noise.argmax_keys(rows).tolist() == [1, -1, -1, 3, 0]
    assert noise.distinct_argmax_keys(rows.reshape(5, 2, 2)) == 3
    assert noise.distinct_argmax_keys(np.zeros((4, 4))) == 0
