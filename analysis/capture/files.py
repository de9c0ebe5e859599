"""Captures as files, for attention from any framework: `.npz` or `.safetensors`, arrays by name.

What a file holds (the arrays of a NumPy `.npz`, or the tensors of a `.safetensors` file):

    query, key      N×d, heads×N×d, d×h×w or heads×d×h×w, floating point, N = height·width row by row
    attention       in their place: a finished map, N×N or heads×N×N, not negative (see "signed")
    height, width   cells, one whole number each; not needed with query and key of d×h×w
    key_height, key_width   of the keys' own grid h′×w′, where they are other cells: key N′×d …, attention N×N′
    scale           one number that q·k is multiplied with, 1/√d in transformers (1 if missing)
    class_tokens    how many leading tokens are no cells, to be dropped (0 if missing)
    last_tokens     how many trailing tokens are no cells, likewise
    dropped         h×w: which share of each row went to tokens that were dropped before
    query_labels    Q class indices of queries without a place
    class_probs     classes×h×w or N×classes, a distribution over the classes in each cell: GR needs it
    image           H×W×3 uint8, RGB
    labels          H×W of the image, or h×w one a cell: integer class indices, 255 for none
    prediction      likewise
    metadata        text, JSON (in `.safetensors`: the entry "metadata" of its header): an object with any of
                    "name", "class_names" (a list), "palette" (a [red, green, blue] per class), "ignore_index",
                    "label_set" (its name; of a public one, such as "camvid", it is enough), "coding" (of the labels,
                    "indices" unless they are raw ids of a public data set, see `dnl.codings`; asked where the class
                    names leave it open), "gate", "lr_kernel", "lr_weights", "placement" ("corners" or "blocks":
                    how cells lie on the image; if missing, "corners" for query and key of d×h×w, else "blocks"), "crop"
                    ([top, left, height, width], the part of the image that the model saw), "query_names" (of Q queries
                    without a place: height is 1 then, width Q), "signed" (true: weights below 0 may come)

Query, key, height and width, or attention, height and width, are enough. With plain NumPy:

    numpy.savez("attention.npz", query=query, key=key, height=14, width=14, scale=64**-0.5, class_tokens=1)

Everything is as in `Capture.from_qk` and `Capture.from_attention`. Other arrays are not read.
"""

import io
import json
import math
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeGuard

import numpy as np
import safetensors.torch
import torch
from numpy.lib import format as npy_format

from analysis.capture.brought import MAX_MAP_CELLS, map_size
from analysis.capture.capture import Capture
from analysis.capture.coded import class_indices
from analysis.capture.description import IGNORE_INDEX, named_classes
from analysis.capture.suspicions import set_ignoring
from analysis.geometry import PLACEMENTS
from analysis.options import GATES
from dnl.attention import LR_WEIGHTS
from dnl.classes import ADE20K, CAMVID, CITYSCAPES, VOC, LabelSet
from dnl.codings import Coding, CodingError
from dnl.files import write_atomically
from dnl.untrusted import DECODING_ERRORS, MAX_NAME_LENGTH, read_json, shortened

SUFFIXES = (".npz", ".safetensors")
ZIP_MAGIC = b"PK\x03\x04"
ZIP_ENTRY_MAGIC = b"PK\x01\x02"
MAX_ZIP_ENTRIES = 1000
# NumPy writes no other; others may take as much memory as their stream asks for.
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Of all arrays together, unpacked: a map of 8192 cells is 256 MiB.
MAX_BYTES = 512 * 2**20
# Cityscapes has 2 million. An image travels to the browser as it is.
MAX_IMAGE_PIXELS = 4_000_000
MAX_METADATA_BYTES = 2**20
MAX_HEADER_BYTES = 4 * MAX_METADATA_BYTES
# Each cell of the LR window is a pass over the map.
LARGEST_LR_KERNEL = 15
# The mean of the heads' maps is a softmax of heads·N² scores: a second or two for so many.
MAX_MEAN_WEIGHTS = 2**28

