"""Commands in processes that have imported PyTorch already: forked from one that has, where a new one takes seconds.

For tests of what separate processes do, not of how Python begins and ends: such a process is gone once its command is
through, without the interpreter's own end.
"""

import importlib
import os
import sys
import threading
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from tqdm import tqdm

_FORKED = get_context("forkserver")
_FORKED.set_forkserver_preload(["dnl.train", "torch._dynamo"])  # the latter is what a first optimiser imports


def start(module: str, arguments: list[str], errors: Path, environment: dict[str, str] | None = None) -> BaseProcess:
    """Start `main(arguments)` of a module on one core; its standard error goes to the file `errors`."""
    process = _FORKED.Process(target=_run, args=(module, arguments, errors, environment or {}))
    process.start()
    return process


def _run(module: str, arguments: list[str], errors: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    for stream, path in ((1, os.devnull), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
        os.close(file)
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a killed process would leave behind
    sys.exit(importlib.import_module(module).main(arguments))
