"""Data sets of image files with label files: reading them, by one coding for all, and saying what does not fit."""

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from dnl.classes import LabelSet
from dnl.codings import (
    CodingError,
    CodingQuestion,
    Content,
    LabelPixels,
    Reading,
    content_of,
    decode,
    recognise,
    together,
)
from dnl.datasets.base import DatasetError, Sample
from dnl.datasets.finding import require_text_name
from dnl.datasets.groups import Origin
from dnl.pictures import PictureError, read_label_pixels, read_rgb

# Label files that are read to find out how a data set's classes are coded, before the first sample is given.
SAMPLED_LABELS = 16
MORE_LABELS = 256

T = TypeVar("T")


class LabelledFiles:
    """A sequence of Samples, each read from its files when it is asked for.

    A label file that is None stands for an image without labels: every pixel of it has the ignore index. unused: files
    beside the images that are none. origins: the group and place of each; None where all are independent. coding: the
    key of the labels' coding where somebody names it; expected: the key of the one that files of this place and name
    have; with neither it is told by what is in the files, once for all of them. Raises DatasetError when two samples
    share a name, one has a name that is no text or the coding is unknown, and on reading a sample whose files do not
    fit.
    """

    def __init__(
        self,
        label_set: LabelSet,
        words: str,
        names: Sequence[str],
        files: Sequence[Path],
        label_files: Sequence[Path | None],
        *,
        coding: str | None = None,
        expected: str | None = None,
        unused: Sequence[Path] = (),
        origins: Sequence[Origin] | None = None,
    ):
        seen: set[str] = set()
        for name, file in zip(names, files, strict=True):
            require_text_name(file)
            if name in seen:
                raise DatasetError(f"{file} is the second image named {name}; rename or remove one of the two")
            seen.add(name)
        try:
            recognise({}, label_set, expected=expected, coding=coding)
        except ValueError as error:
            raise DatasetError(str(error)) from error
        self.label_set, self.words = label_set, words
        self.names, self.files, self.label_files = list(names), list(files), list(label_files)
        self.coding, self.expected, self.unused = coding, expected, tuple(unused)
        self.origins = [Origin()] * len(self.files) if origins is None else list(origins)
        self.reading: Reading | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        image = read_image(self.files[index])
        label_file = self.label_files[index]
        if label_file is None:
            labels = np.full(image.shape[:2], self.label_set.ignore_index, np.uint8)
        else:
            label = read_label_file(label_file)
            require_size(label_file, label.pixels.shape[:2], image.shape[:2])
            labels = self._classes(label, label_file)
        return Sample(image, labels, self.names[index])

    def only(self, groups: Collection[str], *, without: bool = False) -> Self:
        """The samples of these groups alone, in their order, or all but them."""
        part = copy.copy(self)
        kept = [index for index, origin in enumerate(self.origins) if (origin.group in groups) != without]
        part.names, part.files = [self.names[index] for index in kept], [self.files[index] for index in kept]
        part.label_files = [self.label_files[index] for index in kept]
        part.origins = [self.origins[index] for index in kept]
        return part

    def recognise(self, contents: Iterable[Content]) -> Reading:
        """How label files with these contents are read. Raises CodingError."""
        return recognise(together(contents).of_kind, self.label_set, expected=self.expected, coding=self.coding)

    def _classes(self, label: LabelPixels, file: Path) -> np.ndarray:
        if self.reading is None:
            self.reading = self._sampled_reading()
        try:
            if label.kind not in self.reading.coding_of:  # none of the files that were looked at is of its kind
                own = self.recognise([content_of(label)])
                self.reading = Reading(self.label_set, {**own.coding_of, **self.reading.coding_of})
            return decode(label, self.reading)
        except CodingError as error:
            raise self.misfit(file, error) from error
        except ValueError as error:
            raise DatasetError(f"{file} is no label image: {error}") from error

    def _sampled_reading(self) -> Reading:
        """The reading of a few label files, evenly spread; of more, and of all, where these leave it open.

        Raises DatasetError where all of them do.
        """
        files = [file for file in self.label_files if file is not None]
        for number in (SAMPLED_LABELS, MORE_LABELS, len(files)):
            contents = readable_contents(spread(files, number))
            try:
                return self.reading_of(contents)
            except CodingQuestion as error:
                question = error
        raise DatasetError(f"the label files in {self.label_folder()} hold {question}") from question

    def reading_of(self, contents: Mapping[Path, Content]) -> Reading:
        """The reading of label files together, a few that fit nothing left aside.

        Raises CodingQuestion, and DatasetError where most of them fit nothing.
        """
        try:
            return self.recognise(contents.values())
        except CodingQuestion:
            raise
        except CodingError:
            misfits = self.misfits_among(contents)
        if len(misfits) > len(contents) / 2:
            file = next(iter(misfits))
            raise self.misfit(file, misfits[file]) from misfits[file]
        try:
            return self.recognise(content for file, content in contents.items() if file not in misfits)
        except CodingQuestion:
            raise
        except CodingError as error:
            raise DatasetError(f"the label files in {self.label_folder()} hold {error}") from error

    def misfits_among(self, contents: Mapping[Path, Content]) -> dict[Path, CodingError]:
        """The label files that fit nothing by themselves, and what is wrong with each."""
        found = {}
        for file, content in contents.items():
            try:
                self.recognise([content])
            except CodingQuestion:
                continue  # others may answer it
            except CodingError as error:
                found[file] = error
        return found

    def misfit(self, file: Path, error: CodingError) -> DatasetError:
        """What is said of a label file that holds something else than classes."""
        clause = f"{error.found}; {self.words}{error.hint}" if error.found else str(error)
        return DatasetError(f"{file} holds {clause}")

    def label_folder(self) -> Path:
        """The folder of the first label file."""
        return next(file for file in self.label_files if file is not None).parent


