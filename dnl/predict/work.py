"""The work: images are read ahead of the network and files written behind it, so that it never waits for either."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from dnl.datasets import LabelledDataset, Sample
from dnl.distributed import World, total
from dnl.inference import Inference, predict, predict_probabilities
from dnl.metrics import confusion_matrix
from dnl.network import SegmentationNetwork
from dnl.predict.folder import PredictionFolder
from dnl.predict.marks import fingerprint
from dnl.predict.pictures import prediction_files

# Pictures are decoded and packed outside of Python, on as many cores; half of them for each of the two.
MOST_THREADS = 8
# Of images that were predicted and wait for being written.
MOST_WAITING_BYTES = 2**30

T = TypeVar("T")


@dataclass
class Outcome:
    """How many images were predicted, were finished before, and could not be, with a sentence for each of the last.

    confusion: pixel counts [label, prediction] of all labelled pixels; None where the classes of the labels are others.
    """

    made: int = 0
    kept: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    confusion: np.ndarray | None = None


class _Read(NamedTuple):
    sample: Sample
    source: str
    classes: np.ndarray | None  # of an image that is finished


class _Made(NamedTuple):
    classes: np.ndarray
    probabilities: np.ndarray | None


def predict_images(
    model: SegmentationNetwork,
    images: LabelledDataset,
    inference: Inference,
    folder: PredictionFolder,
    *,
    world: World,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    tell: Callable[[str], object] = lambda sentence: None,
) -> Outcome:
    """Predict every image that is not finished, each process its share; the outcome is that of all together.

    The model must be in evaluation mode, and `folder` opened. progress may wrap the range of indices (tqdm). tell is
    called with a sentence for each image of this process that cannot be predicted. Raises OSError in writing.
    """
    label_set = folder.pictures.labels.label_set
    outcome = Outcome()
    if images.label_set.class_names == label_set.class_names:
        outcome.confusion = np.zeros((label_set.num_classes, label_set.num_classes), np.int64)
    threads = max(1, min(MOST_THREADS, os.cpu_count() or 1) // 2)
    share = range(world.rank, len(images), world.size)
    with ThreadPoolExecutor(threads) as readers, ThreadPoolExecutor(threads) as writers:
        waiting = _Waiting(threads)
        ahead = _ahead(readers, lambda index: _read(images, index, folder), share, threads)
        for _, reading in zip(progress(share), ahead, strict=True):
            try:
                read = reading.result()
                made = None if read.classes is not None else _predicted(model, read.sample, inference, folder)
            except ValueError as error:
                outcome.failures.append(str(error))
                tell(outcome.failures[-1])
                continue
            if made is None:
                outcome.kept += 1
            else:
                outcome.made += 1
                waiting.add(writers.submit(_write, read, made, folder), read, made)
            classes = read.classes if made is None else made.classes
            if outcome.confusion is not None and classes is not None:
                outcome.confusion += confusion_matrix(
                    read.sample.labels, classes, label_set.num_classes, images.label_set.ignore_index
                )
        waiting.settle()
    return _together(outcome, world)


class _Waiting:
    """Writes that have not ended, few and of at most MOST_WAITING_BYTES; waiting for one raises its error."""

    def __init__(self, threads: int):
        self._most = 2 * threads
        self._writes: deque[tuple[Future, int]] = deque()

    def add(self, write: Future, read: _Read, made: _Made) -> None:
        arrays = (read.sample.image, made.classes, made.probabilities)
        self._writes.append((write, sum(array.nbytes for array in arrays if array is not None)))
        while len(self._writes) > self._most or sum(size for _, size in self._writes) > MOST_WAITING_BYTES:
            self._writes.popleft()[0].result()

    def settle(self) -> None:
        while self._writes:
            self._writes.popleft()[0].result()


def _ahead(pool: ThreadPoolExecutor, work: Callable[[int], T], items: Iterable[int], most: int) -> Iterator[Future[T]]:
    """The work on each item, in order; `most` items further are begun by the time that one is asked for."""
    begun: deque[Future[T]] = deque()
    for item in items:
        begun.append(pool.submit(work, item))
        if len(begun) > most:
            yield begun.popleft()
    yield from begun


def _read(images: LabelledDataset, index: int, folder: PredictionFolder) -> _Read:
    sample = images[index]
    source = fingerprint(sample.image)
    return _Read(sample, source, folder.finished(sample.name, source))


def _predicted(model: SegmentationNetwork, sample: Sample, inference: Inference, folder: PredictionFolder) -> _Made:
    try:
        if folder.pictures.needs_probabilities:
            return _Made(*predict_probabilities(model, sample.image, inference))
        return _Made(predict(model, sample.image, inference), None)
    except ValueError as error:
        raise ValueError(f"image {sample.name} cannot be predicted: {error}") from error


def _write(read: _Read, made: _Made, folder: PredictionFolder) -> None:
    sample = read.sample
    folder.write(
        prediction_files(
            sample.name,
            sample.image,
            made.classes,
            folder.pictures,
            probabilities=made.probabilities,
            source=read.source,
            made=folder.made,
        )
    )


def _together(outcome: Outcome, world: World) -> Outcome:
    """The outcome of all processes; the sentences are this one's."""
    counts = torch.tensor([outcome.made, outcome.kept, len(outcome.failures)], device=world.device)
    outcome.made, outcome.kept, outcome.failed = total(counts).tolist()
    if outcome.confusion is not None:
        outcome.confusion = total(torch.from_numpy(outcome.confusion).to(world.device)).cpu().numpy()
    return outcome
