"""Attention files: captures, and layers of several heads, as `.npz` or `.safetensors` files from any framework.

docs/attention-files.md says what a file holds. With plain NumPy, one layer, and several:

    numpy.savez("attention.npz", query=query, key=key, height=14, width=14, scale=64**-0.5, class_tokens=1)
    numpy.savez("attention.npz", height=14, width=14, **{"blocks.3/query": query, "blocks.3/key": key, …})

Everything is as in `Capture.from_qk` and `Capture.from_attention`. Other arrays are not read.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.capture import suspicions
from analysis.capture.brought import in_words, map_size, without_batch
from analysis.capture.capture import Capture
from analysis.capture.coded import CodedLabels, class_indices
from analysis.capture.containers import (
    ARRAYS,
    COMMON,
    CaptureFileError,
    read_arrays,
    require_folder,
    require_suffix,
    require_total,
    write_arrays,
)
from analysis.capture.layers import Layer, Layers, head_of, stacked
from analysis.capture.metadata import (
    FORMAT,
    MAX_NOTE_LENGTH,
    OF_LAYERS,
    label_set_of,
    metadata_of,
    parsed,
    said_instead,
)
from dnl.codings import Coding, CodingError
from dnl.untrusted import DECODING_ERRORS, shortened

# Cityscapes has 2 million. An image travels to the browser as it is.
MAX_IMAGE_PIXELS = 4_000_000
NUMBERS = ("height", "width", "key_height", "key_width", "scale", "class_tokens", "last_tokens")
INDICES = "indices"  # the coding of what we save


# --- writing ---------------------------------------------------------------------------------------------------------


def save_capture(capture: Capture, path: str | Path) -> None:
    """Write `capture` as `.npz` or `.safetensors`, by the path's suffix, whole or not at all."""
    path = Path(path)
    require_suffix(path.name)
    require_folder(path)
    arrays = {name: getattr(capture, name) for name in ARRAYS if name not in NUMBERS}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
    arrays |= _sizes(capture.cells, capture.key_size)
    metadata = {name: getattr(capture, name) for name in ("name", "gate", "lr_kernel", "lr_weights", "placement")}
    metadata |= {name: value for name in ("crop", "query_names") if (value := getattr(capture, name)) is not None}
    if capture.attention is not None and capture.attention.min(initial=0) < 0:
        metadata["signed"] = True
    if capture.label_set is not None:
        metadata |= metadata_of(capture.label_set)
    if capture.labels is not None:
        metadata["coding"] = INDICES
    if capture.notes:
        metadata["notes"] = capture.notes
    if capture.layer is not None:
        metadata["layer"] = capture.layer
    if isinstance(capture.head, int):
        metadata["heads"] = [capture.head]
    write_arrays(path, arrays, _text(metadata))


def save_layers(layers: Layers, path: str | Path) -> None:
    """Write all heads of all layers as one `.npz` or `.safetensors` file, by the path's suffix, whole or not at all.

    Raises ValueError where the layers do not show one image, OSError where the file cannot be written.
    """
    path = Path(path)
    require_suffix(path.name)
    require_folder(path)
    first = layers.layers[0].options
    arrays = {}
    for name in COMMON:
        if any(layer.options.get(name) is not first.get(name) for layer in layers):
            raise ValueError(f"the layers have different {name}; save each in a file of its own")
        if first.get(name) is not None:
            arrays[name] = _as_array(first[name])
    metadata: dict[str, Any] = {"name": first.get("name", "image"), "layers": {}}
    if first.get("label_set") is not None:
        metadata |= metadata_of(first["label_set"])
    if first.get("labels") is not None:
        metadata["coding"] = INDICES
    if layers.left_out:
        metadata["left_out"] = {name: reason[:MAX_NOTE_LENGTH] for name, reason in layers.left_out.items()}
    for layer in layers:
        own, entries = _of_layer(layer)
        prefix = f"{layer.name}/" if layer.name else ""
        arrays |= {f"{prefix}{name}": array for name, array in own.items()}
        if layer.name:
            metadata["layers"][layer.name] = entries
        else:
            metadata |= entries
    require_total(sum(array.nbytes for array in arrays.values()))
    write_arrays(path, arrays, _text(metadata))


