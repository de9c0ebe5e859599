import copy
import dataclasses

import numpy as np
import pytest
import torch

from analysis import Capture, capture_attention
from analysis.geometry import Grid
from analysis.maps import attention_rows
from dnl import ModelConfig, build_model
from dnl.classes import CAMVID
from dnl.network.block import class_distribution
from dnl.transforms import normalise

CONFIG = ModelConfig(backbone="resnet18", width=8, num_classes=11, attention_stride=8, gamma_init=0.5)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = build_model(CONFIG).eval()
    model.label_set = CAMVID
    return model


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 72, 3), dtype=np.uint8)


def test_capture_holds_what_the_block_sees(model, image):
    capture = capture_attention(model, image, name="noise")
    with torch.no_grad():
        batch = normalise(image)[None]
        encoding = model.encode(batch)
        query = model.context.query(encoding.features)[0].numpy()
        key = model.context.key(encoding.features)[0].numpy()
        probs = class_distribution(encoding.class_logits, query.shape[1:])[0].numpy()
        prediction = model(batch).logits[0].argmax(0).numpy()
    assert (capture.height, capture.width) == (5, 9) == query.shape[1:]
    np.testing.assert_allclose(capture.query, query, atol=1e-6)
    np.testing.assert_allclose(capture.key, key, atol=1e-6)
    np.testing.assert_allclose(capture.class_probs, probs, atol=1e-6)
    assert (capture.prediction == prediction).all()
    assert (capture.gate, capture.lr_kernel, capture.lr_weights) == ("sigmoid", 3, "learnt")
    assert capture.query.dtype == np.float32 and capture.prediction.dtype == np.uint8
    assert capture.label_set is CAMVID and capture.name == "noise" and capture.labels is None


@pytest.mark.parametrize(
    ("layers", "factor", "words"),
    [
        (["context.query", "context.key"], 1e25, "the scores of query and key can reach"),
        (["context.key"], np.inf, "key holds .* that are NaN or infinite"),
        (["class_head.4"], np.inf, "class_probs holds .* that are NaN or infinite"),
        (["head.1", "head.4"], 1e30, "logits holds .* that are NaN or infinite"),
    ],
)
def test_weights_that_float32_cannot_compute_with_are_refused(model, image, layers, factor, words):
    huge = copy.deepcopy(model)
    with torch.no_grad():
        for layer in layers:
            huge.get_submodule(layer).weight *= factor
    with pytest.raises(ValueError, match=f"the network's weights are broken or too large for 'noise': {words}"):
        capture_attention(huge, image, name="noise")


def test_labels_and_prediction_in_cells(model, image):
    labels = np.random.default_rng(1).integers(0, 12, (40, 72), dtype=np.uint8)
    before = labels.copy()
    capture = capture_attention(model, image, labels=labels)
    assert (capture.cell_labels == Grid(labels.shape, (5, 9)).votes(labels, 11, 11)).all()
    assert (capture.cell_prediction == Grid(labels.shape, (5, 9)).votes(capture.prediction, 11, 11)).all()
    assert (labels == before).all()


def test_without_labels_there_are_no_cell_labels(model, image):
    assert capture_attention(model, image).cell_labels is None


def test_a_model_without_gate_still_gives_its_class_distribution(image):
    model = build_model(dataclasses.replace(CONFIG, context="nl")).eval()
    capture = capture_attention(model, image)
    assert capture.gate is None and capture.lr_kernel is None
    assert capture.class_probs.shape == (11, 5, 9)
    assert (capture.num_classes, capture.ignore_index) == (11, 255)


def test_a_model_without_attention_is_refused(image):
    with pytest.raises(ValueError, match="no attention block"):
        capture_attention(build_model(dataclasses.replace(CONFIG, context="fcn")).eval(), image)


def test_a_model_in_training_mode_is_refused(image):
    with pytest.raises(ValueError, match="eval"):
        capture_attention(build_model(CONFIG), image)


@pytest.mark.parametrize("shape", [(40, 72), (40, 72, 4), (40, 31, 3)])
def test_an_image_of_the_wrong_shape_is_refused(model, shape):
    with pytest.raises(ValueError, match="image is"):
        capture_attention(model, np.zeros(shape, np.uint8))


def test_a_float_image_is_refused(model):
    with pytest.raises(ValueError, match="uint8"):
        capture_attention(model, np.zeros((40, 72, 3)))


def test_labels_of_another_size_are_refused(model, image):
    with pytest.raises(ValueError, match="same size"):
        capture_attention(model, image, labels=np.zeros((72, 40), np.uint8))


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


GOOD = np.ones((CELLS, 2))


@pytest.mark.parametrize(
    ("query", "key", "options", "words"),
    [
        (GOOD[:14], GOOD, {}, r"query is 14×2 but 3×5 = 15 cells need 15×d or heads×15×d or d×3×5$"),
        (GOOD.T, GOOD, {}, r"query is 2×15 .* swap its last two axes"),
        (np.ones((16, 2)), GOOD, {}, r"query is 16×2 .*if the first one is a class token, pass class_tokens=1$"),
        (np.ones((20, 2)), GOOD, {}, r"if the first 5 are class tokens, pass class_tokens=5$"),
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
