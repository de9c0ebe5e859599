"""Segmentation scores against values worked out by hand."""

import numpy as np
import pytest

from dnl.metrics import confusion_matrix, segmentation_scores

NAMES = ("road", "tree", "sky")


def test_scores_of_a_small_image_by_hand():
    labels = np.array([[0, 0, 0, 1], [1, 1, 9, 9]])
    prediction = np.array([[0, 0, 1, 1], [1, 0, 0, 1]])
    confusion = confusion_matrix(labels, prediction, 3, ignore_index=9)
    assert confusion.tolist() == [[2, 1, 0], [1, 2, 0], [0, 0, 0]]
    scores = segmentation_scores(confusion, NAMES)
    # road: 2 hits, union 2+1+1 = 4; tree likewise; sky occurs nowhere and is left out.
    assert scores.iou == {"road": 0.5, "tree": 0.5}
    assert scores.miou == 0.5
    assert scores.pixel_accuracy == pytest.approx(4 / 6)


def test_a_class_only_predicted_scores_zero():
    confusion = confusion_matrix(np.array([0, 0]), np.array([0, 2]), 3, ignore_index=255)
    assert segmentation_scores(confusion, NAMES).iou == {"road": 0.5, "sky": 0.0}


def test_matrices_of_several_images_add_up():
    rng = np.random.default_rng(0)
    labels, prediction = rng.integers(0, 3, (2, 5, 7)), rng.integers(0, 3, (2, 5, 7))
    whole = confusion_matrix(labels, prediction, 3, 255)
    parts = sum(confusion_matrix(labels[i], prediction[i], 3, 255) for i in range(2))
    assert np.array_equal(whole, parts)
    assert whole.sum() == 70


def test_bad_input():
    with pytest.raises(ValueError, match="shapes must agree"):
        confusion_matrix(np.zeros(3, int), np.zeros(4, int), 3, 255)
    with pytest.raises(ValueError, match=r"labels run from 0 to 3; they must be 0 … 2 or 255"):
        confusion_matrix(np.array([0, 3]), np.array([0, 0]), 3, 255)
    with pytest.raises(ValueError, match=r"^no labelled pixel was counted; scores need at least one$"):
        segmentation_scores(np.zeros((3, 3), int), NAMES)
    with pytest.raises(ValueError):
        segmentation_scores(np.eye(3, dtype=int), NAMES[:2])


def test_predictions_that_are_no_classes_are_refused_where_there_are_labels():
    """By NumPy they would be counted in another label's row: 0 · 3 + 4 is 1 · 3 + 1, and 1 · 3 − 1 is 0 · 3 + 2."""
    labels = np.array([[0, 1, 2], [0, 1, 255]])
    for strange, named in ((4, "4"), (-1, "-1"), (255, "255")):
        prediction = np.array([[0, strange, 2], [0, strange, 0]])
        with pytest.raises(ValueError, match=rf"the prediction holds {named}; it must hold classes there, 0 … 2$"):
            confusion_matrix(labels, prediction, 3, 255)
    with pytest.raises(ValueError, match=r"holds -1, 3, 4, 5 and 1 more; "):
        confusion_matrix(labels, np.array([[-1, 3, 4], [5, 6, 0]]), 3, 255)
    ignored = np.array([[0, 1, 2], [0, 0, 255]], np.uint8)
    assert confusion_matrix(labels, ignored, 3, 255).tolist() == [[2, 0, 0], [1, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("values", [np.array([0.0, np.nan]), np.array([0.0, 1.0]), np.array([0, 1], np.float16)])
def test_arrays_of_other_numbers_are_refused(values):
    indices = np.array([0, 1])
    with pytest.raises(ValueError, match=rf"^labels are {values.dtype}; they must be integers"):
        confusion_matrix(values, indices, 2, 255)
    with pytest.raises(ValueError, match=rf"^predictions are {values.dtype}; they must be integers"):
        confusion_matrix(indices, values, 2, 255)
    assert confusion_matrix(indices == 1, indices == 0, 2, 255).tolist() == [[0, 1], [1, 0]]
