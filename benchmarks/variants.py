"""The attention blocks that are compared, on seeded inputs of the published network's size."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dnl.attention import denoised_attention

CHANNELS, DEPTH, CLASSES = 512, 64, 19

# Standard deviation of the scores: attention as it is in a trained network, neither flat nor on a single cell.
SCORE_STD = 1.4


class Inputs(NamedTuple):
    """query, key 1×d×H×W; value 1×C×H×W; class_probs 1×classes×H×W."""

    query: Tensor
    key: Tensor
    value: Tensor
    class_probs: Tensor


def make_inputs(cells: int) -> Inputs:
    """Seeded random inputs on the map of `cells` cells that is closest to a square."""
    height = next(side for side in range(math.isqrt(cells), 0, -1) if cells % side == 0)
    generator = torch.Generator().manual_seed(0)

    def normal(channels: int) -> Tensor:
        return torch.randn(1, channels, height, cells // height, generator=generator)

    scale = (SCORE_STD / math.sqrt(DEPTH)) ** 0.5
    probs = torch.softmax(2 * normal(CLASSES), dim=1)
    return Inputs(scale * normal(DEPTH), scale * normal(DEPTH), normal(CHANNELS), probs)


def with_layout(inputs: Inputs, labels: np.ndarray) -> Inputs:
    """The inputs with class_probs that put 0.9 on the class of `labels`, H×W, in each cell."""
    classes = torch.from_numpy(np.unique(labels, return_inverse=True)[1].reshape(labels.shape))
    one_hot = F.one_hot(classes, CLASSES).permute(2, 0, 1)[None].float()
    return inputs._replace(class_probs=0.9 * one_hot + 0.1 / CLASSES)


def operations(cells: int) -> int:
    """Floating-point operations of the method's products: scores, values and class similarity."""
    return 2 * cells**2 * (DEPTH + CHANNELS + CLASSES)


def published(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    """The method as its formulas stand: N×N maps, LR on windows of the map unfolded into N×9×N."""
    batch, _, height, width = query.shape
    cells = height * width
    attention = torch.softmax(query.flatten(2).transpose(1, 2) @ key.flatten(2), dim=-1)
    probs = class_probs.flatten(2)
    attention = attention * torch.sigmoid(probs.transpose(1, 2) @ probs)
    key_windows = F.unfold(key, 3, padding=1).view(batch, -1, 9, cells)
    retention = torch.sigmoid((query.flatten(2)[:, :, None] * key_windows).sum(1))  # B×9×N
    windows = F.unfold(attention.view(batch, cells, height, width), 3, padding=1).view(batch, cells, 9, cells)
    attention = (windows * retention[:, None]).sum(2)
    return (value.flatten(2) @ attention.transpose(1, 2)).view_as(value)


def plain_dense(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    attention = torch.softmax(query.flatten(2).transpose(1, 2) @ key.flatten(2), dim=-1)
    return (value.flatten(2) @ attention.transpose(1, 2)).view_as(value)


def plain_sdpa(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    rows = (tensor.flatten(2).transpose(1, 2) for tensor in (query, key, value))
    return F.scaled_dot_product_attention(*rows, scale=1.0).transpose(1, 2).reshape_as(value)


def denoised(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    return denoised_attention(query, key, value, class_probs)


def denoised_bfloat16(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    return denoised_attention(query, key, value, class_probs, value_dtype=torch.bfloat16)


def denoised_binary(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    return denoised_attention(query, key, value, class_probs, gate="binary")


def plain_streamed(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    return denoised_attention(query, key, value, gate=None, lr_kernel=None)


class Variant(NamedTuple):
    """A way to compute a block; the variant that its result must equal; N×N floats that it holds at its peak."""

    run: Callable[..., Tensor]
    equals: str
    maps: int = 0


OURS, PUBLISHED = "denoised_attention", "published formula"
DENSE, SDPA, STREAMED = "plain, dense", "plain, scaled_dot_product_attention", "plain, ours"

VARIANTS = {
    PUBLISHED: Variant(published, PUBLISHED, 22),
    OURS: Variant(denoised, PUBLISHED),
    "denoised_attention, bfloat16 values": Variant(denoised_bfloat16, PUBLISHED),
    DENSE: Variant(plain_dense, DENSE, 3),
    SDPA: Variant(plain_sdpa, DENSE, 3),
    STREAMED: Variant(plain_streamed, DENSE),
}


def forward(run: Callable[..., Tensor], inputs: Inputs) -> Tensor:
    with torch.inference_mode():
        return run(*inputs)


def forward_and_backward(run: Callable[..., Tensor], inputs: Inputs) -> None:
    """One pass and the gradients of all inputs that the result depends on."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    output = run(*leaves)
    output.backward(torch.ones_like(output))


PASSES = {"forward": forward, "backward": forward_and_backward}
