"""A small model, samples and what a report leaves, for the tests of this room."""

import csv
from concurrent.futures import Future
from contextlib import contextmanager
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from analysis.report import command as report
from analysis.report import measuring
from dnl import ModelConfig, build_model
from dnl.checkpoints import save_checkpoint
from dnl.classes import CAMVID
from dnl.datasets import Sample

SIZE = (40, 72)
IMAGES = ("0", "1", "2", "3-unlabelled")


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


@contextmanager
def one_process():
    """Reports measure in the test's own process: a worker first imports PyTorch, which takes seconds."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "ProcessPoolExecutor", PoolOfNone)
        yield
    torch.set_num_threads(threads)


def save_model(path, seed=0, label_set=CAMVID, **changes):
    config = {"backbone": "resnet18", "width": 8, "num_classes": 11, "attention_stride": 8, "gamma_init": 0.5}
    torch.manual_seed(seed)
    model = build_model(ModelConfig(**{**config, **changes})).eval()
    model.label_set = label_set
    save_checkpoint(path, model, {"name": path.stem})
    return path


def make_sample(seed, classes=(0, 1, 3, 5, 11)):
    rng = np.random.default_rng(seed)
    coarse = rng.choice(classes, (5, 9)).astype(np.uint8)
    return Sample(rng.integers(0, 256, (*SIZE, 3), np.uint8), np.kron(coarse, np.ones((8, 8), np.uint8)), str(seed))


def run(checkpoint, camvid, out, *more):
    options = ["--dataset", "camvid", "--data", str(camvid), "--out", str(out), "--workers", "1", *more]
    return report.main(["--checkpoint", str(checkpoint), *options])


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Page(HTMLParser):
    """What a page would fetch, its element names and its text."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.elements, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and tag != "a":
                self.fetched.append(value)

    def handle_data(self, data):
        self.text += data
