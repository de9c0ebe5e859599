"""Pascal VOC 2012, 21 classes, images of many sizes, in the folder layout of its development kit.

    VOCdevkit/VOC2012/ImageSets/Segmentation/SPLIT.txt    …/JPEGImages/*.jpg    …/SegmentationClass/*.png

Label files are palette images that hold class indices, 255 for the border between objects, which is ignored.
Source: Everingham et al., "The Pascal visual object classes challenge", 2012.
"""

from pathlib import Path

from dnl.classes import VOC as VOC_CLASSES
from dnl.datasets.base import DatasetError
from dnl.datasets.pairs import (
    LabelledFiles,
    LabelValues,
    locate,
    read_text,
    require_folders,
    require_labels,
    require_split,
)

SPLITS = ("train", "val", "trainval")
LABEL_VALUES = LabelValues(
    {value: value for value in (*range(21), 255)}, "VOC's labels are 0 … 20, and 255 for ignored pixels"
)


class VOC(LabelledFiles):
    """A sequence of Samples in the order of the split's list; `root` is VOC2012, VOCdevkit or the folder it lies in.

    Raises DatasetError when a list, a folder or a file is missing, and on reading a sample whose files do not fit.
    """

    label_set = VOC_CLASSES

    def __init__(self, root: str | Path, split: str = "train"):
        require_split("VOC", split, SPLITS)
        base = locate(root, ["VOC2012", "VOCdevkit/VOC2012"], "ImageSets/Segmentation")
        images, annotations = base / "JPEGImages", base / "SegmentationClass"
        require_folders(
            [images, annotations], "VOC2012 holds ImageSets/Segmentation/, JPEGImages/ and SegmentationClass/"
        )
        names = _read_names(base / "ImageSets" / "Segmentation" / f"{split}.txt")
        files = [images / f"{name}.jpg" for name in names]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise DatasetError(f"{images} lacks {len(missing)} images of the split {split}, {missing[0]} the first")
        label_files = [annotations / f"{name}.png" for name in names]
        require_labels(label_files, annotations)
        super().__init__(VOC_CLASSES, LABEL_VALUES, names, files, label_files)


def _read_names(list_file: Path) -> list[str]:
    """One image name per line. They become parts of paths, so nothing but letters, digits, _ and - is taken."""
    names = read_text(list_file).split()
    if not names:
        raise DatasetError(f"{list_file} is empty; it holds one image name per line, such as 2007_000032")
    for name in names:
        if not name.replace("_", "").replace("-", "").isalnum():
            raise DatasetError(f"{list_file} holds {name!r}, which is no image name; they are like 2007_000032")
    return names
