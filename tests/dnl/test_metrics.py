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
