"""Capture: everything that the analysis of one image's attention needs, taken out of the network as plain arrays."""

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from analysis.capture import brought as bringing
from analysis.geometry import cell_labels
from analysis.start import starting_pixel
from analysis.threads import one_thread
from dnl.classes import LabelSet
from dnl.network import MIN_SIDE, SegmentationNetwork
from dnl.network.block import class_distribution
from dnl.transforms import normalise

# What marks a pixel without a class where no label set says so.
DEFAULT_IGNORE_INDEX = bringing.IGNORE_INDEX

PLAIN_GREY = 128


@dataclass(frozen=True, eq=False)
class Capture:
    """The attention block's inputs for one image, and what the image shows. h×w are attention cells.

    query, key: d×h×w float32; or both None, and `attention` is the finished map itself: N×N float32 for N = h·w,
    entry [i, j] is what cell i gives to cell j, and `attention_size` its (h, w). LR's learnt weights need query and
    key, so a finished map can have LR's constant box alone; GR works on both.
    class_probs: classes×h×w float32, GR's class distribution, or None.
    image: H×W×3 uint8. labels, prediction: H×W integer class indices. Any of these three may be None.
    gate, lr_kernel, lr_weights: the model's own GR gate and LR window (None: it has none) and kind of LR weights.
    """

    query: np.ndarray | None
    key: np.ndarray | None
    class_probs: np.ndarray | None = None
    image: np.ndarray | None = None
    labels: np.ndarray | None = None
    prediction: np.ndarray | None = None
    label_set: LabelSet | None = None
    gate: str | None = None
    lr_kernel: int | None = None
    lr_weights: str = "learnt"
    name: str = "image"
    attention: np.ndarray | None = None
    attention_size: tuple[int, int] | None = None

    @classmethod
    def from_qk(
        cls,
        query,
        key,
        height: int,
        width: int,
        class_probs=None,
        image=None,
        labels=None,
        *,
        prediction=None,
        head: int | str = "mean",
        scale: float = 1.0,
        class_tokens: int = 0,
        label_set: LabelSet | None = None,
        gate: str | None = None,
        lr_kernel: int | None = None,
        lr_weights: str = "learnt",
        name: str = "image",
    ) -> "Capture":
        """A capture of any attention of the form softmax(scale · q·k), from the queries and keys of one image.

        query, key: NumPy arrays or torch tensors of N×d, heads×N×d, d×h×w or heads×d×h×w, where N = height·width runs
        row by row. (Where both readings fit, h×w counts.) scale: what the model multiplies q·k with, 1/√d in
        transformers; it is multiplied into the stored query, so that softmax(q·k) is the model's attention. LR's
        weights σ(q·k) see the scaled scores as well.
        class_tokens: how many leading tokens are no cells (class and register tokens). They are dropped as queries
        and as keys; each row is thereby spread over the cells alone, as if renormalised.
        head: which head; or "mean", the mean of the heads' maps. That mean is not the attention of any query and key,
        so with several heads it is stored as a map of 4·N² bytes (N up to bringing.MAX_MAP_CELLS), without query and
        key; choose one head to have LR's learnt weights.

        class_probs: classes×h×w or N×classes, a distribution over the classes in each cell, needed by GR.
        image: H×W×3 uint8. labels, prediction: integer class indices as H×W of the image, or one a cell as h×w, the
        better choice where the model's cells do not lie on the image as in `analysis.geometry` (a ViT's patches).
        label_set: None names the classes "class 0", "class 1" … and ignores label 255.
        gate, lr_kernel, lr_weights: what the model itself does, if anything; others can be applied after the fact.
        Inputs are not changed. Raises ValueError, in one sentence, for whatever does not fit.
        """
        cells = bringing.map_size(height, width)
        if not 0 < scale < math.inf:
            raise ValueError(f"scale is {scale}; it must be a finite number above 0, such as 1/√d")
        with np.errstate(over="ignore"):  # infinite queries are refused below
            queries = bringing.cell_maps(query, "query", cells, class_tokens) * np.float32(scale)
        keys = bringing.cell_maps(key, "key", cells, class_tokens)
        if queries.shape != keys.shape:
            raise ValueError(
                f"query has {len(queries)} heads of {queries.shape[1]} channels but key {len(keys)} of "
                f"{keys.shape[1]}; both must have the same"
            )
        bringing.require_computable(queries, keys)
        rest = bringing.described(cells, class_probs, image, labels, prediction, label_set, gate)
        rest |= {"lr_kernel": lr_kernel, "name": name}
        chosen = bringing.chosen_head(head, len(queries))
        if chosen is None:
            attention = bringing.mean_attention(queries, keys)
            return cls(None, None, **rest, lr_weights="box", attention=attention, attention_size=cells)
        return cls(queries[chosen].copy(), keys[chosen].copy(), **rest, lr_weights=lr_weights)

    @classmethod
    def from_attention(
        cls,
        attention,
        height: int,
        width: int,
        class_probs=None,
        image=None,
        labels=None,
        *,
        prediction=None,
        head: int | str = "mean",
        class_tokens: int = 0,
        label_set: LabelSet | None = None,
        gate: str | None = None,
        lr_kernel: int | None = None,
        name: str = "image",
    ) -> "Capture":
        """A capture of a finished attention map: N×N or heads×N×N for N = height·width, finite and not negative.

        Entry [i, j] is what cell i gives to cell j. Rows need not sum to 1 and stay as they are; where leading class
        tokens are dropped, each row (of each head) is divided by what remains of it, as in `from_qk`. LR needs query
        and key for its learnt weights, so a map can have the constant box alone. The rest is as in `from_qk`.
        """
        cells = bringing.map_size(height, width)
        rest = bringing.described(cells, class_probs, image, labels, prediction, label_set, gate)
        rest |= {"lr_kernel": lr_kernel, "lr_weights": "box", "name": name}
        return cls(
            None,
            None,
            **rest,
            attention=bringing.one_map(attention, cells, head, class_tokens),
            attention_size=cells,
        )

    @property
    def height(self) -> int:
        """Rows of cells."""
        return self.cells[0]

    @property
    def width(self) -> int:
        """Columns of cells."""
        return self.cells[1]

    @property
    def cells(self) -> tuple[int, int]:
        """(height, width) of the map."""
        if self.query is not None:
            return self.query.shape[1:]
        assert self.attention_size is not None  # it comes with the finished map
        return self.attention_size

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the image in pixels. Raises ValueError where there is none; see `with_image`."""
        if self.image is None:
            raise ValueError(f"capture {self.name!r} has no image to show; give it one with with_image()")
        return self.image.shape[:2]

    @cached_property
    def image_sha256(self) -> str | None:
        """SHA-256 of the image's pixels, row by row, three bytes each; None without an image."""
        return None if self.image is None else hashlib.sha256(np.ascontiguousarray(self.image).tobytes()).hexdigest()

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

    @cached_property
    def starting_pixel(self) -> tuple[int, int]:
        """The pixel (y, x) to look at before anyone has chosen one; see `analysis.start`. Raises without an image."""
        return starting_pixel(self)

    def with_image(self) -> "Capture":
        """The capture with something to show: its image, else its labels or prediction painted, else plain grey.

        A plain image has one pixel a cell.
        """
        if self.image is not None:
            return self
        shown = self.prediction if self.labels is None else self.labels
        if shown is None or self.label_set is None:
            return dataclasses.replace(self, image=np.full((*self.cells, 3), PLAIN_GREY, np.uint8))
        return dataclasses.replace(self, image=self.label_set.colour(shown))

    def _to_cells(self, labels: np.ndarray | None) -> np.ndarray | None:
        return None if labels is None else cell_labels(labels, self.cells, self.num_classes, self.ignore_index)


