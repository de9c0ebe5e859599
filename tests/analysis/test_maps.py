import math

import numpy as np
import pytest
import torch

from analysis import Capture
from analysis.maps import attention_rows, labels_apart, oracle_probs
from analysis.options import GATES
from dnl.attention import attention_stages
from dnl.classes import LabelSet

HEIGHT, WIDTH, CHANNELS, CLASSES = 4, 5, 3, 3
CELLS = HEIGHT * WIDTH
LABEL_SET = LabelSet("three", ("a", "b", "c"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)), 255)


@pytest.fixture
def capture():
    rng = np.random.default_rng(5)
    probs = rng.dirichlet(np.ones(CLASSES), CELLS).T.reshape(CLASSES, HEIGHT, WIDTH)
    labels = rng.choice([0, 1, 2, 255], (HEIGHT, WIDTH)).astype(np.uint8)  # one pixel a cell
    query, key = (rng.normal(size=(CHANNELS, HEIGHT, WIDTH)).astype(np.float32) for _ in range(2))
    return Capture(
        query, key, probs.astype(np.float32), labels=labels, label_set=LABEL_SET, gate="sigmoid", lr_kernel=3
    )


def slow_row(capture, query, gate, kernel, weights="learnt", temperature=1.0):
    """The three stages of one query as written in their definition, in plain loops."""
    cells = [(y, x) for y in range(HEIGHT) for x in range(WIDTH)]
    q, k, p = (array.astype(np.float64) for array in (capture.query, capture.key, capture.class_probs))
    labels = capture.labels
    i = cells[query]
    scores = [sum(q[c][i] * k[c][j] for c in range(CHANNELS)) / temperature for j in cells]
    raw = [math.exp(score) for score in scores]
    raw = [value / sum(raw) for value in raw]

    def gate_value(j):
        similarity = sum(p[c][i] * p[c][j] for c in range(CLASSES))
        return {
            None: 1.0,
            "sigmoid": 1 / (1 + math.exp(-similarity)),
            "binary": float(p[(slice(None), *i)].argmax() == p[(slice(None), *j)].argmax()),
            "similarity": similarity,
            "oracle": float(labels[i] == labels[j] != 255),
        }[gate]

    rectified = [a * gate_value(j) for a, j in zip(raw, cells, strict=True)]
    if kernel is None:
        return raw, rectified, rectified
    retained = []
    for m in cells:
        total = 0.0
        for dy in range(-(kernel // 2), kernel // 2 + 1):
            for dx in range(-(kernel // 2), kernel // 2 + 1):
                n = m[0] + dy, m[1] + dx
                if n in cells:
                    score = sum(q[c][m] * k[c][n] for c in range(CHANNELS))
                    weight = 1 / (1 + math.exp(-score)) if weights == "learnt" else 1 / kernel**2
                    total += weight * rectified[cells.index(n)]
        retained.append(total)
    return raw, rectified, retained


@pytest.mark.parametrize("gate", [None, *GATES])
@pytest.mark.parametrize("kernel", [None, 1, 3, 5])
@pytest.mark.parametrize("weights", ["learnt", "box"])
def test_rows_against_plain_loops(capture, gate, kernel, weights):
    queries = [0, 7, 19]
    stages = attention_rows(capture, queries, gate=gate, lr_kernel=kernel, lr_weights=weights)
    for index, query in enumerate(queries):
        for rows, slow in zip(stages, slow_row(capture, query, gate, kernel, weights), strict=True):
            assert rows.dtype == np.float64 and rows.shape == (3, HEIGHT, WIDTH)
            np.testing.assert_allclose(rows[index].ravel(), slow, atol=1e-12)


def test_the_models_own_options_are_the_default(capture):
    for rows, named in zip(attention_rows(capture, [3]), attention_rows(capture, [3], gate="sigmoid"), strict=True):
        assert (rows == named).all()
    plain = Capture(capture.query, capture.key, capture.class_probs)
    stages = attention_rows(plain, [3])
    assert (stages.raw == stages.retained).all()


def test_temperature_changes_the_softmax_alone(capture):
    stages = attention_rows(capture, [7], temperature=2.5)
    for rows, slow in zip(stages, slow_row(capture, 7, "sigmoid", 3, temperature=2.5), strict=True):
        np.testing.assert_allclose(rows[0].ravel(), slow, atol=1e-12)


def test_all_queries_by_default(capture):
    np.testing.assert_allclose(attention_rows(capture).raw.sum((1, 2)), np.ones(CELLS))


def test_the_oracle_is_blind_to_unlabelled_cells(capture):
    probs = oracle_probs(capture)
    assert (probs.sum(0) == (capture.labels != 255)).all()
    unlabelled = np.flatnonzero(capture.labels.ravel() == 255)
    assert unlabelled.size and attention_rows(capture, unlabelled, gate="oracle").rectified.sum() == 0


def test_options_that_do_not_fit_are_refused(capture):
    with pytest.raises(ValueError, match="gate is 'hard'"):
        attention_rows(capture, [0], gate="hard")
    with pytest.raises(ValueError, match="lr_kernel is 2"):
        attention_rows(capture, [0], lr_kernel=2)
    with pytest.raises(ValueError, match="cells 0 … 19"):
        attention_rows(capture, [20])
    with pytest.raises(ValueError, match="oracle gate needs true labels"):
        attention_rows(Capture(capture.query, capture.key, capture.class_probs), [0], gate="oracle")
    with pytest.raises(ValueError, match="needs class_probs"):
        attention_rows(Capture(capture.query, capture.key), [0], gate="binary")


# --- finished maps ---------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(capture):
    """The same capture as a map without query and key."""
    rows = attention_rows(capture, gate=None, lr_kernel=None).raw.reshape(CELLS, CELLS)
    return Capture.from_attention(
        rows, HEIGHT, WIDTH, capture.class_probs, labels=capture.labels, label_set=LABEL_SET, gate="sigmoid"
    )


@pytest.mark.parametrize("gate", [None, *GATES])
@pytest.mark.parametrize("kernel", [None, 3, 5])
def test_a_finished_map_is_gated_and_boxed_like_its_query_and_key(capture, finished, gate, kernel):
    for queries in (None, [19, 0, 7]):
        found = attention_rows(finished, queries, gate=gate, lr_kernel=kernel)
        expected = attention_rows(capture, queries, gate=gate, lr_kernel=kernel, lr_weights="box")
        for rows, own in zip(found, expected, strict=True):
            assert rows.dtype == np.float64
            np.testing.assert_allclose(rows, own, atol=1e-7)


def test_the_own_options_of_a_finished_map(finished):
    stages = attention_rows(finished, [3])
    np.testing.assert_array_equal(stages.raw[0].ravel(), finished.attention[3].astype(np.float64))
    assert (stages.retained == stages.rectified).all() and (stages.rectified < stages.raw).any()


def test_what_a_finished_map_cannot_have_is_said(finished):
    with pytest.raises(ValueError, match=r"LR with learnt weights needs query and key, .*; choose the box, or no LR"):
        attention_rows(finished, [0], lr_kernel=3, lr_weights="learnt")
    with pytest.raises(ValueError, match=r"another temperature needs query and key, .*; leave it at 1"):
        attention_rows(finished, [0], temperature=2.0)
    for queries, span in (([-1, 3], "-1 to 3"), ([3, 20], "3 to 20")):
        with pytest.raises(ValueError, match=f"query cells run from {span}; a 4×5 map has cells 0 … 19"):
            attention_rows(finished, queries)
    with pytest.raises(ValueError, match="gate is 'hard'"):
        attention_rows(finished, [0], gate="hard")
    with pytest.raises(ValueError, match="lr_kernel is 2"):
        attention_rows(finished, [0], lr_kernel=2)
    with pytest.raises(ValueError, match="lr_weights is 'gauss'; choose one of learnt, box"):
        attention_rows(finished, [0], lr_kernel=3, lr_weights="gauss")
    bare = Capture.from_attention(finished.attention, HEIGHT, WIDTH, name="bare")
    with pytest.raises(ValueError, match=r"gate 'binary' needs class_probs, and 'bare' has none; choose None"):
        attention_rows(bare, [0], gate="binary")


def test_gate_and_retention_after_the_fact_agree_with_the_network_s_own(capture):
    """On arrays brought as rows, against dnl.attention on the very same numbers."""
    query, key = (array.reshape(CHANNELS, CELLS).T for array in (capture.query, capture.key))
    brought = Capture.from_qk(query, key, HEIGHT, WIDTH, capture.class_probs)
    tensors = [torch.from_numpy(array)[None].double() for array in (capture.query, capture.key, capture.class_probs)]
    for gate in ("sigmoid", "binary", "similarity"):
        expected = attention_stages(*tensors, gate=gate, lr_kernel=3)
        found = attention_rows(brought, gate=gate, lr_kernel=3, lr_weights="learnt")
        for rows, own in zip(found, expected, strict=True):
            np.testing.assert_allclose(rows, own[0].numpy(), atol=1e-12)


# --- keys that are other cells than the queries ----------------------------------------------------------------------

KEY_SIZE = (2, 3)


@pytest.fixture
def pooled():
    """4×5 queries, 2×3 keys."""
    rng = np.random.default_rng(6)
    query, key = (rng.normal(size=(CHANNELS, *size)).astype(np.float32) for size in ((HEIGHT, WIDTH), KEY_SIZE))
    return Capture(query, key, key_size=KEY_SIZE, name="pooled")


def slow_pooled_row(capture, query, kernel=None, temperature=1.0):
    """Raw and boxed row of one query over the keys, in plain loops."""
    cells = [(y, x) for y in range(KEY_SIZE[0]) for x in range(KEY_SIZE[1])]
    q, k = capture.query.astype(float), capture.key.astype(float)
    i = divmod(query, WIDTH)
    raw = [math.exp(sum(q[c][i] * k[c][j] for c in range(CHANNELS)) / temperature) for j in cells]
    raw = [value / sum(raw) for value in raw]
    if kernel is None:
        return raw, raw
    reach = kernel // 2
    boxed = [
        sum(raw[n] for n, (y, x) in enumerate(cells) if abs(y - row) <= reach and abs(x - column) <= reach) / kernel**2
        for row, column in cells
    ]
    return raw, boxed


@pytest.mark.parametrize("kernel", [None, 3])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_rows_over_other_keys_against_plain_loops(pooled, kernel, temperature):
    queries = [19, 0, 7]
    stages = attention_rows(pooled, queries, lr_kernel=kernel, lr_weights="box", temperature=temperature)
    for index, query in enumerate(queries):
        raw, retained = slow_pooled_row(pooled, query, kernel, temperature)
        for rows, slow in zip(stages, (raw, raw, retained), strict=True):
            assert rows.dtype == np.float64 and rows.shape == (3, *KEY_SIZE)
            np.testing.assert_allclose(rows[index].ravel(), slow, atol=1e-12)
    assert attention_rows(pooled).raw.shape == (CELLS, *KEY_SIZE)


def test_a_finished_map_over_other_keys_is_its_rows(pooled):
    raw = attention_rows(pooled).raw.reshape(CELLS, 6).astype(np.float32)
    finished = Capture(None, None, attention=raw, attention_size=(HEIGHT, WIDTH), key_size=KEY_SIZE)
    for options in ({}, {"lr_kernel": 3, "lr_weights": "box"}):
        for rows, own in zip(
            attention_rows(finished, [4, 19], **options), attention_rows(pooled, [4, 19], **options), strict=True
        ):
            np.testing.assert_allclose(rows, own, atol=1e-7)
    with pytest.raises(ValueError, match="another temperature needs query and key"):
        attention_rows(finished, [0], temperature=2.0)


def test_queries_without_a_place_go_by_their_number(pooled):
    query = pooled.query.reshape(CHANNELS, 1, CELLS)
    names = tuple(f"object query {index}" for index in range(CELLS))
    objects = Capture(query, pooled.key, key_size=KEY_SIZE, query_names=names, name="objects")
    for rows, own in zip(attention_rows(objects, [19, 3]), attention_rows(pooled, [19, 3]), strict=True):
        np.testing.assert_array_equal(rows, own)
    with pytest.raises(ValueError, match="queries run from 20 to 20; 'objects' has the queries 0 … 19"):
        attention_rows(objects, [20])


def test_what_other_keys_cannot_have_is_said(pooled, capture):
    probs = np.full((2, HEIGHT, WIDTH), 0.5, np.float32)
    with_classes = Capture(pooled.query, pooled.key, probs, key_size=KEY_SIZE, gate="sigmoid", name="pooled")
    for gate in ("model", "binary", "oracle"):
        words = (
            r"gate '\w+' compares cells and needs keys that are the queries' cells, and the 2×3 keys of 'pooled' are "
        )
        with pytest.raises(ValueError, match=words + "others; choose None for no GR"):
            attention_rows(with_classes, [0], gate=gate)
    with pytest.raises(ValueError, match=r"LR with learnt weights needs keys .* are others; choose the box, or no LR"):
        attention_rows(pooled, [0], lr_kernel=3, lr_weights="learnt")
    with pytest.raises(ValueError, match="query cells run from 20 to 20; a 4×5 map has cells 0 … 19"):
        attention_rows(pooled, [20])
    with pytest.raises(ValueError, match="temperature is 0; it must be above 0"):
        attention_rows(pooled, [0], temperature=0)
    with pytest.raises(ValueError, match="lr_kernel is 2"):
        attention_rows(pooled, [0], lr_kernel=2, lr_weights="box")
    among = Capture(capture.query, capture.key, query_names=("a",) * CELLS, name="among")
    assert attention_rows(among, [0]).raw.shape == (1, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r"LR needs keys .*, and the keys of 'among' have no place; choose no LR"):
        attention_rows(among, [0], lr_kernel=3, lr_weights="box")


def test_labels_apart_are_there_where_the_keys_are_others(pooled, capture):
    assert labels_apart(capture) is None and labels_apart(pooled) is None
    labels = np.arange(20).reshape(4, 5) % 3
    named = Capture(pooled.query, pooled.key, labels=labels, label_set=LABEL_SET, key_size=KEY_SIZE)
    assert (labels_apart(named) == labels).all() and named.key_labels.shape == KEY_SIZE
