"""What the lens needs to know of one image and one model, packed into a single buffer.

    4 bytes   length of the header, unsigned, little-endian
    header    JSON (UTF-8), padded with spaces so that the arrays begin at a multiple of 8 bytes
    arrays    one after another, each at a multiple of 8 bytes from the first; `header["arrays"][name]` gives its
              dtype, shape and offset

The buffer depends on the image and the model alone: what the user chooses in the lens stays in the lens, so that the
heavy arrays travel once. Only a request that another page makes of the lens rides in the header.
"""

import hashlib
import json
from pathlib import Path

import matplotlib
import numpy as np

from analysis.capture import Capture
from analysis.geometry import cell_to_pixel

_FOLDER = Path(__file__).parent
SCRIPT = (_FOLDER / "lens.js").read_text(encoding="utf-8")
CSS = (_FOLDER / "lens.css").read_text(encoding="utf-8")
# The script builds the page in this one element, which outlives each run of the script.
HTML = '<div class="lens"></div>'

FORMAT = 1
ALIGNMENT = 8
COLORMAP = "magma"  # perceptually uniform, and dark for nothing: the photo beneath stays readable
NO_CLASS = 255  # in the packed label images
# A finished map travels to the browser whole: 4·N² bytes, 50 MiB at 60×60 cells. From query and key N is not limited.
MAX_MAP_CELLS = 3600
# A class that fills more of the image than this is background: no place for the eye to start.
BACKGROUND_SHARE = 0.2


def pack_capture(capture: Capture) -> bytes:
    """The lens's buffer for `capture`, which must carry an image (`Capture.with_image` gives one).

    Classes need a label_set to name them. A finished attention map may have MAX_MAP_CELLS cells. Raises ValueError
    otherwise.
    """
    if capture.image is None:
        raise ValueError(f"capture {capture.name!r} has no image to point at; give it one with capture.with_image()")
    classed = [name for name in ("class_probs", "labels", "prediction") if getattr(capture, name) is not None]
    if classed and capture.label_set is None:
        raise ValueError(f"capture {capture.name!r} has {classed[0]} but no label_set; the lens needs it for the names")
    if capture.attention is not None and len(capture.attention) > MAX_MAP_CELLS:
        raise ValueError(
            f"{capture.name!r} is a finished attention map of {len(capture.attention)} cells; the lens shows up to "
            f"{MAX_MAP_CELLS} of them, and more from the query and key of one head"
        )
    arrays = _arrays(capture)
    index, offset = {}, 0
    for name, array in arrays.items():
        index[name] = {"dtype": array.dtype.name, "shape": array.shape, "offset": offset}
        offset += _padded(array.nbytes)
    body = b"".join(array.tobytes().ljust(_padded(array.nbytes), b"\0") for array in arrays.values())
    facts = {**_facts(capture), "arrays": index}
    payload_id = hashlib.sha256(json.dumps(facts).encode() + body).hexdigest()[:16]
    return _with_header({**facts, "payload_id": payload_id}) + body


def asking_for(buffer: bytes, request: dict) -> bytes:
    """The same buffer with a request to the lens in its header, which the lens grants once for each `id`.

    request: {"id": anything unique, "pixel": [y, x] to pin, "choices": the choices of `row_options`}.
    """
    length = 4 + int.from_bytes(buffer[:4], "little")
    return _with_header({**json.loads(buffer[4:length]), "request": request}) + buffer[length:]


def image_id(capture: Capture) -> str:
    """Tells one image from another, whatever the model: pins belong to an image."""
    return hashlib.sha256(str(capture.image.shape).encode() + capture.image.tobytes()).hexdigest()[:16]


def starting_pixel(capture: Capture) -> tuple[int, int]:
    """The pixel (y, x) that is shown before anyone has chosen one.

    The cell nearest to the image's centre that lies inside a region of its class (its 8 neighbours agree), preferring
    classes that are no background; the central cell where there is no such cell.
    """
    labels = capture.cell_prediction if capture.cell_labels is None else capture.cell_labels
    centre = (np.array(capture.cells) - 1) / 2
    start = tuple(int(side) for side in centre)
    if labels is not None:
        inside = _inside_regions(labels) & (labels != capture.ignore_index)
        classes, counts = np.unique(labels, return_counts=True)
        small = inside & np.isin(labels, classes[counts <= BACKGROUND_SHARE * labels.size])
        candidates = np.argwhere(small if small.any() else inside)
        if len(candidates):
            distances = ((candidates - centre) ** 2).sum(axis=1)
            start = tuple(int(side) for side in candidates[distances.argmin()])
    return cell_to_pixel(*start, capture.image.shape[:2], capture.cells)


def _arrays(capture: Capture) -> dict[str, np.ndarray]:
    """Little-endian, contiguous arrays by name; only those that the capture has."""
    colours = matplotlib.colormaps[COLORMAP](np.arange(256), bytes=True)[:, :3]
    found = {
        "image": (capture.image, np.uint8),
        "colormap": (colours, np.uint8),
    }
    for name in ("query", "key", "attention", "class_probs"):
        if getattr(capture, name) is not None:
            found[name] = (getattr(capture, name), np.float32)
    for name, cells, pixels in (
        ("labels", capture.cell_labels, capture.labels),
        ("prediction", capture.cell_prediction, capture.prediction),
    ):
        if pixels is not None:
            found[name] = (_without_strangers(pixels, capture), np.uint8)
            found[f"cell_{name}"] = (_without_strangers(cells, capture), np.uint8)
    return {
        name: np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")) for name, (array, dtype) in found.items()
    }


def _facts(capture: Capture) -> dict:
    label_set = capture.label_set
    return {
        "format": FORMAT,
        "name": capture.name,
        "image_id": image_id(capture),
        "image_size": capture.image.shape[:2],
        "cells": capture.cells,
        "class_names": label_set.class_names if label_set else (),
        "palette": label_set.palette if label_set else (),
        "no_class": NO_CLASS,
        "gate": capture.gate,
        "lr_kernel": capture.lr_kernel,
        "lr_weights": capture.lr_weights,
        "starting_pixel": starting_pixel(capture),
    }


def _with_header(facts: dict) -> bytes:
    """The beginning of a buffer: the header's length, and the header, padded."""
    header = json.dumps(facts, ensure_ascii=False).encode()
    header += b" " * (_padded(4 + len(header)) - 4 - len(header))
    return len(header).to_bytes(4, "little") + header


def _inside_regions(labels: np.ndarray) -> np.ndarray:
    """h×w bool: the cell and its 8 neighbours share one label; cells at the rim of the map never do."""
    height, width = labels.shape
    padded = np.pad(labels.astype(np.int64), 1, constant_values=-1)
    neighbours = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.all([neighbour == labels for neighbour in neighbours], axis=0)


def _without_strangers(labels: np.ndarray, capture: Capture) -> np.ndarray:
    """Labels with NO_CLASS in place of every value that is no class."""
    known = (labels >= 0) & (labels < capture.num_classes) & (labels != capture.ignore_index)
    return np.where(known, labels, NO_CLASS)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
