"""Photos named on a command line, one, a folder's or a pattern's, as a sequence of images without labels."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnl.classes import LabelSet
from dnl.datasets import DatasetError, Origin, Sample, require_text_name
from dnl.datasets.finding import pictures_in
from dnl.datasets.pairs import read_image
from dnl.pictures import (
    PHOTO_FORMATS,
    PictureError,
    decoded,
    is_other_picture,
    is_picture,
    notes_of,
    read_header,
    words_of,
)
from dnl.predict.folder import in_a_prediction

NO_LABELS = LabelSet("none", (), (), 255)
SHOWN_NAMES = 3


class _Found(NamedTuple):
    """What lies at one place: photos, what is no picture, and pictures that were written by predictions."""

    photos: list[Path]
    unused: list[Path]
    predictions: list[Path]


class Photos:
    """The photos of files, folders (not of the folders in them) and patterns (`**` for any folders), each once.

    Folders that are there by the very name in a pattern, such as set[1], are meant by it.

    names: each photo's path below the folder that all lie in, without its ending. unused: files of the folders that
    are no pictures. predictions: files that fit a pattern and lie in a folder of predictions. Raises DatasetError where
    there is no photo, one cannot be read here by its ending, or two have one name; and on reading a photo that is none.
    """

    label_set = NO_LABELS

    def __init__(self, places: Sequence[str]):
        found = [_pictures_at(place) for place in places]
        self.unused = [file for at_place in found for file in at_place.unused]
        self.predictions = [file for at_place in found for file in at_place.predictions]
        photos = dict.fromkeys(os.path.abspath(file) for at_place in found for file in at_place.photos)
        self.files = [Path(file) for file in photos]
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

    def notes(self) -> list[str]:
        """Sentences about what is left out, of the places and of the photos' own values, which are looked at."""
        reasons = (("they are no pictures", self.unused), ("they are predictions", self.predictions))
        left_out = [f"not used, since {reason}: {_named(files)}" for reason, files in reasons if files]
        of_kind: dict[str, list[str]] = {}
        for file in self.files:
            try:
                notes = decoded(file, PHOTO_FORMATS, notes_of)
            except (PictureError, OSError):
                continue  # it is said when the photo is read
            for note in notes:
                of_kind.setdefault(re.sub(r"\d+", "", note), []).append(f"{file.name} {note}")
        alike = (f"{first} (and {len(others)} more)" if others else first for first, *others in of_kind.values())
        return [*left_out, *alike]


def _named(files: Sequence[Path]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(files) - SHOWN_NAMES} more" if len(files) > SHOWN_NAMES else ""
    return ", ".join(file.name for file in files[:SHOWN_NAMES]) + more


def _pictures_at(place: str) -> _Found:
    """The photos at one place, and what else a folder or a pattern holds."""
    path = Path(place)
    if path.is_dir():
        found = pictures_in(path)
        if not found.pictures:
            raise DatasetError(f"{place} holds no {words_of(PHOTO_FORMATS)} photo; name a folder that does")
        return _Found(found.pictures, found.unused, [])
    if path.is_file():
        return _Found([path], [], [])
    if not glob.has_magic(place):
        raise DatasetError(f"there is no file or folder {place}; name photos, a folder of them or a pattern like *.jpg")
    return _matches(place)


def _matches(pattern: str) -> _Found:
    """The photos that fit a pattern. Those of predictions are none, or a second run would predict the first one's."""
    found = sorted(glob.glob(_without_names(pattern), recursive=True))
    matches = [Path(match) for match in found if Path(match).is_file()]
    predictions = [match for match in matches if in_a_prediction(match)]
    others = [match for match in matches if match not in set(predictions)]
    for match in others:
        if is_other_picture(match.name):
            raise DatasetError(f"{match} cannot be read here; convert it to {words_of(PHOTO_FORMATS)}, or leave it out")
    photos = [match for match in others if is_picture(match.name)]
    if not photos:
        fit = f"only predictions fit {pattern}" if predictions else f"no photo fits {pattern}"
        raise DatasetError(f"{fit}; name {words_of(PHOTO_FORMATS)} files, or a folder of them")
    return _Found(photos, [match for match in others if match not in set(photos)], predictions)


def _without_names(pattern: str) -> str:
    """A pattern in which the folders it begins with, as far as they are there, are names, brackets and all."""
    known, parts = Path(), list(Path(pattern).parts)
    while parts and os.path.isdir(known / parts[0]):
        known /= parts.pop(0)
    return os.path.join(glob.escape(str(known)), *parts)
