"""CamVid, 11 classes, 360×480, in the folder layout of the segmentation literature.

    ROOT/train/*.png  ROOT/trainannot/*.png  ROOT/val/…  ROOT/valannot/…  ROOT/test/…  ROOT/testannot/…

Label files hold class indices, 11 for "ignore". Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in
video", 2009; free for research use.
"""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dnl.classes import CAMVID
from dnl.datasets.base import DatasetError, Sample

SPLITS = ("train", "val", "test")


class CamVid:
    """A sequence of Samples in the order of file names.

    Raises DatasetError when a folder or a label file is missing, and on reading a sample whose files do not fit.
    """

    label_set = CAMVID

    def __init__(self, root: str | Path, split: str = "train"):
        if split not in SPLITS:
            raise DatasetError(f"CamVid has no split {split!r}; choose one of {', '.join(SPLITS)}")
        images, annotations = Path(root) / split, Path(root) / f"{split}annot"
        for folder in (images, annotations):
            if not folder.is_dir():
                raise DatasetError(
                    f"{folder} is missing; a CamVid folder holds {split}/ and {split}annot/ with PNG files of the "
                    "same names"
                )
        self.files = sorted(images.glob("*.png"))
        if not self.files:
            raise DatasetError(f"{images} holds no PNG file; CamVid's images are PNG files")
        self.label_files = [annotations / file.name for file in self.files]
        missing = [file.name for file in self.label_files if not file.is_file()]
        if missing:
            raise DatasetError(f"{annotations} lacks labels for {len(missing)} images, {missing[0]} the first")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        file, label_file = self.files[index], self.label_files[index]
        image, labels = _read(file, "RGB"), _read(label_file, None)
        if labels.ndim != 2:
            raise DatasetError(f"{label_file} has {labels.ndim} dimensions; labels are one class index per pixel")
        if labels.shape != image.shape[:2]:
            raise DatasetError(f"{label_file} is {labels.shape} but its image is {image.shape[:2]}; sizes must agree")
        if labels.max() > CAMVID.ignore_index:
            raise DatasetError(
                f"{label_file} holds the value {labels.max()}; CamVid's labels are 0 … 10, and 11 for ignored pixels"
            )
        return Sample(image, labels, file.stem)


def _read(file: Path, mode: str | None) -> np.ndarray:
    try:
        with Image.open(file, formats=["PNG"]) as image:
            return np.array(image if mode is None else image.convert(mode))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise DatasetError(f"{file} could not be read as a PNG image ({error}); replace or remove it") from error
