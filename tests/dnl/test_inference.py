"""Prediction by windows, scales and mirroring, against plain versions of the same."""

import copy

import numpy as np
import pytest
import torch

from dnl.inference import Inference, class_probabilities, predict, window_starts
from dnl.network import ModelConfig, build_model
from dnl.network.model import resize
from dnl.transforms import normalise


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(ModelConfig("resnet18", 8, 5, attention_stride=8, gamma_init=0.5)).eval()


@pytest.fixture
def images():
    return torch.randn(1, 3, 45, 70, generator=torch.Generator().manual_seed(1))


def whole(model, images):
    with torch.inference_mode():
        return model(images).logits.softmax(1)


def test_windows_cover_everything_and_overlap_enough():
    assert window_starts(100, 100, 0.3) == [0]
    assert window_starts(90, 100, 0.3) == [0]
    for side, window, overlap in ((101, 100, 0.3), (1024, 769, 1 / 3), (2048, 769, 1 / 3), (500, 32, 0.0)):
        starts = window_starts(side, window, overlap)
        assert starts[0] == 0 and starts[-1] == side - window
        assert max(np.diff(starts)) <= round(window * (1 - overlap)) + 1


def test_one_window_as_large_as_the_image_is_the_whole_image(model, images):
    probs = class_probabilities(model, images, Inference(window=70))
    assert torch.allclose(probs, whole(model, images), atol=1e-6)


def test_windows_are_averaged_where_they_meet(model, images):
    probs = class_probabilities(model, images, Inference(window=45, overlap=0.2))
    expected = torch.zeros_like(probs)
    count = torch.zeros(70)
    for left in window_starts(70, 45, 0.2):
        expected[..., left : left + 45] += whole(model, images[..., left : left + 45])
        count[left : left + 45] += 1
    assert count.max() == 2
    assert torch.allclose(probs, expected / count, atol=1e-6)


def test_mirroring_makes_the_prediction_symmetric(model, images):
    inference = Inference(flip=True)
    probs = class_probabilities(model, images, inference)
    mirrored = class_probabilities(model, images.flip(-1), inference)
    assert torch.allclose(probs, mirrored.flip(-1), atol=1e-5)
    assert not torch.allclose(probs, whole(model, images), atol=1e-3)


def test_scales_are_averaged(model, images):
    probs = class_probabilities(model, images, Inference(scales=(1.0, 1.5)))
    larger = resize(whole(model, resize(images, (68, 105))), (45, 70))
    assert torch.allclose(probs, (whole(model, images) + larger) / 2, atol=1e-5)
    assert torch.allclose(probs.sum(1), torch.ones(1, 45, 70), atol=1e-5)


def test_predict_gives_the_likeliest_class(model):
    image = np.random.default_rng(0).integers(0, 256, (45, 70, 3), np.uint8)
    expected = whole(model, normalise(image)[None])[0].argmax(0)
    assert np.array_equal(predict(model, image), expected)
    assert predict(model, image, Inference((0.5, 1.0), flip=True)).shape == (45, 70)


def test_options_that_do_not_fit():
    for options, message in (
        ({"scales": ()}, "at least one"),
        ({"window": 8}, "at least 32"),
        ({"overlap": 1}, "below 1"),
    ):
        with pytest.raises(ValueError, match=message):
            Inference(**options)


@pytest.mark.parametrize("inference", [Inference(), Inference(scales=(0.5, 1.0))])
def test_scores_that_are_no_numbers_are_refused(model, inference):
    broken = copy.deepcopy(model)
    broken.head[-1].bias.data[2] = torch.inf
    with pytest.raises(ValueError, match="NaN or infinite"):
        predict(broken, np.zeros((45, 70, 3), np.uint8), inference)
