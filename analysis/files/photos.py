"""Photos and label images as users bring them: bytes in, plain arrays out, or one clear sentence."""

import threading
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageFile

from dnl.classes import LabelSet
from dnl.codings import (
    Coding,
    CodingError,
    LabelPixels,
    codings_of,
    content_of,
    decode,
    fitting,
    looks_blended,
    recognise,
    together,
)
from dnl.pictures import (
    LABEL_FORMATS,
    PHOTO_FORMATS,
    PictureError,
    as_rgb,
    decoded,
    label_pixels,
    loaded,
    notes_of,
    read_header,
    turned_apart,
    words_of,
)

# Larger photos are scaled down, so that an attention map stays small enough to compute while somebody waits.
MAX_SIDE = 1024
# Less than this and the network has nothing to look at.
MIN_SIDE = 32
# One file at a time: a picture of MAX_PIXELS takes hundreds of megabytes until it is scaled down.
_one_at_a_time = threading.Lock()

T = TypeVar("T")


class UploadError(ValueError):
    """A file that cannot be used; the message is one sentence for the person who brought it."""


class Photo(NamedTuple):
    """`image` H×W×3 uint8 RGB, and the (height, width) that the file had before it was scaled down."""

    image: np.ndarray
    original_size: tuple[int, int]


class LabelImage(NamedTuple):
    """`labels` H×W class indices, and how they were read.

    coding: the one by which they were. choices: all that the file fits, which may be named in its place. notes:
    sentences about what looks wrong.
    """

    labels: np.ndarray
    coding: Coding
    choices: tuple[Coding, ...]
    notes: tuple[str, ...]


class CodingUploadError(UploadError):
    """A label image that can be read in several ways; `choices` are the codings of which one must be named."""

    def __init__(self, message: str, choices: tuple[Coding, ...]):
        super().__init__(message)
        self.choices = choices


def read_photo(data: bytes) -> Photo:
    """A picture file as RGB, upright, with its longer side at most MAX_SIDE pixels.

    PNG, JPEG, WEBP, TIFF, BMP, and AVIF where this installation has it, told by their content. EXIF rotation is
    applied; 16-bit values keep their upper 8 bits; transparent pixels show white; of an animation the first frame
    counts. A larger photo is scaled down to `scaled_size` (Lanczos). Raises UploadError.
    """

    with _one_at_a_time:
        picture = _read(data, "photo", PHOTO_FORMATS, loaded)
        original = picture.height, picture.width
        size = scaled_size(original)
        if min(size) < MIN_SIDE:
            shrunk = "" if size == original else f" ({size[0]}×{size[1]} once its longer side is scaled to {MAX_SIDE})"
            raise UploadError(
                f"The photo is {_size(original)}{shrunk}, but each side needs at least {MIN_SIDE}: choose a larger one."
            )
        try:
            picture = as_rgb(picture)
        except PictureError as error:
            raise UploadError(f"The photo {error}.") from error
        if size != original:
            picture = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
        return Photo(np.array(picture), original)


def photo_notes(data: bytes) -> tuple[str, ...]:
    """Sentences about what `read_photo` leaves out of a photo: further frames, lower bits. Raises UploadError."""
    with _one_at_a_time:
        return tuple(f"The photo {note}." for note in _read(data, "photo", PHOTO_FORMATS, notes_of))


def pair_notes(photo: bytes, labels: bytes) -> tuple[str, ...]:
    """Sentences about whether a label image lies on its photo, by their EXIF; none for files that cannot be read."""
    try:
        of_photo, of_labels = read_header(photo, PHOTO_FORMATS), read_header(labels, LABEL_FORMATS)
    except PictureError:
        return ()  # it is said where the file is read
    if not turned_apart(of_photo, of_labels):
        return ()
    return (
        f"The photo is read {of_photo.way}, its label image {of_labels.way}: see that the labels lie on the photo, and "
        "save both upright where they do not.",
    )


def read_labels(data: bytes, size: tuple[int, int], label_set: LabelSet, *, coding: str | None = None) -> np.ndarray:
    """A label image for a photo of `size` (the Photo's original (height, width)): H×W class indices.

    As `read_label_image`, whose notes are given as warnings. Raises UploadError.
    """
    found = read_label_image(data, size, label_set, coding=coding)
    for note in found.notes:
        warnings.warn(note, stacklevel=2)
    return found.labels


