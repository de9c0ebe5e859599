"""What ends a run on its way is one sentence, which says how it goes on."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
from PIL import Image

from dnl.training.faults import faults_in_words
from dnl.training.runs import RunStopped

END = "mend it and go on with --resume"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_breaks_on_the_way_is_named_in_one_sentence(workers, tiny_run, camvid, in_epoch, only_error):
    run = tiny_run("run")
    files = sorted((camvid / "trainannot").iterdir())
    good = {file: file.read_bytes() for file in files}
    settings = [f"workers={workers}", "keep_in_memory=false"]

    def spoil():
        for file in files:
            labels = np.full((48, 60), 77, np.uint8)
            Image.fromarray(labels).save(file)

    in_epoch(2, spoil)
    assert run(settings=settings) == 1
    message = only_error()
    assert "trainannot" in message and "77" in message and message.endswith(END)
    assert "Traceback" not in message and "Caught" not in message
    for file, content in good.items():
        file.write_bytes(content)
    assert run.resume() == 0
    assert [record["epoch"] for record in run.records] == [1, 2, 3]


def test_a_killed_worker_is_one_sentence_that_names_memory(tiny_run, in_epoch, only_error):
    run = tiny_run("run")

    def kill():
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)

    in_epoch(2, kill)
    assert run(settings=["workers=1"]) == 1
    message = only_error()
    assert "want of memory" in message and "keep_in_memory=false" in message and message.endswith(END)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_memory_that_runs_out_is_one_sentence(error):
    with pytest.raises(RunStopped, match="not enough memory; --set keep_in_memory=false"), faults_in_words():
        raise error


def test_a_fault_of_the_program_passes_through():
    with pytest.raises(RuntimeError, match="bug") as caught, faults_in_words():
        raise RuntimeError("bug")
    assert not isinstance(caught.value, RunStopped)


def test_a_worker_that_ends_by_the_same_ctrl_c_leaves_it_an_interrupt():
    def fetch():
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("DataLoader worker (pid 9) exited unexpectedly with exit code 1.")

    with pytest.raises(KeyboardInterrupt), faults_in_words():
        fetch()
