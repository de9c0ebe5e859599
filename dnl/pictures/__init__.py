"""Pictures: the one reader of photos and label images for all who bring them, and which files are any."""

from dnl.pictures.formats import (
    FORMAT_OF_ENDING,
    LABEL_FORMATS,
    PHOTO_FORMATS,
    is_label_picture,
    is_other_picture,
    is_picture,
    readable,
    words_of,
)
from dnl.pictures.reader import (
    Header,
    PictureError,
    as_rgb,
    decoded,
    label_pixels,
    loaded,
    notes_of,
    read_header,
    read_label_pixels,
    read_rgb,
    turned_apart,
)

__all__ = [
    "FORMAT_OF_ENDING",
    "LABEL_FORMATS",
    "PHOTO_FORMATS",
    "Header",
    "PictureError",
    "as_rgb",
    "decoded",
    "is_label_picture",
    "is_other_picture",
    "is_picture",
    "label_pixels",
    "loaded",
    "notes_of",
    "read_header",
    "read_label_pixels",
    "read_rgb",
    "readable",
    "turned_apart",
    "words_of",
]
