"""CamVid, 11 classes, in the folder layout of the segmentation literature, or as its authors publish it.

    ROOT/train/*  ROOT/trainannot/*  ROOT/val/…  ROOT/valannot/…  ROOT/test/…  ROOT/testannot/…       360×480 in general
    ROOT/701_StillsRaw_full/*  ROOT/LabeledApproved_full/*_L.png                                      the 701 at 720×960

Label files hold class indices, 11 for "ignore", or the colours of CamVid's 32 classes, which become 11 as SegNet merged
them; they are named like their images, with or without _L. Of the published frames, which have no splits, each belongs
to the split that it has in the first layout. TRAIN_labels in place of TRAINannot will do.
Groups are drives: 0016E5_07959 is frame 7959 of the drive 0016E5. Frames of other names, whose drive nobody knows, are
taken as one drive more, in the order of names, rather than as independent images.
Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", 2009; free for research use.
"""

import os
import re
from pathlib import Path

import numpy as np

from dnl.classes import CAMVID, LabelSet
from dnl.datasets.base import DatasetError, Sample
from dnl.datasets.finding import label_files_for, pictures_in, require_folders, require_split
from dnl.datasets.groups import Origin
from dnl.datasets.pairs import LabelledFiles

SPLITS = ("train", "val", "test")
WORDS = "CamVid's labels are 0 … 10, and 11 for ignored pixels"
PUBLISHED = ("701_StillsRaw_full", "LabeledApproved_full")
LABEL_FOLDERS = ("annot", "_labels")
LABEL_ENDS = ("", "_L")
UNKNOWN_DRIVE = "unknown drive"


class CamVid(LabelledFiles):
    """A sequence of Samples in the order of file names.

    coding: of the labels, where it is not to be told by what they hold. Raises DatasetError when a folder or a label
    file is missing, and on reading a sample whose files do not fit.
    """

    label_set = CAMVID

    def __init__(self, root: str | Path, split: str = "train", *, coding: str | None = None):
        require_split("CamVid", split, SPLITS)
        images, annotations, published = _folders(Path(root), split)
        layout = f"a CamVid folder holds {split}/ and {split}annot/ with pictures of the same names"
        require_folders([images, annotations], layout)
        files, unused = pictures_in(images)
        if published:
            files = [file for file in files if published_split(file.stem) == split]
        if not files:
            raise DatasetError(f"{images} holds no PNG file or other picture of the split {split}")
        stems = [file.stem for file in files]
        label_files, more = label_files_for(stems, annotations, LABEL_ENDS)
        unused += [] if published else more
        super().__init__(
            CAMVID,
            WORDS,
            stems,
            files,
            label_files,
            coding=coding,
            expected="indices",
            unused=unused,
            origins=[camvid_origin(stem) for stem in stems],
        )


def _folders(root: Path, split: str) -> tuple[Path, Path, bool]:
    """The folders of images and labels, and whether they are the published ones, of all splits."""
    images = root / split
    if not os.path.isdir(images) and all(os.path.isdir(root / name) for name in PUBLISHED):
        return root / PUBLISHED[0], root / PUBLISHED[1], True
    candidates = [root / f"{split}{end}" for end in LABEL_FOLDERS]
    return images, next((folder for folder in candidates if os.path.isdir(folder)), candidates[0]), False


def camvid_origin(name: str) -> Origin:
    """The drive and the frame of an image of this name."""
    match = re.fullmatch(r"(\d{4}[A-Za-z0-9]{2}|Seq\d{2}VD)_f?(\d{1,18})(?:_L)?", name, re.ASCII)
    return Origin(UNKNOWN_DRIVE) if match is None else Origin(match[1], int(match[2]))


def published_split(name: str) -> str | None:
    """The split of one of the 701 frames, such as 0016E5_07959 or Seq05VD_f00000; None for another name."""
    match = re.fullmatch(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)", name, re.ASCII)
    if match is None:
        return None
    sequence, frame = match[1], int(match[2])
    if sequence == "Seq05VD" or (sequence == "0001TP" and frame >= 8550):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= frame <= 8159 else "train"


def camvid_labels(sample: Sample, label_set: LabelSet) -> np.ndarray | None:
    """CamVid's labels of a sample, H×W, for a model of the classes `label_set`; None where they mean nothing to it."""
    return sample.labels if label_set.class_names == CAMVID.class_names else None
