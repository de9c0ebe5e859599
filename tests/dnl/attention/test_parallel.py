"""Work on threads: every item once, and nothing of it shows afterwards."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import dnl.attention.parallel
from dnl.attention.parallel import for_each, results, threads_for

CPU = torch.device("cpu")


def test_every_item_is_worked_on_once_and_the_thread_count_comes_back():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        done, inside, nested = [], set(), []

        def work(item):
            done.append(item)
            inside.add((torch.get_num_threads(), threads_for(CPU)))
            for_each(nested.append, range(2), CPU)

        for_each(work, range(50), CPU)
        assert sorted(done) == list(range(50)) and len(nested) == 100
        assert inside == {(1, 1)}, "one core an operation, and nothing left for work within work"
        assert (torch.get_num_threads(), threads_for(CPU), threads_for(torch.device("cuda"))) == (3, 3, 1)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("flushed_before", [False, True])
def test_work_is_done_without_subnormal_numbers_and_the_caller_goes_on_as_before(threads, flushed_before):
    halves = []

    def halve(_=None):
        halves.append((torch.tensor([2.0**-126]) / 2).item())

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(flushed_before)
    try:
        for_each(halve, range(4), CPU)
        with pytest.raises(ZeroDivisionError):
            for_each(lambda item: 1 // item, [0], CPU)
        halve()
        assert halves == [0.0] * 4 + [0.0 if flushed_before else 2.0**-127]
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


def test_callers_and_threads_born_meanwhile_keep_their_thread_counts():
    """Many callers at once, as visitors of a server are, each a thread of its own: none ends up on one core."""
    before = torch.get_num_threads()
    for_each(len, ["helpers are started"], CPU)
    torch.set_num_threads(3)
    seen = []

    def call():
        for_each(lambda _: time.sleep(0.002), range(6), CPU)
        seen.append(torch.get_num_threads())

    try:
        callers = [threading.Thread(target=call) for _ in range(20)]
        for caller in callers:
            caller.start()
            time.sleep(0.003)
        for caller in callers:
            caller.join()
        late = threading.Thread(target=call)
        late.start()
        late.join()
        assert seen == [3] * 21
    finally:
        torch.set_num_threads(before)


def test_work_goes_on_in_turn_where_helpers_take_none_any_more(monkeypatch):
    helpers, done = ThreadPoolExecutor(1), []
    helpers.shutdown()
    monkeypatch.setattr(dnl.attention.parallel, "_started", helpers)
    for_each(done.append, range(10), CPU)
    assert done == list(range(10))


def test_results_come_in_the_order_of_the_calls():
    assert results([lambda number=number: number**2 for number in range(50)], CPU) == [n**2 for n in range(50)]
    assert results([], CPU) == []


def test_an_exception_of_any_thread_reaches_the_caller_and_the_thread_count_comes_back():
    before = torch.get_num_threads()

    def work(item):
        raise KeyError(item)

    with pytest.raises(KeyError):
        for_each(work, range(10), CPU)
    assert torch.get_num_threads() == before


def test_threads_work_in_the_callers_modes():
    modes = []
    with torch.inference_mode():
        for_each(lambda _: modes.append(torch.is_inference_mode_enabled()), range(20), CPU)
    with torch.no_grad():
        for_each(lambda _: modes.append(not torch.is_grad_enabled()), range(20), CPU)
    assert all(modes) and len(modes) == 40


def test_helpers_that_are_busy_elsewhere_are_not_waited_for(monkeypatch):
    released, done = threading.Event(), []
    with ThreadPoolExecutor(2) as helpers:
        monkeypatch.setattr(dnl.attention.parallel, "_started", helpers)
        helpers.submit(released.wait)
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            caller = threading.Thread(target=for_each, args=(done.append, range(10), CPU), daemon=True)
            caller.start()
            caller.join(timeout=30)
            assert not caller.is_alive()
        finally:
            torch.set_num_threads(before)
            released.set()
    assert done == list(range(10))


def test_an_error_leaves_nothing_behind():
    class Result:
        pass

    def fail(kept):
        raise KeyError(kept)

    result = Result()
    left = weakref.ref(result)
    gc.disable()  # so that what only a cycle holds stays
    try:
        with pytest.raises(KeyError):
            for_each(fail, [result], CPU)
        del result
        assert left() is None
    finally:
        gc.enable()


FORKED = """
import os, threading, torch
from dnl.attention.parallel import for_each

def meet():
    both = threading.Barrier(2)  # passed by two threads alone
    for_each(lambda _: both.wait(30), range(2), torch.device("cpu"))

torch.set_num_threads(2)
meet()
child = os.fork()
meet()
if child:
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_helpers_of_its_own():
    root = Path(dnl.attention.parallel.__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", FORKED], cwd=root, timeout=120, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
