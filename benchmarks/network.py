"""Time and memory of the whole published network on one large image, in a fresh process."""

import subprocess
import sys
import time

import torch

from benchmarks.measure import peak_memory
from dnl import ModelConfig, build_model

HEIGHT, WIDTH = 1024, 2048


def image_cost(threads: int) -> dict:
    """Seconds and peak bytes of a process that builds ResNet-101, width 64, and segments one random image."""
    command = [sys.executable, "-m", "benchmarks.network", str(threads)]
    seconds, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {"height": HEIGHT, "width": WIDTH, "seconds": float(seconds), "peak bytes": int(peak)}


@torch.inference_mode()
def main(threads: int) -> None:
    torch.set_num_threads(threads)
    model = build_model(ModelConfig(gamma_init=1.0)).eval().to(memory_format=torch.channels_last)
    images = torch.randn(1, 3, HEIGHT, WIDTH).contiguous(memory_format=torch.channels_last)
    start = time.perf_counter()
    model(images)
    print(time.perf_counter() - start, peak_memory())


if __name__ == "__main__":
    main(int(sys.argv[1]))