def _of_layer(layer: Layer) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A layer's own arrays by name, and its entries of the metadata."""
    options = layer.options
    arrays = {name: _as_array(array) for name, array in layer.arrays.items()}
    arrays |= _sizes(layer.cells, options.get("key_size"))
    for name in ARRAYS:
        if name not in COMMON and options.get(name) is not None:
            arrays[name] = _as_array(options[name])
    entries = {name: options[name] for name in OF_LAYERS if options.get(name) is not None}
    entries["heads"] = list(layer.heads)
    if layer.notes:
        entries["notes"] = list(layer.notes)
    return arrays, entries


def _sizes(cells: tuple[int, int], key_size: tuple[int, int] | None) -> dict[str, np.ndarray]:
    sizes = dict(zip(("height", "width"), map(np.array, cells), strict=True))
    if key_size is not None:
        sizes |= dict(zip(("key_height", "key_width"), map(np.array, key_size), strict=True))
    return sizes


def _as_array(array: Any) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    return np.asarray(array, order="C")  # a number stays one


def _text(metadata: dict[str, Any]) -> str:
    return json.dumps({"format": FORMAT, **metadata}, ensure_ascii=False)


# --- reading ---------------------------------------------------------------------------------------------------------


def load_capture(
    path: str | Path, *, head: int | str = "mean", coding: str | None = None, layer: str | None = None
) -> Capture:
    """The capture in a file: of one head, or the mean of all, as in `Capture.from_qk`; of one layer where it has
    several. coding: as in `read_capture_file`. Raises CaptureFileError, OSError if it is not there.
    """
    return _loaded(path, coding).capture(head, layer)


def load_layers(path: str | Path, *, coding: str | None = None) -> Layers:
    """All layers in a file. Raises CaptureFileError, OSError if it is not there."""
    return _loaded(path, coding).layers


def _loaded(path: str | Path, coding: str | None) -> "CaptureFile":
    path = Path(path)
    require_suffix(path.name)
    require_total(path.stat().st_size)
    return read_capture_file(path.read_bytes(), path.stem, coding=coding)


@dataclass(frozen=True, eq=False)
class CaptureFile:
    """The checked content of a file: its layers, and how its labels were read.

    coding: the one by which its labels are read, None without labels or names of classes; choices: all that they fit.
    """

    layers: Layers
    coding: Coding | None = None
    choices: tuple[Coding, ...] = ()

    @property
    def cells(self) -> tuple[int, int]:
        """(h, w) of the only layer."""
        return self.layers.layer().cells

    @property
    def key_cells(self) -> tuple[int, int]:
        """(h′, w′) of the only layer's keys."""
        return self.layers.layer().key_cells

    @property
    def heads(self) -> int:
        """How many the only layer has."""
        return len(self.layers.layer().heads)

    @property
    def finished(self) -> bool:
        """Whether the only layer has maps, without query and key."""
        return self.layers.layer().finished

    def capture(self, head: int | str = "mean", layer: str | None = None) -> Capture:
        """The capture of one head or of the heads' mean, as in `Capture.from_qk`. layer: its name, where there are
        several. Raises CaptureFileError."""
        try:
            return self.layers.capture(layer, head)
        except ValueError as error:
            raise _unusable(error) from error


