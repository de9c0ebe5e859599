"""Time and memory of the denoised attention against the published formula and plain non-local attention.

    python -m benchmarks.attention [--cells 2401 4096 …] [--repeats 7] [--threads 2]

Forward pass, one image, float32, C = 512, d = 64, 19 classes: the block of the published network. Times are medians
of repeats in which the variants take turns, so that whatever else the machine does falls on all of them alike: trust
the ratios more than the milliseconds. Extra memory is how far one forward pass lifts the peak of a fresh process
above what it held with the inputs made.
"""

import argparse
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

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


def denoised(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    return denoised_attention(query, key, value, class_probs)


def plain_dense(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    attention = torch.softmax(query.flatten(2).transpose(1, 2) @ key.flatten(2), dim=-1)
    return (value.flatten(2) @ attention.transpose(1, 2)).view_as(value)


def plain_sdpa(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    rows = (tensor.flatten(2).transpose(1, 2) for tensor in (query, key, value))
    return F.scaled_dot_product_attention(*rows, scale=1.0).transpose(1, 2).reshape_as(value)


class Variant(NamedTuple):
    """A way to compute a block, and the variant that its result must equal."""

    run: Callable[..., Tensor]
    equals: str


VARIANTS = {
    "published formula": Variant(published, "published formula"),
    "denoised_attention": Variant(denoised, "published formula"),
    "plain, dense": Variant(plain_dense, "plain, dense"),
    "plain, scaled_dot_product_attention": Variant(plain_sdpa, "plain, dense"),
}


@torch.inference_mode()
def median_times(inputs: Inputs, repeats: int) -> dict[str, float]:
    """Seconds of each variant, which take turns, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(repeats + 1):
        for name, variant in VARIANTS.items():
            start = time.perf_counter()
            variant.run(*inputs)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


@torch.inference_mode()
def differences(inputs: Inputs) -> dict[str, float]:
    """Largest absolute difference between each variant and the one that it must equal."""
    return {
        name: (variant.run(*inputs) - VARIANTS[variant.equals].run(*inputs)).abs().max().item()
        for name, variant in VARIANTS.items()
    }


def extra_memory(name: str, cells: int, threads: int) -> int:
    """Bytes that one forward pass of a variant adds to the peak memory of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.attention", "--threads", str(threads), "--cells", str(cells)]
    return int(subprocess.run([*command, "--memory-of", name], check=True, capture_output=True, text=True).stdout)


@torch.inference_mode()
def own_extra_memory(name: str, cells: int) -> int:
    """`extra_memory` measured in this process, which must not have run anything large before."""
    run = VARIANTS[name].run
    run(*make_inputs(16))  # load the libraries and start their threads before the baseline is taken
    inputs = make_inputs(cells)
    baseline = peak_memory()
    run(*inputs)
    return peak_memory() - baseline


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def report(cells: int, repeats: int, threads: int) -> str:
    """Measure all variants at one size and lay the figures out as a table."""
    # Memory first: under Linux a new process inherits its parent's peak, which is still small here.
    memory = {name: extra_memory(name, cells, threads) for name in VARIANTS}
    inputs = make_inputs(cells)
    times, errors = median_times(inputs, repeats), differences(inputs)
    height, width = inputs.query.shape[2:]
    lines = [
        f"N = {cells} ({height}×{width}), C = {CHANNELS}, d = {DEPTH}, {CLASSES} classes, float32, "
        f"{threads} threads, median of {repeats}",
        f"{'':36}{'time':>10}{'faster':>9}{'extra memory':>15}{'less':>8}{'difference':>13}",
    ]
    for name in VARIANTS:
        faster = times["published formula"] / times[name]
        less = memory["published formula"] / memory[name]
        lines.append(
            f"{name:36}{1000 * times[name]:7.0f} ms{faster:8.1f}×{memory[name] / 1e6:12.0f} MB{less:7.1f}×"
            f"{errors[name]:13.1e}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of the denoised attention, forward, float32.")
    parser.add_argument("--cells", type=int, nargs="+", default=[2401], help="numbers of cells N")
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds; the median counts")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--memory-of", choices=VARIANTS, help="print the extra bytes of one variant, and no more")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(own_extra_memory(arguments.memory_of, arguments.cells[0]))
        return
    print("faster, less: against the published formula; difference: against the other way to the same result\n")
    for cells in arguments.cells:
        print(report(cells, arguments.repeats, arguments.threads), flush=True)


if __name__ == "__main__":
    main()
