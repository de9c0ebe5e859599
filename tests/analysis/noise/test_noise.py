import math

import numpy as np
import pytest

from analysis import noise
from analysis.noise import (
    METRICS,
    MetricSummary,
    QueryMetrics,
    detection_scores,
    image_noise,
    leakage_from_sums,
    query_metrics,
    summarise,
)

IGNORE = 255

# What is undefined is NaN, and nothing is said about it while it is computed.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def metrics_of(row, labels, query=0, **options):
    return query_metrics(np.array([row], float), np.array(labels), [query], ignore_index=IGNORE, **options)


def slow_metrics(row, labels, query, threshold=0.25):
    """Every metric of one row by its definition, in plain loops; missing entries are undefined."""
    if labels[query] == IGNORE:
        return {}
    same = [j for j in range(len(row)) if j != query and labels[j] == labels[query]]
    other = [j for j in range(len(row)) if labels[j] not in (IGNORE, labels[query])]
    kept = math.fsum(row[j] for j in same + other)
    result = {"kept_mass": kept, "interclass_mass": math.fsum(row[j] for j in other)}
    if same and other:
        result["chance"] = len(other) / len(same + other)
    if kept < 1e-6:
        return result
    shares = [row[j] / kept for j in same + other]
    result["top_mass"] = max(shares)
    result["effective_keys"] = math.exp(-sum(s * math.log(s) for s in shares if s > 0))
    if same and other:
        result["interclass_noise"] = math.fsum(row[j] for j in other) / kept
        pairs = [(row[s] > row[d]) + 0.5 * (row[s] == row[d]) for s in same for d in other]
        if len(same) >= 2:
            result["auc"] = sum(pairs) / len(pairs)
            precision = []
            for s in same:
                above = [j for j in same + other if row[j] >= row[s]]
                precision.append(sum(j in same for j in above) / len(above))
            result["average_precision"] = sum(precision) / len(precision)
    if len(same) >= 2:
        own = math.fsum(row[j] for j in same)
        result["intraclass_noise"] = result["hollow_fraction"] = 1.0
        if own > 0:
            entropy = -sum(row[j] / own * math.log(row[j] / own) for j in same if row[j] > 0)
            result["intraclass_noise"] = 1 - entropy / math.log(len(same))
            result["hollow_fraction"] = sum(row[j] < threshold * own / len(same) for j in same) / len(same)
    return result


# --- on paper --------------------------------------------------------------------------------------------------------


def test_a_row_worked_out_on_paper():
    # Query 0 of class 0. S = {1, 2, 3}, D = {4, 5}; cell 6 is ignored. κ = 0.7.
    row, labels = [0.2, 0.4, 0.1, 0.0, 0.15, 0.05, 0.1], [0, 0, 0, 0, 1, 2, IGNORE]
    metrics = metrics_of(row, labels)
    assert metrics.kept_mass[0] == pytest.approx(0.7)
    assert metrics.interclass_mass[0] == pytest.approx(0.2)
    assert metrics.interclass_noise[0] == pytest.approx(2 / 7)
    assert metrics.chance[0] == pytest.approx(2 / 5)
    # b = (0.8, 0.2, 0): H = 0.500402, log 3 = 1.098612.
    assert metrics.intraclass_noise[0] == pytest.approx(1 - 0.5004024 / 1.0986123, abs=1e-7)
    # The mean over S is 0.1667, a quarter of it 0.0417: one hollow of three.
    assert metrics.hollow_fraction[0] == pytest.approx(1 / 3)
    assert metrics_of(row, labels, hollow_threshold=0.7).hollow_fraction[0] == pytest.approx(2 / 3)
    assert metrics.top_mass[0] == pytest.approx(4 / 7)
    shares = [4 / 7, 1 / 7, 1.5 / 7, 0.5 / 7]
    assert metrics.effective_keys[0] == pytest.approx(math.exp(-sum(s * math.log(s) for s in shares)))
    assert not metrics.emptied[0]
    scores = detection_scores(np.array([row]), np.array(labels), [0], ignore_index=IGNORE)
    # S holds 0.4, 0.1, 0; D holds 0.15, 0.05: 2 + 1 + 0 of 6 pairs in order. Ranks of S: 1, 3, 5.
    assert scores.auc[0] == pytest.approx(3 / 6)
    assert scores.average_precision[0] == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)


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


