"""The one reader of pictures: what of a file is believed, and how its pixels become RGB or label values.

Photos of every entry (data sets, reports, uploads) go through here, so that the same file gives the same pixels
everywhere: upright as its EXIF says, 8 bits a channel, transparent pixels white, the first frame of several. Files are
told by their content; the endings say only which files of a folder are pictures.
"""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageFile, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from dnl.codings import LabelPixels
from dnl.pictures.formats import LABEL_FORMATS, PHOTO_FORMATS, readable, words_of
from dnl.untrusted import DECODING_ERRORS, MAX_PIXELS

# Their decoders hold the picture three times.
HALF_AS_LARGE = ("WEBP", "AVIF", "HEIF")
# Pillow spreads grey values of 2 and 4 bits over 0 … 255: its names of these codings, and by how much.
GREY_STEPS = {"L;2": 85, "L;4": 17}
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
TIFF_BITS, TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
TIFF_PAGE, REDUCED = 254, 1
TIFF_PLANES, APART = 284, 2
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
# A PNG file may say behind its pixels how it is turned: by a block of EXIF, or one of its kinds of text.
LATE_EXIF = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type exif")
LATE_BYTES = 2**17
# The first words of a HEIC file after its length: a box of this kind, and the brand.
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
# A picture of 16 bits that ends below this would be all but black.
DARKEST_16_BIT = 4096

T = TypeVar("T")


class PictureError(ValueError):
    """A file that cannot be read as a picture; the message is a clause that follows its name.

    fault: "kind" for no picture of the wanted formats, "size" for too many pixels, "damage" for one that cannot be
    decoded, "numbers" for pixels that are no colours or no labels.
    """

    def __init__(self, fault: Literal["kind", "size", "damage", "numbers"], message: str):
        super().__init__(message)
        self.fault = fault


class Header(NamedTuple):
    """What a picture says of itself undecoded: its format, Pillow's mode, bits a channel, upright size, and by which of
    EXIF's orientations 1 … 8 it is turned upright."""

    format: str
    mode: str
    bits: int
    size: tuple[int, int]  # height, width
    orientation: int

    @property
    def on_its_side(self) -> bool:
        """Whether its rows are stored as columns."""
        return self.orientation in SIDEWAYS

    @property
    def way(self) -> str:
        """How it is read, in words."""
        return "as it is stored" if self.orientation == 1 else f"turned by its EXIF orientation {self.orientation}"


def turned_apart(photo: Header, label: Header) -> bool:
    """Whether a photo and its label image are turned differently by their EXIF while no size tells what is right: the
    labels may have been painted on the photo as it is stored."""
    if photo.orientation == label.orientation:
        return False
    return photo.on_its_side == label.on_its_side or photo.size[0] == photo.size[1]


def read_rgb(source: Path | bytes) -> np.ndarray:
    """A photo as H×W×3 uint8 RGB, upright. Raises PictureError, OSError."""
    return decoded(source, PHOTO_FORMATS, lambda picture: np.array(as_rgb(loaded(picture))))


def read_label_pixels(source: Path | bytes) -> LabelPixels:
    """A label image's own values or colours, upright. Raises PictureError, OSError."""
    return decoded(source, LABEL_FORMATS, label_pixels)


def read_header(source: Path | bytes, formats: tuple[str, ...] = PHOTO_FORMATS) -> Header:
    """What a picture's header says, its pixels unread. Raises PictureError, OSError."""

    def look(picture: ImageFile.ImageFile) -> Header:
        bits, orientation = bits_of(picture), _orientation(picture)
        sideways = orientation in SIDEWAYS and picture.format != "TIFF"  # whose size Pillow turns by itself
        size = (picture.width, picture.height) if sideways else (picture.height, picture.width)
        return Header(picture.format or "", picture.mode, bits, size, orientation)

    return decoded(source, formats, look)


def _orientation(picture: ImageFile.ImageFile) -> int:
    """By which of EXIF's orientations an opened picture is turned; 1, as it is stored, where it does not say."""
    if picture.format == "PNG" and "exif" not in picture.info and not _late_exif(picture):
        exif = Image.Image.getexif(picture)  # a PNG file's own decodes it, to find what stands behind the pixels
    else:
        exif = picture.getexif()
    orientation = exif.get(ORIENTATION)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _late_exif(picture: ImageFile.ImageFile) -> bool:
    """Whether the end of an opened PNG file may hold EXIF."""
    file = picture.fp
    assert file is not None
    place = file.tell()
    file.seek(max(0, file.seek(0, io.SEEK_END) - LATE_BYTES))
    end = file.read()
    file.seek(place)
    return any(name in end for name in LATE_EXIF)


