"""Pascal VOC 2012, 21 classes, images of many sizes, in the folder layout of its development kit.

    VOCdevkit/VOC2012/ImageSets/Segmentation/SPLIT.txt    …/JPEGImages/*.jpg    …/SegmentationClass/*.png

Label files are palette images that hold class indices, 255 for the border between objects, which is ignored.
Images are independent photos: they have no group.
Source: Everingham et al., "The Pascal visual object classes challenge", 2012.
"""

from pathlib import Path

from dnl.classes import VOC as VOC_CLASSES
from dnl.datasets.base import DatasetError
from dnl.datasets.finding import label_files_below, locate, named_pictures, read_text, require_folders, visible
from dnl.datasets.pairs import LabelledFiles

WORDS = "VOC's labels are 0 … 20, and 255 for ignored pixels"
LISTS = "ImageSets/Segmentation"
SPLITS = ("train", "val", "trainval")  # of the development kit


class VOC(LabelledFiles):
    """A sequence of Samples in the order of the split's list; `root` is VOC2012, VOCdevkit or the folder it lies in.

    split: the name of a list, train, val and trainval in the development kit. coding: of the labels, where it is not to
    be told by what they hold. Raises DatasetError when a list, a folder or a file is missing, and on reading a sample
    whose files do not fit.
    """

    label_set = VOC_CLASSES

    def __init__(self, root: str | Path, split: str = "train", *, coding: str | None = None):
        base = locate(root, ["VOC2012", "VOCdevkit/VOC2012"], LISTS)
        images, annotations = base / "JPEGImages", base / "SegmentationClass"
        require_folders(
            [images, annotations], "VOC2012 holds ImageSets/Segmentation/, JPEGImages/ and SegmentationClass/"
        )
        names = _read_names(_list_file(base / LISTS, split))
        files = named_pictures(names, images, split)
        label_files = label_files_below(names, annotations)
        super().__init__(VOC_CLASSES, WORDS, names, files, label_files, coding=coding, expected="indices")


def _list_file(folder: Path, split: str) -> Path:
    """The split's list. Raises DatasetError, with the names of those that are there."""
    there = {file.stem for file in visible(folder) if file.suffix == ".txt"}
    lists = [*(name for name in SPLITS if name in there), *sorted(there.difference(SPLITS))]
    if split not in lists:
        advice = f"choose one of {', '.join(lists)}" if lists else f"{folder} holds no list *.txt"
        raise DatasetError(f"VOC has no split {split!r}; {advice}")
    return folder / f"{split}.txt"


def _read_names(list_file: Path) -> list[str]:
    """One image name per line. They become parts of paths, so nothing but letters, digits, _ and - is taken."""
    names = read_text(list_file).split()
    if not names:
        raise DatasetError(f"{list_file} is empty; it holds one image name per line, such as 2007_000032")
    for name in names:
        if not name.replace("_", "").replace("-", "").isalnum():
            raise DatasetError(f"{list_file} holds {name!r}, which is no image name; they are like 2007_000032")
    return names