# --- against plain loops ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_against_plain_loops_on_a_non_square_map(seed):
    rng = np.random.default_rng(seed)
    height, width = 4, 7
    labels = rng.choice([0, 1, 2, 5, IGNORE], (height, width), p=[0.4, 0.3, 0.15, 0.1, 0.05])
    rows = rng.random((height * width, height, width)) ** 3
    rows[rng.random(rows.shape) < 0.3] = 0
    rows = np.round(rows, 1)  # many ties
    rows[3] = 0
    rows[5, labels == labels.flat[5]] = 0
    queries = rng.permutation(height * width)
    before = rows.copy()
    metrics = query_metrics(rows[queries], labels, queries, ignore_index=IGNORE)
    scores = detection_scores(rows[queries], labels, queries, ignore_index=IGNORE)
    assert (rows == before).all()
    for index, query in enumerate(queries):
        expected = slow_metrics(rows[query].ravel().tolist(), labels.ravel().tolist(), query)
        actual = {**metrics._asdict(), **scores._asdict()}
        for name in (*METRICS, *scores._fields):
            assert actual[name][index] == pytest.approx(expected.get(name, np.nan), nan_ok=True, abs=1e-12), name


def test_blocks_joined_are_the_whole():
    rng = np.random.default_rng(1)
    rows, labels = rng.random((12, 12)), rng.integers(0, 3, 12)
    whole = query_metrics(rows, labels, np.arange(12), ignore_index=IGNORE)
    parts = [query_metrics(rows[i : i + 5], labels, np.arange(12)[i : i + 5], ignore_index=IGNORE) for i in (0, 5, 10)]
    for joined, expected in zip(noise.concatenate(parts), whole, strict=True):
        np.testing.assert_allclose(joined, expected, rtol=1e-12)
    assert isinstance(noise.concatenate([whole]), QueryMetrics)
    with pytest.raises(ValueError):
        noise.concatenate([whole, detection_scores(rows, labels, np.arange(12), ignore_index=IGNORE)])


# --- identities ------------------------------------------------------------------------------------------------------


def test_uniform_attention_gets_exactly_chance_and_no_intraclass_noise():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, IGNORE])
    metrics = query_metrics(np.full((9, 9), 1 / 9), labels, np.arange(9), ignore_index=IGNORE)
    valid = labels != IGNORE
    np.testing.assert_allclose(metrics.interclass_noise[valid], metrics.chance[valid], atol=1e-15)
    several = np.isin(labels, [0, 2])
    np.testing.assert_allclose(metrics.intraclass_noise[several], 0, atol=1e-14)
    np.testing.assert_allclose(metrics.hollow_fraction[several], 0)
    np.testing.assert_allclose(metrics.effective_keys[valid], 7)
    scores = detection_scores(np.full((9, 9), 1 / 9), labels, np.arange(9), ignore_index=IGNORE)
    np.testing.assert_allclose(scores.auc[several], 0.5)


def test_a_perfect_block_map_has_no_interclass_noise():
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
    rows = (labels[:, None] == labels[None, :]).astype(float)
    metrics = query_metrics(rows, labels, np.arange(10), ignore_index=IGNORE)
    assert (metrics.interclass_noise == 0).all() and (metrics.interclass_mass == 0).all()
    scores = detection_scores(rows, labels, np.arange(10), ignore_index=IGNORE)
    assert (scores.auc == 1).all() and (scores.average_precision == 1).all()


def test_ignored_cells_change_nothing():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 20)
    rows = rng.random((20, 20))
    ignored = rng.random(20) < 0.4
    marked = np.where(ignored, IGNORE, labels)
    kept = np.flatnonzero(~ignored)
    disturbed = rows.copy()
    disturbed[:, ignored] = 7.0
    full = query_metrics(disturbed[kept], marked, kept, ignore_index=IGNORE)
    cut = query_metrics(rows[np.ix_(kept, kept)], labels[kept], np.arange(len(kept)), ignore_index=IGNORE)
    for name in METRICS:
        np.testing.assert_allclose(getattr(full, name), getattr(cut, name), rtol=1e-12)


def test_scaling_a_row_changes_its_masses_alone():
    rng = np.random.default_rng(4)
    row, labels = rng.random(12), rng.integers(0, 3, 12)
    one, tenth = metrics_of(row, labels), metrics_of(row / 10, labels)
    for name in METRICS:
        factor = 0.1 if name in ("kept_mass", "interclass_mass") else 1
        np.testing.assert_allclose(getattr(tenth, name), factor * getattr(one, name), rtol=1e-12)


