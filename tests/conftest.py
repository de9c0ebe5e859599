"""What holds for all tests: Triton's interpreter in place of a GPU, and several processes that share the tests.

Each of several processes computes on one core, and hands on how many hostile inputs it tried.
"""

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, by commands that tests start as well

import torch

from tests.fuzz.counts import COUNTS, report

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported, which any library may do


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["hostile inputs"] = dict(COUNTS)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_testnodedown(node):
    COUNTS.update(getattr(node, "workeroutput", {}).get("hostile inputs", {}))


def pytest_terminal_summary(terminalreporter):
    report(terminalreporter)
