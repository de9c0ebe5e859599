"""The attention of chosen queries as a matplotlib figure, sized for print."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from analysis.capture import Capture
from analysis.geometry import cell_to_pixel
from analysis.maps import attention_rows
from analysis.noise import QueryMetrics, query_metrics

# Width of a two-column paper page, in inches.
PAGE_WIDTH = 7.16
SCALES = ("shared", "row")
# What the colours show, and how the colour bar says so. Shares make stages of different mass comparable.
VALUES = {"share": "attention, × an even spread", "weight": "attention weight"}

# All in inches but the font sizes, which are in points: 6 pt is the least that journals print.
MARGIN = 0.02
GAP = 0.05
TITLE_HEIGHT = 0.30
CAPTION_HEIGHT = 0.27
FOOTNOTE_HEIGHT = 0.16
COLOUR_BAR_WIDTH = 0.08
COLOUR_BAR_LABELS = 0.42
TITLE_SIZE = 7.5
TEXT_SIZE = 6.5

PREDICTION_NOTE = "Noise is measured against the model's own prediction (no labels), which flatters it."


class _Panel(NamedTuple):
    """One column: its two title lines, and what it shows for each query."""

    title: str
    subtitle: str
    pictures: Sequence[np.ndarray]  # H×W×3 uint8, or h×w attention
    captions: Sequence[str]


def attention_figure(
    capture: Capture,
    queries: Sequence[int],
    *,
    gate: str | None = "model",
    lr_kernel: int | str | None = "model",
    lr_weights: str = "model",
    values: str = "share",
    scale: str = "shared",
    clip_percentile: float = 99.5,
    colormap: str = "magma",
    width: float = PAGE_WIDTH,
) -> Figure:
    """One row a query, one column each for photo, labels, prediction and the raw, rectified and retained map.

    queries: flat cell indices row·w + column, at least one; the photo is marked at the cell's centre. What the
    capture lacks has no column. gate, lr_kernel, lr_weights: as in `attention_rows`. values: "share" shows each map
    over its own sum, in multiples of an even spread, so that stages of different mass can be compared; "weight" shows
    the rows as they are. scale: "shared" puts all maps on one colour scale, "row" the three maps of each query. It
    runs from 0 to the given percentile of its maps' values; what lies above is drawn in the last colour. width: of
    the whole figure, in inches. Under each map stand its interclass noise and that over chance. Raises ValueError on
    options that do not fit.
    """
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; choose one of {', '.join(SCALES)}")
    if values not in VALUES:
        raise ValueError(f"values is {values!r}; choose one of {', '.join(VALUES)}")
    if not 0 < clip_percentile <= 100:
        raise ValueError(f"clip_percentile is {clip_percentile}; it must lie above 0 and at most at 100")
    queries = [int(query) for query in queries]
    if not queries:
        raise ValueError("there is no query to draw; give at least one cell index")
    gate = capture.gate if gate == "model" else gate
    lr_kernel = capture.lr_kernel if lr_kernel == "model" else lr_kernel
    lr_weights = capture.lr_weights if lr_weights == "model" else lr_weights
    stages = attention_rows(capture, queries, gate=gate, lr_kernel=lr_kernel, lr_weights=lr_weights)
    subtitles = {"raw": "softmax", "rectified": _gate_name(gate), "retained": _retention_name(lr_kernel, lr_weights)}

    size = _image_size(capture)
    pictures = _picture_panels(capture, queries, size)
    shown = [shares(rows) if values == "share" else rows for rows in stages]
    maps = [
        _Panel(name, subtitles[name], pictured, _noise_captions(capture, rows, queries))
        for (name, rows), pictured in zip(stages._asdict().items(), shown, strict=True)
    ]
    by_query = np.stack(shown, axis=1)  # M×3×h×w
    norms = _norms(by_query, scale, clip_percentile)
    footnote = PREDICTION_NOTE if capture.labels is None and capture.prediction is not None else None
    return _draw(capture, queries, size, pictures, maps, norms, colormap, width, footnote, VALUES[values])


def shares(rows: np.ndarray) -> np.ndarray:
    """Each row over its own sum, in multiples of the even spread 1/N: M×h×w -> M×h×w; an empty row stays empty."""
    sums = rows.sum(axis=(1, 2), keepdims=True)
    return np.divide(rows * rows[0].size, sums, out=np.zeros_like(rows), where=sums > 0)


def _image_size(capture: Capture) -> tuple[int, int]:
    """The (height, width) in pixels that the figure's panels show; one pixel a cell where no picture is there."""
    for picture in (capture.image, capture.labels, capture.prediction):
        if picture is not None:
            return picture.shape[:2]
    return capture.cells


