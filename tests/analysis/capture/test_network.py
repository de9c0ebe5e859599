import copy
import dataclasses

import numpy as np
import pytest
import torch

from analysis import capture_attention
from analysis.geometry import Grid
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


def test_a_capture_without_prediction_is_otherwise_the_same(model, image):
    labels = np.random.default_rng(1).integers(0, 11, (40, 72), dtype=np.uint8)
    whole = capture_attention(model, image, labels=labels)
    capture = capture_attention(model, image, labels=labels, predict=False)
    assert capture.prediction is None and capture.cell_prediction is None and capture.reference == "labels"
    for part in ("query", "key", "class_probs", "cell_labels"):
        assert (getattr(capture, part) == getattr(whole, part)).all()