def test_what_the_query_gives_to_itself_does_not_count():
    first = metrics_of([0.0, 0.3, 0.2, 0.5], [0, 0, 0, 1])
    second = metrics_of([0.9, 0.3, 0.2, 0.5], [0, 0, 0, 1])
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))


def sums_of(rows, labels, queries):
    """The RowSums of some rows, in plain loops."""
    classes = sorted(set(labels) - {IGNORE})
    found = []
    for row, query in zip(rows, queries, strict=True):
        others = [j for j in range(len(row)) if j != query and labels[j] != IGNORE]
        same = [j for j in others if labels[j] == labels[query]]
        mean = sum(row[j] for j in same) / len(same)
        found.append(
            (
                [sum(row[j] for j in others if labels[j] == c) for c in classes],
                sum(row[j] * math.log(row[j]) for j in same),
                sum(row[j] * math.log(row[j]) for j in others),
                max(row[j] for j in others),
                sum(row[j] < 0.25 * mean for j in same),
            )
        )
    return noise.RowSums(*(np.array(column) for column in zip(*found, strict=True)))


def test_metrics_from_sums_of_rows_given_up_to_a_factor():
    labels, queries = [0, 0, 0, 0, 1, 1, IGNORE], [0, 4]
    rows = [[0.1, 0.4, 0.2, 0.01, 0.15, 0.04, 0.1], [0.3, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1]]
    factors = np.array([0.5, 4.0])
    sets = noise.query_sets(np.array(labels), queries, ignore_index=IGNORE)
    given_up = [[value / factor for value in row] for row, factor in zip(rows, factors, strict=True)]
    expected = query_metrics(np.array(rows), np.array(labels), queries, ignore_index=IGNORE)
    for found in (
        noise.metrics_from_sums(sets, sums_of(rows, labels, queries)),
        noise.metrics_from_sums(sets, sums_of(given_up, labels, queries), factors),
    ):
        for name in QueryMetrics._fields:
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, err_msg=name)


# --- undefined cases -------------------------------------------------------------------------------------------------


def undefined(metrics):
    return {name for name in METRICS if np.isnan(getattr(metrics, name)[0])}


def test_an_unlabelled_cell_is_no_query():
    metrics = metrics_of([0.5, 0.5], [IGNORE, 0])
    assert undefined(metrics) == set(METRICS) and not metrics.emptied[0] and metrics.labels[0] == IGNORE


def test_an_emptied_row_is_flagged_and_keeps_its_mass():
    metrics = metrics_of([0.9, 4e-7, 0, 5e-7], [0, 0, 0, 1])
    assert metrics.emptied[0]
    assert undefined(metrics) == set(METRICS) - {"chance", "kept_mass", "interclass_mass"}
    assert metrics.kept_mass[0] == pytest.approx(9e-7) and metrics.interclass_mass[0] == pytest.approx(5e-7)
    scores = detection_scores(np.array([[0.9, 4e-7, 0, 5e-7]]), np.array([0, 0, 0, 1]), [0], ignore_index=IGNORE)
    assert np.isnan(scores.auc[0]) and np.isnan(scores.average_precision[0])
    edge, labels = [0.9, 1e-6, 0, 0], [0, 0, 0, 1]
    assert not metrics_of(edge, labels).emptied[0] and metrics_of(edge, labels).top_mass[0] == 1
    assert detection_scores(np.array([edge]), np.array(labels), [0], ignore_index=IGNORE).auc[0] == 0.75


def test_a_row_is_emptied_by_its_own_mass_and_not_by_what_it_was_divided_by():
    labels = [0, 0, 0, 1]
    sets = noise.query_sets(np.array(labels), [0, 0], ignore_index=IGNORE)
    sums = sums_of([[0, 0.5, 0.25, 0.25]] * 2, labels, [0, 0])  # of mass 1
    metrics = noise.metrics_from_sums(sets, sums, np.array([9e-7, 2e-6]))
    assert metrics.emptied.tolist() == [True, False]
    np.testing.assert_allclose(metrics.kept_mass, [9e-7, 2e-6])


def test_a_quarter_of_the_mean_is_no_hollow():
    # The mean over S is 0.25, a quarter of it 0.0625, all without rounding: cell 2 has just that, cell 3 less.
    metrics = metrics_of([0, 0.65625, 0.0625, 0.03125, 0.25], [0, 0, 0, 0, 1])
    assert metrics.hollow_fraction[0] == 1 / 3


