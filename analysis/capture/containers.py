"""The two containers of attention files, `.npz` and `.safetensors`: their arrays by layer and name, within bounds.

Sizes, shapes and kinds of numbers are read off a file's own directory and refused before any array is loaded.
"""

import io
import json
import math
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors.torch
import torch
from numpy.lib import format as npy_format

from dnl.codings import Coding
from dnl.files import write_atomically
from dnl.untrusted import MAX_NAME_LENGTH, is_valid_text, shortened

SUFFIXES = (".npz", ".safetensors")
ZIP_MAGIC = b"PK\x03\x04"
ZIP_ENTRY_MAGIC = b"PK\x01\x02"
MAX_LAYERS = 256
MAX_ZIP_ENTRIES = 16 * MAX_LAYERS
# NumPy writes no other; others may take as much memory as their stream asks for.
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Of all arrays together, unpacked: a map of 8192 cells is 256 MiB.
MAX_BYTES = 512 * 2**20
MAX_METADATA_BYTES = 2**20
MAX_HEADER_BYTES = 4 * MAX_METADATA_BYTES

# What a file may hold: how many axes an array has, and of which kinds of numbers.
ARRAYS = {
    "query": ((2, 3, 4, 5), "f"),
    "key": ((2, 3, 4, 5), "f"),
    "attention": ((2, 3, 4), "f"),
    "class_probs": ((2, 3), "f"),
    "image": ((3,), "u"),
    "labels": ((2,), "iu"),
    "prediction": ((2,), "iu"),
    "dropped": ((2, 3), "f"),
    "query_labels": ((1,), "iu"),
    "height": ((0, 1), "iu"),
    "width": ((0, 1), "iu"),
    "key_height": ((0, 1), "iu"),
    "key_width": ((0, 1), "iu"),
    "scale": ((0, 1), "fiu"),
    "class_tokens": ((0, 1), "iu"),
    "last_tokens": ((0, 1), "iu"),
}
# Of the image, and so of all layers.
COMMON = ("image", "labels", "prediction")
KIND_WORDS = {"f": "floating-point numbers", "u": "uint8", "iu": "whole numbers", "fiu": "numbers"}
SAFETENSORS_KINDS = {"F": "f", "B": "f", "I": "i", "U": "u"}


class CaptureFileError(ValueError):
    """A file that cannot be read as a capture; the message is one sentence for the person who brought it.

    choices: the codings of which one must be named, where the labels fit several. label_sets: the names of the label
    sets, `metadata.NUMBERED` among them, of which one must be named.
    """

    def __init__(self, message: str, choices: tuple[Coding, ...] = (), label_sets: tuple[str, ...] = ()):
        super().__init__(message)
        self.choices, self.label_sets = choices, label_sets


def place_of(key: str) -> tuple[str, str] | None:
    """The layer ("" for all) and name of an array by its key in the file, "LAYER/query" or "query"; None for others."""
    layer, slash, name = key.rpartition("/")
    if name not in ARRAYS or (slash and not layer.strip()):
        return None
    return layer, name


def read_arrays(data: bytes) -> tuple[dict[str, dict[str, Any]], str]:
    """The known arrays by layer ("" for all) and name, and the metadata's text. Raises CaptureFileError, or one of
    `dnl.untrusted.DECODING_ERRORS`."""
    arrays, text = _read_npz(data) if data[:4] == ZIP_MAGIC else _read_safetensors(data)
    found: dict[str, dict[str, Any]] = {"": {}}
    for key, array in arrays.items():
        layer, name = place_of(key) or ("", key)
        found.setdefault(layer, {})[name] = array
    return found, text


def write_arrays(path: Path, arrays: dict[str, np.ndarray], text: str) -> None:
    """Arrays by key and the metadata's text, by the path's suffix, whole or not at all."""
    if path.suffix == ".npz":

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:  # a path without the suffix would be given one
                np.savez(file, **arrays, metadata=np.array(text))  # type: ignore[arg-type]
    else:
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

        def write(temporary: Path) -> None:
            # Through memory, so that a full disk is an OSError and no error of safetensors' own.
            temporary.write_bytes(safetensors.torch.save(tensors, metadata={"metadata": text}))

    write_atomically(path, write)


def require_suffix(name: str) -> None:
    """Raise CaptureFileError for a name of neither kind."""
    if not name.endswith(SUFFIXES):
        raise CaptureFileError(f"{name} is neither .npz nor .safetensors: captures are files of these two kinds.")


def require_folder(path: Path) -> None:
    """Raise FileNotFoundError, in one sentence, where there is no folder to write a file in."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist; create it first")


def require_total(size: int) -> None:
    """Raise CaptureFileError for more bytes than may be."""
    if size > MAX_BYTES:
        raise CaptureFileError(
            f"The attention file holds {size / 2**20:.0f} MiB of arrays, more than {MAX_BYTES // 2**20}: save fewer "
            "layers or heads, or float16."
        )


def _read_npz(data: bytes) -> tuple[dict[str, np.ndarray], str]:
    """The known arrays by name, and the metadata's text. Nothing is unpacked before the zip's directory is checked."""
    if data.count(ZIP_ENTRY_MAGIC) > MAX_ZIP_ENTRIES:
        raise ValueError("a layer has some ten arrays")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        wanted = {name: entry for name, entry in members.items() if name == "metadata" or place_of(name)}
        _require_layers(wanted)
        require_total(sum(entry.file_size for entry in wanted.values()))
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
    wanted = {name: facts for name, facts in header.items() if place_of(name)}
    _require_layers(wanted)
    # This format does not compress: the file's own size is the size of its arrays.
    require_total(len(data))
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
    layer, part = place_of(name) or ("", name)
    words = f"{part} of layer {shortened(layer)}" if layer else part
    axes, kinds = ARRAYS[part]
    if kind not in kinds or (part == "image" and itemsize != 1):
        raise CaptureFileError(f"The attention file's {words} has numbers of another type: use {KIND_WORDS[kinds]}.")
    if len(shape) not in axes:
        raise CaptureFileError(
            f"The attention file's {words} has {len(shape)} axes: it must have {' or '.join(map(str, axes))}."
        )


def _require_layers(keys: Iterable[str]) -> None:
    """Raise CaptureFileError for too many layers, and names that are none."""
    layers = {place[0] for place in map(place_of, keys) if place is not None} - {""}
    if len(layers) > MAX_LAYERS:
        raise CaptureFileError(f"The attention file holds {len(layers)} layers, more than {MAX_LAYERS}: save fewer.")
    for layer in layers:
        if len(layer) > MAX_NAME_LENGTH or not is_valid_text(layer):
            raise CaptureFileError(
                f"The attention file has a layer named {shortened(layer)}: a name must be text of at most "
                f"{MAX_NAME_LENGTH} characters."
            )
