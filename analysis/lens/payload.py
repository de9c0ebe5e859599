"""What the lens needs to know of one image and one or two models, packed into a single buffer.

    4 bytes   length of the header, unsigned, little-endian
    header    JSON (UTF-8), padded with spaces so that the arrays begin at a multiple of 8 bytes
    arrays    one after another, each at a multiple of 8 bytes from the first

`header["arrays"][name]` gives dtype, shape and offset of what belongs to the image, and
`header["models"][0]["arrays"][name]` of what belongs to a model.

A buffer of layers has none of models, but `layers` in the network's order, each with the facts of a model, its `name`,
the numbers of its `heads` and whether their `mean` can be shown; and `map`, what is shown at first: a layer's name and
a head. Of a layer's arrays those that differ from head to head have the heads as their first axis: query, key,
attention, `dropped`, and `extra_keys`, of tokens that are no cells.

What few captures have is there for them alone: `key_cells`, `placement`, `crop`, `query_names`, `signed` and `notes`
of a model, and its arrays `key_labels`, `key_prediction` and `dropped`.

The buffer depends on the image and the models alone: what the user chooses in the lens stays in the lens, so that the
heavy arrays travel once. Only a request that a page makes of the lens rides in the header.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np

from analysis.capture import MAX_MEAN_WEIGHTS, ROLLOUT, Capture, Layer, Layers, quietly
from analysis.lens.start import places_of, starting_pixel

FORMAT = 2
ALIGNMENT = 8
# Perceptually uniform, the first the default: dark for nothing, so that the photo beneath stays readable.
COLORMAPS = {"magma": "magma", "inferno": "inferno", "viridis": "viridis", "cividis": "cividis", "greys": "gray"}
DIFFERENCE_COLORMAP = "RdBu_r"  # diverges from white, also to colour-blind eyes
# In the order of the pins' numbers. Okabe and Ito's colours, made for colour-blind readers, with a grey for their
# black, which the dark end of a map would swallow.
PIN_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", "#555555")
NO_CLASS = 255  # in the packed label images
# A finished map travels to the browser whole: 4·N² bytes, 50 MiB at 60×60 cells. From query and key N is not limited.
MAX_MAP_CELLS = 3600
# Up to here the rows' log-sum-exps are worked out before packing; beyond, the browser does it when a column is asked
# for: N² scores would keep the lens waiting.
MAX_LOG_SUM_CELLS = 4096
# Of all layers together: 144 heads of 64 channels on 64×64 cells take 288.
MAX_LAYER_BYTES = 320 * 2**20
QUERY_BLOCK = 512


def pack_capture(
    capture: Capture,
    other: Capture | None = None,
    health: dict | None = None,
    *,
    names: tuple[str, ...] = (),
    other_health: dict | None = None,
) -> bytes:
    """The lens's buffer for `capture`, which must carry an image (`Capture.with_image` gives one).

    other: a capture of the same image by another model, to be shown beside the first; it may have another grid of
    cells, depth and gate, but no other classes. health, other_health: what is said of the models' attention,
    {"state": …, "sentence": …}. names: the models' names, as many as there are models; "" where none is known.
    Classes need a label_set to name them. A finished attention map may have MAX_MAP_CELLS cells, or MAX_MAP_CELLS²
    weights. The two models' crops must have a part in common, and queries without a place the same names. Raises
    ValueError otherwise.
    """
    captures = [capture] if other is None else [capture, other]
    for each in captures:
        _check(each)
    if other is not None:
        _check_pair(capture, other)
    if names and len(names) != len(captures):
        raise ValueError(f"{len(names)} names came for {len(captures)} models; give one for each")
    body = _Body()
    models = [
        {**_model_facts(each), "name": name, "health": words, "arrays": body.add(_model_arrays(each))}
        for each, name, words in zip(captures, names or ("", ""), (health, other_health), strict=False)
    ]
    facts = {**_image_facts(captures), "models": models, "arrays": body.add(_image_arrays(captures))}
    return _joined(facts, body)


def pack_layers(layers: Layers, first: tuple[str, int | str] | None = None) -> bytes:
    """The lens's buffer for all heads of `layers`, which must show an image (`described(image=…)`).

    first: the layer's name and the head, or "mean", that is shown at first; None for the last layer's first head.
    Layers whose queries have no place on the image are looked at alone. Raises ValueError for these, and beyond
    MAX_LAYER_BYTES of query, key and maps, with what to do.
    """
    captures = [quietly(layer, layer.heads[0]) for layer in layers]
    for layer, capture in zip(layers, captures, strict=True):
        _check(capture)
        if capture.query_names is not None:
            raise ValueError(f"the queries of {layer.name!r} have no place on the image; look at a capture of it alone")
        if capture.image is not captures[0].image and image_id(capture) != image_id(captures[0]):
            raise ValueError("the layers show different images; look at each alone")
    size = sum(layer_bytes(layer) for layer in layers)
    if size > MAX_LAYER_BYTES:
        raise ValueError(
            f"{layers.maps} heads take {size / 2**20:.0f} MiB, and the lens shows up to {MAX_LAYER_BYTES // 2**20} MiB "
            "of them at a time; choose fewer layers or heads"
        )
    body = _Body()
    common = body.add(_prediction_arrays(captures[0]))
    placed: dict[tuple, dict] = {}  # the classes of cells that lie alike on the image
    for capture in captures:
        if _place(capture) not in placed:
            placed[_place(capture)] = body.add(_packed(_label_arrays(capture)))
    packed = [
        {
            **_model_facts(capture),
            **({"signed": True} if layer.options.get("signed") else {}),
            "name": layer.name,
            "heads": layer.heads,
            "mean": has_mean(layer),
            "arrays": common | placed[_place(capture)] | body.add(_layer_arrays(capture, layer)),
        }
        for layer, capture in zip(layers, captures, strict=True)
    ]
    name, head = first_map(layers) if first is None else first
    shown = {"layer": layers.layer(name).name, "head": head}
    facts = {**_image_facts(captures), "models": [], "layers": packed, "map": shown, "left_out": layers.left_out}
    return _joined(facts | {"arrays": body.add(_image_arrays(captures))}, body)


def _place(capture: Capture) -> tuple:
    return capture.cells, capture.key_size, capture.placement, capture.crop


def first_map(layers: Layers) -> tuple[str, int | str]:
    """The layer and head that the lens shows before anyone has chosen: the first head of the last layer that is not
    derived from others."""
    own = [layer for layer in layers if layer.name != ROLLOUT] or list(layers)
    return own[-1].name, own[-1].heads[0]


def has_mean(layer: Layer) -> bool:
    """Whether the mean of its heads' maps is one to choose: of several heads, and not too much work."""
    return len(layer.heads) > 1 and (layer.finished or layer.weights <= MAX_MEAN_WEIGHTS)