def test_no_mass_on_the_own_class_is_one_hollow():
    metrics = metrics_of([0.1, 0, 0, 0.9], [0, 0, 0, 1])
    assert metrics.hollow_fraction[0] == metrics.intraclass_noise[0] == metrics.interclass_noise[0] == 1


def test_one_other_cell_of_the_class():
    metrics = metrics_of([0.1, 0.4, 0.5], [0, 0, 1])
    assert undefined(metrics) == {"intraclass_noise", "hollow_fraction"}
    assert metrics.interclass_noise[0] == pytest.approx(5 / 9)
    scores = detection_scores(np.array([[0.1, 0.4, 0.5]]), np.array([0, 0, 1]), [0], ignore_index=IGNORE)
    assert np.isnan(scores.auc[0]) and np.isnan(scores.average_precision[0])


def test_no_other_cell_of_the_class():
    metrics = metrics_of([0.1, 0.4, 0.5], [0, 1, 1])
    assert undefined(metrics) == {"interclass_noise", "chance", "intraclass_noise", "hollow_fraction"}


def test_an_image_of_one_class():
    metrics = metrics_of([0.1, 0.4, 0.5], [3, 3, 3])
    assert undefined(metrics) == {"interclass_noise", "chance"}
    scores = detection_scores(np.array([[0.1, 0.4, 0.5]]), np.array([3, 3, 3]), [0], ignore_index=IGNORE)
    assert np.isnan(scores.auc[0])


def test_an_image_of_ignored_cells_alone_and_no_queries_at_all():
    metrics = metrics_of([0.5, 0.5], [IGNORE, IGNORE])
    assert undefined(metrics) == set(METRICS)
    assert np.isnan(detection_scores(np.ones((1, 2)), np.full(2, IGNORE), [0], ignore_index=IGNORE).auc).all()
    none = query_metrics(np.zeros((0, 3)), np.zeros(3, int), [], ignore_index=IGNORE)
    assert none.interclass_noise.shape == (0,)


def test_arrays_that_do_not_fit_are_refused():
    labels = np.zeros(4, int)
    with pytest.raises(ValueError, match=r"rows are \(2, 5\); 2 queries on 4 labelled cells need 2×4 values"):
        query_metrics(np.ones((2, 5)), labels, [0, 1], ignore_index=IGNORE)
    for queries, span in (([0, 4], "0 to 4"), ([-1, 2], "-1 to 2")):
        with pytest.raises(ValueError, match=f"query cells run from {span}; the map has cells 0 … 3"):
            query_metrics(np.ones((2, 4)), labels, queries, ignore_index=IGNORE)
    message = "^the rows hold negative or non-finite values; attention is finite and at least 0$"
    for bad in (np.nan, -0.1, np.inf):
        with pytest.raises(ValueError, match=message):
            query_metrics(np.array([[0.1, bad, 0.2, 0.1]]), labels, [0], ignore_index=IGNORE)


# --- metrics of a map ------------------------------------------------------------------------------------------------


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
    message = "^no pair of rows holds attention; query dependence needs at least one pair$"
    with pytest.raises(ValueError, match=message):
        noise.query_dependence(first[1:], second[1:])
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


# --- aggregation -----------------------------------------------------------------------------------------------------


def metrics_with(labels, interclass_noise, emptied=None):
    """Metrics of one query per cell with given interclass noise; chance 0.5, everything else 0."""
    count = len(labels)
    columns = dict.fromkeys(METRICS, np.zeros(count))
    noise_values = np.array(interclass_noise, float)
    return QueryMetrics(
        queries=np.arange(count),
        labels=np.array(labels),
        emptied=np.zeros(count, bool) if emptied is None else np.array(emptied),
        **{**columns, "interclass_noise": noise_values, "chance": np.full(count, 0.5)},
    )


