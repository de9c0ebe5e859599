import dataclasses

import numpy as np
import pytest

from analysis import Capture
from analysis.capture import named_classes
from analysis.capture.brought import chosen_head, mean_attention
from dnl.classes import CAMVID

HEIGHT, WIDTH, CELLS = 3, 5, 15


def test_class_distributions_come_as_maps_or_rows():
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(3), CELLS)
    query = rng.normal(size=(CELLS, 2))
    for probs in (rows, rows.T.reshape(3, HEIGHT, WIDTH)):
        capture = Capture.from_qk(query, query, HEIGHT, WIDTH, probs, gate="binary", lr_kernel=3)
        np.testing.assert_allclose(capture.class_probs, rows.T.reshape(3, HEIGHT, WIDTH), rtol=1e-6)
        assert capture.label_set.class_names == ("class 0", "class 1", "class 2")
        assert (capture.gate, capture.lr_kernel) == ("binary", 3)


def test_labels_name_the_classes_where_nothing_else_does():
    labels = np.full((24, 40), 255)
    labels[:, :20] = 6
    capture = Capture.from_qk(np.ones((CELLS, 2)), np.ones((CELLS, 2)), HEIGHT, WIDTH, labels=labels)
    assert capture.num_classes == 7 and capture.ignore_index == 255
    assert len(set(capture.label_set.palette)) == 7
    assert set(np.unique(capture.cell_labels)) == {6, 255}
    bare = Capture.from_qk(np.ones((CELLS, 2)), np.ones((CELLS, 2)), HEIGHT, WIDTH)
    assert bare.label_set is None and bare.cell_labels is None
    all_ignored = Capture.from_qk(np.ones((15, 2)), np.ones((15, 2)), 3, 5, labels=np.full((3, 5), 255))
    assert (all_ignored.cell_labels == 255).all() and not all_ignored.with_image().image.any()


def test_labels_may_be_unsigned_and_long():
    labels = np.full((3, 5), 255, np.uint64)
    labels[1] = 3
    capture = Capture.from_qk(np.ones((15, 2)), np.ones((15, 2)), 3, 5, labels=labels)
    assert capture.num_classes == 4 and (capture.cell_labels == labels).all()
    labels[0] = 2**64 - 1
    with pytest.raises(ValueError, match="at most 255 can be told apart"):
        Capture.from_qk(np.ones((15, 2)), np.ones((15, 2)), 3, 5, labels=labels)


def test_labels_may_come_one_a_cell():
    rng = np.random.default_rng(0)
    cells = rng.choice([0, 1, 2, 255], (HEIGHT, WIDTH))
    image = np.zeros((37, 53, 3), np.uint8)
    query = rng.normal(size=(CELLS, 2))
    capture = Capture.from_qk(query, query, HEIGHT, WIDTH, image=image, labels=cells, prediction=cells % 3)
    assert capture.labels.shape == (37, 53) == capture.prediction.shape
    np.testing.assert_array_equal(capture.cell_labels, cells)
    np.testing.assert_array_equal(capture.cell_prediction, cells % 3)
    alone = Capture.from_qk(query, query, HEIGHT, WIDTH, labels=cells)
    np.testing.assert_array_equal(alone.cell_labels, cells)
    mixed = Capture.from_qk(query, query, HEIGHT, WIDTH, labels=capture.labels, prediction=cells % 3)
    assert mixed.prediction.shape == (37, 53)


GOOD = np.ones((CELLS, 2))


@pytest.mark.parametrize(
    ("query", "key", "options", "words"),
    [
        (GOOD[:14], GOOD, {}, r"query is 14×2 but 3×5 = 15 cells need 15×d or heads×15×d or d×3×5$"),
        (GOOD.T, GOOD, {}, r"query is 2×15 .* swap its last two axes"),
        (
            np.ones((16, 2)),
            GOOD,
            {},
            r"query is 16×2 .*if the first one is a class token, pass class_tokens=1; if .* last .* last_tokens=1$",
        ),
        (
            np.ones((20, 2)),
            GOOD,
            {},
            r"if the first 5 are class tokens, pass class_tokens=5; if they are the last .*, pass last_tokens=5$",
        ),
        (GOOD, GOOD, {"class_tokens": 1}, r"query is 15×2 but 3×5 = 15 cells and 1 class token need 16×d"),
        (GOOD, GOOD, {"class_tokens": -1}, "class_tokens is -1"),
        (GOOD, np.ones((CELLS, 3)), {}, "query has 1 heads of 2 channels but key 1 of 3"),
        (GOOD, np.where(np.eye(15, 2), np.nan, 1), {}, "key holds 2 of 30 values that are NaN or infinite"),
        (GOOD * 1e300, GOOD, {}, "query holds 30 of 30 values that are NaN or infinite"),
        (GOOD * 1j, GOOD, {}, "query is of type complex128; it must hold real numbers"),
        (GOOD, GOOD, {"head": 1}, r"head is 1; choose 0 … 0, or 'mean'"),
        (GOOD, GOOD, {"head": "max"}, "head is 'max'"),
        (GOOD, GOOD, {"scale": 0}, "scale is 0"),
        (GOOD, GOOD, {"scale": np.nan}, "scale is nan"),
        (GOOD, GOOD, {"gate": "binary"}, "gate 'binary' needs class_probs"),
        (GOOD, GOOD, {"class_probs": GOOD}, r"sums to 2 … 2 over the classes of a cell; it must be a distribution"),
        (GOOD, GOOD, {"class_probs": GOOD[:, :1] * [2, -1]}, "reaches down to -1"),
        (GOOD, GOOD, {"class_probs": np.full((2, 5, 3), 0.5)}, r"class_probs is 2×5×3 but"),
        (GOOD, GOOD, {"class_probs": np.full((2, CELLS, 2), 0.5)}, "class_probs has 2 heads"),
        (
            GOOD,
            GOOD,
            {"class_probs": GOOD / 2, "label_set": CAMVID},
            "class_probs has 2 classes but label set 'camvid'",
        ),
        (GOOD, GOOD, {"image": np.zeros((24, 40, 3))}, "image is 24×40×3 float64; it must be H×W×3 uint8"),
        (GOOD, GOOD, {"labels": np.zeros((24, 40))}, "labels are 24×40 float64; they must be H×W integer"),
        (
            GOOD,
            GOOD,
            {"labels": np.zeros((40, 24), int), "image": np.zeros((24, 40, 3), np.uint8)},
            "labels are 40×24 but the image is 24×40 and the map 3×5",
        ),
        (
            GOOD,
            GOOD,
            {"labels": np.full((3, 5), 11), "label_set": dataclasses.replace(CAMVID, ignore_index=255)},
            "hold 11",
        ),
        (GOOD, GOOD, {"labels": np.full((3, 5), -1)}, "labels hold -1, no class of"),
        (GOOD, GOOD, {"prediction": np.full((3, 5), 300)}, "301 classes; at most 255"),
    ],
)
def test_what_does_not_fit_gets_one_sentence(query, key, options, words):
    with pytest.raises(ValueError, match=words):
        Capture.from_qk(query, key, HEIGHT, WIDTH, **options)


