"""Cost of the denoised attention against the published formula, plain non-local attention and the machine's own peak.

    python -m benchmarks.attention [--sections forward backward binary memory network app] [--cells 2401 4096 …]
                                   [--repeats 5] [--threads 2] [--camvid DIR] [--out DIR]

One image, float32, C = 512, d = 64, 19 classes: the block of the published network. Times are medians of repeats in
which the variants take turns, so that whatever else the machine does falls on all of them alike: trust the ratios more
than the milliseconds. Extra memory is how far one pass lifts the peak of a fresh process above what it held with the
inputs made. GFLOP/s count 2N²(d + C + classes) operations for every variant. A variant whose N×N maps would not fit
the machine's memory is left out and said to be.

    forward   all variants, and the largest difference from the one that they must equal
    backward  forward and backward, gradients of all inputs, at N up to 8192
    binary    the binary gate on class layouts: built-in streets, or CamVid's val labels with --camvid
    memory    extra memory of both passes
    network   the whole published network on one image of 1024×2048 pixels
    app       capture, one row, noise of all queries, payload

Results go to --out (runs/benchmark): attention.json with the machine's description, attention.md and attention.png.
Sections that are not run keep what the file has of them.
"""

import argparse
import sys
from pathlib import Path

import torch

from analysis.geometry import Grid
from benchmarks import results
from benchmarks.app_path import app_calls
from benchmarks.measure import extra_memory, machine, median_times, product_calls, total_memory
from benchmarks.network import image_cost
from benchmarks.variants import DENSE, PASSES, SDPA, VARIANTS, denoised_binary, forward, make_inputs, with_layout
from dnl.datasets import DatasetError, open_dataset

CELLS = (690, 2401, 4096, 8192, 16384, 32768)
LARGEST_BACKWARD = 8192
LAYOUT_SIZE = (64, 128)  # N = 8192, the map of a 1024×2048 image
LAYOUTS = 12


def fitting(cells: int) -> tuple[list[str], list[str]]:
    """Names of the variants whose maps fit three quarters of the machine's memory, and of those left out."""
    fits = {name: 4 * variant.maps * cells**2 <= 0.75 * total_memory() for name, variant in VARIANTS.items()}
    return [name for name in VARIANTS if fits[name]], [name for name in VARIANTS if not fits[name]]


def time_passes(passes: str, cells: int, repeats: int) -> dict:
    """Seconds of each variant and of the machine's matrix products, measured in the same turns."""
    inputs = make_inputs(cells)
    names, left_out = fitting(cells)
    calls = {name: lambda run=VARIANTS[name].run: PASSES[passes](run, inputs) for name in names}
    repeats = repeats if cells <= 8192 else min(repeats, 3)
    result = {"cells": cells, "seconds": median_times(calls | product_calls(), repeats), "left out": left_out}
    if passes == "forward":
        result["difference"] = differences(inputs, names)
    return result


def differences(inputs, names: list[str]) -> dict[str, float]:
    """Largest absolute difference between each variant and the one that it must equal, where both fit."""
    found = {}
    for name in names:
        if VARIANTS[name].equals in names:
            expected = forward(VARIANTS[VARIANTS[name].equals].run, inputs)
            found[name] = (forward(VARIANTS[name].run, inputs) - expected).abs().max().item()
    return found


def measure_memory(passes: str, cells: int, threads: int) -> dict:
    names, left_out = fitting(cells)
    return {
        "cells": cells,
        "bytes": {name: extra_memory(name, cells, threads, passes) for name in names},
        "left out": left_out,
    }


def time_binary(camvid: str | None, repeats: int) -> dict:
    """Binary gate against the plain variants on class layouts resized to N = 8192, spread over the data set."""
    name = "streets" if camvid is None else "camvid"
    dataset = open_dataset(name, camvid, "val")
    classes, ignore = dataset.label_set.num_classes, dataset.label_set.ignore_index
    inputs = make_inputs(LAYOUT_SIZE[0] * LAYOUT_SIZE[1])
    layouts = []
    for index in range(0, len(dataset), max(1, len(dataset) // LAYOUTS)):
        full = dataset[index].labels
        labels = Grid(full.shape, LAYOUT_SIZE).votes(full, classes, ignore)
        run_on = with_layout(inputs, labels)
        calls = {
            "binary": lambda on=run_on: forward(denoised_binary, on),
            DENSE: lambda on=run_on: forward(VARIANTS[DENSE].run, on),
            SDPA: lambda on=run_on: forward(VARIANTS[SDPA].run, on),
        }
        shares = torch.bincount(torch.from_numpy(labels).flatten().long()) / labels.size
        layouts.append({"class share": shares.square().sum().item(), "seconds": median_times(calls, min(repeats, 3))})
    return {"dataset": name, "layouts": layouts}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description="Cost of the attention block.")
    parser.add_argument("--sections", nargs="+", choices=results.SECTIONS, default=results.SECTIONS)
    parser.add_argument("--cells", type=int, nargs="+", default=CELLS, help="numbers of cells N")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds; the median counts")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--camvid", metavar="DIR", help="CamVid's folder, for the binary gate's class layouts")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), help="folder of the results")
    options = parser.parse_args(arguments)
    for name, least in (("cells", min(options.cells)), ("repeats", options.repeats), ("threads", options.threads)):
        if least < 1:
            parser.error(f"--{name} is {least}; give 1 or more")
    torch.set_num_threads(options.threads)
    small = [cells for cells in options.cells if cells <= LARGEST_BACKWARD]
    measures = {
        "memory": lambda: {
            "forward": [measure_memory("forward", cells, options.threads) for cells in options.cells],
            "backward": [measure_memory("backward", cells, options.threads) for cells in small],
        },
        "network": lambda: image_cost(options.threads),
        "forward": lambda: [time_passes("forward", cells, options.repeats) for cells in options.cells],
        "backward": lambda: [time_passes("backward", cells, options.repeats) for cells in small],
        "binary": lambda: time_binary(options.camvid, options.repeats),
        "app": lambda: median_times(app_calls(), options.repeats),
    }
    try:
        # Memory first: under Linux a new process inherits its parent's peak, which is still small then.
        for section, measure in measures.items():
            if section in options.sections:
                results.save(options.out, machine(options.threads), section, measure())
    except (DatasetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print((options.out / "attention.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
