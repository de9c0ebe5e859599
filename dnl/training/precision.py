"""The precision of a training's convolutions and products: as it is asked for, or the faster one on this machine.

Whether bfloat16 is faster than float32 cannot be told from a processor's instructions: some have one for it that is
slow, some virtual machines hide the units behind it. So both are timed, on the kinds of convolution that cost the
recipe's network most on the recipe's crops, each on a few rows of its map.
"""

import math
from collections import Counter
from functools import cache
from time import perf_counter, process_time
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dnl.distributed import from_main
from dnl.network import MIN_SIDE, ModelConfig, assemble
from dnl.training.config import TrainConfig

# Products that are summed in the forward of a timed convolution, at most: some milliseconds of a core, or of a card.
PROBE_WORK = {"cpu": 3e8, "cuda": 1e10}
PROBE_KINDS = 3  # the convolutions that cost most
PROBE_SECONDS = 0.4  # after which no further round begins
PROBE_ROUNDS = 6  # in which they take turns
# Without instructions for it, bfloat16 can take seconds for what float32 does in hundredths of one. Where a first call
# takes so many times as long, and more seconds on top than what it builds for later ones, no other is asked for.
LOST_BY, LOST_SECONDS = 3.0, 0.2
LEAST_GAIN = 1.02  # for less, bfloat16's rounding is not worth it


class Timing(NamedTuple):
    """Seconds of forward and backward of one image's heaviest convolutions in both, by the best of several rounds."""

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
            f"({chosen * 1000:.0f} against {left * 1000:.0f} ms for the heaviest convolutions of one image)"
        )


class Convolution(NamedTuple):
    """A kind of convolution, with the size of the map that it reads."""

    channels: int
    filters: int
    kernel: int
    stride: int
    dilation: int
    height: int
    width: int

    @property
    def row_work(self) -> float:
        """Products summed for one row of the map that it reads."""
        return self.width * self.channels * self.filters * self.kernel**2 / self.stride**2


def autocast_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """The dtype of convolutions and products in this training; "auto" is the faster one, as this process measures."""
    precision = measured_precision(config, device).faster if config.precision == "auto" else config.precision
    return getattr(torch, precision)


def measured_precision(config: TrainConfig, device: torch.device) -> Timing:
    """How fast both precisions are on the recipe's network and crops, measured once a process.

    Takes half a second of a core for a ResNet-18 of width 32, two for the published network, less where the first of
    the convolutions shows a CPU's bfloat16 to be out of the question. Under torchrun all
    processes must call it at the same time: all are busy then, as in training, and all get what the main one measured.
    """
    return _measured(config.model, config.crop_height, config.crop_width, device, torch.get_num_threads())


@cache
def _measured(config: ModelConfig, height: int, width: int, device: torch.device, threads: int) -> Timing:
    """`threads` tells apart what is remembered."""
    dtypes = tuple(getattr(torch, name) for name in Timing._fields)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        kinds = heaviest(config, height, width)
        probes = [_probe(kind, device) for kind in kinds]
    least = _least_seconds(probes, dtypes)
    costs = zip(probes, kinds.values(), least, strict=False)
    totals = torch.tensor([[probe.share * count * seconds for seconds in best] for probe, count, best in costs])
    return Timing(*from_main(totals.double().sum(0).to(device)).tolist())


def _least_seconds(probes: list["_Probe"], dtypes: tuple[torch.dtype, torch.dtype]) -> list[list[float]]:
    """Of each probe, in each dtype, the least of the rounds; of the first probes alone where those tell enough."""
    first = []  # calls, which build what later ones find
    for probe in probes:
        first.append([_seconds(probe, dtype) for dtype in dtypes])
        if _is_lost(probe, *first[-1]):
            return first
    least = [[math.inf] * len(dtypes) for _ in probes]
    start = perf_counter()
    for turn in range(PROBE_ROUNDS):
        if turn and perf_counter() - start > PROBE_SECONDS:
            break
        for probe, best in zip(probes, least, strict=True):
            best[:] = map(min, best, [_seconds(probe, dtype) for dtype in dtypes])
    return least


def _is_lost(probe: "_Probe", float32: float, bfloat16: float) -> bool:
    """Whether bfloat16's first call was so slow. On a GPU that says nothing: its first calls load libraries."""
    return probe.rows.device.type == "cpu" and bfloat16 > LOST_BY * float32 + LOST_SECONDS


def heaviest(config: ModelConfig, height: int, width: int) -> dict[Convolution, int]:
    """The kinds of `convolutions` that cost most, all of each kind together, and how many there are of each."""
    found = convolutions(config, height, width)
    order = sorted(found, key=lambda kind: kind.height * kind.row_work * found[kind], reverse=True)
    return {kind: found[kind] for kind in order[:PROBE_KINDS]}


def convolutions(config: ModelConfig, height: int, width: int) -> Counter[Convolution]:
    """The convolutions before the attention, and how many there are of each kind, on images of height×width pixels.

    Without the depthwise ones, which are computed in float32 either way.
    """
    found: Counter[Convolution] = Counter()
    side = 2 * MIN_SIDE

    def note(module: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        size = (module.kernel_size[0], module.stride[0], module.dilation[0])
        rows, columns = inputs[0].shape[2:]
        map_size = (max(1, rows * height // side), max(2, columns * width // side))  # a norm needs several values
        found[Convolution(module.in_channels, module.out_channels, *size, *map_size)] += 1

    model = assemble(config).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            module.register_forward_hook(note)
    with torch.inference_mode():
        model.encode(torch.zeros(1, 3, side, side))  # a small image has the same layers on maps of the same proportions
    return found


class _Probe(NamedTuple):
    """A convolution with norm and ReLU on some rows of its map; share: how many times as large the whole map is."""

    layer: nn.Module
    rows: Tensor
    share: float


def _probe(kind: Convolution, device: torch.device) -> _Probe:
    most = int(PROBE_WORK[device.type] / kind.row_work)
    rows = min(kind.height, max(2 * kind.stride, most))
    padding = kind.dilation * (kind.kernel // 2)
    layer = nn.Sequential(
        nn.Conv2d(kind.channels, kind.filters, kind.kernel, kind.stride, padding, dilation=kind.dilation, bias=False),
        nn.BatchNorm2d(kind.filters),
        nn.ReLU(),
    )
    maps = torch.randn(1, kind.channels, rows, kind.width).to(device, memory_format=torch.channels_last)
    layer.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _Probe(layer, maps.requires_grad_(), kind.height / rows)


def _seconds(probe: _Probe, dtype: torch.dtype) -> float:
    """Of one forward and backward: on a CPU processor time, in which a busy machine does not show."""
    device = probe.rows.device
    clock = perf_counter if device.type == "cuda" else process_time
    start = clock()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        output = probe.layer(probe.rows)
    output.sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start
