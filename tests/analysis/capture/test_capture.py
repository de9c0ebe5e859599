import dataclasses
import pickle

import numpy as np
import pytest
import torch

from analysis import Capture
from analysis.maps import attention_rows


def test_classes_are_unknown_without_label_set_and_probabilities():
    capture = Capture(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), labels=np.zeros((24, 32), np.uint8))
    with pytest.raises(ValueError, match="classes are unknown"):
        _ = capture.cell_labels


# --- attention that others bring -------------------------------------------------------------------------------------

HEIGHT, WIDTH, CELLS = 3, 5, 15


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def raw_map(capture: Capture) -> np.ndarray:
    return attention_rows(capture, gate=None, lr_kernel=None).raw.reshape(CELLS, CELLS)


@pytest.fixture
def heads():
    """Queries and keys of 4 heads of 6 channels, with one class token before the 15 cells."""
    rng = np.random.default_rng(7)
    return rng.normal(size=(4, 1 + CELLS, 6)), rng.normal(size=(4, 1 + CELLS, 6))


@pytest.mark.parametrize("as_tensors", [False, True])
@pytest.mark.parametrize("layout", ["N×d", "1×N×d", "d×h×w", "1×d×h×w"])
def test_queries_and_keys_in_every_layout(heads, layout, as_tensors):
    flat = [array[0, 1:] for array in heads]
    maps = [array.T.reshape(6, HEIGHT, WIDTH) for array in flat]
    query, key = {"N×d": flat, "1×N×d": [a[None] for a in flat], "d×h×w": maps, "1×d×h×w": [a[None] for a in maps]}[
        layout
    ]
    if as_tensors:
        query, key = (torch.tensor(array, requires_grad=True) for array in (query, key))
    capture = Capture.from_qk(query, key, HEIGHT, WIDTH, scale=6**-0.5)
    assert capture.cells == (HEIGHT, WIDTH) and capture.query.dtype == np.float32
    np.testing.assert_allclose(capture.query, maps[0] * 6**-0.5, rtol=1e-6)
    np.testing.assert_allclose(raw_map(capture), softmax(flat[0] @ flat[1].T / 6**0.5), atol=1e-6)


def test_half_precision_tensors_are_read(heads):
    query, key = (torch.tensor(array[0, 1:]).bfloat16() for array in heads)
    capture = Capture.from_qk(query, key, HEIGHT, WIDTH)
    np.testing.assert_array_equal(capture.key, key.float().numpy().T.reshape(6, HEIGHT, WIDTH))


@pytest.mark.parametrize("head", [0, 3])
def test_a_class_token_leaves_the_rest_of_its_row_renormalised(heads, head):
    query, key = heads
    with_token = softmax(query[head] @ key[head].T)[1:, 1:]
    capture = Capture.from_qk(query, key, HEIGHT, WIDTH, head=head, class_tokens=1)
    np.testing.assert_allclose(raw_map(capture), with_token / with_token.sum(1, keepdims=True), atol=1e-6)


def test_the_mean_of_the_heads_is_the_mean_of_their_maps(heads):
    query, key = heads
    capture = Capture.from_qk(query, key, HEIGHT, WIDTH, scale=0.5, class_tokens=1)
    each = [raw_map(Capture.from_qk(query, key, HEIGHT, WIDTH, head=h, scale=0.5, class_tokens=1)) for h in range(4)]
    assert capture.query is None and capture.attention.dtype == np.float32 and capture.cells == (HEIGHT, WIDTH)
    np.testing.assert_allclose(raw_map(capture), np.mean(each, axis=0), atol=1e-7)
    # Nothing that mean queries and keys could give.
    of_means = Capture.from_qk(query.mean(0), key.mean(0), HEIGHT, WIDTH, scale=0.5, class_tokens=1)
    assert np.abs(raw_map(of_means) - raw_map(capture)).max() > 0.01


