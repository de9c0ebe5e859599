"""From uint8 images and labels to tensors: normalisation, and the joint random crop of training."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

# Means and standard deviations of ImageNet's channels (RGB, 0 … 1): what torchvision's weights expect, used for all.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(image: np.ndarray) -> Tensor:
    """H×W×3 uint8 RGB -> 3×H×W float32, each channel less its mean over its standard deviation."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image is {image.shape} {image.dtype}; it must be H×W×3 uint8 (RGB)")
    scaled = torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1).float() / 255
    return (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@dataclass(frozen=True)
class OtherCamera:
    """What differs from one drive to the next besides the street: light, white balance, focus, sensor noise.

    Every value is the largest change; each photo draws its own between none and that.
    """

    gamma: float = 0.0  # of the logarithm of the exponent that brightness is raised to
    cast: float = 0.0  # relative change of each colour channel by itself
    blur: float = 0.0  # pixels, standard deviation of a Gaussian blur
    noise: float = 0.0  # grey levels of 255, standard deviation

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """H×W×3 uint8 -> the same as another camera might have taken it, determined by `rng` alone."""
        exponent = np.exp(self.gamma * rng.uniform(-1, 1))
        gains = 1 + self.cast * rng.uniform(-1, 1, 3)
        curve = np.linspace(0, 1, 256) ** exponent  # of each grey level
        table = np.clip(255 * curve[:, None] * gains, 0, 255).round().astype(np.uint8)  # 256×3
        image = np.stack([table[image[..., channel], channel] for channel in range(3)], axis=-1)
        blurred = ImageFilter.GaussianBlur(self.blur * rng.random())
        pixels = np.asarray(Image.fromarray(image).filter(blurred)).astype(np.float32)
        pixels += self.noise * rng.random() * rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(pixels, 0, 255).round().astype(np.uint8)


@dataclass(frozen=True)
class RandomCrop:
    """Random scale, crop, flip and photometric jitter of an image together with its labels."""

    height: int = 240  # pixels of the crop
    width: int = 320
    min_scale: float = 0.6  # range of the random enlargement, uniform in its logarithm
    max_scale: float = 1.6
    jitter: float = 0.3  # largest relative change of brightness, contrast and saturation
    camera: OtherCamera | None = None  # on top: another camera, another light
    ignore_index: int = 255  # label of what lies outside the image

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """image H×W×3 uint8, labels H×W uint8 -> height×width×3 and height×width, determined by `rng` alone."""
        scale = np.exp(rng.uniform(np.log(self.min_scale), np.log(self.max_scale)))
        window = (round(self.height / scale), round(self.width / scale))
        image, labels = self._cut(image, labels, window, rng)
        size = (self.width, self.height)
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        if rng.random() < 0.5:
            image, labels = image[:, ::-1], labels[:, ::-1]
        image = photometric_jitter(image, self.jitter, rng)
        return image if self.camera is None else self.camera(image, rng), np.array(labels)

    def _cut(
        self, image: np.ndarray, labels: np.ndarray, window: tuple[int, int], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A window of both at a random place, padded where they are smaller than the window."""
        pad_y, pad_x = (max(0, window[i] - labels.shape[i]) for i in (0, 1))
        padding = ((pad_y // 2, pad_y - pad_y // 2), (pad_x // 2, pad_x - pad_x // 2))
        image = np.pad(image, (*padding, (0, 0)), mode="constant", constant_values=128)
        labels = np.pad(labels, padding, mode="constant", constant_values=self.ignore_index)
        top, left = (rng.integers(0, labels.shape[i] - window[i] + 1) for i in (0, 1))
        rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
        return image[rows, columns], labels[rows, columns]


def paste(
    image: np.ndarray, labels: np.ndarray, other: np.ndarray, other_labels: np.ndarray, *, largest: float, ignored: int
) -> tuple[np.ndarray, np.ndarray]:
    """`image` H×W×3 and `labels` H×W with what is small in another crop of that size laid over them in its place.

    Small are the classes of `other_labels` that cover at most `largest` of it (0 … 1), `ignored` never. After ClassMix
    (Olsson et al., WACV 2021), which takes half of the classes.
    """
    classes, counts = np.unique(other_labels, return_counts=True)
    small = classes[(counts <= largest * other_labels.size) & (classes != ignored)]
    over = np.isin(other_labels, small)
    return np.where(over[..., None], other, image), np.where(over, other_labels, labels)


def photometric_jitter(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation, each changed by a factor in 1 ± strength: H×W×3 uint8 -> the same."""
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    pixels = image.astype(np.float32) * brightness
    pixels = (pixels - pixels.mean()) * contrast + pixels.mean()
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = (pixels - grey) * saturation + grey
    return np.clip(pixels, 0, 255).astype(np.uint8)
