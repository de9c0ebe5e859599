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
) -> Tensor:
    """Cross-entropy of the main prediction plus `auxiliary_weight` times that of each auxiliary one: a scalar ≥ 0.

    output: logits B×classes×H×W. labels: B×H×W int64. class_weights: classes, or None for equal ones.
    """

    def cross_entropy(logits):
        return F.cross_entropy(logits.float(), labels, weight=class_weights, ignore_index=ignore_index)

    return cross_entropy(output.logits) + auxiliary_weight * (
        cross_entropy(output.aux_shallow) + cross_entropy(output.aux_class)
    )


def balanced_class_weights(pixel_counts: np.ndarray, largest: float = 3.0) -> Tensor:
    """Weights √(median frequency / frequency), at most `largest`: pixel counts per class -> classes, float32.

    The root keeps frequent classes from being starved, the bound rare ones from taking over. An absent class
    gets the largest weight.
    """
    frequencies = pixel_counts / pixel_counts.sum()
    median = np.median(frequencies[frequencies > 0])
    weights = np.sqrt(median / np.maximum(frequencies, 1e-12))
    return torch.tensor(np.minimum(weights, largest), dtype=torch.float32)
