"""Codings of label images: how files store the classes of a label set, and which coding a file or folder holds."""

from dnl.codings.choice import CodingError, CodingQuestion
from dnl.codings.content import (
    KINDS,
    Content,
    Holding,
    Kind,
    LabelPixels,
    Several,
    content_of,
    looks_blended,
    packed_colours,
    together,
    values_look_blended,
)
from dnl.codings.reading import Reading, class_pixels, decode, fitting, misfit, recognise
from dnl.codings.tables import CITYSCAPES_LABEL_IDS, COMMON_IGNORE_INDEX, Coding, codings_of, same_classes

__all__ = [
    "CITYSCAPES_LABEL_IDS",
    "COMMON_IGNORE_INDEX",
    "KINDS",
    "Coding",
    "CodingError",
    "CodingQuestion",
    "Content",
    "Holding",
    "Kind",
    "LabelPixels",
    "Reading",
    "Several",
    "class_pixels",
    "codings_of",
    "content_of",
    "decode",
    "fitting",
    "looks_blended",
    "misfit",
    "packed_colours",
    "recognise",
    "same_classes",
    "together",
    "values_look_blended",
]