# What a file may hold: how many axes an array has, and of which kinds of numbers.
ARRAYS = {
    "query": ((2, 3, 4), "f"),
    "key": ((2, 3, 4), "f"),
    "attention": ((2, 3), "f"),
    "class_probs": ((2, 3), "f"),
    "image": ((3,), "u"),
    "labels": ((2,), "iu"),
    "prediction": ((2,), "iu"),
    "dropped": ((2,), "f"),
    "query_labels": ((1,), "iu"),
    "height": ((0, 1), "iu"),
    "width": ((0, 1), "iu"),
    "key_height": ((0, 1), "iu"),
    "key_width": ((0, 1), "iu"),
    "scale": ((0, 1), "fiu"),
    "class_tokens": ((0, 1), "iu"),
    "last_tokens": ((0, 1), "iu"),
}
NUMBERS = ("height", "width", "key_height", "key_width", "scale", "class_tokens", "last_tokens")
KIND_WORDS = {"f": "floating-point numbers", "u": "uint8", "iu": "whole numbers", "fiu": "numbers"}

# Label sets that need no more than their name, and what stands for classes without names.
PUBLIC_SETS = {known.name: known for known in (CAMVID, CITYSCAPES, VOC, ADE20K)}
NUMBERED = "numbered"
INDICES = "indices"  # the coding of what we save
SAFETENSORS_KINDS = {"F": "f", "B": "f", "I": "i", "U": "u"}


class CaptureFileError(ValueError):
    """A file that cannot be read as a capture; the message is one sentence for the person who brought it.

    choices: the codings of which one must be named, where the labels fit several. label_sets: the names of the label
    sets, NUMBERED among them, of which one must be named.
    """

    def __init__(self, message: str, choices: tuple[Coding, ...] = (), label_sets: tuple[str, ...] = ()):
        super().__init__(message)
        self.choices, self.label_sets = choices, label_sets


def save_capture(capture: Capture, path: str | Path) -> None:
    """Write `capture` as `.npz` or `.safetensors`, by the path's suffix, whole or not at all."""
    path = Path(path)
    _require_suffix(path.name)
    arrays = {name: getattr(capture, name) for name in ARRAYS if name not in NUMBERS}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
    arrays |= {"height": np.array(capture.height), "width": np.array(capture.width)}
    if capture.key_size is not None:
        arrays |= dict(zip(("key_height", "key_width"), map(np.array, capture.key_size), strict=True))
    metadata = {name: getattr(capture, name) for name in ("name", "gate", "lr_kernel", "lr_weights", "placement")}
    metadata |= {name: value for name in ("crop", "query_names") if (value := getattr(capture, name)) is not None}
    if capture.attention is not None and capture.attention.min(initial=0) < 0:
        metadata["signed"] = True
    if capture.label_set is not None:
        label_set = capture.label_set
        metadata |= {
            "label_set": label_set.name,
            "class_names": label_set.class_names,
            "palette": label_set.palette,
            "ignore_index": label_set.ignore_index,
        }
    if capture.labels is not None:
        metadata["coding"] = INDICES
    text = json.dumps(metadata, ensure_ascii=False)
    if path.suffix == ".npz":

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:  # a path without the suffix would be given one
                np.savez(file, **arrays, metadata=np.array(text))
    else:
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

        def write(temporary: Path) -> None:
            # Through memory, so that a full disk is an OSError and no error of safetensors' own.
            temporary.write_bytes(safetensors.torch.save(tensors, metadata={"metadata": text}))

    write_atomically(path, write)


def load_capture(path: str | Path, *, head: int | str = "mean", coding: str | None = None) -> Capture:
    """The capture in a file; `head` as in `Capture.from_qk`, `coding` as in `read_capture_file`.

    Raises CaptureFileError, OSError if it is not there.
    """
    path = Path(path)
    _require_suffix(path.name)
    _require_total(path.stat().st_size)
    return read_capture_file(path.read_bytes(), path.stem, coding=coding).capture(head)


@dataclass(frozen=True, eq=False)
class CaptureFile:
    """The checked content of a file: `cells` (h, w), the keys' `key_cells`, number of `heads`, and its arrays, to be
    made a Capture.

    coding: the one by which its labels are read, None without labels or names of classes; choices: all that they fit.
    """

    cells: tuple[int, int]
    key_cells: tuple[int, int]
    heads: int
    finished: bool  # a map, without query and key
    attention: tuple  # the positional arguments of from_attention or from_qk before the size
    options: dict  # their keyword arguments
    coding: Coding | None = None
    choices: tuple[Coding, ...] = ()

    def capture(self, head: int | str = "mean") -> Capture:
        """The capture of one head or of the heads' mean, as in `Capture.from_qk`. Raises CaptureFileError."""
        weights = self.heads * math.prod(self.cells) * math.prod(self.key_cells)
        if head == "mean" and self.heads > 1 and not self.finished and weights > MAX_MEAN_WEIGHTS:
            raise CaptureFileError(
                f"The mean of {self.heads} maps of {math.prod(self.cells)} cells would take too long: choose one head."
            )
        make: Any = Capture.from_attention if self.finished else Capture.from_qk
        try:
            return make(*self.attention, *self.cells, **self.options, head=head)
        except ValueError as error:
            raise _unusable(error) from error


