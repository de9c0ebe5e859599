"""The noise map: a browser component that paints one metric of every query over the photo.

A click tells Python the pixel. What the map shows travels as one JSON message, small enough to be sent again whenever
another stage or metric is chosen.
"""

import base64
import io

import matplotlib
import numpy as np
from PIL import Image

from analysis.capture import Capture
from analysis.lens.script import joined
from analysis.measure import ImageReport, metric_map

SCRIPT = joined(("geometry.js", "controls.js", "noise_map.js"))
CSS = joined(("noise_map.css",))
HTML = '<div class="noise-map"></div>'

COLORMAP = "viridis"  # perceptually uniform, and told from the lens's attention maps at a glance
PHOTO_QUALITY = 85  # of the JPEG beneath the map, which is there to be recognised
DIGITS = 5  # significant digits of the values sent: the readout shows three


def noise_map_data(
    capture: Capture, report: ImageReport, stage: str, metric: str, *, words: str, highest: float | None = None
) -> dict:
    """What the component needs, ready for JSON, to paint `metric` of `stage`.

    capture must carry the image that `report` measures. words: what the metric is called. highest: the value at the
    end of the colour scale, which begins at 0; by default the largest there is. Raises ValueError where the queries
    have no place on the image.
    """
    grid = capture.grid
    values = metric_map(report, stage, metric).ravel()
    defined = np.isfinite(values)
    if highest is None:
        highest = float(values[defined].max()) if defined.any() else 1.0
    assert capture.image is not None and capture.label_set is not None
    names = capture.label_set.class_names
    labels = report.labels.ravel()
    data = {
        "name": report.name,
        "words": words,
        "photo": _photo_address(capture.image),
        "image_size": list(capture.image_size),
        "cells": list(report.cells),
        "values": [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values],
        "reasons": _reasons(report, stage, defined),
        "classes": [-1 if label == report.ignore_index else int(label) for label in labels],
        "class_names": list(names),
        "highest": highest or 1.0,
        "colormap": (matplotlib.colormaps[COLORMAP](np.arange(256), bytes=True)[:, :3]).ravel().tolist(),
    }
    # As geometry.js takes them; the usual ones go without saying.
    if grid.placement != "corners":
        data["placement"] = grid.placement
    if grid.crop is not None:
        data["crop"] = list(grid.crop)
    return data


def _reasons(report: ImageReport, stage: str, defined: np.ndarray) -> dict[str, list[int]]:
    """Why cells have no value: reason -> flat cells."""
    unlabelled = report.labels.ravel() == report.ignore_index
    emptied = report.stages[stage].emptied & ~defined
    rest = ~(defined | emptied | unlabelled)
    found = {"emptied": emptied, "no label": unlabelled, "undefined": rest}
    return {reason: np.flatnonzero(cells).tolist() for reason, cells in found.items()}


def _photo_address(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=PHOTO_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