def spread(files: Sequence[T], number: int) -> list[T]:
    """At most about `number` of `files`, from all parts of their order."""
    return list(files[:: max(1, len(files) // number)])


def readable_contents(files: Iterable[Path]) -> dict[Path, Content]:
    """What label files hold, without those that cannot be read, which say so when they are."""
    found = {}
    for file in files:
        try:
            found[file] = content_of(read_label_file(file))
        except (DatasetError, ValueError):
            continue
    return found


def read_image(file: Path) -> np.ndarray:
    """A photo of a data set as H×W×3 uint8 RGB, as `read_rgb` makes it."""
    try:
        return read_rgb(file)
    except (PictureError, OSError) as error:
        raise unreadable(file, error) from error


def read_label_file(file: Path) -> LabelPixels:
    """The values or colours of a label file."""
    try:
        return read_label_pixels(file)
    except (PictureError, OSError) as error:
        raise unreadable(file, error) from error


def unreadable(file: Path, error: PictureError | OSError) -> DatasetError:
    """What is said of a file of a data set that cannot be read as a picture."""
    if not isinstance(error, PictureError):
        return DatasetError(f"{file} is missing or no file; put it back, or open the data set anew")
    advice = {"size": "scale it down", "kind": "replace or remove it", "damage": "replace or remove it"}
    end = f"; {advice[error.fault]}" if error.fault in advice else ""
    fault = f"could not be read: it {error}" if error.fault in ("kind", "damage") else str(error)
    return DatasetError(f"{file} {fault}{end}")


def require_size(label_file: Path, own: tuple[int, ...], image: tuple[int, ...]) -> None:
    """Refuse a label file that does not lie on its image, pixel on pixel."""
    if own != image:
        turned = ", as if one of them were turned: save both upright" if own == image[::-1] else ""
        raise DatasetError(f"{label_file} is {own} but its image is {image}; sizes must agree{turned}")
