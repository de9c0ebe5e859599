"""Measuring side by side: times of variants that take turns, memory in fresh processes, the machine's own peak."""

import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping

import torch

from benchmarks.variants import PASSES, VARIANTS, make_inputs
from dnl.attention.matrix_product import product
from dnl.training import interleaved_times

PRODUCT_SIDE = 2048
PRODUCTS = ("torch.mm", "dnl.attention.matrix_product")


def median_times(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each call, all taking turns, after one round that is not counted."""
    return {name: statistics.median(values) for name, values in interleaved_times(calls, repeats, warm_up=1).items()}


def product_calls() -> dict[str, Callable[[], object]]:
    """Large square products in float32: PyTorch's own, and the attention's. The faster is the machine's peak."""
    left, right = torch.randn(2, PRODUCT_SIDE, PRODUCT_SIDE)
    return dict(zip(PRODUCTS, (lambda: left @ right.t(), lambda: product(left, right)), strict=True))


def extra_memory(name: str, cells: int, threads: int, passes: str) -> int:
    """Bytes that one pass of a variant adds to the peak memory of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.measure", name, str(cells), str(threads), passes]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def own_extra_memory(name: str, cells: int, passes: str) -> int:
    """`extra_memory` measured in this process, which must not have run anything large before."""
    run, measured = VARIANTS[name].run, PASSES[passes]
    measured(run, make_inputs(16))  # load the libraries and start their threads before the baseline is taken
    inputs = make_inputs(cells)
    baseline = peak_memory()
    measured(run, inputs)
    return peak_memory() - baseline


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def total_memory() -> int:
    """The machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def machine(threads: int) -> dict:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "memory GB": round(total_memory() / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    """The processor's name and family where Linux tells them."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            facts = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return platform.processor()
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    return f"{facts.get('model name', platform.processor())} (family {facts.get('cpu family', '?')})"


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(own_extra_memory(sys.argv[1], int(sys.argv[2]), sys.argv[4]))
