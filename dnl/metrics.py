"""Segmentation scores from a confusion matrix."""

from typing import NamedTuple

import numpy as np

SHOWN_VALUES = 4


class SegmentationScores(NamedTuple):
    """Fractions in 0 … 1. A class that occurs neither in labels nor in predictions is left out of `iou` and `miou`."""

    miou: float
    pixel_accuracy: float
    iou: dict[str, float]


def confusion_matrix(labels: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int) -> np.ndarray:
    """Pixel counts [label, prediction], num_classes×num_classes int64; pixels labelled `ignore_index` do not count.

    labels, prediction: arrays of the same shape, of integers or booleans; labels 0 … num_classes − 1 or `ignore_index`,
    predictions 0 … num_classes − 1 wherever there is a label, and anything elsewhere. Raises ValueError on others.
    """
    if labels.shape != prediction.shape:
        raise ValueError(f"labels are {labels.shape} but the prediction is {prediction.shape}; shapes must agree")
    for what, values in (("labels", labels), ("predictions", prediction)):
        if values.dtype.kind not in "biu":
            raise ValueError(f"{what} are {values.dtype}; they must be integers, one class index for each pixel")
    valid = labels != ignore_index
    labels, prediction = labels[valid].astype(np.int64), prediction[valid].astype(np.int64)
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}; they must be 0 … {num_classes - 1} or {ignore_index}"
        )
    if prediction.size and (prediction.min() < 0 or prediction.max() >= num_classes):
        strange = np.unique(prediction[(prediction < 0) | (prediction >= num_classes)]).tolist()
        more = f" and {len(strange) - SHOWN_VALUES} more" if len(strange) > SHOWN_VALUES else ""
        raise ValueError(
            f"where there are labels the prediction holds {', '.join(map(str, strange[:SHOWN_VALUES]))}{more}; it must "
            f"hold classes there, 0 … {num_classes - 1}"
        )
    counts = np.bincount(labels * num_classes + prediction, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def segmentation_scores(confusion: np.ndarray, class_names: tuple[str, ...]) -> SegmentationScores:
    """IoU per class, their mean, and pixel accuracy; raises ValueError when nothing was counted.

    confusion: pixel counts [label, prediction], classes×classes, from `confusion_matrix`.
    """
    total = confusion.sum()
    if total == 0:
        raise ValueError("no labelled pixel was counted; scores need at least one")
    hits = np.diag(confusion)
    unions = confusion.sum(0) + confusion.sum(1) - hits
    iou = {name: float(hit / union) for name, hit, union in zip(class_names, hits, unions, strict=True) if union > 0}
    return SegmentationScores(float(np.mean(list(iou.values()))), float(hits.sum() / total), iou)
