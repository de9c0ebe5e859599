"""Photos named on a command line, one, a folder's or a pattern's, as a sequence of images without labels."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dnl.classes import LabelSet
from dnl.datasets import DatasetError, Origin, Sample, require_text_name
from dnl.datasets.finding import pictures_in
from dnl.datasets.pairs import read_image
from dnl.pictures import PHOTO_FORMATS, PictureError, is_other_picture, is_picture, read_header, words_of

NO_LABELS = LabelSet("none", (), (), 255)
SHOWN_NAMES = 3


class Photos:
    """The photos of files, folders (not of the folders in them) and patterns (`**` for any folders), each once.

    names: each photo's path below the folder that all lie in, without its ending. unused: files of the folders that
    are no pictures. Raises DatasetError where there is no photo, one cannot be read here by its ending, or two have
    one name; and on reading a photo that is none.
    """

    label_set = NO_LABELS

    def __init__(self, places: Sequence[str]):
        self.files: list[Path] = []
        self.unused: list[Path] = []
        for place in places:
            files, unused = _pictures_at(place)
            self.files += files
            self.unused += unused
        self.files = [Path(file) for file in dict.fromkeys(os.path.abspath(file) for file in self.files)]
        for file in self.files:
            require_text_name(file)
        folder = os.path.commonpath([file.parent for file in self.files])
        self.names = [file.relative_to(folder).with_suffix("").as_posix() for file in self.files]
        first: dict[str, Path] = {}
        for name, file in zip(self.names, self.files, strict=True):
            if name in first:
                raise DatasetError(f"{first[name]} and {file} would have the same files; rename one of them")
            first[name] = file
        self.origins = [Origin()] * len(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        image = read_image(self.files[index])
        labels = np.full(image.shape[:2], self.label_set.ignore_index, np.uint8)
        return Sample(image, labels, self.names[index])

    def largest(self) -> tuple[int, int]:
        """Height and width of the photo with most pixels, by their headers; (0, 0) where none can be read."""
        sizes = [(0, 0)]
        for file in self.files:
            try:
                sizes.append(read_header(file).size)
            except (PictureError, OSError):
                continue  # it is said when the photo is read
        return max(sizes, key=lambda size: size[0] * size[1])

    @property
    def notes(self) -> list[str]:
        """Sentences about what is left out."""
        if not self.unused:
            return []
        names = ", ".join(path.name for path in self.unused[:SHOWN_NAMES])
        more = f" and {len(self.unused) - SHOWN_NAMES} more" if len(self.unused) > SHOWN_NAMES else ""
        return [f"not used, since they are no pictures: {names}{more}"]


def _pictures_at(place: str) -> tuple[list[Path], list[Path]]:
    """The photos at one place, and what else a folder holds."""
    path = Path(place)
    if path.is_dir():
        found = pictures_in(path)
        if not found.pictures:
            raise DatasetError(f"{place} holds no {words_of(PHOTO_FORMATS)} photo; name a folder that does")
        return found.pictures, found.unused
    if path.is_file():
        return [path], []
    if not glob.has_magic(place):
        raise DatasetError(f"there is no file or folder {place}; name photos, a folder of them or a pattern like *.jpg")
    matches = [Path(match) for match in sorted(glob.glob(place, recursive=True)) if Path(match).is_file()]
    for match in matches:
        if is_other_picture(match.name):
            raise DatasetError(f"{match} cannot be read here; convert it to {words_of(PHOTO_FORMATS)}, or leave it out")
    pictures = [match for match in matches if is_picture(match.name)]
    if not pictures:
        raise DatasetError(f"no photo fits {place}; name {words_of(PHOTO_FORMATS)} files, or a folder of them")
    return pictures, [match for match in matches if match not in set(pictures)]
