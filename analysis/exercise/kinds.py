"""The kinds of files that a class passes around, and the reading of what they have in common."""

from typing import NamedTuple

from dnl.untrusted import read_json_object, shortened


class FileKind(NamedTuple):
    """words: what such a file is called. format, version: what it says of itself. most_bytes: of any such file."""

    words: str
    format: str
    version: int
    most_bytes: int


def read_content(data: bytes, name: str, kind: FileKind) -> dict:
    """The JSON object in a file of that kind, with an object under `name`.

    Raises ValueError, a clause about the file, for anything else.
    """
    if len(data) > kind.most_bytes:
        raise ValueError(f"has {len(data):,} bytes, more than any {kind.words} ({kind.most_bytes:,})")
    content = read_json_object(data, name, dict)
    if content.get("format") != kind.format:
        raise ValueError(f'is no {kind.words}: "format" is {shortened(content.get("format"))}')
    if content.get("format_version") != kind.version:
        raise ValueError(
            f"has the format version {shortened(content.get('format_version'))}, and {kind.version} can be read"
        )
    return content