def read_capture_file(
    data: bytes,
    name: str = "image",
    *,
    coding: str | None = None,
    label_set: str | None = None,
    class_names: Sequence[str] | None = None,
    ignore_index: int | None = None,
) -> CaptureFile:
    """The content of a file's bytes, told by what they are; `name` is its name where its metadata gives none.

    coding, label_set, class_names, ignore_index: the key of the labels' coding, the name of a public label set or
    NUMBERED, or names of the classes and the label that means none, in place of what the metadata says of them.

    Sizes, shapes and kinds of numbers are read off the file's own directory and refused before any array is loaded.
    Raises CaptureFileError with one sentence.
    """
    if not data:
        raise CaptureFileError("The attention file is empty: choose a .npz or .safetensors file.")
    try:
        arrays, text = read_arrays(data)
    except CaptureFileError:
        raise
    except DECODING_ERRORS as error:
        raise CaptureFileError(
            "The attention file is not a readable .npz or .safetensors file: save or download it again."
        ) from error
    metadata = said_instead(
        parsed(text), coding=coding, label_set=label_set, class_names=class_names, ignore_index=ignore_index
    )
    try:
        return _assembled(arrays, metadata, name)
    except CaptureFileError:
        raise
    except CodingError as error:
        raise CaptureFileError(f"The attention file's labels hold {error}.", error.choices) from error
    except ValueError as error:
        raise _unusable(error) from error


def _assembled(arrays: dict[str, dict[str, Any]], metadata: dict, name: str) -> CaptureFile:
    common = arrays.pop("")
    for part in COMMON:
        height, width = common[part].shape[:2] if part in common else (0, 0)
        if height * width > MAX_IMAGE_PIXELS:
            raise ValueError(
                f"its {part} has {height}×{width} pixels, more than {MAX_IMAGE_PIXELS // 10**6} million; scale image, "
                "labels and prediction down together"
            )
    counted = any("class_probs" in own for own in (common, *arrays.values()))
    unnamed = [] if counted else [np.asarray(common[part]) for part in ("labels", "prediction") if part in common]
    label_set = label_set_of(metadata, unnamed)
    read: CodedLabels = class_indices(common.get("labels"), label_set, metadata.get("coding"))
    if read.labels is not None:
        common["labels"] = read.labels
    common |= {"label_set": label_set, "name": metadata.get("name", name)}
    if not arrays:
        layers = [_layer(metadata.get("layer", ""), common, metadata)]
    else:
        _require_apart(arrays, common, metadata)
        layers = []
        for layer in _in_order(arrays, metadata.get("layers", {})):
            entries = metadata | metadata.get("layers", {}).get(layer, {})
            try:
                layers.append(_layer(layer, common | arrays[layer], entries))
            except ValueError as error:
                raise ValueError(f"layer {shortened(layer)}: {error}") from error
    return CaptureFile(Layers(tuple(layers), metadata.get("left_out", {})), *read[1:])


def _require_apart(arrays: dict[str, dict[str, Any]], common: dict[str, Any], metadata: dict) -> None:
    """Raise ValueError for arrays of which it is not clear what layer they belong to."""
    for part in ("query", "key", "attention"):
        if part in common:
            raise ValueError(f"it holds {part} beside layers; name the layer that it is of, LAYER/{part}")
    for layer, own in arrays.items():
        for part in COMMON:
            if part in own:
                raise ValueError(f"layer {shortened(layer)} has {part} of its own; all layers show the same {part}")
    for layer in metadata.get("layers", {}):
        if layer not in arrays:
            raise ValueError(f"its metadata names a layer {shortened(layer)} without arrays")


def _in_order(layers: Iterable[str], told: Iterable[str]) -> list[str]:
    """As the metadata tells them, then others by name, numbers in it counted as such."""

    def by_number(name: str) -> list:
        return [(0, int(part), "") if part.isascii() and part.isdigit() and len(part) < 10 else (1, 0, part)
                for part in re.split(r"(\d+)", name)]  # fmt: skip

    first = list(told)
    return first + sorted(set(layers) - set(first), key=by_number)