def notes_of(picture: ImageFile.ImageFile) -> tuple[str, ...]:
    """What is left out of an opened photo, as clauses that follow its name. Raises DECODING_ERRORS."""
    notes = []
    if getattr(picture, "is_animated", False):
        notes.append(f"has {getattr(picture, 'n_frames', 2)} frames or pages, of which the first is shown")
    if bits_of(picture) == 16:
        notes.append("has 16 bits per channel, of which the upper 8 are used")
        highest = int(np.asarray(loaded(picture)).max()) if picture.mode.startswith("I;16") else DARKEST_16_BIT
        if highest < DARKEST_16_BIT:
            notes.append(f"has no value above {highest} of 65535 and is all but black: spread its values first")
    return tuple(notes)


def decoded(source: Path | bytes, formats: tuple[str, ...], read: Callable[[ImageFile.ImageFile], T]) -> T:
    """What `read` makes of the opened picture; its size has been checked, its pixels are not yet decoded.

    Raises PictureError, and OSError where there is no such file.
    """
    with _opened(source, formats) as picture:
        most = most_pixels(picture)
        if picture.width * picture.height > most:
            raise _too_large(most)
        try:
            return read(picture)
        except PictureError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_large(most) from error
        except DECODING_ERRORS as error:
            raise PictureError("damage", f"is cut off or damaged ({_reason(error)})") from error


def most_pixels(picture: ImageFile.ImageFile) -> int:
    """How many pixels a picture of its format may have."""
    return MAX_PIXELS // 2 if picture.format in HALF_AS_LARGE else MAX_PIXELS


@contextmanager
def _opened(source: Path | bytes, formats: tuple[str, ...]) -> Iterator[ImageFile.ImageFile]:
    names = readable(formats)
    if isinstance(source, Path) and not source.is_file():  # a pipe would be read without end
        raise FileNotFoundError(f"{source} is missing or no file")
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        try:
            picture = Image.open(file, formats=names)
        except Image.DecompressionBombError as error:
            raise _too_large(MAX_PIXELS) from error
        except DECODING_ERRORS as error:
            raise PictureError("kind", _other_kind(file, formats)) from error
        with picture:
            yield picture


def _other_kind(file: BinaryIO, formats: tuple[str, ...]) -> str:
    """What is said of a file that is no picture of these formats."""
    file.seek(0)
    begin = file.read(12)
    if begin[4:8] == b"ftyp" and begin[8:12] in HEIC_BRANDS:
        return "is a HEIC picture, which cannot be read here: save it as JPEG"
    return f"is not a readable {words_of(formats)} file"


def _too_large(most: int) -> PictureError:
    return PictureError("size", f"has more than {most // 10**6} million pixels")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def loaded(picture: ImageFile.ImageFile) -> Image.Image:
    """An opened picture, decoded, upright and with white as the highest value.

    Raises PictureError and what DECODING_ERRORS lists.
    """
    if isinstance(picture, TiffImageFile) and _in_planes_of_16_bits(picture):
        raise PictureError("numbers", "holds 16 bits of each channel apart, which cannot be read here: save it as PNG")
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    if _white_is_zero(picture) and picture.mode.startswith("I;16"):  # of fewer bits Pillow turns them over
        return Image.fromarray(65535 - np.asarray(picture))
    return picture


