"""Files that may be broken or made to do harm: what is read of them at most, and what reading them can raise."""

import json
import pickle
import struct
import sys
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import safetensors
from PIL import Image

# Of one image, checked on the size that its file declares, before anything is decoded. Lower than Pillow's own limit.
MAX_PIXELS = 50_000_000
# Of a text file: a list of names, classes, settings.
MAX_TEXT_BYTES = 4 * 2**20
# Of a class, a label set, a capture.
MAX_NAME_LENGTH = 200

# What Pillow, torch, safetensors, NumPy and zipfile raise on files that are broken in one way or another; their readers
# let through much of what goes wrong inside them.
DECODING_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    struct.error,
    zlib.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    safetensors.SafetensorError,
    Image.DecompressionBombError,
)


def read_json(text: str | bytes) -> Any:
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


def read_json_object(text: str | bytes, key: str, kind: type[dict] | type[list]) -> dict:
    """The JSON object in a text, which holds an object (dict) or a list under `key`. Raises ValueError in words."""
    try:
        content = read_json(text)
    except ValueError as error:
        raise ValueError(f"is not valid JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get(key), kind):
        raise ValueError(f'holds no {"list" if kind is list else "object"} "{key}"')
    return content


def read_text_file(path: Path) -> str:
    """A UTF-8 text file of at most MAX_TEXT_BYTES. Raises OSError, or ValueError in words."""
    if not path.is_file():  # a pipe or device would be read without end
        raise FileNotFoundError(f"{path} is no file")
    size = path.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than {MAX_TEXT_BYTES:,}")
    return path.read_text(encoding="utf-8-sig")


def shortened(value: object) -> str:
    """A stranger's value as it may stand in a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def one_line(text: str, longest: int = 400) -> str:
    """A text that may hold anything, names of files among it, as one line of bounded length: its beginning and end."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest // 2]} … {line[-longest // 2 :]}"


def error_line(error: BaseException) -> str:
    """What an error says, as `one_line`: of an OSError the file and the reason, without its number."""
    if not isinstance(error, OSError) or error.strerror is None:
        return one_line(str(error))
    file = error.filename2 or error.filename  # of a renaming, what the file was to become
    return one_line(error.strerror if file is None else f"{file}: {error.strerror}")


def first_line(error: Exception) -> str:
    """What a decoder's error says in its first line, of at most 200 characters; of an OSError the reason alone."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def is_valid_text(text: str) -> bool:
    """Whether `text` can be written as UTF-8: names of files may hold bytes that are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_type(field: str, value: Any, kind: type) -> None:
    """Raise ValueError unless `value` is of type `kind`, and finite: a configuration may come out of a stranger's file.

    Whole numbers do for fractions; True is no number.
    """
    given: type = type(value)
    if given is not kind and not (kind is float and given is int):
        raise ValueError(f"{field} is {shortened(value)}; it must be of type {kind.__name__}")
    if kind is float and not abs(value) <= sys.float_info.max:  # not for NaN either
        raise ValueError(f"{field} is {shortened(value)}; it must be a finite number")


def is_name(value: object) -> bool:
    """Whether a stranger's value is a text, not blank, of at most MAX_NAME_LENGTH characters."""
    return isinstance(value, str) and bool(value.strip()) and len(value) <= MAX_NAME_LENGTH


def is_byte(value: object) -> bool:
    """Whether a stranger's value is a whole number in 0 … 255; True and False are no numbers here."""
    return type(value) is int and 0 <= value <= 255


def is_colour(value: object) -> bool:
    """Whether a stranger's value is [red, green, blue], each in 0 … 255."""
    return isinstance(value, list) and len(value) == 3 and all(map(is_byte, value))