def test_finished_maps_say_the_same_as_their_queries_and_keys(heads):
    query, key = heads
    maps = softmax(np.einsum("hid,hjd->hij", query, key))
    for head in (2, "mean"):
        from_qk = Capture.from_qk(query, key, HEIGHT, WIDTH, head=head, class_tokens=1)
        from_map = Capture.from_attention(maps, HEIGHT, WIDTH, head=head, class_tokens=1)
        np.testing.assert_allclose(raw_map(from_map), raw_map(from_qk), atol=1e-6)


def test_rows_of_a_finished_map_stay_as_they_are():
    rows = np.random.default_rng(0).random((CELLS, CELLS))
    rows[4] = 0
    capture = Capture.from_attention(rows, HEIGHT, WIDTH)
    np.testing.assert_array_equal(capture.attention, rows.astype(np.float32))
    assert (capture.lr_kernel, capture.lr_weights, capture.gate) == (None, "box", None)
    only_token = np.zeros((CELLS + 1, CELLS + 1))
    only_token[:, 0] = 1  # what is dropped leaves nothing to renormalise
    assert Capture.from_attention(only_token, HEIGHT, WIDTH, class_tokens=1).attention.sum() == 0


def test_what_came_is_neither_changed_nor_shared():
    rng = np.random.default_rng(0)
    query, key = (rng.normal(size=(6, HEIGHT, WIDTH)).astype(np.float32) for _ in range(2))
    probs = rng.dirichlet(np.ones(3), (HEIGHT, WIDTH)).transpose(2, 0, 1).astype(np.float32).copy()
    image, labels = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8), rng.integers(0, 3, (24, 40))
    came = query, key, probs, image, labels
    before = [array.copy() for array in came]
    capture = Capture.from_qk(query, key, HEIGHT, WIDTH, probs, image, labels, scale=0.5)
    kept = capture.query, capture.key, capture.class_probs, capture.image, capture.labels
    for array, old, own in zip(came, before, kept, strict=True):
        np.testing.assert_array_equal(array, old)
        assert not np.shares_memory(array, own)
    np.testing.assert_array_equal(capture.class_probs, before[2])


def test_something_to_show_is_found():
    query, labels = np.ones((CELLS, 2)), np.arange(CELLS).reshape(HEIGHT, WIDTH) % 2
    image = np.full((24, 40, 3), 7, np.uint8)
    assert (Capture.from_qk(query, query, 3, 5, image=image, labels=labels).with_image().image == 7).all()
    painted = Capture.from_qk(query, query, 3, 5, labels=labels)
    np.testing.assert_array_equal(painted.with_image().image, painted.label_set.colour(labels))
    predicted = Capture.from_qk(query, query, 3, 5, prediction=labels)
    np.testing.assert_array_equal(predicted.with_image().image, predicted.label_set.colour(labels))
    plain = Capture.from_qk(query, query, 3, 5).with_image().image
    assert plain.shape == (3, 5, 3) and len(np.unique(plain)) == 1


def test_a_query_is_measured_against_the_labels_or_else_the_prediction():
    query, labels = np.ones((CELLS, 2)), np.arange(CELLS).reshape(HEIGHT, WIDTH) % 2
    both = Capture.from_qk(query, query, 3, 5, labels=labels, prediction=1 - labels)
    assert both.reference == "labels" and (both.reference_labels == labels).all()
    predicted = Capture.from_qk(query, query, 3, 5, prediction=1 - labels)
    assert predicted.reference == "prediction" and (predicted.reference_labels == 1 - labels).all()
    neither = Capture.from_qk(query, query, 3, 5)
    assert neither.reference is None and neither.reference_labels is None


def test_what_is_remembered_is_worked_out_once_and_travels_along():
    query, asked = np.ones((CELLS, 2)), []

    def compute(capture):
        asked.append(capture)
        return [len(asked)]

    capture = Capture.from_qk(query, query, 3, 5)
    first = capture.remembered("answer", compute)
    assert capture.remembered("answer", compute) is first and asked == [capture]
    assert pickle.loads(pickle.dumps(capture)).remembered("answer", compute) == first and len(asked) == 1
    assert dataclasses.replace(capture, name="another").remembered("answer", compute) == [2]
