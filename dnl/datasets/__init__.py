"""Data sets as sequences of Samples. `open_dataset` opens one by its name."""

from pathlib import Path

from dnl.datasets.base import Cached, DatasetError, Sample
from dnl.datasets.camvid import CamVid
from dnl.datasets.streets import Streets

NAMES = ("camvid", "streets")

__all__ = ["NAMES", "Cached", "CamVid", "DatasetError", "Sample", "Streets", "open_dataset"]


def open_dataset(name: str, root: str | Path | None, split: str):
    """The data set `name` (one of NAMES) at `root`; streets are drawn, not read, and need no root."""
    if name == "streets":
        return Streets(split)
    if name == "camvid":
        if root is None:
            raise DatasetError("camvid needs its folder; name it with --data DIR")
        return CamVid(root, split)
    raise DatasetError(f"there is no data set {name!r}; choose one of {', '.join(NAMES)}")