def layer_bytes(layer: Layer) -> int:
    """What a layer's heads take in the lens's buffer."""
    return sum(4 * math.prod(array.shape) for array in layer.arrays.values())


def _joined(facts: dict, body: "_Body") -> bytes:
    arrays = body.joined()
    payload_id = hashlib.sha256(json.dumps(facts).encode() + arrays).hexdigest()[:16]
    return _with_header({**facts, "payload_id": payload_id}) + arrays


def asking_for(buffer: bytes, request: dict) -> bytes:
    """The same buffer with a request to the lens in its header, which the lens grants once for each `id`.

    request: {"id": anything unique, "pins": [[y, x], …], "active": which pin is shown, from 0, "choices": {…},
    "look": {…}}, as `analysis.lens.state` knows them. Each of them may be missing, and so may each entry of choices
    and look: what is missing stays as it is.
    """
    length = 4 + int.from_bytes(buffer[:4], "little")
    return _with_header({**json.loads(buffer[4:length]), "request": request}) + buffer[length:]


def first_pixel(buffer: bytes) -> tuple[int, int]:
    """The pixel (y, x) that the lens shows of a buffer before anyone has chosen one: one for all maps in it."""
    y, x = json.loads(buffer[4 : 4 + int.from_bytes(buffer[:4], "little")])["starting_pixel"]
    return y, x


def image_id(capture: Capture) -> str:
    """Tells one image from another, whatever the model: pins belong to an image.

    Pins of queries without a place belong to the image and the list of their names.
    """
    assert capture.image is not None  # `Capture.with_image` gives any capture one
    names = "" if capture.query_names is None else json.dumps(capture.query_names)
    shown = str(capture.image.shape).encode() + capture.image.tobytes() + names.encode()
    return hashlib.sha256(shown).hexdigest()[:16]


