"""Photos and label images as users bring them: bytes in, plain arrays out, or one clear sentence."""

import io
import threading
from collections.abc import Callable, Sized
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from dnl.classes import LabelSet
from dnl.datasets.pairs import loaded, loaded_values
from dnl.untrusted import DECODING_ERRORS, MAX_PIXELS

# Larger photos are scaled down, so that an attention map stays small enough to compute while somebody waits.
MAX_SIDE = 1024
# Less than this and the network has nothing to look at.
MIN_SIDE = 32
# WebP's decoder holds the picture three times.
MAX_WEBP_PIXELS = MAX_PIXELS // 2

PHOTO_FORMATS = ("PNG", "JPEG", "WEBP")
LABEL_FORMATS = ("PNG",)

# In an index image 255 means "no class" whatever the label set says, as it does in most data sets.
COMMON_IGNORE_INDEX = 255
BLACK = (0, 0, 0)

# One file at a time: a picture of MAX_PIXELS takes hundreds of megabytes until it is scaled down.
_one_at_a_time = threading.Lock()


class UploadError(ValueError):
    """A file that cannot be used; the message is one sentence for the person who brought it."""


class Photo(NamedTuple):
    """`image` H×W×3 uint8 RGB, and the (height, width) that the file had before it was scaled down."""

    image: np.ndarray
    original_size: tuple[int, int]


def read_photo(data: bytes) -> Photo:
    """A PNG, JPEG or WEBP file as RGB, upright, with its longer side at most MAX_SIDE pixels.

    EXIF rotation is applied; 16-bit values keep their upper 8 bits; transparent pixels show white; of an animation
    the first frame counts. A larger photo is scaled down to `scaled_size` (Lanczos). Raises UploadError.
    """
    with _one_at_a_time:
        picture = _decode(data, PHOTO_FORMATS, "photo", loaded)
        original = picture.height, picture.width
        size = scaled_size(original)
        if min(size) < MIN_SIDE:
            shrunk = "" if size == original else f" ({size[0]}×{size[1]} once its longer side is scaled to {MAX_SIDE})"
            raise UploadError(
                f"The photo is {_size(original)}{shrunk}, but each side needs at least {MIN_SIDE}: choose a larger one."
            )
        if picture.mode != "RGB" or picture.has_transparency_data:
            picture = _to_rgb(picture)
        if size != original:
            picture = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
        return Photo(np.array(picture), original)


def read_labels(data: bytes, size: tuple[int, int], label_set: LabelSet) -> np.ndarray:
    """A PNG label image for a photo of `size` (the Photo's original (height, width)): H×W class indices.

    Grey and palette images hold class indices; `label_set.ignore_index` and 255 mean "no class". Colour images hold
    the label set's colours; black means "no class", unless it is the colour of one. An alpha channel is not looked
    at. The result has the photo's size after scaling (nearest neighbour), and `label_set.ignore_index` where there is
    no class; it is uint8, or int64 where that index is no byte. Raises UploadError for another size and for values or
    colours (of what is left after scaling) that mean nothing.
    """
    with _one_at_a_time:
        picture = _decode(data, LABEL_FORMATS, "label image", loaded_values)
        if (picture.height, picture.width) != tuple(size):
            raise UploadError(
                f"The label image is {_size((picture.height, picture.width))} but the photo is {_size(size)}: "
                "both must have the same size."
            )
        height, width = scaled_size(size)
        # First of all, so that the arrays below stay small.
        picture = picture.resize((width, height), Image.Resampling.NEAREST)
    if picture.mode == "LA":
        picture = picture.convert("L")
    if picture.mode in ("1", "L", "P") or picture.mode.startswith("I"):
        return _labels_of_indices(np.asarray(picture).astype(np.int64), label_set)
    return _labels_of_colours(np.asarray(picture.convert("RGB")), label_set)


