"""From an image to class indices: whole or by sliding window, at one scale or several, mirrored or not."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dnl.network import MIN_SIDE, resize
from dnl.transforms import normalise

MOST_SCALE = 8  # of an image's sides


@dataclass(frozen=True)
class Inference:
    """How a prediction is made; class probabilities are averaged over windows, scales and mirrorings.

    scales: factors by which the image is resized. flip: add the mirrored image. window: side in pixels of the square
    windows that larger (rescaled) images are cut into, None for whole images. overlap: least share of a window that
    the next one covers again. Raises ValueError on values that do not fit.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: int | None = None
    overlap: float = 1 / 3

    def __post_init__(self):
        if not self.scales or not all(0 < scale <= MOST_SCALE for scale in self.scales):
            raise ValueError(f"scales are {self.scales}; give at least one, each above 0, at most {MOST_SCALE}")
        if self.window is not None and self.window < MIN_SIDE:
            raise ValueError(f"the window is {self.window} pixels; it must be at least {MIN_SIDE}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"the overlap is {self.overlap}; it must lie in 0 … 1, below 1")


WHOLE_IMAGE = Inference()


@torch.inference_mode()
def predict(model: nn.Module, image: np.ndarray, inference: Inference = WHOLE_IMAGE) -> np.ndarray:
    """Class index of every pixel: image H×W×3 uint8 -> H×W uint8. The model must be in evaluation mode.

    Raises ValueError where the network's scores are no finite numbers.
    """
    return _classes(_scores(model, image, inference))


@torch.inference_mode()
def predict_probabilities(
    model: nn.Module, image: np.ndarray, inference: Inference = WHOLE_IMAGE
) -> tuple[np.ndarray, np.ndarray]:
    """What `predict` gives, and the probabilities behind it: H×W uint8 and classes×H×W float32, which sum to 1."""
    scores = _scores(model, image, inference)
    probabilities = scores.softmax(0) if inference == WHOLE_IMAGE else scores
    return _classes(scores), probabilities.cpu().numpy()


def _scores(model: nn.Module, image: np.ndarray, inference: Inference) -> Tensor:
    """What an image's classes are told by, classes×H×W: logits of the whole image as it is, else probabilities."""
    device = next(model.parameters()).device
    batch = normalise(image)[None].to(device, memory_format=torch.channels_last)
    scores = model(batch).logits if inference == WHOLE_IMAGE else class_probabilities(model, batch, inference)
    if not scores.isfinite().all():
        raise ValueError("the network's scores are NaN or infinite: its weights, or γ, are broken or too large")
    return scores[0]


def _classes(scores: Tensor) -> np.ndarray:
    return scores.argmax(0).to(torch.uint8).cpu().numpy()


@torch.inference_mode()
def class_probabilities(model: nn.Module, images: Tensor, inference: Inference) -> Tensor:
    """Mean class probabilities over scales and mirrorings: images B×3×H×W normalised -> B×classes×H×W."""
    size = images.shape[2:]
    total = images.new_zeros(())
    for scale in inference.scales:
        sides = [max(MIN_SIDE, round(side * scale)) for side in size]
        scaled = images if list(size) == sides else resize(images, sides)
        probs = _windowed_probabilities(model, scaled, inference)
        if inference.flip:
            probs = (probs + _windowed_probabilities(model, scaled.flip(-1), inference).flip(-1)) / 2
        total = total + resize(probs, size)
    return total / len(inference.scales)


def _windowed_probabilities(model, images, inference):
    """Class probabilities of whole images, or averaged over the windows that cover each pixel."""
    height, width = images.shape[2:]
    if inference.window is None or max(height, width) <= inference.window:
        return model(images).logits.softmax(1)
    tops, rows = window_starts(height, inference.window, inference.overlap), min(height, inference.window)
    lefts, columns = window_starts(width, inference.window, inference.overlap), min(width, inference.window)
    total = images.new_zeros(len(images), model.config.num_classes, height, width)
    count = images.new_zeros(height, width)
    for top in tops:
        for left in lefts:
            cut = (..., slice(top, top + rows), slice(left, left + columns))
            total[cut] += model(images[cut]).logits.softmax(1)
            count[cut] += 1
    return total / count


def window_starts(side: int, window: int, overlap: float) -> list[int]:
    """First pixels of the windows along one side: evenly spread, the last one ending at the image's edge."""
    if side <= window:
        return [0]
    count = math.ceil((side - window) / (window * (1 - overlap))) + 1
    return [round(index * (side - window) / (count - 1)) for index in range(count)]
