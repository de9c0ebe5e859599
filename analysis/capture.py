"""Capture: everything that the analysis of one image's attention needs, taken out of the network as plain arrays."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from analysis.geometry import cell_labels
from dnl.block import class_distribution
from dnl.classes import LabelSet
from dnl.network import MIN_SIDE, SegmentationNetwork
from dnl.transforms import normalise

# What marks a pixel without a class where no label set says so.
DEFAULT_IGNORE_INDEX = 255


@dataclass(frozen=True, eq=False)
class Capture:
    """The attention block's inputs for one image, and what the image shows. h×w are attention cells.

    query, key: d×h×w float32. class_probs: classes×h×w float32, GR's class distribution, or None.
    image: H×W×3 uint8. labels, prediction: H×W integer class indices. Any of these three may be None.
    gate, lr_kernel, lr_weights: the model's own GR gate and LR window (None: it has none) and kind of LR weights.
    """

    query: np.ndarray
    key: np.ndarray
    class_probs: np.ndarray | None = None
    image: np.ndarray | None = None
    labels: np.ndarray | None = None
    prediction: np.ndarray | None = None
    label_set: LabelSet | None = None
    gate: str | None = None
    lr_kernel: int | None = None
    lr_weights: str = "learnt"
    name: str = "image"

    @property
    def height(self) -> int:
        """Rows of cells."""
        return self.query.shape[1]

    @property
    def width(self) -> int:
        """Columns of cells."""
        return self.query.shape[2]

    @property
    def cells(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def num_classes(self) -> int:
        """Number of classes, from the label set or else from class_probs. Raises ValueError where neither is there."""
        if self.label_set is not None:
            return self.label_set.num_classes
        if self.class_probs is None:
            raise ValueError(f"capture {self.name!r} has neither a label set nor class_probs: its classes are unknown")
        return self.class_probs.shape[0]

    @property
    def ignore_index(self) -> int:
        """The label value that means "no class"."""
        return DEFAULT_IGNORE_INDEX if self.label_set is None else self.label_set.ignore_index

    @cached_property
    def cell_labels(self) -> np.ndarray | None:
        """The true label of each cell, h×w, `ignore_index` where there is none; None without labels."""
        return self._to_cells(self.labels)

    @cached_property
    def cell_prediction(self) -> np.ndarray | None:
        """The predicted label of each cell, h×w; None without a prediction."""
        return self._to_cells(self.prediction)

    def _to_cells(self, labels: np.ndarray | None) -> np.ndarray | None:
        return None if labels is None else cell_labels(labels, self.cells, self.num_classes, self.ignore_index)


def capture_attention(
    model: SegmentationNetwork, image: np.ndarray, *, labels: np.ndarray | None = None, name: str = "image"
) -> Capture:
    """Run `model` on one image and keep what its attention block sees.

    image: H×W×3 uint8 RGB, at least 32 pixels a side. labels: H×W integer class indices, or None. Raises ValueError
    for a model without attention or in training mode, and for arrays that do not fit.
    """
    if model.context is None:
        raise ValueError("this model has no attention block (context 'fcn'); choose one with context nl … dnl")
    if model.training:
        raise ValueError("the model is in training mode, where dropout changes its attention; call model.eval() first")
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"the image is {image.shape} {image.dtype}; it must be H×W×3 uint8 RGB")
    if min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(f"the image is {image.shape[0]}×{image.shape[1]} pixels; each side needs at least {MIN_SIDE}")
    if labels is not None and labels.shape != image.shape[:2]:
        raise ValueError(f"labels are {labels.shape} but the image is {image.shape[:2]}; they must have the same size")

    device = next(model.parameters()).device
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        encoding = model.encode(normalise(image)[None].to(device))
        query, key = model.context.query(encoding.features), model.context.key(encoding.features)
        class_probs = class_distribution(encoding.class_logits, query.shape[2:])
        logits = model.decode(encoding, model.gather(encoding), image.shape[:2]).logits
    return Capture(
        query=_to_numpy(query[0]),
        key=_to_numpy(key[0]),
        class_probs=_to_numpy(class_probs[0]),
        image=image,
        labels=labels,
        prediction=_to_numpy(logits[0].argmax(dim=0).to(torch.uint8)),
        label_set=model.label_set,
        gate=model.context.gate,
        lr_kernel=model.context.lr_kernel,
        lr_weights=model.context.lr_weights,
        name=name,
    )


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().contiguous().numpy()
