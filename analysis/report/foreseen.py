"""What a large labelled image takes in a report, before it is measured: the times of two small ones, extrapolated.

The work of a network's features grows with the pixels, that of its attention's noise with their square.
"""

import time

import numpy as np
import torch

from analysis.measure import MeasureOptions
from analysis.report.measuring import measure_sample
from dnl.checkpoints import load_checkpoint
from dnl.datasets import Sample
from dnl.evaluate import GIB, duration, law_of, least_memory
from dnl.network import SegmentationNetwork

TIMED_SIDES = (192, 384)


def foreseen(checkpoint: str, options: MeasureOptions, size: tuple[int, int], *, detection: bool) -> str:
    """What an image of (height, width) pixels takes in one of a report's processes, in a sentence without its end."""
    model, _ = load_checkpoint(checkpoint)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes that measure
    try:
        law = law_of(lambda side: _timed(model, options, side, detection=detection), TIMED_SIDES)
    finally:
        torch.set_num_threads(threads)
    height, width = size
    memory = least_memory(model.config, height * width)
    return (
        f"the largest image, {height}×{width} pixels, takes about {duration(law(height * width))} and at least "
        f"{memory / GIB:.1f} GiB of memory in one process"
    )


def _timed(model: SegmentationNetwork, options: MeasureOptions, side: int, *, detection: bool) -> float:
    """Seconds of an image of that side, half of one class and half of another."""
    labels = np.zeros((side, side), np.uint8)
    labels[side // 2 :] = 1
    sample = Sample(np.zeros((side, side, 3), np.uint8), labels, "two halves")
    started = time.monotonic()
    measure_sample(model, sample, options, detection=detection)
    return time.monotonic() - started
