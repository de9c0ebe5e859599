"""A lesson file: the choices of a lesson and, where it is on an own photo, the picture and its labels. JSON.

The picture goes as PNG of the pixels that are looked at: small, and without the place and time that a camera writes
into a photo. Labels go as class indices, with the names that they are indices of.
"""

import base64
import binascii
import io
import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from analysis.exercise.kinds import FileKind, read_content
from analysis.files.photos import MAX_SIDE, UploadError, read_label_image, read_photo
from dnl.classes import LabelSet
from dnl.codings import COMMON_IGNORE_INDEX
from dnl.untrusted import is_name, shortened

MOST_BYTES = 12 * 2**20
LESSON = FileKind("lesson file", "dnl lesson", 1, MOST_BYTES)
MOST_CHOICES, MOST_LETTERS = 100, 1000


class OwnPicture(NamedTuple):
    """image: H×W×3 uint8, sides at most 1024. labels: its label picture (PNG), of the classes named, or None."""

    name: str
    image: np.ndarray
    labels: bytes | None = None
    class_names: tuple[str, ...] = ()

    def labels_for(self, label_set: LabelSet) -> np.ndarray | None:
        """H×W class indices; None where there are none, or they are of other classes than the label set's.

        Raises UploadError where they cannot be read.
        """
        if self.labels is None or self.class_names != tuple(label_set.class_names):
            return None
        return read_label_image(self.labels, self.image.shape[:2], label_set, coding="indices").labels


class LessonFile(NamedTuple):
    """choices: those of a link, by parameter; to be checked like one. picture: None for a built-in street."""

    choices: dict[str, str]
    picture: OwnPicture | None = None


def own_picture(name: str, image: np.ndarray, labels: np.ndarray | None, label_set: LabelSet) -> OwnPicture:
    """A picture to put into a lesson file: image H×W×3 uint8, labels H×W indices of the label set's classes, or None.

    Raises ValueError for a label set of more classes than a byte tells apart.
    """
    if labels is None:
        return OwnPicture(name, image)
    if label_set.num_classes > COMMON_IGNORE_INDEX:
        raise ValueError(f"{label_set.name} has {label_set.num_classes} classes; a lesson file holds up to 255")
    indices = np.where(labels == label_set.ignore_index, COMMON_IGNORE_INDEX, labels).astype(np.uint8)
    return OwnPicture(name, image, _png(indices), tuple(label_set.class_names))


def lesson_file(lesson: LessonFile) -> bytes:
    """A lesson as a file, UTF-8 JSON."""
    content: dict = {"format": LESSON.format, "format_version": LESSON.version, "choices": lesson.choices}
    if lesson.picture is not None:
        content["picture"] = {"name": lesson.picture.name, "photo": _text_of(_png(lesson.picture.image))}
        if lesson.picture.labels is not None:
            content["picture"] |= {
                "labels": _text_of(lesson.picture.labels),
                "class_names": list(lesson.picture.class_names),
            }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def read_lesson_file(data: bytes) -> LessonFile:
    """A lesson file of at most MOST_BYTES. Raises ValueError, a clause about the file, for anything else."""
    content = read_content(data, "choices", LESSON)
    return LessonFile(_choices(content["choices"]), _picture(content.get("picture")))


def _choices(choices: Mapping) -> dict[str, str]:
    for name, text in choices.items():
        if not isinstance(text, str) or max(len(name), len(text)) > MOST_LETTERS:
            raise ValueError(f"has the choice {shortened(name)}: {shortened(text)}, and it must be a short text")
    if len(choices) > MOST_CHOICES:
        raise ValueError(f"has {len(choices)} choices, more than any lesson ({MOST_CHOICES})")
    return dict(choices)


def _picture(picture: object) -> OwnPicture | None:
    if picture is None:
        return None
    if not isinstance(picture, dict) or not is_name(picture.get("name")):
        raise ValueError("has a picture without a name")
    try:
        photo = read_photo(_bytes_of(picture.get("photo"), "photo"))
    except UploadError as error:
        raise ValueError(f"cannot be used: {error}") from error
    if photo.image.shape[:2] != photo.original_size:
        raise ValueError(f"has a photo of more than {MAX_SIDE} pixels a side")
    if picture.get("labels") is None:
        return OwnPicture(picture["name"], photo.image)
    names = picture.get("class_names")
    if not isinstance(names, list) or not 0 < len(names) <= COMMON_IGNORE_INDEX or not all(map(is_name, names)):
        raise ValueError('has labels, and "class_names" does not name their classes')
    return OwnPicture(picture["name"], photo.image, _bytes_of(picture["labels"], "labels"), tuple(names))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def _text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes_of(text: object, what: str) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"has a {what} that is no Base64") from error
