"""Data sets as sequences of Samples. `open_dataset` opens one by its name."""

from pathlib import Path

from dnl.datasets.ade20k import ADE20K
from dnl.datasets.base import Cached, DatasetError, LabelledDataset, Sample
from dnl.datasets.camvid import CamVid, camvid_labels
from dnl.datasets.cityscapes import Cityscapes
from dnl.datasets.development import BASE, has_own, held_out, is_development, learnt_from, split_to_measure, without
from dnl.datasets.finding import require_text_name, visible
from dnl.datasets.folder import Folder
from dnl.datasets.groups import Origin, group_sizes, in_natural_order
from dnl.datasets.look import Finding, Look, look_at, look_at_splits
from dnl.datasets.pairs import LabelledFiles
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
    "in_natural_order",
    "learnt_from",
    "look_at",
    "look_at_splits",
    "open_dataset",
    "open_training",
    "require_text_name",
    "split_to_measure",
    "visible",
]


def open_dataset(name: str, root: str | Path | None, split: str, coding: str | None = None) -> LabelledDataset:
    """The data set `name` (one of NAMES) at `root`; streets are drawn, not read, and need no root.

    coding: the key of the labels' coding (`dnl.codings.codings_of`), where it is not to be recognised. split: of the
    data set, or `dev:GROUP`, a group of train (`dnl.datasets.development`).
    """
    if name == "streets":
        if is_development(split):
            raise DatasetError("streets have no groups, of which some could be left out for dev")
        return Streets(split)
    if name not in READERS:
        raise DatasetError(f"there is no data set {name!r}; choose one of {', '.join(NAMES)}")
    if root is None:
        raise DatasetError(f"{name} needs its folder; name it with --data DIR")
    if is_development(split) and not has_own(name, root, split):
        return held_out(READERS[name](root, BASE, coding=coding), split)
    return READERS[name](root, split, coding=coding)


def open_training(name: str, root: str | Path | None, dev_group: str, coding: str | None = None) -> LabelledDataset:
    """The images of train but those of the groups `dev_group`, which are the split `dev:dev_group`; all for ""."""
    dataset = open_dataset(name, root, BASE, coding)
    if not dev_group:
        return dataset
    if not isinstance(dataset, LabelledFiles):
        raise DatasetError(f"{name} has no groups, of which {dev_group!r} could be left out")
    return without(dataset, dev_group)