def read_capture_file(
    data: bytes, name: str = "image", *, coding: str | None = None, label_set: str | None = None
) -> CaptureFile:
    """The content of a file's bytes, told by what they are; `name` is its name where its metadata gives none.

    coding, label_set: the key of the labels' coding, and the name of a public label set or NUMBERED, in place of what
    the metadata says of them.

    Sizes, shapes and kinds of numbers are read off the file's own directory and refused before any array is loaded.
    Raises CaptureFileError with one sentence.
    """
    if not data:
        raise CaptureFileError("The attention file is empty: choose a .npz or .safetensors file.")
    try:
        arrays, text = _read_npz(data) if data[:4] == ZIP_MAGIC else _read_safetensors(data)
    except CaptureFileError:
        raise
    except DECODING_ERRORS as error:
        raise CaptureFileError(
            "The attention file is not a readable .npz or .safetensors file: save or download it again."
        ) from error
    said = {"coding": coding, "label_set": label_set}
    metadata = {**_parsed(text), **{key: value for key, value in said.items() if value is not None}}
    try:
        return _assembled(arrays, metadata, name)
    except CaptureFileError:
        raise
    except CodingError as error:
        raise CaptureFileError(f"The attention file's labels hold {error}.", error.choices) from error
    except ValueError as error:
        raise _unusable(error) from error


def _assembled(arrays: dict, metadata: dict, name: str) -> CaptureFile:
    numbers = {key: _number(arrays.pop(key), key) for key in NUMBERS if key in arrays}
    query, key, attention = (arrays.pop(part, None) for part in ("query", "key", "attention"))
    if attention is not None and (query is not None or key is not None):
        raise ValueError("it holds attention beside query or key; it must hold either the map, or query and key")
    if attention is None and (query is None or key is None):
        missing = " and ".join(part for part, array in (("query", query), ("key", key)) if array is None)
        raise ValueError(f"it has no {missing}; it needs query and key, or attention")
    if {"height", "width"} - set(numbers):
        if query is None or query.ndim < 3 or numbers.get("class_tokens") or numbers.get("last_tokens"):
            raise ValueError("it has no height and width; add the map's size in cells, one whole number each")
        numbers |= {"height": query.shape[-2], "width": query.shape[-1]}
    for part in ("image", "labels", "prediction"):
        height, width = arrays[part].shape[:2] if part in arrays else (0, 0)
        if height * width > MAX_IMAGE_PIXELS:
            raise ValueError(
                f"its {part} has {height}×{width} pixels, more than {MAX_IMAGE_PIXELS // 10**6} million; scale image, "
                "labels and prediction down together"
            )
    cells = map_size(numbers.pop("height"), numbers.pop("width"))
    key_size = _key_size(numbers)
    label_set = _label_set(metadata) or _label_set_of(arrays, metadata.get("label_set"))
    read = class_indices(arrays.get("labels"), label_set, metadata.get("coding"))
    if read.labels is not None:
        arrays["labels"] = read.labels
    options = {**arrays, "label_set": label_set, "name": metadata.get("name", name), "key_size": key_size}
    described = ("gate", "lr_kernel", "placement", "query_names")
    options |= {part: metadata[part] for part in described if part in metadata}
    if metadata.get("crop") is not None:
        options["crop"] = tuple(metadata["crop"])
    given: tuple = (query, key)
    if attention is not None:
        given = (attention,)
        options |= {part: numbers.get(part, 0) for part in ("class_tokens", "last_tokens")}
        options["signed"] = metadata.get("signed", False)
    else:
        options |= {**numbers, "lr_weights": metadata.get("lr_weights", "learnt")}
    finished = attention is not None
    return CaptureFile(cells, key_size or cells, _heads(given[0], cells), finished, given, options, *read[1:])


