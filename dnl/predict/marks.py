"""PNG files that know their own pixels: one that somebody has painted in is told from one that was written so."""

import hashlib
import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dnl.untrusted import first_line

# The texts of a file: the fingerprint of its own pixels, and of those that it was made from.
OWN, SOURCE = "pixels", "source"


class Marked(NamedTuple):
    """What is in a file: its values, H×W or H×W×3, whether they are as they were written, and its source ("": none)."""

    values: np.ndarray
    untouched: bool
    source: str


def fingerprint(pixels: np.ndarray) -> str:
    """What tells pixels (H×W or H×W×3 uint8) from all others, in hexadecimal."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def marked_png(picture: Image.Image, source: str = "", **options: Any) -> bytes:
    """A PNG file of `picture` with its marks. source: the fingerprint of what it was made from. options: of saving."""
    texts = PngInfo()
    texts.add_text(OWN, fingerprint(np.asarray(picture)))
    if source:
        texts.add_text(SOURCE, source)
    file = io.BytesIO()
    picture.save(file, format="PNG", pnginfo=texts, **options)
    return file.getvalue()


def read_marked(content: bytes) -> Marked:
    """What a file holds. Raises ValueError where it is no PNG file."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            values = np.asarray(picture)
            texts = picture.info
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"it is no PNG file ({first_line(error)})") from error
    return Marked(values, texts.get(OWN) == fingerprint(values), str(texts.get(SOURCE, "")))