def test_macro_and_micro_on_paper():
    # Image 1: class 0 has 2 cells (noise 0.1, 0.3), class 1 has 3 (0.6 each). Image 2: class 0 has 4 cells (0.4 each).
    one = metrics_with([0, 0, 1, 1, 1], [0.1, 0.3, 0.6, 0.6, 0.6])
    two = metrics_with([0, 0, 0, 0, 1], [0.4, 0.4, 0.4, 0.4, 0.9])
    images = [image_noise({"raw": m}, m.labels, 3) for m in (one, two)]
    result = summarise(images, min_cells=2, min_images=1)["raw"]["interclass_noise"]
    # Class 0: (0.2 + 0.4) / 2; class 1: 0.6, its single cell in image 2 is too few.
    assert result.class_means == pytest.approx({0: 0.3, 1: 0.6})
    assert result.mean == pytest.approx(0.45)
    assert result.left_out == {2: 0}
    assert result.micro == pytest.approx((0.1 + 0.3 + 1.8 + 1.6 + 0.9) / 10) and result.queries == 10
    strict = summarise(images, min_cells=2, min_images=2)["raw"]
    assert strict["interclass_noise"].class_means == pytest.approx({0: 0.3})
    assert strict["interclass_noise"].left_out == {1: 1, 2: 0}
    assert noise.times_chance(strict) == pytest.approx(0.3 / 0.5)


def test_defaults_ask_for_five_cells_and_ten_images():
    metrics = metrics_with([0] * 5 + [1] * 4, [0.2] * 9)
    images = [image_noise({"raw": metrics}, metrics.labels, 2)] * 10
    result = summarise(images)["raw"]["interclass_noise"]
    assert result.class_means == pytest.approx({0: 0.2}) and result.left_out == {1: 0}
    few = summarise(images[:9])["raw"]
    assert few["interclass_noise"].mean is None and few["interclass_noise"].left_out == {0: 9, 1: 0}
    assert few["interclass_noise"].micro == pytest.approx(0.2) and noise.times_chance(few) is None


def test_stages_are_compared_on_the_queries_valid_in_all_of_them():
    raw = metrics_with([0, 0, 0], [0.2, 0.4, 0.9])
    rectified = metrics_with([0, 0, 0], [0.1, 0.2, np.nan], emptied=[False, False, True])
    image = image_noise({"raw": raw, "rectified": rectified}, raw.labels, 1)
    assert image.emptied == {"raw": 0, "rectified": 1}
    assert image.left_out["interclass_noise"] == 1 and image.left_out["kept_mass"] == 1
    result = summarise([image], min_cells=1, min_images=1)
    assert result["raw"]["interclass_noise"].mean == pytest.approx(0.3)
    assert result["rectified"]["interclass_noise"].mean == pytest.approx(0.15)
    assert result["raw"]["chance"].queries == 2


def test_chance_is_averaged_over_the_queries_of_the_noise_beside_it():
    metrics = metrics_with([0, 0], [0.2, np.nan])._replace(chance=np.array([0.4, 0.8]))
    result = summarise([image_noise({"raw": metrics}, metrics.labels, 1)], min_cells=1, min_images=1)["raw"]
    assert result["chance"].mean == pytest.approx(0.4)


def test_labels_beyond_the_classes_are_no_class():
    metrics = metrics_with([0, 1, 2, -1], [0.1, 0.2, 0.4, 0.8])
    image = image_noise({"raw": metrics}, metrics.labels, 2)
    assert image.cells.tolist() == [1, 1] and image.left_out["interclass_noise"] == 0
    assert image.sums["raw"]["interclass_noise"].total.tolist() == [0.1, 0.2]


def test_each_metric_is_averaged_over_the_queries_for_which_it_is_defined():
    metrics = metrics_with([0, 0, 0], [0.2, np.nan, 0.4])._replace(hollow_fraction=np.array([np.nan, 0.5, 0.9]))
    image = image_noise({"raw": metrics}, metrics.labels, 1)
    assert image.left_out["hollow_fraction"] == image.left_out["interclass_noise"] == 1
    result = summarise([image], min_cells=1, min_images=1)["raw"]
    assert result["hollow_fraction"].mean == pytest.approx(0.7)
    assert result["interclass_noise"].mean == pytest.approx(0.3)


def test_what_nobody_measured_has_no_mean():
    metrics = metrics_with([0] * 5 + [1] * 5, [0.2] * 5 + [np.nan] * 5)
    image = image_noise({"raw": metrics}, metrics.labels, 2)
    table = noise.class_table([image], "raw", "interclass_noise")
    assert table[0, 0] == pytest.approx(0.2) and np.isnan(table[0, 1])
    nothing = metrics_with([IGNORE], [np.nan])
    result = summarise([image_noise({"raw": nothing}, nothing.labels, 2)], min_images=1)["raw"]
    assert result["interclass_noise"] == (None, None, 0, {}, {0: 0, 1: 0})
    assert noise.times_chance(result) is None


