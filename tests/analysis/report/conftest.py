"""One report of a small data set, made once for the tests of this room."""

from concurrent.futures import Future

import pytest
import torch
from PIL import Image

from analysis.measure import MeasureOptions
from analysis.report import measuring
from analysis.report.measuring import measure_sample
from dnl import load_checkpoint
from tests.analysis.report.small import IMAGES, make_sample, run, save_model


class PoolOfNone:
    """In place of worker processes: each piece of work is done where it is submitted."""

    def __init__(self, workers, context, initializer, initargs):
        initializer(*initargs)

    def submit(self, work, *arguments):
        done = Future()
        try:
            done.set_result(work(*arguments))
        except Exception as error:
            done.set_exception(error)
        return done

    def shutdown(self, cancel_futures):
        """There is nobody to wait for."""


@pytest.fixture
def in_this_process(monkeypatch):
    """Reports measure in the test's own process: a worker first imports PyTorch, which takes seconds."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(measuring, "ProcessPoolExecutor", PoolOfNone)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny.safetensors")


@pytest.fixture(scope="session")
def camvid(tmp_path_factory):
    """Three labelled images and one all of whose pixels are ignored."""
    root = tmp_path_factory.mktemp("camvid")
    for folder in ("val", "valannot"):
        (root / folder).mkdir()
    samples = [make_sample(seed) for seed in range(3)] + [make_sample(3, classes=(11,))]
    for name, sample in zip(IMAGES, samples, strict=True):
        Image.fromarray(sample.image).save(root / "val" / f"{name}.png")
        Image.fromarray(sample.labels).save(root / "valannot" / f"{name}.png")
    return root


@pytest.fixture(scope="session")
def finished(checkpoint, camvid, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    assert run(checkpoint, camvid, out, "--latex", "--markdown") == 0
    return out


@pytest.fixture(scope="session")
def records(checkpoint):
    model, _ = load_checkpoint(checkpoint)
    return [measure_sample(model, make_sample(seed), MeasureOptions()) for seed in range(3)]
