"""Data sets as sequences of Samples. `open_dataset` opens one by its name."""

from pathlib import Path

from dnl.datasets.ade20k import ADE20K
from dnl.datasets.base import Cached, DatasetError, LabelledDataset, Sample
from dnl.datasets.camvid import CamVid, camvid_labels
from dnl.datasets.cityscapes import Cityscapes
from dnl.datasets.finding import require_text_name, visible
from dnl.datasets.folder import Folder
from dnl.datasets.groups import Origin, group_sizes
from dnl.datasets.look import Finding, Look, look_at, look_at_splits
from dnl.datasets.streets import Streets
from dnl.datasets.voc import VOC

READERS = {"ade20k": ADE20K, "camvid": CamVid, "cityscapes": Cityscapes, "folder": Folder, "voc": VOC}
NAMES = (*READERS, "streets")

__all__ = [
    "ADE20K",
    "NAMES",
    "VOC",
    "Cached",
    "CamVid",
    "Cityscapes",
    "DatasetError",
    "Finding",
    "Folder",
    "LabelledDataset",
    "Look",
    "Origin",
    "Sample",
    "Streets",
    "camvid_labels",
    "group_sizes",
    "look_at",
    "look_at_splits",
    "open_dataset",
    "require_text_name",
    "visible",
]


def open_dataset(name: str, root: str | Path | None, split: str, coding: str | None = None) -> LabelledDataset:
    """The data set `name` (one of NAMES) at `root`; streets are drawn, not read, and need no root.

    coding: the key of the labels' coding (`dnl.codings.codings_of`), where it is not to be recognised.
    """
    if name == "streets":
        return Streets(split)
    if name not in READERS:
        raise DatasetError(f"there is no data set {name!r}; choose one of {', '.join(NAMES)}")
    if root is None:
        raise DatasetError(f"{name} needs its folder; name it with --data DIR")
    return READERS[name](root, split, coding=coding)
