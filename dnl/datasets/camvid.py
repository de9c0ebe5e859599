"""CamVid, 11 classes, 360×480, in the folder layout of the segmentation literature.

    ROOT/train/*.png  ROOT/trainannot/*.png  ROOT/val/…  ROOT/valannot/…  ROOT/test/…  ROOT/testannot/…

Label files hold class indices, 11 for "ignore". Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in
video", 2009; free for research use.
"""

from pathlib import Path

import numpy as np

from dnl.classes import CAMVID, LabelSet
from dnl.datasets.base import DatasetError, Sample
from dnl.datasets.pairs import LabelledFiles, LabelValues, require_folders, require_labels, require_split, visible

SPLITS = ("train", "val", "test")
LABEL_VALUES = LabelValues(
    {value: value for value in range(12)}, "CamVid's labels are 0 … 10, and 11 for ignored pixels"
)


class CamVid(LabelledFiles):
    """A sequence of Samples in the order of file names.

    Raises DatasetError when a folder or a label file is missing, and on reading a sample whose files do not fit.
    """

    label_set = CAMVID

    def __init__(self, root: str | Path, split: str = "train"):
        require_split("CamVid", split, SPLITS)
        images, annotations = Path(root) / split, Path(root) / f"{split}annot"
        layout = f"a CamVid folder holds {split}/ and {split}annot/ with PNG files of the same names"
        require_folders([images, annotations], layout)
        files = [file for file in visible(images) if file.suffix == ".png"]
        if not files:
            raise DatasetError(f"{images} holds no PNG file; CamVid's images are PNG files")
        label_files = [annotations / file.name for file in files]
        require_labels(label_files, annotations)
        super().__init__(CAMVID, LABEL_VALUES, [file.stem for file in files], files, label_files)


def camvid_labels(sample: Sample, label_set: LabelSet) -> np.ndarray | None:
    """CamVid's labels of a sample, H×W, for a model of the classes `label_set`; None where they mean nothing to it."""
    return sample.labels if label_set.class_names == CAMVID.class_names else None