def log_sums(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    """log Σ_j exp(q_i · k_j) of every query cell i, float64 of length N; query, key: d×h×w, each of its own grid.

    exp(q_i · k_j − log_sums[i]) is A_ij: with it a column of A costs no more than a row. In float64, because scores
    reach thousands, where float32 would err by more than a thousandth of the attention.
    """
    queries = query.reshape(len(query), -1).T.astype(np.float64)  # N×d
    keys = key.reshape(len(key), -1).astype(np.float64)  # d×N
    sums = np.empty(len(queries))
    for start in range(0, len(queries), QUERY_BLOCK):
        scores = queries[start : start + QUERY_BLOCK] @ keys
        highest = scores.max(axis=1, keepdims=True)
        np.exp(np.subtract(scores, highest, out=scores), out=scores)
        sums[start : start + QUERY_BLOCK] = highest[:, 0] + np.log(scores.sum(axis=1))
    return sums


# --- checks ----------------------------------------------------------------------------------------------------------


def _check(capture: Capture) -> None:
    if capture.image is None:
        raise ValueError(f"capture {capture.name!r} has no image to point at; give it one with capture.with_image()")
    classed = [name for name in ("class_probs", "labels", "prediction") if getattr(capture, name) is not None]
    if classed and capture.label_set is None:
        raise ValueError(f"capture {capture.name!r} has {classed[0]} but no label_set; the lens needs it for the names")
    if capture.query_names is not None and capture.key_size is None:
        raise ValueError(f"the keys of {capture.name!r} have no place on the image: the lens has nothing to draw")
    if capture.attention is not None and capture.attention.size > MAX_MAP_CELLS**2:
        queries, keys = capture.attention.shape
        size = f"{queries} cells" if capture.key_size is None else f"{queries} queries and {keys} keys"
        raise ValueError(
            f"{capture.name!r} is a finished attention map of {size}; the lens shows up to "
            f"{MAX_MAP_CELLS} of them, and more from the query and key of one head"
        )


def _check_pair(capture: Capture, other: Capture) -> None:
    if (capture.query_names is None) != (other.query_names is None):
        raise ValueError("the queries of one of the two models have no place on the image; look at each alone")
    if capture.query_names != other.query_names:
        raise ValueError("the two models' queries have other names; look at each model alone")
    if image_id(capture) != image_id(other):
        raise ValueError("the two captures show different images; capture both models on the same one")
    _, _, height, width = places_of([capture, other])
    if min(height, width) < 1:
        raise ValueError("the two models saw parts of the image that have nothing in common; look at each alone")
    sets = [each.label_set for each in (capture, other) if each.label_set is not None]
    if len(sets) == 2 and sets[0].class_names != sets[1].class_names:
        raise ValueError(
            f"the two models know different classes ({sets[0].name} and {sets[1].name}); compare two of the same"
        )


# --- what is packed --------------------------------------------------------------------------------------------------


class _Body:
    """The arrays of a buffer, one after another."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def add(self, arrays: dict[str, np.ndarray]) -> dict[str, dict]:
        """Where each of the arrays lies."""
        index = {}
        for name, array in arrays.items():
            index[name] = {"dtype": array.dtype.name, "shape": array.shape, "offset": self._length}
            self._parts.append(array.tobytes().ljust(_padded(array.nbytes), b"\0"))
            self._length += _padded(array.nbytes)
        return index

    def joined(self) -> bytes:
        return b"".join(self._parts)


def _image_facts(captures: list[Capture]) -> dict:
    label_set = next((each.label_set for each in captures if each.label_set is not None), None)
    return {
        "format": FORMAT,
        "name": captures[0].name,
        "image_id": image_id(captures[0]),
        "image_size": captures[0].image_size,
        "class_names": label_set.class_names if label_set else (),
        "palette": label_set.palette if label_set else (),
        "no_class": NO_CLASS,
        "starting_pixel": _start(captures),
        "pin_colours": PIN_COLOURS,
        "colormaps": list(COLORMAPS),
    }


def _start(captures: list[Capture]) -> tuple[int, int]:
    """The first model's starting pixel; the nearest to it where every model has a query."""
    top, left, height, width = places_of(captures)
    y, x = starting_pixel(captures[0])
    return min(max(y, top), top + height - 1), min(max(x, left), left + width - 1)


def _image_arrays(captures: list[Capture]) -> dict[str, np.ndarray]:
    found: dict[str, tuple[Any, type]] = {
        "image": (captures[0].image, np.uint8),
        "colours": (np.stack([_colours(name) for name in COLORMAPS.values()]), np.uint8),
        "difference_colours": (_colours(DIFFERENCE_COLORMAP), np.uint8),
    }
    labels = next((_without_strangers(each.labels, each) for each in captures if each.labels is not None), None)
    if labels is not None:
        found["labels"] = (labels, np.uint8)
    return _packed(found)


def _model_facts(capture: Capture) -> dict:
    facts: dict[str, Any] = {
        "cells": capture.cells,
        "gate": capture.gate,
        "lr_kernel": capture.lr_kernel,
        "lr_weights": capture.lr_weights,
    }
    if capture.key_size is not None:
        facts["key_cells"] = capture.key_size
    if capture.placement != "corners":
        facts["placement"] = capture.placement
    if capture.crop is not None:
        facts["crop"] = capture.crop
    if capture.query_names is not None:
        facts["query_names"] = capture.query_names
    if capture.attention is not None and capture.attention.min() < 0:
        facts["signed"] = True  # such a map has no noise
    if capture.notes:
        facts["notes"] = capture.notes
    return facts


def _model_arrays(capture: Capture) -> dict[str, np.ndarray]:
    """Only those that the capture has."""
    found: dict[str, tuple[Any, type]] = {}
    for name in ("query", "key", "attention", "class_probs"):
        if getattr(capture, name) is not None:
            found[name] = (getattr(capture, name), np.float32)
    scores = math.prod(capture.cells) * math.prod(capture.key_cells)
    if capture.query is not None and capture.key is not None and scores <= MAX_LOG_SUM_CELLS**2:
        found["log_sums"] = (log_sums(capture.query, capture.key), np.float64)
    found |= _label_arrays(capture)
    if capture.prediction is not None:
        found["prediction"] = (_without_strangers(capture.prediction, capture), np.uint8)
    if capture.dropped is not None:
        found["dropped"] = (capture.dropped, np.float32)
    return _packed(found)


def _label_arrays(capture: Capture) -> dict[str, tuple[Any, type]]:
    """What is known of the cells' classes."""
    found: dict[str, tuple[Any, type]] = {}
    if capture.cell_labels is not None:
        found["cell_labels"] = (_without_strangers(capture.cell_labels, capture), np.uint8)
    if capture.prediction is not None and capture.cell_prediction is not None:
        found["cell_prediction"] = (_without_strangers(capture.cell_prediction, capture), np.uint8)
    if capture.key_size is not None:
        truth = dataclasses.replace(capture, prediction=None)
        predicted = dataclasses.replace(capture, labels=None)
        for name, labels in (("key_labels", truth.key_labels), ("key_prediction", predicted.key_labels)):
            if labels is not None:
                found[name] = (_without_strangers(labels, capture), np.uint8)
    return found


def _prediction_arrays(capture: Capture) -> dict[str, np.ndarray]:
    if capture.prediction is None:
        return {}
    return _packed({"prediction": (_without_strangers(capture.prediction, capture), np.uint8)})


def _layer_arrays(capture: Capture, layer: Layer) -> dict[str, np.ndarray]:
    """Of a layer, but for the classes of its cells. capture: of one of its heads."""
    found: dict[str, tuple[Any, type]] = {name: (array, np.float32) for name, array in layer.operands().items()}
    if capture.class_probs is not None:
        found["class_probs"] = (capture.class_probs, np.float32)
    return _packed(found)


def _packed(found: Mapping[str, tuple[Any, type]]) -> dict[str, np.ndarray]:
    """Little-endian, contiguous arrays by name."""
    return {
        name: np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")) for name, (array, dtype) in found.items()
    }


def _colours(colormap: str) -> np.ndarray:
    """256×3 uint8."""
    return matplotlib.colormaps[colormap](np.arange(256), bytes=True)[:, :3]


def _with_header(facts: dict) -> bytes:
    """The beginning of a buffer: the header's length, and the header, padded."""
    header = json.dumps(facts, ensure_ascii=False).encode()
    header += b" " * (_padded(4 + len(header)) - 4 - len(header))
    return len(header).to_bytes(4, "little") + header


def _without_strangers(labels: np.ndarray, capture: Capture) -> np.ndarray:
    """Labels with NO_CLASS in place of every value that is no class."""
    known = (labels >= 0) & (labels < capture.num_classes) & (labels != capture.ignore_index)
    return np.where(known, labels, NO_CLASS)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
