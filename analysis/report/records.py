"""Records of finished images in files, so that an interrupted report goes on where it stopped."""

import dataclasses
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.measure import ImageRecord
from dnl.datasets import Origin
from dnl.files import write_atomically

_META, _MAPS = "meta", "noise_maps/"
# What numpy raises on files that are cut off, damaged or something else altogether.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


class SkippedImage(NamedTuple):
    """An image that cannot contribute, and why; where it comes from, as in ImageRecord."""

    name: str
    reason: str
    group: str | None = None
    place: int | None = None


def located(
    records: Sequence[ImageRecord | SkippedImage], origins: Sequence[Origin]
) -> list[ImageRecord | SkippedImage]:
    """The records with the groups and places of their images: of the data set as it is, not as it was when they were
    kept in files."""
    return [
        record._replace(**origin._asdict())
        if isinstance(record, SkippedImage)
        else dataclasses.replace(record, **origin._asdict())
        for record, origin in zip(records, origins, strict=True)
    ]


def write_record(path: Path, record: ImageRecord | SkippedImage, stamp: dict) -> None:
    """Write a record atomically. stamp: what it depends on, ready for JSON."""
    if isinstance(record, SkippedImage):
        arrays, plain = {}, record._asdict()
    else:
        fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
        arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
        arrays |= {_MAPS + stage: values for stage, values in fields.pop("noise_maps").items()}
        plain = {name: value for name, value in fields.items() if name not in arrays}
    meta = json.dumps({"stamp": stamp, "fields": plain})

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **{_META: np.array(meta)}, **arrays)  # type: ignore[arg-type]

    write_atomically(path, save)


def read_record(path: Path, stamp: dict | None = None) -> ImageRecord | SkippedImage | None:
    """The record in a file; None where there is none, none that can be read, or one with another stamp.

    stamp: None takes any.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays.pop(_META)))
        if stamp is not None and meta["stamp"] != json.loads(json.dumps(stamp)):
            return None
        fields = meta["fields"]
        if "reason" in fields:
            return SkippedImage(**fields)
        maps = {name.removeprefix(_MAPS): arrays.pop(name) for name in list(arrays) if name.startswith(_MAPS)}
        return ImageRecord(**{**fields, "stages": tuple(fields["stages"])}, **arrays, noise_maps=maps)
    except _UNREADABLE:
        return None
