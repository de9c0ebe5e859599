"""Data sets of image files with label files: finding the files, reading them, saying what does not fit."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFile, ImageOps

from dnl.classes import LabelSet
from dnl.datasets.base import DatasetError, Sample
from dnl.untrusted import DECODING_ERRORS, MAX_PIXELS, is_valid_text, read_text_file

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}  # by the end of the file name; nothing else is opened
# Pillow spreads grey values of 2 and 4 bits over 0 … 255: its names of these codings, and by how much.
GREY_STEPS = {"L;2": 85, "L;4": 17}

T = TypeVar("T")


class LabelValues:
    """What the values in label files mean: `class_of` gives each legal value its class index (or ignore index).

    `words` is the same as a clause for error messages.
    """

    def __init__(self, class_of: Mapping[int, int], words: str):
        self.words = words
        self._lookup = np.full(1 << 16, -1, np.int16)  # every value that a PNG's channel can hold
        self._lookup[list(class_of)] = list(class_of.values())

    def decode(self, values: np.ndarray, file: Path) -> np.ndarray:
        """Values H×W uint8 or uint16, as read from `file` -> class indices H×W uint8."""
        classes = self._lookup[values]
        unknown = classes < 0
        if unknown.any():
            raise DatasetError(f"{file} holds the value {values[unknown].max()}; {self.words}")
        return classes.astype(np.uint8)


class LabelledFiles:
    """A sequence of Samples, each read from its files when it is asked for.

    A label file that is None stands for an image without labels: every pixel of it has the ignore index.
    Raises DatasetError when two samples share a name or one has a name that is no text, and on reading a sample whose
    files do not fit.
    """

    def __init__(
        self,
        label_set: LabelSet,
        label_values: LabelValues,
        names: Sequence[str],
        files: Sequence[Path],
        label_files: Sequence[Path | None],
    ):
        seen: set[str] = set()
        for name, file in zip(names, files, strict=True):
            require_text_name(file)
            if name in seen:
                raise DatasetError(f"{file} is the second image named {name}; rename or remove one of the two")
            seen.add(name)
        self.label_set = label_set
        self.label_values = label_values
        self.names, self.files, self.label_files = list(names), list(files), list(label_files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        image = read_image(self.files[index])
        label_file = self.label_files[index]
        if label_file is None:
            labels = np.full(image.shape[:2], self.label_set.ignore_index, np.uint8)
        else:
            labels = self.label_values.decode(_read_values(label_file, image.shape[:2]), label_file)
        return Sample(image, labels, self.names[index])


def read_image(file: Path) -> np.ndarray:
    """The PNG or JPEG image as H×W×3 uint8 RGB, upright as its EXIF says; grey and palette images are converted."""
    own_mode, pixels = _open(file, lambda picture: (picture.mode, np.array(loaded(picture).convert("RGB"))))
    if own_mode.startswith("I"):
        raise DatasetError(f"{file} has 16 bits per pixel; images have 8 bits per channel, convert it first")
    return pixels


def _read_values(file: Path, size: tuple[int, int]) -> np.ndarray:
    """The values of a label file, H×W uint8 or uint16; palette images count by index, not by colour."""
    values = _open(file, lambda picture: np.array(loaded_values(picture)))
    if values.ndim != 2:
        raise DatasetError(f"{file} has {values.ndim} dimensions; labels are one class index per pixel")
    if values.shape != size:
        raise DatasetError(f"{file} is {values.shape} but its image is {size}; sizes must agree")
    return values.astype(np.uint8) if values.dtype == bool else values


def loaded(picture: ImageFile.ImageFile) -> Image.Image:
    """An opened image file, decoded and upright. Raises what DECODING_ERRORS lists."""
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    return picture


def loaded_values(picture: ImageFile.ImageFile) -> Image.Image:
    """An opened label file, decoded and upright, with its own values whatever their bits. Raises as `loaded` does."""
    steps = [GREY_STEPS[tile.args] for tile in picture.tile if tile.args in GREY_STEPS]  # forgotten in decoding
    upright = loaded(picture)
    return upright.point(lambda value: value // steps[0]) if steps else upright


def _open(file: Path, read: Callable[[ImageFile.ImageFile], T]) -> T:
    """What `read` makes of the image in a file."""
    kind = FORMATS[file.suffix.lower()]
    if not file.is_file():  # a pipe would be read without end
        raise DatasetError(f"{file} is missing or no file; put it back, or open the data set anew")
    try:
        with Image.open(file, formats=[kind]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            return read(picture)
    except Image.DecompressionBombError as error:
        raise DatasetError(f"{file} has more than {MAX_PIXELS // 10**6} million pixels; scale it down") from error
    except DECODING_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise DatasetError(f"{file} could not be read as a {kind} image ({reason}); replace or remove it") from error


def require_text_name(file: Path) -> None:
    """Refuse a file whose name no report or table could hold."""
    if not is_valid_text(str(file)):
        raise DatasetError(f"the name {str(file)!a} holds bytes that are no text; rename the file or folder")


def read_text(file: Path) -> str:
    """A UTF-8 text file of a data set."""
    try:
        return read_text_file(file)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file} could not be read as UTF-8 text ({error})") from error


def locate(root: str | Path, inner: Sequence[str], marker: str) -> Path:
    """`root` or the first of its `inner` folders that holds `marker`, so that either may be named."""
    candidates = [Path(root), *(Path(root) / folder for folder in inner)]
    for candidate in candidates:
        if os.path.isdir(candidate / marker):
            return candidate
    raise DatasetError(f"{str(root)[:200]} holds no {marker}/, nor does {inner[-1]}/ in it; name the folder that does")


def require_split(data_set: str, split: str, splits: Sequence[str]) -> None:
    """Refuse a split that the data set does not have."""
    if split not in splits:
        raise DatasetError(f"{data_set} has no split {split!r}; choose one of {', '.join(splits)}")


def require_folders(folders: Sequence[Path], layout: str) -> None:
    """Refuse a data set that lacks one of `folders`; `layout` says what it should hold."""
    for folder in folders:
        if not os.path.isdir(folder):  # False for names too long and loops of links, where Path.is_dir raises
            raise DatasetError(f"{str(folder)[:200]} is missing; {layout}")


def require_labels(label_files: Sequence[Path], folder: Path) -> None:
    """Refuse a data set in which images lack their label files, all of which belong below `folder`."""
    missing = [file for file in label_files if not file.is_file()]
    if missing:
        first = missing[0].relative_to(folder)
        raise DatasetError(f"{folder} lacks labels for {len(missing)} images, {first} the first")


def visible(folder: Path) -> list[Path]:
    """What `folder` holds, in the order of names, without hidden files and folders."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
