"""Time and memory of a noise report against the two N² matrix products without which there are no maps.

    python -m benchmarks.noise [--cells 8192 …] [--repeats 5] [--threads 1 2]

All queries of one image, float32: every metric but AUC and AP in the raw, rectified and retained stages (sigmoid
gate, learnt 3×3 LR), by compiled passes where Numba is installed and by plain ones; then with the controls, then with
AUC and AP as well. The products are the scores q·k with d = 64 and the class similarity p·p, streamed over blocks of
queries as the network does, or as two whole N×N arrays. There are 19 classes, in random patches of 4×4 cells, common
ones and rare ones. Times are medians of repeats that take turns, so that whatever else the machine does falls on all
alike: trust the ratios. Extra memory is how far one report lifts the peak of a fresh process above what it held with
the capture made.
"""

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch

from analysis.capture import Capture
from analysis.measure import MeasureOptions, measure_capture, streaming
from analysis.measure.plain import PlainPasses
from benchmarks.measure import peak_memory
from benchmarks.variants import DEPTH, SCORE_STD
from dnl.attention.stages import QUERY_BLOCK
from dnl.classes import CITYSCAPES

PATCH = 4  # cells
STAGES_ALONE = MeasureOptions(precision="float32", controls=())
WITH_CONTROLS = MeasureOptions(precision="float32")


def make_capture(cells: int) -> Capture:
    """Seeded random queries, keys, class_probs and labels; the map is about twice as wide as high."""
    height = min((side for side in range(1, cells + 1) if cells % side == 0), key=lambda h: abs(2 * h * h - cells))
    size = height, cells // height
    label_set = CITYSCAPES
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, label_set.num_classes + 1)  # of the classes in the image
    patches = rng.choice(label_set.num_classes, [-(-side // PATCH) for side in size], p=shares / shares.sum())
    labels = np.kron(patches, np.ones((PATCH, PATCH), int))[: size[0], : size[1]]
    scale = (SCORE_STD / math.sqrt(DEPTH)) ** 0.5
    query, key = (scale * rng.standard_normal((DEPTH, *size), np.float32) for _ in range(2))
    probs = np.exp(2 * rng.standard_normal((label_set.num_classes, *size), np.float32))
    return Capture(
        query, key, probs / probs.sum(axis=0), labels=labels, label_set=label_set, gate="sigmoid", lr_kernel=3
    )


def products_streamed(capture: Capture) -> None:
    for left, right in _factors(capture):
        for start in range(0, len(left), QUERY_BLOCK):
            left[start : start + QUERY_BLOCK] @ right


def products_whole(capture: Capture) -> None:
    for left, right in _factors(capture):
        left @ right


def _factors(capture: Capture) -> list[tuple[torch.Tensor, torch.Tensor]]:
    query, key, probs = (torch.from_numpy(a).flatten(1) for a in (capture.query, capture.key, capture.class_probs))
    return [(query.T.contiguous(), key), (probs.T.contiguous(), probs)]


def report_stages(capture: Capture) -> None:
    measure_capture(capture, STAGES_ALONE, detection=False)


def report_controls(capture: Capture) -> None:
    measure_capture(capture, WITH_CONTROLS, detection=False)


def report_all(capture: Capture) -> None:
    measure_capture(capture, WITH_CONTROLS)


def report_plain(capture: Capture) -> None:
    """As without Numba."""
    with mock.patch.object(streaming, "fastest_passes", PlainPasses):
        report_stages(capture)


VARIANTS: dict[str, Callable[[Capture], None]] = {
    "two products, streamed": products_streamed,
    "two products, whole": products_whole,
    "three stages": report_stages,
    "three stages, not compiled": report_plain,
    "three stages, controls": report_controls,
    "three stages, controls, AUC and AP": report_all,
}
BASE = "two products, streamed"


@torch.inference_mode()
def median_times(capture: Capture, repeats: int) -> dict[str, float]:
    """Seconds of each variant, which take turns, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(repeats + 1):
        for name, run in VARIANTS.items():
            start = time.perf_counter()
            run(capture)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def extra_memory(name: str, cells: int, threads: int) -> int:
    """Bytes that one run of a variant adds to the peak memory of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.noise", "--threads", str(threads), "--cells", str(cells)]
    return int(subprocess.run([*command, "--memory-of", name], check=True, capture_output=True, text=True).stdout)


@torch.inference_mode()
def own_extra_memory(name: str, cells: int) -> int:
    """`extra_memory` measured in this process, which must not have run anything large before."""
    run = VARIANTS[name]
    run(make_capture(32))  # load the libraries and start their threads before the baseline is taken
    capture = make_capture(cells)
    baseline = peak_memory()
    run(capture)
    return peak_memory() - baseline


def table(cells: int, repeats: int, threads: int, memory: dict[str, int]) -> str:
    """Measure all variants at one size on so many threads and lay the figures out as a table.

    memory: what `extra_memory` says of each variant.
    """
    torch.set_num_threads(threads)
    capture = make_capture(cells)
    times = median_times(capture, repeats)
    lines = [
        f"N = {cells} ({capture.height}×{capture.width}), d = {DEPTH}, {capture.num_classes} classes, float32, "
        f"{threads} thread{'s' * (threads > 1)}, median of {repeats}",
        f"{'':36}{'time':>10}{'of streamed':>13}{'of whole':>10}{'extra memory':>15}",
    ]
    for name in VARIANTS:
        lines.append(
            f"{name:36}{1000 * times[name]:7.0f} ms{times[name] / times[BASE]:12.1f}×"
            f"{times[name] / times['two products, whole']:9.1f}×{memory[name] / 1e6:12.0f} MB"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of a noise report, float32.")
    parser.add_argument("--cells", type=int, nargs="+", default=[8192], help="numbers of cells N")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds; the median counts")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="CPU threads")
    parser.add_argument("--memory-of", choices=VARIANTS, help="print the extra bytes of one variant, and no more")
    arguments = parser.parse_args()
    if arguments.memory_of:
        torch.set_num_threads(arguments.threads[0])
        print(own_extra_memory(arguments.memory_of, arguments.cells[0]))
        return
    sizes = [(cells, threads) for cells in arguments.cells for threads in arguments.threads]
    # Memory first: under Linux a new process inherits its parent's peak, which is still small here.
    memory = {size: {name: extra_memory(name, *size) for name in VARIANTS} for size in sizes}
    for size in sizes:
        print(table(size[0], arguments.repeats, size[1], memory[size]), flush=True)


if __name__ == "__main__":
    main()