def _key_size(numbers: dict) -> tuple[int, int] | None:
    """The keys' grid, taken out of the numbers; None where it is that of the queries."""
    if "key_height" not in numbers and "key_width" not in numbers:
        return None
    if "key_height" not in numbers or "key_width" not in numbers:
        raise ValueError("it has only one of key_height and key_width; give both, or neither")
    return map_size(numbers.pop("key_height"), numbers.pop("key_width"))


def _heads(array: np.ndarray | torch.Tensor, cells: tuple[int, int]) -> int:
    """How many heads an array of query, key or attention has, by the reading of `Capture.from_qk`."""
    one_head = array.ndim == 2 or (array.ndim == 3 and tuple(array.shape[1:]) == cells)
    return 1 if one_head else len(array)


# --- the two containers ----------------------------------------------------------------------------------------------


def _read_npz(data: bytes) -> tuple[dict[str, np.ndarray], str]:
    """The known arrays by name, and the metadata's text. Nothing is unpacked before the zip's directory is checked."""
    if data.count(ZIP_ENTRY_MAGIC) > MAX_ZIP_ENTRIES:
        raise ValueError("a capture has some ten arrays")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        wanted = {name: members[name] for name in (*ARRAYS, "metadata") if name in members}
        _require_total(sum(entry.file_size for entry in wanted.values()))
        for name, entry in wanted.items():
            if entry.compress_type not in ZIP_METHODS:
                raise ValueError("unknown compression")
            with archive.open(entry) as file:
                shape, dtype = _npy_header(file)
                _check_member(name, shape, dtype.kind, dtype.itemsize)
                # A header that promises more than the file holds would have its memory allocated all the same.
                if math.prod(shape) * dtype.itemsize > entry.file_size:
                    raise ValueError("array is cut off")
        arrays = {}
        for name, entry in wanted.items():
            with archive.open(entry) as file:
                arrays[name] = npy_format.read_array(file, allow_pickle=False)
    text = str(arrays.pop("metadata").item()) if "metadata" in arrays else "{}"
    return arrays, text


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = npy_format.read_magic(file)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _read_safetensors(data: bytes) -> tuple[dict[str, torch.Tensor], str]:
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(len(data) - 8, MAX_HEADER_BYTES):
        raise ValueError("header is cut off or no header")
    header = json.loads(data[8 : 8 + length])
    wanted = {name: header[name] for name in ARRAYS if name in header}
    # This format does not compress: the file's own size is the size of its arrays.
    _require_total(len(data))
    for name, facts in wanted.items():
        _check_member(name, tuple(facts["shape"]), SAFETENSORS_KINDS.get(facts["dtype"][:1], "?"), 1)
        if name == "image" and facts["dtype"] != "U8":
            raise CaptureFileError(f"The attention file's image is {facts['dtype']}: it must be uint8.")
    tensors = safetensors.torch.load(data)
    text = header.get("__metadata__", {}).get("metadata", "{}")
    return {name: tensors[name] for name in wanted}, text


def _check_member(name: str, shape: tuple[int, ...], kind: str, itemsize: int) -> None:
    if name == "metadata":
        if kind != "U" or shape != () or itemsize > MAX_HEADER_BYTES:
            raise CaptureFileError("The attention file's metadata is no text: write it as JSON.")
        return
    axes, kinds = ARRAYS[name]
    if kind not in kinds or (name == "image" and itemsize != 1):
        raise CaptureFileError(f"The attention file's {name} has numbers of another type: use {KIND_WORDS[kinds]}.")
    if len(shape) not in axes:
        raise CaptureFileError(
            f"The attention file's {name} has {len(shape)} axes: it must have {' or '.join(map(str, axes))}."
        )


# --- metadata and numbers --------------------------------------------------------------------------------------------