def scaled_size(size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) at which a photo of `size` is used: its longer side at most MAX_SIDE, its shape kept."""
    scale = min(1.0, MAX_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _decode(
    data: bytes, formats: tuple[str, ...], what: str, load: Callable[[ImageFile.ImageFile], Image.Image]
) -> Image.Image:
    """The first frame of an image file, upright and fully decoded by `load`."""
    accepted = " or ".join((", ".join(formats[:-1]), formats[-1])) if len(formats) > 1 else formats[0]
    if not data:
        raise UploadError(f"The {what} is an empty file: choose a {accepted} file.")
    try:
        picture = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise _too_large(what, MAX_PIXELS) from error
    except DECODING_ERRORS as error:
        raise UploadError(f"The {what} is not a readable {accepted} file: choose another one.") from error
    most = MAX_WEBP_PIXELS if picture.format == "WEBP" else MAX_PIXELS
    if picture.width * picture.height > most:
        raise _too_large(what, most)
    try:
        return load(picture)
    except DECODING_ERRORS as error:
        raise UploadError(f"The {what} is cut off or damaged: save or download it again.") from error


def _too_large(what: str, most: int) -> UploadError:
    return UploadError(f"The {what} has more than {most // 10**6} million pixels: scale it down first.")


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # 16-bit grey. Pillow's own conversion would cut every value off at 255.
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.mode == "LA":  # by its channels, since as RGBA it would take twice the memory
        page = Image.new("L", picture.size, "white")
        page.paste(picture.getchannel("L"), mask=picture.getchannel("A"))
        return page.convert("RGB")
    if picture.has_transparency_data:
        if picture.mode != "RGBA":
            picture = picture.convert("RGBA")
        page = Image.new("RGB", picture.size, "white")
        page.paste(picture, mask=picture)
        return page
    return picture.convert("RGB")


def _labels_of_indices(values: np.ndarray, label_set: LabelSet) -> np.ndarray:
    ignored = (values == label_set.ignore_index) | (values == COMMON_IGNORE_INDEX)
    unknown = np.unique(values[~ignored & ((values < 0) | (values >= label_set.num_classes))])
    if unknown.size:
        none = " or ".join(map(str, dict.fromkeys((label_set.ignore_index, COMMON_IGNORE_INDEX))))
        raise UploadError(
            f"The label image holds {_some(unknown.tolist(), 'value')}, which {_is(unknown)} no class of "
            f"{label_set.name} (0 … {label_set.num_classes - 1}; {none} for none)."
        )
    return np.where(ignored, label_set.ignore_index, values).astype(_index_type(label_set))


def _labels_of_colours(pixels: np.ndarray, label_set: LabelSet) -> np.ndarray:
    class_of_colour = {BLACK: label_set.ignore_index} | {
        tuple(colour): index for index, colour in enumerate(label_set.palette)
    }
    packed = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])  # H×W, one number a colour
    codes, inverse = np.unique(packed, return_inverse=True)
    colours = [(int(code >> 16), int(code >> 8 & 255), int(code & 255)) for code in codes]
    unknown = [colour for colour in colours if colour not in class_of_colour]
    if unknown:
        raise UploadError(
            f"The label image holds {_some(unknown, 'colour')}, which {_is(unknown)} no class of {label_set.name}: "
            "use its colours (black for none) without smoothing, or save class indices in grey."
        )
    classes = np.array([class_of_colour[colour] for colour in colours], _index_type(label_set))
    return classes[inverse].reshape(packed.shape)


def _index_type(label_set: LabelSet) -> type[np.integer]:
    """What holds the label set's classes and its ignore index."""
    return np.uint8 if 0 <= label_set.ignore_index <= 255 else np.int64


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} pixels wide and {size[0]} high"


def _some(items: list, noun: str) -> str:
    shown = ", ".join(map(str, items[:4]))
    rest = f" and {len(items) - 4} more" if len(items) > 4 else ""
    return f"the {noun}{'s' if len(items) > 1 else ''} {shown}{rest}"


def _is(items: Sized) -> str:
    return "is" if len(items) == 1 else "are"
