"""ADE20K in the form of the scene parsing benchmark, 150 classes, images of many sizes.

    ADEChallengeData2016/images/training/*.jpg    ADEChallengeData2016/annotations/training/*.png    …/validation/…

Label files hold 1 … 150 for the classes and 0 for "other", which is ignored; the class indices are one less.
Source: Zhou et al., "Scene parsing through ADE20K dataset", 2017; free for non-commercial research.
"""

from pathlib import Path

from dnl.classes import ADE20K as ADE20K_CLASSES
from dnl.datasets.base import DatasetError
from dnl.datasets.pairs import (
    LabelledFiles,
    LabelValues,
    locate,
    require_folders,
    require_labels,
    require_split,
    visible,
)

FOLDERS = {"train": "training", "val": "validation"}
LABEL_VALUES = LabelValues(
    {0: ADE20K_CLASSES.ignore_index} | {value: value - 1 for value in range(1, 151)},
    "ADE20K's labels are 1 … 150, and 0 for ignored pixels",
)


class ADE20K(LabelledFiles):
    """A sequence of Samples in the order of file names; `root` is ADEChallengeData2016 or the folder it lies in.

    Raises DatasetError when a folder or a label file is missing, and on reading a sample whose files do not fit.
    """

    label_set = ADE20K_CLASSES

    def __init__(self, root: str | Path, split: str = "train"):
        require_split("ADE20K", split, tuple(FOLDERS))
        base = locate(root, ["ADEChallengeData2016"], "annotations")
        images, annotations = (base / part / FOLDERS[split] for part in ("images", "annotations"))
        require_folders(
            [images, annotations],
            "ADEChallengeData2016 holds images/ and annotations/, each with training/ and validation/",
        )
        files = [file for file in visible(images) if file.suffix == ".jpg"]
        if not files:
            raise DatasetError(f"{images} holds no JPG file; ADE20K's images are JPG files")
        label_files = [annotations / f"{file.stem}.png" for file in files]
        require_labels(label_files, annotations)
        super().__init__(ADE20K_CLASSES, LABEL_VALUES, [file.stem for file in files], files, label_files)