def _picture_panels(capture: Capture, queries: list[int], size: tuple[int, int]) -> list[_Panel]:
    panels = []
    if capture.image is not None:
        where = [cell_to_pixel(*divmod(query, capture.width), size, capture.cells) for query in queries]
        captions = [f"row {y}, column {x}" for y, x in where]
        panels.append(_Panel("photo", "", [capture.image] * len(queries), captions))
    if capture.label_set is None:
        return panels
    for title, labels, cells in (
        ("labels", capture.labels, capture.cell_labels),
        ("prediction", capture.prediction, capture.cell_prediction),
    ):
        if labels is not None:
            painted = capture.label_set.colour(labels)
            captions = [_class_name(capture, cells.flat[query]) for query in queries]
            panels.append(_Panel(title, "", [painted] * len(queries), captions))
    return panels


def _class_name(capture: Capture, label: int) -> str:
    return "no label" if label == capture.ignore_index else capture.label_set.class_names[label]


def _noise_captions(capture: Capture, rows: np.ndarray, queries: list[int]) -> list[str]:
    """Two lines a map: interclass noise, and the same over chance; or why there is none."""
    labels = capture.cell_prediction if capture.labels is None else capture.cell_labels
    if labels is None:
        return [""] * len(queries)
    metrics = query_metrics(rows, labels, queries, ignore_index=capture.ignore_index)
    return [_noise_caption(metrics, index, capture.ignore_index) for index in range(len(queries))]


def _noise_caption(metrics: QueryMetrics, index: int, ignore_index: int) -> str:
    if metrics.labels[index] == ignore_index:
        return "no noise figure:\ncell without a label"
    if metrics.emptied[index]:
        return "emptied: nothing\nis left of this row"
    noise, chance = metrics.interclass_noise[index], metrics.chance[index]
    if np.isnan(noise):
        return "no noise figure:\nnothing to compare with"
    return f"interclass noise {noise:.2f}\n{noise / chance:.2f} × chance"


def _gate_name(gate: str | None) -> str:
    return "no GR" if gate is None else f"{gate} gate"


def _retention_name(lr_kernel: int | None, lr_weights: str) -> str:
    if lr_kernel is None:
        return "no LR"
    return f"{'constant box' if lr_weights == 'box' else 'LR'} {lr_kernel}×{lr_kernel}"


def _norms(by_query: np.ndarray, scale: str, clip_percentile: float) -> list[Normalize]:
    """The colour scale of each query, one and the same object for all when shared: M×3×h×w -> M."""
    if scale == "shared":
        return [_norm(by_query, clip_percentile)] * len(by_query)
    return [_norm(rows, clip_percentile) for rows in by_query]


def _norm(values: np.ndarray, clip_percentile: float) -> Normalize:
    # The percentile of sharp maps can be 0; then the maximum, and for maps of nothing but zeros any scale will do.
    top = np.percentile(values, clip_percentile) or values.max() or 1.0
    return Normalize(0, float(top))