def _layer(name: str, arrays: dict[str, Any], metadata: dict) -> Layer:
    """A layer of its arrays, with those that all layers share, and its entries of the metadata."""
    arrays = dict(arrays)
    numbers = {key: _number(arrays.pop(key), key) for key in NUMBERS if key in arrays}
    query, key, attention = (arrays.pop(part, None) for part in ("query", "key", "attention"))
    _require_one_kind(query, key, attention)
    if {"height", "width"} - set(numbers):
        if query is None or query.ndim < 3 or numbers.get("class_tokens") or numbers.get("last_tokens"):
            raise ValueError("it has no height and width; add the map's size in cells, one whole number each")
        numbers |= {"height": query.shape[-2], "width": query.shape[-1]}
    cells = map_size(numbers.pop("height"), numbers.pop("width"))
    key_size = _key_size(numbers)
    given = {"query": query, "key": key} if attention is None else {"attention": attention}
    grids = {"query": cells, "key": key_size or cells}
    given = {part: without_batch(array, grids.get(part)) for part, array in given.items()}
    options = {**arrays, "key_size": key_size}
    described = ("gate", "lr_kernel", "placement", "query_names")
    options |= {part: metadata[part] for part in described if part in metadata}
    if metadata.get("crop") is not None:
        options["crop"] = tuple(metadata["crop"])
    if attention is not None:
        options |= {part: numbers.get(part, 0) for part in ("class_tokens", "last_tokens")}
        options["signed"] = metadata.get("signed", False)
    else:
        options |= {**numbers, "lr_weights": metadata.get("lr_weights", "learnt")}
    by_head = {part: stacked(array) if head_of(array, grids.get(part, cells)) else array
               for part, array in given.items()}  # fmt: skip
    _require_heads(by_head, grids)
    notes = tuple(metadata.get("notes", ()))
    return Layer(name, cells, key_size or cells, _heads(by_head, metadata), by_head, options, notes)


def _require_one_kind(query: Any, key: Any, attention: Any) -> None:
    if attention is not None and (query is not None or key is not None):
        raise ValueError("it holds attention beside query or key; it must hold either the map, or query and key")
    if attention is None and (query is None or key is None):
        missing = " and ".join(part for part, array in (("query", query), ("key", key)) if array is None)
        raise ValueError(f"it has no {missing}; it needs query and key, or attention")


def _require_heads(arrays: dict[str, Any], grids: dict[str, tuple[int, int]]) -> None:
    """Raise ValueError for an array of more axes than those of heads: what looks like a head would be several."""
    for part, array in arrays.items():
        shape = tuple(array.shape)
        is_map = part != "attention" and shape[-2:] == grids[part]
        if len(shape) > (4 if is_map else 3):
            wanted = "N×N or heads×N×N" if part == "attention" else "N×d, heads×N×d, d×h×w or heads×d×h×w"
            raise ValueError(f"{part} is {in_words(shape)}; it must be {wanted}" + suspicions.of_layers(shape))


def _heads(arrays: dict[str, Any], metadata: dict) -> tuple[int, ...]:
    """The heads' numbers: those that are told, else from 0 on."""
    counts = {part: len(array) for part, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"query has {counts['query']} heads but key {counts['key']}; both must have the same, "
            "heads×N×d or heads×d×h×w"
        )
    count = next(iter(counts.values()))
    told = tuple(metadata.get("heads", range(count)))
    if len(told) != count or not count:
        raise ValueError(f"it tells the numbers of {len(told)} heads, and its arrays have {count}; name each once")
    return told


def _key_size(numbers: dict) -> tuple[int, int] | None:
    """The keys' grid, taken out of the numbers; None where it is that of the queries."""
    if "key_height" not in numbers and "key_width" not in numbers:
        return None
    if "key_height" not in numbers or "key_width" not in numbers:
        raise ValueError("it has only one of key_height and key_width; give both, or neither")
    return map_size(numbers.pop("key_height"), numbers.pop("key_width"))


def _number(array: np.ndarray | torch.Tensor, name: str) -> Any:
    if math.prod(array.shape) != 1:
        raise ValueError(f"{name} holds {math.prod(array.shape)} numbers; it must be one")
    return array.reshape(()).item()


def _unusable(error: ValueError) -> CaptureFileError:
    return CaptureFileError(f"The attention file cannot be used: {str(error).rstrip('.')}.")
