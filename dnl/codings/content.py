"""What a label image holds before anybody says what it means: its kind, its values or colours, and where they blend.

A label image is of one of three kinds: grey (values), palette (values that the file shows in colours of its own) or
colour. A picture whose three channels are equal is of the kind colour; its values are those of one channel.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

Kind = Literal["grey", "palette", "colour"]
KINDS: tuple[Kind, ...] = ("grey", "palette", "colour")

# Of a value beyond the end of its file's palette.
NO_COLOUR = -1
GREY = 0x010101  # a packed colour of three equal channels is their value times this
# A colour label has one colour a class; a photo, or a label with smooth borders, has thousands.
MOST_COLOURS = 1024
# Values between those of the areas on both sides, in lines of at most so many pixels each, are what smooth resizing
# leaves.
LONGEST_STEP = 2
FEWEST_RAMPS = 8
# Of all borders. CamVid's labels and the streets' have at most 0.06, and 0.12 made smaller by nearest neighbour;
# resized smoothly (box, bilinear, Hamming, bicubic, Lanczos, to an eighth … four times) at least 0.25. A box that
# shrinks by less than a fifth leaves fewer, and Hamming's doubling few between classes of neighbouring values.
LEAST_BLENDED = 0.2
SAMPLED_LINES = 128
BAND_PIXELS = 2**20


class LabelPixels(NamedTuple):
    """A decoded label image: `pixels` H×W uint8 or uint16 values, or H×W×3 uint8 of the kind colour.

    palette: n×3 uint8, the colours of the values 0 … n − 1, of the kind palette alone.
    """

    kind: Kind
    pixels: np.ndarray
    palette: np.ndarray | None = None

    @classmethod
    def of(cls, picture: Image.Image) -> "LabelPixels":
        """A decoded picture of any mode, without its alpha channel. Raises ValueError for one of other numbers."""
        if picture.mode in ("F", "I"):
            raise ValueError(f"its pixels are {NUMBER_WORDS[picture.mode]}")
        if picture.mode in ("LA", "La"):
            picture = picture.getchannel(0)
        if picture.mode in ("P", "PA"):
            values = np.asarray(picture if picture.mode == "P" else picture.getchannel(0))
            return cls("palette", values, np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256])
        if picture.mode == "1":
            return cls("grey", np.asarray(picture).astype(np.uint8))
        if picture.mode == "L" or picture.mode.startswith("I;16"):
            values = np.asarray(picture)
            return cls("grey", values if values.dtype == np.uint8 else values.astype(np.uint16))
        return cls("colour", np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB")))


NUMBER_WORDS = {"F": "floating-point numbers", "I": "signed or 32-bit numbers"}


@dataclass(frozen=True)
class Content:
    """What one label image holds.

    counts: pixels of each value, or of each colour packed into one number (`packed_colours`). shown: the packed colour
    of each value, of a palette image. ramps, borders: borders between areas whose values differ by more than one that
    lead in steps of one or two pixels from one value to the other, and these with the sharp ones, on sampled lines; 0
    of colours, which have no values between others.
    """

    kind: Kind
    size: tuple[int, int]
    counts: dict[int, int]
    shown: dict[int, int]
    ramps: int = 0
    borders: int = 0


@dataclass(frozen=True)
class Holding:
    """What label images of one kind hold together. shown: pairs of a value and its packed colour."""

    counts: dict[int, int]
    shown: frozenset[tuple[int, int]]


class Several(NamedTuple):
    """The contents of many label images: a Holding for each kind among them, and how blended they are together."""

    of_kind: dict[Kind, Holding]
    ramps: int
    borders: int


def content_of(label: LabelPixels) -> Content:
    """The content of a label image. Raises ValueError where it has too many colours to be one."""
    size = label.pixels.shape[0], label.pixels.shape[1]
    counts = _colour_counts(label.pixels) if label.kind == "colour" else _value_counts(label.pixels)
    if label.kind == "colour" and any(colour % GREY for colour in counts):
        return Content("colour", size, counts, {})
    shown = {}
    if label.palette is not None:
        packed = packed_colours(label.palette)
        shown = {value: int(packed[value]) if value < len(packed) else NO_COLOUR for value in counts}
    values = label.pixels[..., 0] if label.kind == "colour" else label.pixels
    ramps, borders = _ramps(values) if len(counts) > 2 else (0, 0)
    return Content(label.kind, size, counts, shown, ramps, borders)


def together(contents: Iterable[Content]) -> Several:
    """The contents of many label images as one."""
    counts: dict[Kind, dict[int, int]] = {}
    shown: dict[Kind, set[tuple[int, int]]] = {}
    ramps = borders = 0
    for content in contents:
        of_kind = counts.setdefault(content.kind, {})
        for value, pixels in content.counts.items():
            of_kind[value] = of_kind.get(value, 0) + pixels
        shown.setdefault(content.kind, set()).update(content.shown.items())
        ramps, borders = ramps + content.ramps, borders + content.borders
    kinds = {kind: Holding(counts[kind], frozenset(shown[kind])) for kind in KINDS if kind in counts}
    return Several(kinds, ramps, borders)


def looks_blended(content: Content | Several) -> bool:
    """Whether values lie between areas as smooth resizing leaves them, which no labelling does."""
    return _blended(content.ramps, content.borders)


def values_look_blended(values: np.ndarray) -> bool:
    """The same of H×W values of uint8 or uint16 alone, which takes less time than their whole content."""
    return _blended(*_ramps(values))


def _blended(ramps: int, borders: int) -> bool:
    return ramps >= FEWEST_RAMPS and ramps >= LEAST_BLENDED * borders


def packed_colours(colours: np.ndarray) -> np.ndarray:
    """Colours …×3 uint8 -> one number each, red · 65536 + green · 256 + blue."""
    red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


def _value_counts(values: np.ndarray) -> dict[int, int]:
    highest = 1 << 8 * values.dtype.itemsize
    counts = np.zeros(highest, np.int64)
    for band in _bands(values):
        counts += np.bincount(band.ravel(), minlength=highest)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _colour_counts(pixels: np.ndarray) -> dict[int, int]:
    counts: dict[int, int] = {}
    for band in _bands(pixels):
        found = Image.fromarray(band).getcolors(MOST_COLOURS)
        for count, colour in found or []:
            assert isinstance(colour, tuple)
            packed = colour[0] << 16 | colour[1] << 8 | colour[2]
            counts[packed] = counts.get(packed, 0) + count
        if found is None or len(counts) > MOST_COLOURS:
            raise ValueError(f"it has more than {MOST_COLOURS} colours, where a label image has one for each class")
    return counts


def _bands(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of a picture in bands of at most about BAND_PIXELS, so that what is made of each stays small."""
    rows = max(1, BAND_PIXELS // max(1, pixels.shape[1]))
    for top in range(0, len(pixels), rows):
        yield np.ascontiguousarray(pixels[top : top + rows])


def _ramps(values: np.ndarray) -> tuple[int, int]:
    """Borders that are ramps, and these with the sharp ones, on evenly spread rows and columns of H×W values."""
    ramps = sharp = 0
    for lines in (values, values.T):
        step = max(1, len(lines) // SAMPLED_LINES)
        sampled = np.ascontiguousarray(lines[step // 2 :: step]).astype(np.int32)
        begins = np.ones(sampled.shape, bool)
        begins[:, 1:] = sampled[:, 1:] != sampled[:, :-1]
        starts = np.flatnonzero(begins)
        value, line = sampled.ravel()[starts], starts // sampled.shape[1]
        areas = np.flatnonzero(np.diff(np.append(starts, sampled.size)) > LONGEST_STEP)
        before, after = areas[:-1], areas[1:]
        change, steps = value[after] - value[before], after - before
        border = (line[before] == line[after]) & (np.abs(change) > 1)
        upwards = np.concatenate([[0], np.cumsum(np.diff(value) > 0)])
        rises = upwards[after] - upwards[before]  # among the steps
        monotone = np.where(change > 0, rises == steps, rises == 0)
        ramps += int((border & monotone & (steps > 1)).sum())
        sharp += int((border & (steps == 1)).sum())
    return ramps, ramps + sharp
