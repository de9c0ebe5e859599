"""In which dtype a processor multiplies the attention with the values faster: measured, not looked up.

An instruction for bfloat16 says little: with AMX its products are several times as fast as float32's, on some
processors without it half as fast.
"""

import logging
import math
from functools import cache
from time import perf_counter

import torch
from torch import Tensor

from dnl.attention.matrix_product import packed, product
from dnl.attention.parallel import results

BLOCK = 128  # rows of attention that are multiplied
MOST_CELLS = 2**13  # on which it is measured
ROUNDS = 5  # in which the two take turns
LOST_BY = 2.0  # after two rounds: bfloat16 that takes so many times as long is not asked again
LEAST_GAIN = 1.05  # for less, bfloat16's rounding is not worth it
CANDIDATES = (torch.float32, torch.bfloat16)

_log = logging.getLogger(__name__)


def faster_value_dtype(channels: int, cells: int, device: torch.device) -> torch.dtype | None:
    """torch.bfloat16 where that is clearly faster for values of so many channels and cells, else None, the values' own.

    Measured once a process, number of channels and power of two of cells, in some hundredths of a second. None on a
    GPU, whose kernels multiply in the dtype of what they are given.
    """
    if device.type != "cpu":
        return None
    return _measured(channels, min(MOST_CELLS, 2 ** math.ceil(math.log2(max(1, cells)))))


@cache
def _measured(channels: int, cells: int) -> torch.dtype | None:
    times = results([lambda: _times(channels, cells)], torch.device("cpu"))[0]  # on one core, as blocks are
    float32, bfloat16 = (times[dtype] for dtype in CANDIDATES)
    faster = torch.bfloat16 if bfloat16 * LEAST_GAIN < float32 else None
    _log.info(
        "values of %d channels and about %d cells are multiplied in %s: a block takes %.2f ms in float32, %.2f in bf16",
        *(channels, cells, "bfloat16" if faster else "float32", 1000 * float32, 1000 * bfloat16),
    )
    return faster


def _times(channels: int, cells: int) -> dict[torch.dtype, float]:
    """Seconds in which a block of attention is brought to each dtype and multiplied; the least of the rounds."""
    attention, value = (
        torch.ones(size, cells, dtype=torch.float32, device="cpu") for size in (BLOCK, channels)
    )  # nothing random, which would draw from what trainings depend on
    values = {dtype: packed(value.to(dtype)) for dtype in CANDIDATES}
    seconds = dict.fromkeys(CANDIDATES, math.inf)
    for turn in range(1 + ROUNDS):  # the first one of each is never the fastest
        for dtype in CANDIDATES:
            seconds[dtype] = min(seconds[dtype], _seconds(attention, values[dtype], dtype))
        if turn and seconds[torch.bfloat16] > LOST_BY * seconds[torch.float32]:
            break
    return seconds


def _seconds(attention: Tensor, value: Tensor, dtype: torch.dtype) -> float:
    start = perf_counter()
    product(attention.to(dtype), value).float()
    return perf_counter() - start
