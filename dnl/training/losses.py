"""The training loss: cross-entropy on the three predictions, on every pixel or on the hard ones (OHEM).

The main one may have a surrogate of the IoU itself beside it (Lovász-softmax).
"""

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
    ohem_threshold: float = 1.0,
    ohem_least: float = 0.0,
    lovasz_weight: float = 0.0,
    lovasz_stride: int = 1,
    images: float | None = None,
) -> Tensor:
    """Cross-entropy of the main prediction plus `auxiliary_weight` times that of each auxiliary one: a scalar ≥ 0.

    output: logits B×classes×H×W. labels: B×H×W int64. class_weights: classes, or None for equal ones. The weighted
    sum over pixels is divided by `normaliser`, by default the labels' own `label_weight` (that is, a weighted mean);
    give the whole batch's where `labels` is a part of it.

    ohem_threshold below 1: the main prediction learns from its `hard_pixels` alone. The others count as 0 in the mean
    over all labelled pixels, so that no part of a batch has to know what was left out in another.

    lovasz_weight: of the main prediction's `lovasz_softmax`, on every `lovasz_stride`-th row and column, summed over
    the images and divided by `images`, by default their number B; give the whole batch's where `labels` is a part.
    """
    if normaliser is None:
        normaliser = label_weight(labels, ignore_index=ignore_index, class_weights=class_weights)

    def cross_entropy(logits, targets):
        return F.cross_entropy(
            logits.float(), targets, weight=class_weights, ignore_index=ignore_index, reduction="sum"
        )

    targets = labels
    if ohem_threshold < 1:
        hard = hard_pixels(output.logits, labels, ignore_index=ignore_index, threshold=ohem_threshold, least=ohem_least)
        targets = labels.masked_fill(~hard, ignore_index)
    auxiliary = cross_entropy(output.aux_shallow, labels) + cross_entropy(output.aux_class, labels)
    # A batch without any label has nothing to say: its loss is 0, not 0/0.
    loss = (cross_entropy(output.logits, targets) + auxiliary_weight * auxiliary) / normaliser.clamp_min(1e-6)
    if lovasz_weight:
        logits, cells = (maps[..., ::lovasz_stride, ::lovasz_stride] for maps in (output.logits, labels))
        surrogate = lovasz_softmax(logits.float().softmax(1), cells, ignore_index=ignore_index)
        loss = loss + lovasz_weight * surrogate.sum() / (len(labels) if images is None else images)
    return loss


def lovasz_softmax(class_probs: Tensor, labels: Tensor, *, ignore_index: int) -> Tensor:
    """Lovász-softmax (Berman, Triki, Blaschko, CVPR 2018) of each image: B values in 0 … 1, 0 without any label.

    class_probs: B×classes×H×W. labels: B×H×W int64. The mean, over the classes that an image holds, of the Lovász
    extension of 1 − IoU: piecewise linear in the pixels' errors, and equal to 1 − IoU where every error is 0 or 1.
    """
    num_classes = class_probs.shape[1]
    valid = (labels != ignore_index).flatten(1)[:, None]
    truth = F.one_hot(labels.flatten(1).where(valid[:, 0], 0), num_classes).transpose(1, 2) * valid  # B×classes×pixels
    # Errors of 0 stand last and count for nothing: so do pixels without a label.
    errors, order = ((truth - class_probs.flatten(2)).abs() * valid).sort(dim=-1, descending=True)
    hits = truth.gather(-1, order).to(errors.dtype)
    pixels = hits.sum(-1, keepdim=True)
    jaccard = 1 - (pixels - hits.cumsum(-1)) / (pixels + (1 - hits).cumsum(-1))
    steps = torch.diff(jaccard, dim=-1, prepend=torch.zeros_like(pixels))
    present = pixels[..., 0] > 0
    return ((errors * steps).sum(-1) * present).sum(-1) / present.sum(-1).clamp_min(1)


@torch.no_grad()
def hard_pixels(logits: Tensor, labels: Tensor, *, ignore_index: int, threshold: float, least: float) -> Tensor:
    """Online hard example mining (OHEM): which pixels to learn from, B×H×W bool.

    logits: B×classes×H×W. labels: B×H×W int64. Kept are the labelled pixels whose true class has a probability below
    `threshold`, and in any case the hardest `least` (0 … 1, rounded up) of each image's labelled pixels, with all that
    are equally hard. Each image is judged alone, so that it does not matter how a batch is dealt out.
    """
    loss = F.cross_entropy(logits.float(), labels, ignore_index=ignore_index, reduction="none")
    valid = labels != ignore_index
    probability = torch.exp(-loss).masked_fill(~valid, torch.inf)
    kept = (least * valid.flatten(1).sum(1)).ceil().long()
    # The probability of the last pixel that is kept in any case; −∞, in front of all, where there is none.
    ascending = F.pad(probability.flatten(1).sort(1).values, (1, 0), value=-torch.inf)
    bound = ascending.gather(1, kept[:, None])[:, :, None]
    return valid & ((probability < threshold) | (probability <= bound))


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
