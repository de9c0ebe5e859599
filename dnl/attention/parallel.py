"""Independent pieces of work on all cores, one piece a core.

PyTorch splits each operation over the cores and lets them wait for each other after it. Where an operation is short,
as on blocks that fit a cache, the waiting costs as much as the work, and on a busy machine many times as much. Its
threads also keep their cores busy for some milliseconds after each operation, waiting for the next one: so what goes
before work on threads of our own is best done by them as well.

Work is done without subnormal numbers (below 1.2e-38 in float32, taken for 0). The exponentials of widely spread scores
are full of them, and a processor takes up to ten times as long over products that hold some.
"""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any

import torch

_lock: threading.Lock
_started: ThreadPoolExecutor | None


def _begin_anew() -> None:
    global _lock, _started
    _lock, _started = threading.Lock(), None


_begin_anew()
if hasattr(os, "register_at_fork"):  # a forked process has none of its parent's threads, and perhaps a lock held by one
    os.register_at_fork(after_in_child=_begin_anew)


def set_own_thread_count(count: int) -> None:
    """How many cores PyTorch's operations take that this thread calls; no other thread's, now or later."""
    torch.get_num_threads()  # a thread takes over the usual count at its first question or operation, and just once
    with _usual_count_kept():
        torch.set_num_threads(count)


@contextmanager
def _usual_count_kept():
    """`torch.set_num_threads` sets the calling thread's count, and the one that new threads begin with: this puts the
    latter back. Only threads that are born within the fraction of a millisecond in between begin with another one.
    """
    with _lock:
        usual = _in_new_thread(torch.get_num_threads)
        try:
            yield
        finally:
            _in_new_thread(lambda: torch.set_num_threads(usual))


def _in_new_thread(call: Callable[[], Any]) -> Any:
    returned: list = []
    thread = threading.Thread(target=lambda: returned.append(call()))
    thread.start()
    thread.join()
    return returned[0]


def _helpers() -> ThreadPoolExecutor:
    """Threads that stay, with one core each: to start one takes a tenth of a millisecond, which small maps would feel.

    They alone do the work of `for_each`: a caller's thread keeps its count of cores.
    """
    global _started
    if _started is None:
        with _usual_count_kept():
            if _started is None:
                _started = _start_helpers(os.cpu_count() or 1)
    return _started


def _start_helpers(count: int) -> ThreadPoolExecutor:
    helpers, all_there = ThreadPoolExecutor(count, "dnl"), threading.Barrier(count)

    def begin() -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        all_there.wait()  # so that each of them begins just once

    try:
        wait([helpers.submit(begin) for _ in range(count)])
    except RuntimeError:  # the system gives no more threads
        all_there.abort()
        raise
    return helpers


def for_each(work: Callable, items: Iterable, device: torch.device) -> None:
    """Call work(item) for every item: on a CPU on as many threads as PyTorch may use here, each operation on the one
    core of its thread; else, or where that is one thread, in turn. Subnormal numbers count as 0 meanwhile.

    The first exception is raised again when all threads have stopped. PyTorch's gradient and inference modes are the
    caller's; `work` must not share what it writes. Within `work`, `for_each` goes in turn.
    """
    items = list(items)
    threads = threads_for(device)
    helpers = [] if threads == 1 else _helped(work, items, min(threads, len(items)))
    if not helpers:
        with without_subnormals():
            for item in items:
                work(item)
        return
    wait(helpers, return_when=FIRST_COMPLETED)  # whoever is not at work yet finds nothing left to begin
    helpers = [helper for helper in helpers if not helper.cancel()]
    wait(helpers)
    error = next((error for helper in helpers if (error := helper.exception()) is not None), None)
    if error is not None:
        try:
            raise error
        finally:
            del error, helpers  # which would hold each other until the garbage collection, and all that `work` had


def _helped(work: Callable, items: list, count: int) -> list[Future]:
    """`count` helpers at work on the items; fewer or none where Python ends, which then starts no work in threads."""
    waiting = iter(items)
    failed = threading.Event()
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def help_out() -> None:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            for item in waiting:
                if failed.is_set():
                    return
                try:
                    work(item)
                except BaseException:
                    failed.set()
                    raise

    helpers: list[Future] = []
    with suppress(RuntimeError):
        for _ in range(count):
            helpers.append(_helpers().submit(help_out))
    return helpers


@contextmanager
def without_subnormals():
    """Within the block this thread takes subnormal numbers, below 1.2e-38 in float32, for 0; then as before.

    Threads that are born meanwhile take it over, and keep it.
    """
    usual = _flushes_subnormals()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(usual)


def _flushes_subnormals() -> bool:
    """Whether this thread does so already: PyTorch sets it, for all that a thread computes, but does not tell."""
    return (torch.tensor(2.0**-126) / 2).item() == 0


def results(calls: Sequence[Callable[[], Any]], device: torch.device) -> list:
    """What each of the calls returns, all made by `for_each`."""
    returned: list = [None] * len(calls)

    def call(index: int) -> None:
        returned[index] = calls[index]()

    for_each(call, range(len(calls)), device)
    return returned


def threads_for(device: torch.device) -> int:
    """How many threads `for_each` works on."""
    return torch.get_num_threads() if device.type == "cpu" else 1