@pytest.mark.parametrize(("noise_mean", "chance_mean"), [(None, 0.5), (0.3, None), (0.3, 0.0)])
def test_times_chance_needs_both_means(noise_mean, chance_mean):
    means = {"interclass_noise": noise_mean, "chance": chance_mean}
    assert noise.times_chance({name: MetricSummary(mean, None, 0, {}, {}) for name, mean in means.items()}) is None


def test_a_split_counts_its_own_queries_but_the_cells_of_the_image():
    metrics = metrics_with([0] * 6 + [IGNORE], [0.1, 0.1, 0.1, 0.5, 0.5, 0.5, np.nan])
    selected = np.array([False] * 3 + [True] * 4)
    image = image_noise({"raw": metrics}, metrics.labels, 1, selected=selected)
    assert image.cells.tolist() == [6] and image.left_out["interclass_noise"] == 0
    assert summarise([image], min_images=1)["raw"]["interclass_noise"].mean == pytest.approx(0.5)


def test_stages_of_different_queries_are_not_compared():
    one, two = metrics_with([0, 0], [0.1, 0.1]), metrics_with([0, 0], [0.1, 0.1])
    with pytest.raises(ValueError, match=r"^stages raw, rectified hold different queries; compare"):
        image_noise({"raw": one, "rectified": two._replace(queries=np.array([1, 0]))}, one.labels, 1)


def test_means_over_whole_images_against_a_plain_loop():
    rng = np.random.default_rng(9)
    images, per_class = [], {}
    for _ in range(12):
        labels = rng.choice([0, 1, 2, IGNORE], 30, p=[0.6, 0.25, 0.1, 0.05])
        metrics = query_metrics(rng.random((30, 30)), labels, np.arange(30), ignore_index=IGNORE)
        images.append(image_noise({"raw": metrics}, labels, 3))
        for c in range(3):
            if (labels == c).sum() >= 5:
                values = [v for v in metrics.interclass_noise[labels == c] if not math.isnan(v)]
                per_class.setdefault(c, []).append(sum(values) / len(values))
    result = summarise(images)["raw"]["interclass_noise"]
    expected = {c: sum(v) / len(v) for c, v in per_class.items() if len(v) >= 10}
    assert result.class_means == pytest.approx(expected)
    assert result.mean == pytest.approx(sum(expected.values()) / len(expected))
    assert result.left_out == {c: len(per_class.get(c, [])) for c in range(3) if c not in expected}


# --- keys that are other cells than the queries ----------------------------------------------------------------------


def slow_metrics_apart(row, labels, own, threshold=0.25):
    """`slow_metrics` of a query of class `own` that is no key: as one more key, which gets no attention."""
    return slow_metrics([*row, 0.0], [*labels, own], len(row), threshold)


def test_a_row_over_other_keys_worked_out_on_paper():
    # A query of class 0 that is cell 4 of its own grid. S = {0, 1}, D = {2, 4}; key 3 is ignored. κ = 0.8.
    row, labels = np.array([[0.3, 0.1, 0.35, 0.2, 0.05]]), np.array([0, 0, 1, IGNORE, 2])
    query_labels = np.array([[1, 2, IGNORE], [3, 0, 0]])
    options = {"ignore_index": IGNORE, "query_labels": query_labels}
    metrics = query_metrics(row, labels, [4], **options)
    assert metrics.labels.tolist() == [0] and metrics.queries.tolist() == [4]
    assert metrics.kept_mass[0] == pytest.approx(0.8) and metrics.interclass_mass[0] == pytest.approx(0.4)
    assert metrics.interclass_noise[0] == pytest.approx(1 / 2) and metrics.chance[0] == 1 / 2
    # b = (3/4, 1/4): H = 0.562335, log 2 = 0.693147.
    assert metrics.intraclass_noise[0] == pytest.approx(1 - 0.5623351 / 0.6931472, abs=1e-7)
    assert metrics.hollow_fraction[0] == 0
    assert query_metrics(row, labels, [4], hollow_threshold=0.6, **options).hollow_fraction[0] == 1 / 2
    assert metrics.top_mass[0] == pytest.approx(0.35 / 0.8)
    # S holds 0.3, 0.1 and D 0.35, 0.05: 1 + 1 of 4 pairs in order; ranks of S: 2, 3.
    scores = detection_scores(row, labels, [4], **options)
    assert scores.auc[0] == 2 / 4 and scores.average_precision[0] == pytest.approx((1 / 2 + 2 / 3) / 2)
    # Query 3 has a class that no key has, query 2 none.
    metrics = query_metrics(np.repeat(row, 2, axis=0), labels, [3, 2], **options)
    assert metrics.labels.tolist() == [3, IGNORE] and np.isnan(metrics.interclass_noise).all()
    assert np.isnan(metrics.chance).all() and metrics.interclass_mass[0] == pytest.approx(0.8)
    assert not metrics.emptied.any() and np.isnan(metrics.kept_mass[1])