def _draw(capture, queries, size, pictures, maps, norms, colormap, width, footnote, unit) -> Figure:
    """Put the panels where their sizes in inches say, row by row from the top."""
    columns = len(pictures) + len(maps)
    bar_space = GAP + COLOUR_BAR_WIDTH + COLOUR_BAR_LABELS
    panel_width = (width - MARGIN - bar_space - (columns - 1) * GAP) / columns
    panel_height = panel_width * size[0] / size[1]
    row_height = panel_height + CAPTION_HEIGHT + GAP
    height = TITLE_HEIGHT + len(queries) * row_height + (FOOTNOTE_HEIGHT if footnote else 0)
    figure = Figure(figsize=(width, height))

    def axes(left: float, top: float, wide: float, high: float) -> Axes:
        return figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))

    def row_top(row: int) -> float:
        return TITLE_HEIGHT + row * row_height

    for row, query in enumerate(queries):
        pixel = cell_to_pixel(*divmod(query, capture.width), size, capture.cells)
        for column, panel in enumerate([*pictures, *maps]):
            ax = axes(MARGIN + column * (panel_width + GAP), row_top(row), panel_width, panel_height)
            is_map = column >= len(pictures)
            if is_map:
                extent = _map_extent(size, capture.cells)
                ax.imshow(panel.pictures[row], cmap=colormap, norm=norms[row], extent=extent, interpolation="nearest")
            else:
                ax.imshow(panel.pictures[row], interpolation="antialiased")
            _finish_panel(ax, size, pixel, number=row + 1 if column == 0 and not is_map else None)
            ax.set_xlabel(panel.captions[row], fontsize=TEXT_SIZE, labelpad=2, linespacing=1.1)
            if row == 0:
                _write_titles(figure, ax, panel, height)

    left = width - bar_space + GAP
    shared = all(norm is norms[0] for norm in norms)
    spans = [(0, len(queries) - 1)] if shared else [(row, row) for row in range(len(queries))]
    for first, last in spans:
        bar = axes(left, row_top(first), COLOUR_BAR_WIDTH, row_top(last) + panel_height - row_top(first))
        _draw_colour_bar(figure, bar, norms[first], colormap, unit)
    if footnote:
        figure.text(MARGIN / width, 0.04 / height, footnote, fontsize=TEXT_SIZE, va="bottom")
    return figure


def _map_extent(size: tuple[int, int], cells: tuple[int, int]) -> tuple[float, float, float, float]:
    """Where a map lies in pixel coordinates: the centres of its corner cells on the image's corner pixels."""
    half = [(side - 1) / (count - 1) / 2 if count > 1 else side / 2 for side, count in zip(size, cells, strict=True)]
    centre = [0 if count > 1 else (side - 1) / 2 for side, count in zip(size, cells, strict=True)]
    bottom, right = size[0] - 1 - centre[0] + half[0], size[1] - 1 - centre[1] + half[1]
    return centre[1] - half[1], right, bottom, centre[0] - half[0]


def _finish_panel(ax: Axes, size: tuple[int, int], pixel: tuple[int, int], number: int | None) -> None:
    """Cut the panel to the image, take the ticks away, and mark the query (with its number, on the photo)."""
    height, width = size
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[], aspect="auto")
    for spine in ax.spines.values():
        spine.set_linewidth(0.4)
    y, x = pixel
    outline = [withStroke(linewidth=2, foreground="black")]
    mark = {"markersize": 4.5, "markerfacecolor": "none", "markeredgecolor": "white", "path_effects": outline}
    ax.plot(x, y, "o", clip_on=False, **mark)
    if number is not None:
        # Inwards of the mark, so that it stays inside the panel.
        right, below = x < width / 2, y < height / 2
        ax.annotate(
            str(number),
            (x, y),
            xytext=(4 if right else -4, -3 if below else 3),
            textcoords="offset points",
            ha="left" if right else "right",
            va="top" if below else "bottom",
            color="white",
            fontsize=TITLE_SIZE,
            fontweight="bold",
            path_effects=outline,
        )


def _write_titles(figure: Figure, ax: Axes, panel: _Panel, height: float) -> None:
    box = ax.get_position()
    middle = (box.x0 + box.x1) / 2
    figure.text(middle, 1 - 0.02 / height, panel.title, fontsize=TITLE_SIZE, fontweight="bold", ha="center", va="top")
    figure.text(middle, 1 - 0.15 / height, panel.subtitle, fontsize=TEXT_SIZE, ha="center", va="top")


def _draw_colour_bar(figure: Figure, ax: Axes, norm: Normalize, colormap: str, unit: str) -> None:
    """A colour bar with plain numbers; a common power of ten, where they need one, stands in its label."""
    power = int(np.floor(np.log10(norm.vmax)))
    power = 0 if -1 <= power <= 2 else power
    shown = ScalarMappable(Normalize(0, norm.vmax / 10**power), colormap)
    bar = figure.colorbar(shown, cax=ax, extend="max", extendfrac=0.02)
    bar.ax.tick_params(labelsize=TEXT_SIZE, width=0.4, length=2, pad=1)
    bar.outline.set_linewidth(0.4)
    bar.set_label(unit if power == 0 else f"{unit} (10$^{{{power}}}$)", fontsize=TEXT_SIZE, labelpad=2)
