"""Which files are pictures: by the ends of their names, and by what can be decoded here."""

import functools

from PIL import Image, features

# By the end of a file's name, in any case.
FORMAT_OF_ENDING = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".dib": "BMP",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
# Pictures that nothing here reads: left out of a folder they would be missed.
OTHER_ENDINGS = (
    *(".gif", ".apng", ".mpo", ".jp2", ".j2k", ".jxl", ".psd", ".svg", ".tga", ".ico", ".exr", ".hdr"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw"),
)
PHOTO_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF", "HEIF")
# Nothing that blends neighbouring values, as JPEG does and WebP may.
LABEL_FORMATS = ("PNG", "TIFF", "BMP")


def readable(formats: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `formats` that can be decoded here: AVIF where Pillow has it, HEIF where a plug-in is registered."""
    present = {"AVIF": _has_avif(), "HEIF": "HEIF" in Image.OPEN}
    return tuple(name for name in formats if present.get(name, True))


@functools.cache
def _has_avif() -> bool:
    return bool(features.check("avif"))


def words_of(formats: tuple[str, ...]) -> str:
    """Formats as an enumeration for a sentence, those that can be read here."""
    names = readable(formats)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def is_picture(name: str) -> bool:
    """Whether a file name ends as those of pictures do that can be read here, in upper or lower case."""
    return FORMAT_OF_ENDING.get(ending(name)) in readable(PHOTO_FORMATS)


def is_other_picture(name: str) -> bool:
    """Whether a file name ends as those of pictures do that cannot be read here."""
    return not is_picture(name) and (ending(name) in OTHER_ENDINGS or ending(name) in FORMAT_OF_ENDING)


def is_label_picture(name: str) -> bool:
    """Whether a file name ends as those of label images do."""
    return FORMAT_OF_ENDING.get(ending(name)) in LABEL_FORMATS


def ending(name: str) -> str:
    """The end of a file's name from its last dot, in lower case."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""
