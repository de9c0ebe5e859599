"""What holds for all tests: Triton's interpreter in place of a GPU, and several processes that share the tests.

Each of several processes computes on one core, and hands on how many hostile inputs it tried. They share the tests file
by file, but for some folders (`WHOLE`).
"""

import os
import signal

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, by commands that tests start as well

import torch

from tests.fuzz.counts import COUNTS, report

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported, which any library may do

# Folders that one process tests as a whole: what their files share (a server and Chromium, a report) is costly to make.
# They are the longest pieces of work and come first; many short files come last, so that all processes end together.
WHOLE = ("tests/browser/", "tests/analysis/report/")
SHORT = "tests/analysis/"


def pytest_configure():
    """Commands that tests start hear Ctrl-C, also where a shell runs the tests in the background and ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def piece(nodeid: str) -> str:
    """What one process tests as a whole: a folder or a file."""
    return next((folder for folder in WHOLE if nodeid.startswith(folder)), nodeid.split("::")[0])


def pytest_collection_modifyitems(items):
    def place(item) -> int:
        folder = piece(item.nodeid)
        return WHOLE.index(folder) if folder in WHOLE else len(WHOLE) + folder.startswith(SHORT)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_make_scheduler(config, log):
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Pieces(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return piece(nodeid)

    return Pieces(config, log)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["hostile inputs"] = dict(COUNTS)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_testnodedown(node):
    COUNTS.update(getattr(node, "workeroutput", {}).get("hostile inputs", {}))


def pytest_terminal_summary(terminalreporter):
    report(terminalreporter)
