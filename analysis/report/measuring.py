"""Measuring the images of a report in several processes, each finished image kept in a file of its own.

Every process computes on one thread, so that the figures do not depend on how many there are.
"""

import dataclasses
import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from analysis.capture import capture_attention
from analysis.measure import ImageRecord, MeasureOptions, image_record, measure_capture
from analysis.report.photos import Images, PhotoError, open_images
from analysis.report.records import SkippedImage, read_record, write_record
from dnl import __version__
from dnl.checkpoints import load_checkpoint
from dnl.classes import LabelSet
from dnl.datasets import Sample
from dnl.distributed import World, total
from dnl.network import SegmentationNetwork

RECORD_FORMAT = 4

Progress = Callable[..., Iterable]


class ReportError(ValueError):
    """A report that cannot be made; the message says why in one sentence."""


def one_class_only(images: int) -> ReportError:
    """The error where none of so many images has a second class."""
    which = "the image shows" if images == 1 else f"each of the {images} images shows"
    return ReportError(f"{which} one class only; noise needs images in which attention can fall on another class")


@dataclass(frozen=True)
class Job:
    """One checkpoint on one data set. count: images from the first on. out: the report's folder."""

    checkpoint: str
    checkpoint_hash: str
    dataset: str
    data: str | None
    split: str
    count: int
    options: MeasureOptions
    detection: bool
    out: Path
    coding: str | None = None

    @property
    def folder(self) -> Path:
        """Where this job alone keeps its records: another checkpoint, option or data set has another folder."""
        identity = {**self.settings(), "dataset": self.dataset, "split": self.split}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return self.out / "records" / digest[:16]

    def path(self, index: int) -> Path:
        """The file of one image's record."""
        return self.folder / f"{index:05d}.npz"

    def settings(self) -> dict:
        """What every record depends on, besides its image."""
        return {
            "format": RECORD_FORMAT,
            "version": __version__,
            "checkpoint": self.checkpoint_hash,
            "options": dataclasses.asdict(self.options),
            "detection": self.detection,
        }


def measure_images(job: Job, *, workers: int, world: World, progress: Progress) -> list[ImageRecord | SkippedImage]:
    """All records of a job in the order of images; what an earlier run has finished is not measured again.

    Under torchrun each process takes its share, `workers` or not; all must see the same folder. progress: like tqdm.
    """
    if world.size > 1:
        _start(job)
        for index in progress(range(world.rank, job.count, world.size)):
            _measure(index)
        total(torch.zeros(1, device=world.device)).item()  # all are done once this returns
    else:
        _measure_in_workers(job, min(workers, job.count), progress)
    return [_kept_record(job.path(index)) for index in range(job.count)]


def _kept_record(path: Path) -> ImageRecord | SkippedImage:
    record = read_record(path)
    if record is None:
        raise ReportError(f"{path} has vanished or was damaged; run the same command again")
    return record


def _measure_in_workers(job: Job, workers: int, progress: Progress) -> None:
    with _surroundings_of_workers():
        # Fresh processes: a fork of one in which torch has run threads can hang.
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _start, (job,))
        futures = [pool.submit(_measure, index) for index in range(job.count)]
    try:
        for future in progress(as_completed(futures), total=len(futures)):
            future.result()
    except BrokenProcessPool as error:
        raise ReportError(
            "a worker process was ended from outside, most likely for want of memory; run the same command again with "
            "fewer --workers, finished images are kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # waits for the images in hand, so that they are kept


@contextmanager
def _surroundings_of_workers() -> Iterator[None]:
    """What worker processes inherit: one thread each, and Ctrl-C left to their parent."""
    variables = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


# What a process works with.
_job: Job
_model: SegmentationNetwork
_images: Images


def _start(job: Job) -> None:
    global _job, _model, _images
    torch.set_num_threads(1)
    _job = job
    _model, _ = load_checkpoint(job.checkpoint)
    _images = open_images(job.dataset, job.data, job.split, job.coding)


def _measure(index: int) -> None:
    """Measure one image into its file, unless that holds the very record already; a photo of no use is skipped."""
    assert _model.label_set is not None  # loading sets it
    path = _job.path(index)
    try:
        sample = _with_ignore_index(_images[index], _images.label_set, _model.label_set)
    except PhotoError as error:
        write_record(path, SkippedImage(error.name, error.reason), {**_job.settings(), "name": error.name})
        return
    stamp = {**_job.settings(), "name": sample.name, "content": content_hash(sample)}
    if read_record(path, stamp) is None:
        write_record(path, measure_sample(_model, sample, _job.options, detection=_job.detection), stamp)


def _with_ignore_index(sample: Sample, own: LabelSet | None, wanted: LabelSet) -> Sample:
    """The sample with the model's ignore index in place of the data set's own."""
    if own is None or own.ignore_index == wanted.ignore_index:
        return sample
    ignored = sample.labels == own.ignore_index
    return sample._replace(labels=np.where(ignored, wanted.ignore_index, sample.labels.astype(np.int64)))


def measure_sample(
    model: SegmentationNetwork, sample: Sample, options: MeasureOptions, *, detection: bool = True
) -> ImageRecord | SkippedImage:
    """The record of one image; SkippedImage where no cell has a label."""
    true = options.labels == "truth"
    labels = sample.labels if true else None
    capture = capture_attention(model, sample.image, labels=labels, name=sample.name, predict=not true)
    if capture.cell_labels is not None and (capture.cell_labels == capture.ignore_index).all():
        return SkippedImage(sample.name, "no cell has a label")
    return image_record(measure_capture(capture, options, detection=detection))


def content_hash(sample: Sample) -> str:
    """SHA-256 of an image and its labels."""
    digest = hashlib.sha256(f"{sample.image.shape}".encode() + sample.image.tobytes())
    if sample.labels is not None:
        digest.update(sample.labels.tobytes())
    return digest.hexdigest()
