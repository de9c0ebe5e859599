"""The pinned pixels of one image, measured: the maps of their cells in the three stages, and the noise of each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.capture import Capture
from analysis.geometry import cell_to_pixel, pixel_to_cell
from analysis.maps import StageMaps, stage_rows
from analysis.noise import QueryMetrics, query_metrics
from analysis.options import STAGES, MapOptions

# What is measured of a pin in each stage: fields of QueryMetrics, and interclass noise over chance.
PIN_METRICS = (
    "interclass_noise",
    "chance",
    "times_chance",
    "intraclass_noise",
    "hollow_fraction",
    "kept_mass",
    "interclass_mass",
    "top_mass",
    "effective_keys",
)


@dataclass(frozen=True)
class Source:
    """What an attention came from: a checkpoint, or a user's attention file; sha256 of the file in hexadecimal."""

    name: str
    sha256: str
    kind: str = "checkpoint"


@dataclass(frozen=True, eq=False)
class PinnedPixels:
    """P pinned pixels of one image as one source attends from them.

    pixels: (y, x) each, at least one; cells: (row, column) each. options: how the maps are computed, every
    "model" replaced. rows: those of the P cells. metrics: stage -> QueryMetrics of the P cells; empty where there are
    no classes. class_names: of each pin's cell; None where it has no class.
    """

    capture: Capture
    source: Source
    pixels: tuple[tuple[int, int], ...]
    options: MapOptions
    cells: tuple[tuple[int, int], ...]
    rows: StageMaps
    metrics: Mapping[str, QueryMetrics]
    class_names: tuple[str | None, ...]

    @property
    def measured_against(self) -> str | None:
        """The capture's `reference`; None where nothing is measured."""
        return self.capture.reference if self.metrics else None

    def figures(self, pin: int, stage: str) -> dict[str, float | None]:
        """The PIN_METRICS of one pin in one stage; None is undefined (or not measured)."""
        if not self.metrics:
            return dict.fromkeys(PIN_METRICS)
        metrics = self.metrics[stage]
        found = {name: float(getattr(metrics, name)[pin]) for name in PIN_METRICS if name != "times_chance"}
        found["times_chance"] = found["interclass_noise"] / (found["chance"] or math.nan)
        return {name: found[name] if math.isfinite(found[name]) else None for name in PIN_METRICS}

    def emptied(self, pin: int, stage: str) -> bool:
        """Whether the gate left nothing of this pin's row."""
        return bool(self.metrics) and bool(self.metrics[stage].emptied[pin])


def measure_pins(
    capture: Capture, pixels: Sequence[tuple[int, int]], options: MapOptions, source: Source
) -> PinnedPixels:
    """The maps and figures of some pixels (y, x) of the capture's image, at least one.

    Raises ValueError for a pixel off the image, and on options that do not fit the capture.
    """
    cells = [pixel_to_cell(*pixel, capture.image_size, capture.cells) for pixel in pixels]
    queries = [row * capture.width + column for row, column in cells]
    rows = stage_rows(capture, queries, options)
    labels = capture.reference_labels
    metrics: dict[str, QueryMetrics] = {}
    names: list[str | None] = [None] * len(cells)
    if labels is not None:
        metrics = {
            stage: query_metrics(getattr(rows, stage), labels, queries, ignore_index=capture.ignore_index)
            for stage in STAGES
        }
        names = [_class_name(capture, int(labels[cell])) for cell in cells]
    return PinnedPixels(
        capture,
        source,
        tuple((y, x) for y, x in pixels),
        options.of(capture),
        tuple(cells),
        rows,
        metrics,
        tuple(names),
    )


def same_place(pixel: tuple[int, int], size: tuple[int, int], other_size: tuple[int, int]) -> tuple[int, int]:
    """The pixel of an image of `other_size` at the relative place of `pixel` in one of `size`; (height, width)."""
    return cell_to_pixel(*pixel, other_size, size)


def _class_name(capture: Capture, label: int) -> str | None:
    assert capture.label_set is not None  # where there are labels, their classes have names
    return None if label == capture.ignore_index else capture.label_set.class_names[label]
