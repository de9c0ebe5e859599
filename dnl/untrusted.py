"""Files that may be broken or made to do harm: what is read of them at most, and what reading them can raise."""

import json
import struct
import zlib
from pathlib import Path

from PIL import Image

# Of one image, checked on the size that its file declares, before anything is decoded. Lower than Pillow's own limit.
MAX_PIXELS = 50_000_000
# Of a text file: a list of names, classes, settings.
MAX_TEXT_BYTES = 4 * 2**20

# What Pillow raises on files that are broken in one way or another; its format readers let through much of what goes
# wrong inside them.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    MemoryError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def read_json(text: str | bytes):
    """The content of a JSON text (bytes: UTF-8).

    Raises ValueError in words for everything that can be wrong with one: no JSON, nested without end, numbers without
    end or text that cannot be written out (half of a surrogate pair).
    """
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds text that is no valid Unicode") from error
    return content


def read_text_file(path: Path) -> str:
    """A UTF-8 text file of at most MAX_TEXT_BYTES. Raises OSError, or ValueError in words."""
    if not path.is_file():  # a pipe or device would be read without end
        raise FileNotFoundError(f"{path} is no file")
    size = path.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than {MAX_TEXT_BYTES:,}")
    return path.read_text(encoding="utf-8-sig")


def shortened(value) -> str:
    """A stranger's value as it may stand in a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def is_valid_text(text: str) -> bool:
    """Whether `text` can be written as UTF-8: names of files may hold bytes that are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
