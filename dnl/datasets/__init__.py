"""Data sets as sequences of Samples. `open_dataset` opens one by its name."""

from pathlib import Path

from dnl.datasets.ade20k import ADE20K
from dnl.datasets.base import Cached, DatasetError, LabelledDataset, Sample
from dnl.datasets.camvid import CamVid, camvid_labels
from dnl.datasets.cityscapes import Cityscapes
from dnl.datasets.folder import Folder
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
    "Folder",
    "LabelledDataset",
    "Sample",
    "Streets",
    "camvid_labels",
    "open_dataset",
]


def open_dataset(name: str, root: str | Path | None, split: str) -> LabelledDataset:
    """The data set `name` (one of NAMES) at `root`; streets are drawn, not read, and need no root."""
    if name == "streets":
        return Streets(split)
    if name not in READERS:
        raise DatasetError(f"there is no data set {name!r}; choose one of {', '.join(NAMES)}")
    if root is None:
        raise DatasetError(f"{name} needs its folder; name it with --data DIR")
    return READERS[name](root, split)
