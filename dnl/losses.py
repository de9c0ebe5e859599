"""The training loss: cross-entropy on the three predictions."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dnl.network import SegmentationOutput


def segmentation_loss(
    output: SegmentationOutput,
    labels: Tensor,
    *,
    ignore_index: int,
    class_weights: Tensor | None = None,
    auxiliary_weight: float = 0.4,
    normaliser: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the main prediction plus `auxiliary_weight` times that of each auxiliary one: a scalar ≥ 0.

    output: logits B×classes×H×W. labels: B×H×W int64. class_weights: classes, or None for equal ones. The weighted
    sum over pixels is divided by `normaliser`, by default the labels' own `label_weight` (that is, a weighted mean);
    give the whole batch's where `labels` is a part of it.
    """
    if normaliser is None:
        normaliser = label_weight(labels, ignore_index=ignore_index, class_weights=class_weights)

    def cross_entropy(logits):
        return F.cross_entropy(logits.float(), labels, weight=class_weights, ignore_index=ignore_index, reduction="sum")

    auxiliary = cross_entropy(output.aux_shallow) + cross_entropy(output.aux_class)
    # A batch without any label has nothing to say: its loss is 0, not 0/0.
    return (cross_entropy(output.logits) + auxiliary_weight * auxiliary) / normaliser.clamp_min(1e-6)


def label_weight(labels: Tensor, *, ignore_index: int, class_weights: Tensor | None = None) -> Tensor:
    """Σ over the labelled pixels of their class's weight (1 without weights): labels int64 of any shape -> scalar."""
    valid = labels[labels != ignore_index]
    if class_weights is None:
        return torch.tensor(float(valid.numel()), device=labels.device)
    return class_weights[valid].sum()


def balanced_class_weights(pixel_counts: np.ndarray, largest: float = 3.0) -> Tensor:
    """Weights √(median frequency / frequency), at most `largest`: pixel counts per class -> classes, float32.

    The root keeps frequent classes from being starved, the bound rare ones from taking over. An absent class
    gets the largest weight.
    """
    frequencies = pixel_counts / pixel_counts.sum()
    median = np.median(frequencies[frequencies > 0])
    weights = np.sqrt(median / np.maximum(frequencies, 1e-12))
    return torch.tensor(np.minimum(weights, largest), dtype=torch.float32)