def test_no_key_is_the_query_s_own_even_where_both_grids_have_one_size():
    row, labels = np.array([[0.5, 0.3, 0.2]]), np.array([0, 0, 1])
    within = query_metrics(row, labels, [0], ignore_index=IGNORE)
    apart = query_metrics(row, labels, [0], ignore_index=IGNORE, query_labels=labels)
    assert within.kept_mass[0] == pytest.approx(0.5) and apart.kept_mass[0] == pytest.approx(1)
    assert (within.chance[0], apart.chance[0]) == (1 / 2, 1 / 3)


@pytest.mark.parametrize("seed", range(4))
def test_other_keys_against_plain_loops(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 5, IGNORE], (3, 5), p=[0.4, 0.3, 0.15, 0.1, 0.05])
    query_labels = rng.choice([0, 1, 2, 7, IGNORE], (4, 7))
    rows = np.round(rng.random((28, 3, 5)) ** 3, 1)
    rows[3] = 0
    rows[5, labels == query_labels.flat[5]] = 0
    queries = rng.permutation(28)
    options = {"ignore_index": IGNORE, "query_labels": query_labels}
    metrics = query_metrics(rows[queries], labels, queries, **options)
    scores = detection_scores(rows[queries], labels, queries, **options)
    expected = [
        slow_metrics_apart(rows[query].ravel().tolist(), labels.ravel().tolist(), query_labels.flat[query])
        for query in queries
    ]
    actual = {**metrics._asdict(), **scores._asdict()}
    for index, wanted in enumerate(expected):
        for name in (*METRICS, *scores._fields):
            assert actual[name][index] == pytest.approx(wanted.get(name, np.nan), nan_ok=True, abs=1e-12), name
    # Where a class of queries goes, by hand: the mean over its valid queries of the shares.
    found = noise.leakage(rows[queries], labels, queries, num_classes=8, **options)
    for label in range(8):
        mine = [
            q
            for q, e in zip(queries, expected, strict=True)
            if query_labels.flat[q] == label and "interclass_noise" in e
        ]
        assert found.queries[label] == len(mine)
        for other in range(8):
            total = sum(rows[q][labels == other].sum() / rows[q][labels != IGNORE].sum() for q in mine)
            assert found.total[label, other] == pytest.approx(total, abs=1e-12)


def test_the_sets_of_blocks_have_the_same_columns_as_those_of_all_queries():
    labels, query_labels = np.array([2, 2, 0]), np.array([1, 0, 2, 9, IGNORE])
    options = {"ignore_index": IGNORE, "query_labels": query_labels}
    every, one = noise.query_sets(labels, **options), noise.query_sets(labels, [2], **options)
    assert every.classes.tolist() == one.classes.tolist() == [0, 1, 2, 9]
    assert every.queries.tolist() == [0, 1, 2, 3, 4] and every.same_count.tolist() == [0, 1, 2, 0, 0]
    assert every.other_count[:4].tolist() == [3, 2, 1, 3]


def test_without_any_label_on_the_keys_nothing_is_defined():
    options = {"ignore_index": IGNORE, "query_labels": np.array([0, IGNORE])}
    metrics = query_metrics(np.full((2, 3), 1 / 3), np.full(3, IGNORE), [0, 1], **options)
    assert metrics.kept_mass[0] == 0 and metrics.emptied.tolist() == [True, False]
    assert np.isnan(metrics.interclass_noise).all() and np.isnan(metrics.chance).all()


def test_a_query_beyond_the_labels_of_queries_is_refused():
    with pytest.raises(ValueError, match="query cells run from 5 to 5; there are labels of the queries 0 … 4"):
        query_metrics(np.ones((1, 3)), np.zeros(3, int), [5], ignore_index=IGNORE, query_labels=np.zeros(5, int))
