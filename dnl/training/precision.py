"""The precision of a training's convolutions and products: as it is asked for, or the faster one on this machine.

Whether bfloat16 is faster than float32 cannot be told from a processor's instructions: some have one for it that is
slow, some virtual machines hide the units behind it. So both are timed, on the recipe's network and a small image.
"""

import math
from functools import cache
from time import perf_counter
from typing import NamedTuple

import torch
from torch import nn

from dnl.distributed import from_main
from dnl.network import MIN_SIDE, ModelConfig, build_model
from dnl.training.recipes import TrainConfig

PROBE_PIXELS = 96 * 128  # of the image on which both are timed
PROBE_SECONDS = 0.5  # after which no further round begins
PROBE_ROUNDS = 6  # in which they take turns
LEAST_GAIN = 1.02  # for less, bfloat16's rounding is not worth it


class Timing(NamedTuple):
    """Seconds of forward and backward of the network on the small image, the least of several rounds, in both."""

    float32: float
    bfloat16: float

    @property
    def faster(self) -> str:
        """The precision to compute in: bfloat16 where that clearly takes less time."""
        return "bfloat16" if self.bfloat16 * LEAST_GAIN < self.float32 else "float32"

    @property
    def sentence(self) -> str:
        """The choice and its reason."""
        other = "float32" if self.faster == "bfloat16" else "bfloat16"
        chosen, left = getattr(self, self.faster), getattr(self, other)
        return (
            f"precision: {self.faster}, {left / chosen:.2f} times as fast here as {other} "
            f"({chosen * 1000:.0f} against {left * 1000:.0f} ms, forward and backward on a small image)"
        )


def autocast_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """The dtype of convolutions and products in this training; "auto" is the faster one, as this process measures."""
    precision = measured_precision(config, device).faster if config.precision == "auto" else config.precision
    return getattr(torch, precision)


def measured_precision(config: TrainConfig, device: torch.device) -> Timing:
    """How fast both precisions are on the recipe's network, measured once a process, network, form and device.

    Takes about half a second on a small network. Under torchrun all processes must call it at the same time: all are
    busy then, as in training, and all get what the main one has measured.
    """
    scale = min(1.0, math.sqrt(PROBE_PIXELS / (config.crop_height * config.crop_width)))
    height, width = (max(MIN_SIDE, round(side * scale)) for side in (config.crop_height, config.crop_width))
    return _measured(config.model, height, width, device, torch.get_num_threads())


@cache
def _measured(config: ModelConfig, height: int, width: int, device: torch.device, threads: int) -> Timing:
    """`threads` tells apart what is remembered."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        model: nn.Module = build_model(config)
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.randn(1, 3, height, width).to(device, memory_format=torch.channels_last)
        dtypes = tuple(getattr(torch, name) for name in Timing._fields)
        for dtype in dtypes:  # the first pass builds what later ones find
            _seconds(model, images, dtype)
        least, start = [math.inf] * len(dtypes), perf_counter()
        for turn in range(PROBE_ROUNDS):
            if turn and perf_counter() - start > PROBE_SECONDS:
                break
            least = [min(best, _seconds(model, images, dtype)) for best, dtype in zip(least, dtypes, strict=True)]
    return Timing(*from_main(torch.tensor(least, dtype=torch.float64, device=device)).tolist())


def _seconds(model: nn.Module, images: torch.Tensor, dtype: torch.dtype) -> float:
    """Of one forward and backward."""
    start = perf_counter()
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        output = model(images)
    sum(logits.float().sum() for logits in output).backward()
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
    return perf_counter() - start
