"""The pinned pixels of one image, measured: the maps of their cells in the three stages, and the noise of each.

Queries without a place, such as object queries, are pinned by their number.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.capture import Capture
from analysis.geometry import Grid
from analysis.maps import StageMaps, labels_apart, stage_rows
from analysis.noise import QueryMetrics, query_metrics
from analysis.options import MapOptions, Stage, stages_there

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

    pixels: (y, x) each, at least one; None for a query without a place. cells: (row, column) each, (0, number) for a
    query without a place. options: how the maps are computed, every "model" replaced. rows: those of the P cells.
    metrics: stage -> QueryMetrics of the P cells, for each of `stages`; empty where there are no classes.
    class_names: of each pin's cell; None where it has no class.
    """

    capture: Capture
    source: Source
    pixels: tuple[tuple[int, int] | None, ...]
    options: MapOptions
    cells: tuple[tuple[int, int], ...]
    rows: StageMaps
    metrics: Mapping[str, QueryMetrics]
    class_names: tuple[str | None, ...]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that there are: without GR there is no rectified map, without LR no retained one."""
        return stages_there(self.options)

    @property
    def measured_against(self) -> str | None:
        """The capture's `reference`; None where nothing is measured."""
        return self.capture.reference if self.metrics else None

    def query(self, pin: int) -> int:
        """The flat index of a pin's query."""
        row, column = self.cells[pin]
        return row * self.capture.width + column

    def query_name(self, pin: int) -> str | None:
        """What a query without a place is called; None for the query of a pixel."""
        names = self.capture.query_names
        return None if names is None else names[self.query(pin)]

    def dropped(self, pin: int) -> float | None:
        """The share of a pin's row that went to tokens that are no cells; None where there are none."""
        dropped = self.capture.dropped
        return None if dropped is None else float(dropped.flat[self.query(pin)])

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

    Raises ValueError for a pixel off the cells or queries without a place, and on options that do not fit the capture.
    """
    queries = [capture.cell_at(*pixel) for pixel in pixels]
    return _measured(capture, [(y, x) for y, x in pixels], queries, options, source)


def measure_queries(capture: Capture, queries: Sequence[int], options: MapOptions, source: Source) -> PinnedPixels:
    """Like `measure_pins`, of queries given by their flat indices, the numbers of queries without a place.

    The pixel of a query that has a place is the one at its cell's centre.
    """
    rows = [divmod(int(query), capture.width) for query in queries]
    placed = capture.query_names is None
    pixels = [capture.grid.pixel_at(*cell) if placed else None for cell in rows]
    return _measured(capture, pixels, queries, options, source)


def _measured(
    capture: Capture,
    pixels: Sequence[tuple[int, int] | None],
    queries: Sequence[int],
    options: MapOptions,
    source: Source,
) -> PinnedPixels:
    options = options.of(capture)
    rows = stage_rows(capture, queries, options)
    cells = [divmod(int(query), capture.width) for query in queries]
    labels, key_labels = capture.reference_labels, capture.key_labels
    metrics: dict[str, QueryMetrics] = {}
    names: list[str | None] = [None] * len(cells)
    if labels is not None and key_labels is not None:
        metrics = {
            stage: query_metrics(
                getattr(rows, stage),
                key_labels,
                queries,
                ignore_index=capture.ignore_index,
                query_labels=labels_apart(capture),
            )
            for stage in stages_there(options)
        }
        names = [_class_name(capture, int(labels[cell])) for cell in cells]
    return PinnedPixels(capture, source, tuple(pixels), options, tuple(cells), rows, metrics, tuple(names))


def same_place(pixel: tuple[int, int], size: tuple[int, int], other_size: tuple[int, int]) -> tuple[int, int]:
    """The pixel of an image of `other_size` at the relative place of `pixel` in one of `size`; (height, width)."""
    return Grid(other_size, size).pixel_at(*pixel)


def _class_name(capture: Capture, label: int) -> str | None:
    assert capture.label_set is not None  # where there are labels, their classes have names
    return None if label == capture.ignore_index else capture.label_set.class_names[label]