def capture_attention(
    model: SegmentationNetwork, image: np.ndarray, *, labels: np.ndarray | None = None, name: str = "image"
) -> Capture:
    """Run `model` on one image and keep what its attention block sees.

    image: H×W×3 uint8 RGB, at least 32 pixels a side. labels: H×W integer class indices, or None. On the processor the
    capture is the same to the last bit whatever the number of threads: it is computed on one. Raises ValueError for a
    model without attention or in training mode, for arrays that do not fit, and for weights that lead to values that
    are no finite numbers or to scores that float32 cannot hold.
    """
    if model.context is None:
        raise ValueError("this model has no attention block (context 'fcn'); choose one with context nl … dnl")
    if model.training:
        raise ValueError("the model is in training mode, where dropout changes its attention; call model.eval() first")
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"{name}: the image is {image.shape} {image.dtype}; it must be H×W×3 uint8 RGB")
    if min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"{name}: the image is {image.shape[0]}×{image.shape[1]} pixels; each side needs at least {MIN_SIDE}"
        )
    if labels is not None and labels.shape != image.shape[:2]:
        raise ValueError(
            f"{name}: labels are {labels.shape} but the image is {image.shape[:2]}; they must have the same size"
        )

    device = next(model.parameters()).device
    with one_thread(), torch.inference_mode(), torch.autocast(device.type, enabled=False):
        encoding = model.encode(normalise(image)[None].to(device))
        query, key = model.context.query(encoding.features), model.context.key(encoding.features)
        class_probs = class_distribution(encoding.class_logits, query.shape[2:])
        logits = model.decode(encoding, model.gather(encoding), image.shape[:2]).logits
    tensors = {"query": query, "key": key, "class_probs": class_probs}
    arrays: dict[str, Any] = {part: _to_numpy(tensor[0]) for part, tensor in tensors.items()}
    try:
        bringing.require_computable(**arrays, logits=_to_numpy(logits[0]))
    except ValueError as error:
        raise ValueError(f"the network's weights are broken or too large for {name!r}: {error}") from error
    return Capture(
        **arrays,
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
