"""Results that are the same to the last bit, whatever the number of threads.

A convolution or a matrix product that torch shares among threads adds up in another order, so its last bits depend on
how many there are, and a figure's bytes or a count of hollows can depend on those. So what is to be the same
everywhere runs on one thread, and several threads share the work in pieces that are each computed on one.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from dnl.attention import set_own_thread_count


@contextmanager
def one_thread() -> Iterator[int]:
    """Within the block torch computes on one thread here; gives the number of threads that there are otherwise."""
    usual = torch.get_num_threads()
    set_own_thread_count(1)
    try:
        yield usual
    finally:
        set_own_thread_count(usual)


def share(work: Callable, pieces: Iterable, threads: int) -> Generator:
    """Call `work` on each piece, on `threads` threads with one thread of torch each; its results in order.

    An exception in `work`, or where the results go, ends it all and reaches the caller.
    """
    if threads < 2:
        yield from map(work, pieces)
        return
    pool = ThreadPoolExecutor(threads, initializer=set_own_thread_count, initargs=(1,))
    try:
        for future in [pool.submit(work, piece) for piece in pieces]:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
