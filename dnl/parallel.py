"""Independent pieces of work on all cores, one piece a core.

PyTorch splits each operation over the cores and lets them wait for each other after it. Where an operation is short,
as on blocks that fit a cache, the waiting costs as much as the work, and on a busy machine many times as much. Its
threads also keep their cores busy for some milliseconds after each operation, waiting for the next one: so what goes
before work on threads of our own is best done by them as well.
"""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch

_lock = threading.Lock()
_running = 0  # uses of `one_core_an_operation` under way, and the thread count that the last of them restores
_thread_count = 1

_helpers: ThreadPoolExecutor


def _ready_helpers() -> None:
    """Threads that stay: to start one takes a tenth of a millisecond, which small maps would feel."""
    global _helpers
    _helpers = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="dnl")


_ready_helpers()
if hasattr(os, "register_at_fork"):  # a forked process has none of its parent's threads
    os.register_at_fork(after_in_child=_ready_helpers)


def for_each(work: Callable, items: Iterable, device: torch.device) -> None:
    """Call work(item) for every item: in turn on a GPU, on a CPU on as many threads as PyTorch may use, the caller's
    being one of them.

    Meanwhile each operation runs on the one core of its thread. The first exception is raised again when all threads
    have stopped. PyTorch's gradient and inference modes are the caller's; `work` must not share what it writes.
    """
    items = list(items)
    if device.type != "cpu":
        for item in items:
            work(item)
        return
    waiting = iter(items[1:])  # the first is the caller's own
    failures: list[BaseException] = []
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def help_out() -> None:
        # The count is each thread's own, and a new one would take all cores for its first product.
        torch.set_num_threads(1)
        work_through(waiting)

    def work_through(items: Iterable) -> None:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            try:
                for item in items:
                    if failures:
                        return
                    work(item)
            except BaseException as error:
                failures.append(error)

    with one_core_an_operation() as count:
        helpers = [_helpers.submit(help_out) for _ in range(min(count, len(items)) - 1)]
        work_through(chain(items[:1], waiting))
        # Helpers that others keep busy till the end are not waited for.
        wait([helper for helper in helpers if not helper.cancel()])
    if failures:
        raise failures[0]


def results(calls: Sequence[Callable[[], Any]], device: torch.device) -> list:
    """What each of the calls returns, all made by `for_each`."""
    returned: list = [None] * len(calls)

    def call(index: int) -> None:
        returned[index] = calls[index]()

    for_each(call, range(len(calls)), device)
    return returned


def threads_for(device: torch.device) -> int:
    """How many threads `for_each` works on."""
    if device.type != "cpu":
        return 1
    with _lock:
        return _thread_count if _running else torch.get_num_threads()


@contextmanager
def one_core_an_operation():
    """Within it each operation runs on its caller's core alone; yields how many threads PyTorch may use otherwise.

    For operations between pieces of work of `for_each`. The setting is the whole process's: the first of several uses
    at a time changes it, the last one puts it back.
    """
    global _running, _thread_count
    with _lock:
        if _running == 0:
            _thread_count = torch.get_num_threads()
            torch.set_num_threads(1)
        _running += 1
        count = _thread_count
    try:
        yield count
    finally:
        with _lock:
            _running -= 1
            if _running == 0:
                torch.set_num_threads(_thread_count)
