import math

import numpy as np
import pytest

from analysis import noise
from analysis.noise import METRICS, QueryMetrics, detection_scores, leakage, query_metrics
from tests.analysis.noise.small import IGNORE, metrics_of, slow_metrics, sums_of

# What is undefined is NaN, and nothing is said about it while it is computed.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


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


ROW = np.full((1, 6), 1 / 6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": [0, 0, 0, 1, 1, np.nan]}, "labels hold nan; they must be whole numbers"),
        ({"labels": [0, 0, 0.6, 1, 1, 255]}, "labels hold 0.6"),
        ({"labels": [0, 0, 0, 1, 1, np.inf]}, "labels hold inf"),
        ({"labels": np.ma.masked_equal([0, 0, 0, 1, 1, 7], 7)}, "labels are a masked array"),
        ({"labels": [0, 0, 0, 1, 1, None]}, "labels are of the kind object"),
        ({"labels": list("000111")}, "labels are of the kind <U1"),
        ({"queries": [0.5]}, "queries hold 0.5"),
        ({"query_labels": [np.nan, 1]}, "query_labels hold nan"),
        ({"stage_rows": np.ma.masked_less(np.arange(6.0)[None], 2)}, "rows are a masked array"),
    ],
)
def test_labels_and_queries_that_are_no_whole_numbers_are_refused(changed, message):
    given = {"stage_rows": ROW, "labels": [0, 0, 0, 1, 1, IGNORE], "queries": [0], "ignore_index": IGNORE, **changed}
    for function, more in ((query_metrics, {}), (detection_scores, {}), (leakage, {"num_classes": 2})):
        with pytest.raises(ValueError, match=message):
            function(**given, **more)


def test_whole_floats_and_masks_that_mask_nothing_are_labels():
    """S has two cells and D two: chance and noise are ½."""
    labels = np.ma.masked_equal([0.0, 0, 0, 1, 1, IGNORE], 17)
    found = query_metrics(ROW, labels, np.array([0.0]), ignore_index=IGNORE)
    assert found.interclass_noise.tolist() == found.chance.tolist() == [0.5]


# --- aggregation -----------------------------------------------------------------------------------------------------


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
