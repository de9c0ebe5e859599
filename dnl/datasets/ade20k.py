"""ADE20K in the form of the scene parsing benchmark, 150 classes, images of many sizes.

    ADEChallengeData2016/images/training/*.jpg    ADEChallengeData2016/annotations/training/*.png    …/validation/…

Label files hold 1 … 150 for the classes and 0 for "other", which is ignored; the class indices are one less.
Images are independent scenes: they have no group.
Source: Zhou et al., "Scene parsing through ADE20K dataset", 2017; free for non-commercial research.
"""

from pathlib import Path

from dnl.classes import ADE20K as ADE20K_CLASSES
from dnl.datasets.base import DatasetError
from dnl.datasets.finding import label_files_for, locate, pictures_in, require_folders, require_split
from dnl.datasets.pairs import LabelledFiles

FOLDERS = {"train": "training", "val": "validation"}
WORDS = "ADE20K's labels are 1 … 150, and 0 for ignored pixels"


class ADE20K(LabelledFiles):
    """A sequence of Samples in the order of file names; `root` is ADEChallengeData2016 or the folder it lies in.

    coding: of the labels, where it is not that of the benchmark's annotations. Raises DatasetError when a folder or a
    label file is missing, and on reading a sample whose files do not fit.
    """

    label_set = ADE20K_CLASSES

    def __init__(self, root: str | Path, split: str = "train", *, coding: str | None = None):
        require_split("ADE20K", split, tuple(FOLDERS))
        base = locate(root, ["ADEChallengeData2016"], "annotations")
        images, annotations = (base / part / FOLDERS[split] for part in ("images", "annotations"))
        require_folders(
            [images, annotations],
            "ADEChallengeData2016 holds images/ and annotations/, each with training/ and validation/",
        )
        files, unused = pictures_in(images)
        if not files:
            raise DatasetError(f"{images} holds no JPG file or other picture; ADE20K's images are JPG files")
        stems = [file.stem for file in files]
        label_files, more = label_files_for(stems, annotations)
        super().__init__(
            ADE20K_CLASSES, WORDS, stems, files, label_files, coding=coding, expected="annotation", unused=unused + more
        )
