"""What every data set returns, and the error it raises."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from dnl.classes import LabelSet
from dnl.datasets.groups import Origin


class Sample(NamedTuple):
    """One labelled image: `image` H×W×3 uint8 RGB, `labels` H×W uint8 class indices, `name` unique in its data set."""

    image: np.ndarray
    labels: np.ndarray
    name: str


class LabelledDataset(Protocol):
    """A sequence of Samples, 0 … len − 1, whose labels are of one label set."""

    @property
    def label_set(self) -> LabelSet:
        """What the labels mean."""

    @property
    def origins(self) -> Sequence[Origin]:
        """The group of each sample, and its place there."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


class DatasetError(ValueError):
    """A data set folder or file that does not fit; the message says which one, and what is needed."""


class Cached:
    """A data set that keeps every sample it has once read or drawn. Samples must not be changed in place."""

    def __init__(self, dataset: LabelledDataset):
        self.dataset = dataset
        self.label_set, self.origins = dataset.label_set, dataset.origins
        self._samples: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        if index not in self._samples:
            self._samples[index] = self.dataset[index]
        return self._samples[index]