def read_label_image(
    data: bytes, size: tuple[int, int], label_set: LabelSet, *, coding: str | None = None
) -> LabelImage:
    """A label image (PNG, TIFF or BMP) for a photo of `size` (the Photo's original (height, width)).

    Its values or colours are read by the coding of the label set that they fit (`dnl.codings`), or by the one whose key
    is named: class indices, with `label_set.ignore_index` and 255 for "no class"; the label set's colours, with black
    for "no class" unless it is the colour of one; the codings of public data sets. An alpha channel is not looked at.
    The labels have the photo's size after scaling (nearest neighbour), and `label_set.ignore_index` where there is no
    class; they are uint8, or int64 where that index is no byte. Raises CodingUploadError where several codings fit,
    UploadError for another size, for values or colours that mean nothing and for an unknown key.
    """
    keys = [known.key for known in codings_of(label_set)]
    if coding is not None and coding not in keys:
        raise UploadError(f"{label_set.name} has no coding {coding!r}: choose one of {', '.join(keys)}.")
    with _one_at_a_time:
        label = _read(data, "label image", LABEL_FORMATS, label_pixels)
        if label.pixels.shape[:2] != tuple(size):
            turned = (
                " One of them may have been turned: save both upright."
                if label.pixels.shape[:2] == tuple(size)[::-1]
                else ""
            )
            raise UploadError(
                f"The label image is {_size(label.pixels.shape)} but the photo is {_size(size)}: both must have "
                f"the same size.{turned}"
            )
        try:
            content = content_of(label)
            of_kind = together([content]).of_kind
            reading = recognise(of_kind, label_set, coding=coding)
            labels = decode(_scaled(label, scaled_size(size)), reading)
        except CodingError as error:
            raise _unread(error) from error
        except ValueError as error:
            raise UploadError(f"The label image cannot be used: {error}.") from error
    notes = []
    if looks_blended(content):
        notes.append(
            "The label image seems to have been resized smoothly, so that other classes' values lie along the borders: "
            "resize it by nearest neighbour."
        )
    if (labels == label_set.ignore_index).all():
        notes.append("No pixel of the label image has a class.")
    return LabelImage(labels, reading.coding_of[content.kind], fitting(of_kind, label_set), tuple(notes))


def read_labels_as_they_are(data: bytes, label_set: LabelSet, *, coding: str | None = None) -> np.ndarray:
    """A label image of its own size: H×W class indices, read as by `read_label_image`. Raises UploadError."""
    with _one_at_a_time:
        label = _read(data, "label image", LABEL_FORMATS, label_pixels)
        try:
            return decode(label, recognise(together([content_of(label)]).of_kind, label_set, coding=coding))
        except CodingError as error:
            raise _unread(error) from error
        except ValueError as error:
            raise UploadError(f"The label image cannot be used: {error}.") from error


def _unread(error: CodingError) -> UploadError:
    message = f"The label image holds {error}."
    return CodingUploadError(message, error.choices) if error.choices else UploadError(message)


def _scaled(label: LabelPixels, size: tuple[int, int]) -> LabelPixels:
    """A label image at another (height, width), by nearest neighbour."""
    if label.pixels.shape[:2] == size:
        return label
    picture = Image.fromarray(label.pixels).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return label._replace(pixels=np.asarray(picture))


def scaled_size(size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) at which a photo of `size` is used: its longer side at most MAX_SIDE, its shape kept."""
    scale = min(1.0, MAX_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _read(data: bytes, what: str, formats: tuple[str, ...], read: Callable[[ImageFile.ImageFile], T]) -> T:
    """What `read` makes of an opened picture, or one sentence for the person who brought it."""
    if not data:
        raise UploadError(f"The {what} is an empty file: choose a {words_of(formats)} file.")
    try:
        return decoded(data, formats, read)
    except PictureError as error:
        advice = {
            "kind": ": choose another one",
            "size": ": scale it down first",
            "damage": ": save or download it again",
        }
        clause = "is cut off or damaged" if error.fault == "damage" else str(error)
        if ":" in clause:  # it says already what to do
            raise UploadError(f"The {what} {clause}.") from error
        raise UploadError(f"The {what} {clause}{advice.get(error.fault, '')}.") from error


def _size(size: tuple[int, ...]) -> str:
    return f"{size[1]} pixels wide and {size[0]} high"