def _parsed(text: str) -> dict:
    """The metadata, with every known entry of the right type."""
    try:
        metadata = read_json(text)
    except ValueError as error:
        raise CaptureFileError("The attention file's metadata is not readable as JSON: write an object.") from error
    if not isinstance(metadata, dict):
        raise CaptureFileError("The attention file's metadata is no JSON object: write {…}.")
    words = f"a text of at most {MAX_NAME_LENGTH} characters"
    checks = {
        "name": (_is_name, words),
        "label_set": (_is_name, words),
        "class_names": (
            lambda value: _is_list(value, _is_name) and len(value) <= IGNORE_INDEX,
            f"a list of at most {IGNORE_INDEX} texts, each of at most {MAX_NAME_LENGTH} characters",
        ),
        "palette": (lambda value: _is_list(value, _is_colour), "a list of [red, green, blue] in 0 … 255"),
        "ignore_index": (_is_whole, "a whole number"),
        "gate": (lambda value: value is None or (value in GATES and value != "oracle"), "a gate's name or null"),
        "lr_kernel": (
            lambda value: value is None or (_is_whole(value) and value in range(1, LARGEST_LR_KERNEL + 1, 2)),
            f"an odd number up to {LARGEST_LR_KERNEL}, or null",
        ),
        "lr_weights": (lambda value: value in LR_WEIGHTS, " or ".join(LR_WEIGHTS)),
        "placement": (lambda value: value in PLACEMENTS, " or ".join(PLACEMENTS)),
        "crop": (
            lambda value: value is None or (_is_list(value, _is_whole) and len(value) == 4),
            "a list of four whole numbers: [top, left, height, width]",
        ),
        "query_names": (
            lambda value: value is None or (_is_list(value, _is_name) and len(value) <= MAX_MAP_CELLS),
            f"a list of texts, each of at most {MAX_NAME_LENGTH} characters",
        ),
        "signed": (lambda value: isinstance(value, bool), "true or false"),
        "coding": (_is_name, words),
    }
    for name, (fits, words) in checks.items():
        if name in metadata and not fits(metadata[name]):
            raise CaptureFileError(
                f"The attention file's metadata has {name} {shortened(metadata[name])}: it must be {words}."
            )
    return metadata


def _label_set(metadata: dict) -> LabelSet | None:
    if "class_names" not in metadata:
        return None
    named = named_classes(metadata["class_names"], metadata.get("ignore_index", IGNORE_INDEX))
    palette = metadata.get("palette", named.palette)
    return LabelSet(
        metadata.get("label_set", named.name), named.class_names, tuple(map(tuple, palette)), named.ignore_index
    )


def _label_set_of(arrays: dict, name: str | None) -> LabelSet | None:
    """The label set of labels whose classes have no names in the file; None where they are numbered without a doubt.

    Raises CaptureFileError where their last value may be a class or none.
    """
    if (known := PUBLIC_SETS.get(name or "")) is not None:
        return known
    given = [np.asarray(arrays[part]) for part in ("labels", "prediction") if part in arrays]
    doubtful = None if "class_probs" in arrays else set_ignoring(given)
    if doubtful is None:
        return None
    last = doubtful.ignore_index
    if name == NUMBERED:
        return named_classes([f"class {index}" for index in range(last + 1)])
    raise CaptureFileError(
        f"The attention file's labels reach to {last}, which is no class in {doubtful.name}'s labels: say in the "
        f'metadata whose they are ("label_set": "{doubtful.name}"), or that {last} is a class ("{NUMBERED}").',
        label_sets=(doubtful.name, NUMBERED),
    )


def _number(array: np.ndarray | torch.Tensor, name: str) -> Any:
    if math.prod(array.shape) != 1:
        raise ValueError(f"{name} holds {math.prod(array.shape)} numbers; it must be one")
    return array.reshape(()).item()


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME_LENGTH


def _is_colour(value: object) -> bool:
    return _is_list(value, lambda part: _is_whole(part) and 0 <= part <= 255) and len(value) == 3


def _is_list(value: object, fits: Callable[[Any], bool]) -> TypeGuard[list]:
    return isinstance(value, list) and all(map(fits, value))


def _require_suffix(name: str) -> None:
    if not name.endswith(SUFFIXES):
        raise CaptureFileError(f"{name} is neither .npz nor .safetensors: captures are files of these two kinds.")


def _require_total(size: int) -> None:
    if size > MAX_BYTES:
        raise CaptureFileError(
            f"The attention file holds {size / 2**20:.0f} MiB of arrays, more than {MAX_BYTES // 2**20}: save fewer "
            "heads, or float16."
        )


def _unusable(error: ValueError) -> CaptureFileError:
    return CaptureFileError(f"The attention file cannot be used: {str(error).rstrip('.')}.")