def _white_is_zero(picture: ImageFile.ImageFile) -> bool:
    """Whether a picture stores white as 0, as Pillow takes a TIFF file that does not say."""
    return isinstance(picture, TiffImageFile) and picture.tag_v2.get(TIFF_PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO


def _in_planes_of_16_bits(picture: TiffImageFile) -> bool:
    """Whether channels lie one after the other as Pillow would take each of their bytes for a pixel."""
    apart = picture.tag_v2.get(TIFF_PLANES) == APART and any(tile.codec_name == "raw" for tile in picture.tile)
    return apart and bits_of(picture) == 16


def label_pixels(picture: ImageFile.ImageFile) -> LabelPixels:
    """An opened label image's own values whatever their bits, or its colours, of 8 bits or 16 that say no more.

    It has one page. Raises PictureError, DECODING_ERRORS.
    """
    _refuse_pages(picture)
    if picture.format == "TIFF" and picture.info.get("compression") in LOSSY_TIFF:
        raise PictureError("numbers", "is compressed like a photo, which changes values: save it as PNG")
    if _white_is_zero(picture):
        raise PictureError("numbers", "stores white as 0, so that its values may be meant upside down: save it as PNG")
    if bits_of(picture) == 16 and picture.mode not in _NUMBERS and not picture.mode.startswith("I;16"):
        _refuse_finer_colours(picture)
    steps = [GREY_STEPS[_raw_mode(tile)] for tile in picture.tile if _raw_mode(tile) in GREY_STEPS]
    upright = loaded(picture)  # which forgets the tiles
    _refuse_hidden_labels(upright)
    if steps:
        upright = upright.point(lambda value: value // steps[0])
    if upright.mode in ("F", "I"):
        raise PictureError("numbers", f"has pixels of {_NUMBERS[upright.mode]}: save unsigned whole numbers of 8 bits")
    return LabelPixels.of(upright)


_NUMBERS = {"F": "floating-point numbers", "I": "signed or 32-bit numbers"}


def _raw_mode(tile) -> str:
    """How a tile of Pillow's codes its values, which stands alone or first among a decoder's arguments."""
    arguments = tile[3]
    return arguments[0] if isinstance(arguments, tuple) and arguments else arguments


def _refuse_pages(picture: ImageFile.ImageFile) -> None:
    """Of several pages or frames no one would be the labels; a TIFF page that is the first one made smaller is none."""
    pages = getattr(picture, "n_frames", 1)
    if pages > 1 and isinstance(picture, TiffImageFile):
        for page in range(1, picture.n_frames):
            picture.seek(page)
            pages -= int(picture.tag_v2.get(TIFF_PAGE, 0)) & REDUCED
        picture.seek(0)
    if pages > 1:
        raise PictureError(
            "numbers",
            f"has {pages} pages or frames, of which only the first would be read: save one picture of class indices "
            "(the pages' numbers, where each page is a class)",
        )


def _refuse_finer_colours(picture: ImageFile.ImageFile) -> None:
    """Of 16 bits a channel Pillow keeps the upper 8, which are all there is where both bytes of each are equal: where
    the picture reads the same in the other order of bytes."""
    refusal = PictureError(
        "numbers", "has colours of 16 bits per channel, of which 8 would be lost: save class indices in grey"
    )
    file = picture.fp
    assert file is not None
    place = file.tell()
    with Image.open(file, formats=[picture.format or ""]) as other:
        try:
            other.tile = [tile._replace(args=_other_order(tile.args)) for tile in other.tile]
            lower = np.asarray(other)
        except (ValueError, KeyError) as error:  # Pillow has no such order, as of grey with transparency
            raise refusal from error
    file.seek(place)
    if not np.array_equal(np.asarray(picture)[..., :3], lower[..., :3]):
        raise refusal


def _other_order(arguments):
    """A decoder's arguments for the same pixels with the bytes of each number in the other order."""
    mode, *more = (arguments,) if isinstance(arguments, str) else arguments
    orders = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
    mode = mode[:-1] + orders[mode[-1]]
    return mode if isinstance(arguments, str) else (mode, *more)


def _refuse_hidden_labels(picture: Image.Image) -> None:
    """An alpha channel counts for nothing, unless it hides colours in one place and shows them in another."""
    if picture.mode not in ("RGBA", "LA", "PA"):
        return
    alpha = np.asarray(picture.getchannel("A"))
    if alpha.min() == 0 < alpha.max():
        hidden = np.asarray(picture.convert("RGBA"))[alpha == 0]
        if hidden[:, :3].any():
            raise PictureError("numbers", "has labels below transparent pixels: save it without transparency")


def bits_of(picture: ImageFile.ImageFile) -> int:
    """Bits a channel of an opened, undecoded picture: 16 where there are more than 8."""
    names = [picture.mode, *(str(_raw_mode(tile)) for tile in picture.tile)]
    declared = picture.tag_v2.get(TIFF_BITS, (1,)) if isinstance(picture, TiffImageFile) else ()
    return 16 if any(";16" in name for name in names) or picture.mode in _NUMBERS or max(declared, default=0) > 8 else 8


def as_rgb(picture: Image.Image) -> Image.Image:
    """A decoded picture as RGB: the upper 8 bits of 16, transparent pixels white. Raises PictureError."""
    if picture.mode in _NUMBERS:
        raise PictureError("numbers", f"has pixels of {_NUMBERS[picture.mode]}: save it with 8 bits per channel")
    try:
        return _on_white(picture)
    except DECODING_ERRORS as error:
        raise PictureError("numbers", f"cannot be shown in red, green and blue ({_reason(error)})") from error


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        # Pillow's own conversion would cut every value off at 255.
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
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
    return picture if picture.mode == "RGB" else picture.convert("RGB")
