"""A capture of one of our own networks: what its attention block sees of an image."""

from typing import Any

import numpy as np
import torch

from analysis.capture.brought import require_computable
from analysis.capture.capture import Capture
from analysis.threads import one_thread
from dnl.network import MIN_SIDE, SegmentationNetwork, class_distribution
from dnl.transforms import normalise


def capture_attention(
    model: SegmentationNetwork,
    image: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    name: str = "image",
    predict: bool = True,
) -> Capture:
    """Run `model` on one image and keep what its attention block sees.

    image: H×W×3 uint8 RGB, at least 32 pixels a side. labels: H×W integer class indices, or None. predict: whether the
    capture is to know what the network predicts, for which its main head must run. On the processor the capture is the
    same to the last bit whatever the number of threads: it is computed on one. Raises ValueError for a model without
    attention or in training mode, for arrays that do not fit, and for weights that lead to values that are no finite
    numbers or to scores that float32 cannot hold.
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
        # In the layout in which the convolutions take least time.
        images = normalise(image)[None].to(device, memory_format=torch.channels_last)
        encoding = model.encode(images)
        query, key = model.context.query(encoding.features), model.context.key(encoding.features)
        class_probs = class_distribution(encoding.class_logits, query.shape[2:])
        logits = model.decode(encoding, model.gather(encoding), image.shape[:2]).logits if predict else None
    tensors = {"query": query, "key": key, "class_probs": class_probs}
    arrays: dict[str, Any] = {part: _to_numpy(tensor[0]) for part, tensor in tensors.items()}
    predicted = {} if logits is None else {"logits": _to_numpy(logits[0])}
    try:
        require_computable(**arrays, **predicted)
    except ValueError as error:
        raise ValueError(f"the network's weights are broken or too large for {name!r}: {error}") from error
    return Capture(
        **arrays,
        image=image,
        labels=labels,
        prediction=None if logits is None else _to_numpy(logits[0].argmax(dim=0).to(torch.uint8)),
        label_set=model.label_set,
        gate=model.context.gate,
        lr_kernel=model.context.lr_kernel,
        lr_weights=model.context.lr_weights,
        name=name,
    )


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().contiguous().numpy()
