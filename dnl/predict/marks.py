"""Files that know what they hold: one that somebody has painted in is told from one that was written so.

PNG files remember their own pixels and those of the photo; files of probabilities also what made them, since they are
used without their folder.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dnl.untrusted import DECODING_ERRORS, first_line, read_json_object

# The texts of a file: the fingerprint of its own pixels, and of those that it was made from.
OWN, SOURCE = "pixels", "source"
# In a file of probabilities they are entries of this array, a text, as is what made them.
METADATA, MADE = "metadata", "made"


class Marked(NamedTuple):
    """What is in a file: its values, H×W or H×W×3, whether they are as they were written, and its source ("": none)."""

    values: np.ndarray
    untouched: bool
    source: str


class NpzMarks(NamedTuple):
    """What a file of probabilities says: whether they are as they were written, its source, and what made it."""

    untouched: bool
    source: str
    made: dict


def fingerprint(pixels: np.ndarray) -> str:
    """What tells pixels (H×W or H×W×3 uint8), or probabilities, from all others, in hexadecimal."""
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


def marked_npz(probabilities: np.ndarray, class_names: Sequence[str], source: str, made: Mapping[str, Any]) -> bytes:
    """An NPZ file of probabilities classes×H×W, as float16, with its marks.

    source: the fingerprint of the photo. made: what they were made by, as JSON has it.
    """
    stored = probabilities.astype(np.float16)
    metadata = json.dumps({OWN: fingerprint(stored), SOURCE: source, MADE: dict(made)})
    arrays: dict[str, Any] = {
        "probabilities": stored,
        "class_names": np.array(class_names),
        METADATA: np.array(metadata),
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def read_npz_marks(file: Path, *, whole: bool) -> NpzMarks:
    """The marks of a file of probabilities; these are read and compared where `whole`, and else taken as untouched.

    Raises ValueError where it has none.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            marks = read_json_object(str(stored[METADATA]), MADE, dict)
            untouched = not whole or marks.get(OWN) == fingerprint(stored["probabilities"])
    except DECODING_ERRORS as error:
        raise ValueError(f"it is no file of marked probabilities ({first_line(error)})") from error
    return NpzMarks(untouched, str(marks.get(SOURCE, "")), marks[MADE])