def columns(*values: float) -> np.ndarray:
    """Heads of one channel, the same in every cell: heads×N×1."""
    return np.broadcast_to(np.array(values, np.float32)[:, None, None], (len(values), HEIGHT * WIDTH, 1))


def test_scores_that_float32_cannot_hold_are_refused():
    largest = Capture.from_qk(columns(2.0**64), columns(-(2.0**63)), HEIGHT, WIDTH)
    assert np.isfinite(largest.query[0, 0, 0] * largest.key[0, 0, 0])
    for query, key, scale in ((2.0**64, 2.0**64, 1), (2.0**64, 2.0**63, 2), (-(2.0**126), 2.0**126, 1)):
        with pytest.raises(ValueError, match="the scores of query and key can reach"):
            Capture.from_qk(columns(query), columns(key), HEIGHT, WIDTH, scale=scale)
    with pytest.raises(ValueError, match="query holds 15 of 15 values that are NaN or infinite"):
        Capture.from_qk(columns(2.0**126), columns(0), HEIGHT, WIDTH, scale=8)


def test_large_queries_of_one_head_do_not_meet_large_keys_of_another():
    query, key = columns(2.0**100, 1), columns(1, 2.0**100)
    assert Capture.from_qk(query, key, HEIGHT, WIDTH, head=1).key[0, 0, 0] == 2.0**100


@pytest.mark.parametrize(
    ("attention", "options", "words"),
    [
        (np.ones((15, 14)), {}, r"attention is 15×14 but 3×5 cells need 15×15, or heads×15×15"),
        (np.ones((16, 16)), {}, r"if the first one is a class token, pass class_tokens=1"),
        (np.ones((15, 15)), {"class_tokens": 1}, r"3×5 cells and 1 class token need 16×16"),
        (np.ones(225), {}, "attention is 225 but"),
        (-np.eye(15), {}, r"attention goes down to -1; it must not be negative"),
        (np.full((15, 15), np.nan), {}, "attention holds 225 of 225 values that are NaN"),
        (np.ones((2, 15, 15)), {"head": 2}, "head is 2; choose 0 … 1"),
    ],
)
def test_a_map_that_does_not_fit_gets_one_sentence(attention, options, words):
    with pytest.raises(ValueError, match=words):
        Capture.from_attention(attention, HEIGHT, WIDTH, **options)


@pytest.mark.parametrize("size", [(0, 5), (3, -1), (2.5, 6)])
def test_a_map_without_extent_is_refused(size):
    with pytest.raises(ValueError, match="whole numbers from 1 on"):
        Capture.from_qk(GOOD, GOOD, *size)


def test_a_map_too_large_to_hold_is_refused_before_it_is_made():
    query = np.broadcast_to(np.float32(1), (2, 200 * 100, 1))
    with pytest.raises(ValueError, match=r"a map of 20000 cells takes 1.5 GiB; .*choose one head"):
        Capture.from_qk(query, query, 200, 100)
    assert Capture.from_qk(query, query, 200, 100, head=1).query.shape == (1, 200, 100)


def test_named_classes_have_colours_of_their_own():
    label_set = named_classes(["a", "b", "c"], ignore_index=9)
    assert label_set.class_names == ("a", "b", "c") and label_set.ignore_index == 9
    assert len(set(label_set.palette)) == 3


def test_the_head_to_keep_and_the_mean_of_several():
    assert chosen_head("mean", 1) == 0 and chosen_head("mean", 4) is None and chosen_head(3, 4) == 3
    query, key = np.random.default_rng(0).normal(size=(2, 3, 2, 2, 2)).astype(np.float32)
    scores = np.einsum("hdn,hdm->hnm", *(array.reshape(3, 2, 4).astype(np.float64) for array in (query, key)))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    expected = (weights / weights.sum(axis=-1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(mean_attention(query, key), expected, atol=1e-6)
