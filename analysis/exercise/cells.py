"""What the questions about pixels are checked by: figures of every cell of one capture."""

from typing import NamedTuple

import numpy as np

from analysis.capture import Capture
from analysis.geometry import Grid
from analysis.measure import MeasureOptions, measure_capture


class CellFigures(NamedTuple):
    """Figures of all cells of one image, h×w each; NaN where one is undefined.

    grid: how the cells lie on the image. class_names: what `labels` (int64, anything outside them is no class) are
    indices of. noise: raw interclass noise, 0 … 1. hollow: raw hollow fraction, 0 … 1. kept: the mass that the binary
    gate leaves of the row, 0 … 1; None for a network without class predictions, and so without GR.
    """

    grid: Grid
    class_names: tuple[str, ...]
    labels: np.ndarray
    noise: np.ndarray
    hollow: np.ndarray
    kept: np.ndarray | None


def cell_figures(capture: Capture) -> CellFigures:
    """The figures of a capture of an image with its label set, by its labels or else by its own prediction.

    Raises ValueError where it can be measured by neither.
    """
    if capture.label_set is None or capture.reference is None:
        raise ValueError(f"{capture.name!r} has no classes to measure against; choose another picture")
    gated = capture.class_probs is not None
    options = MeasureOptions(
        gate="binary" if gated else None,
        lr_kernel=None,
        labels="truth" if capture.reference == "labels" else "prediction",
        controls=(),
    )
    report = measure_capture(capture, options, detection=False)
    raw = report.stages["raw"]
    return CellFigures(
        grid=capture.grid,
        class_names=tuple(capture.label_set.class_names),
        labels=report.labels,
        noise=raw.interclass_noise.reshape(report.cells),
        hollow=raw.hollow_fraction.reshape(report.cells),
        kept=report.stages["rectified"].kept_mass.reshape(report.cells) if gated else None,
    )
