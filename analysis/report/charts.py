"""A summary's charts as matplotlib figures, and how they become files and inline pictures.

Text and lines are drawn in INK on nothing, so that the page can put its own colours in, light or dark; files get a
white ground.
"""

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from analysis.geometry import Grid
from analysis.measure import GROUP_METRICS, ImageRecord
from analysis.options import STAGES, own_stages
from analysis.printing import Font, Names, PrintedFigure, picture_names, print_settings, save_figure
from analysis.words import METRIC_WORDS, STAGE_COLOURS
from dnl.files import write_atomically

INK = "#14181d"
NO_VALUE = "#8b929b"
FONT = Font("DejaVu Sans")
TEXT_SIZE = 8  # points
LINE = 0.14  # inches from one line of a name to the next
# Inches of a name in a chart, and of one that can stand at a slant beneath a matrix.
NAME_ROOM, SLANTED_ROOM = 2.2, 1.2
# Classes that a matrix shows with figures and names on both sides, and that a bar chart gives much room.
FEW_KEYS, FEW_BARS = 24, 40
# Of a PNG's longer side; large charts get fewer dots an inch.
MOST_DOTS, DOTS_PER_INCH, SVG_DOTS_PER_INCH = 5000, 200, 100
CHECKPOINT_COLOURS = tuple(
    STAGE_COLOURS[stage] for stage in ("raw", "rectified", "retained", "oracle", "box", "uniform")
)
# Metrics between 0 and 1 that get a bar chart by class.
CLASS_METRICS = ("interclass_noise", "intraclass_noise", "hollow_fraction", "auc", "average_precision")
DIFFERENCE_METRICS = CLASS_METRICS
STYLE: dict[Any, Any] = {
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": TEXT_SIZE,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called "$"
    "hatch.linewidth": 0.6,
}


class Chart(PrintedFigure):
    """A chart of a report, whose files say so."""

    title = "Attention noise"


def chart_names(names: Iterable[str], kind: str, first: int = 0) -> Names:
    """What the charts call things of a kind, "class" or "checkpoint", that are counted from `first`."""
    numbers = {name: f"{kind} {number}" for number, name in enumerate(names, start=first)}
    return picture_names(numbers, FONT, TEXT_SIZE, NAME_ROOM)


# --- charts ----------------------------------------------------------------------------------------------------------


def class_chart(summary: Mapping, metric: str, texts: Mapping[str, str]) -> Chart:
    """One metric by class and stage, with 95 % intervals; a mark at chance where the metric has one.

    texts: what stands for each class's name, as in `chart_names`.
    """
    names = list(summary["stages"]["raw"][metric]["per_class"])
    shown = [texts[name] for name in names]
    pitch = max([0.48 if len(names) <= FEW_BARS else 0.3, *(LINE * (text.count("\n") + 1) for text in shown)])
    figure = Chart(figsize=(7.2, 0.9 + pitch * (len(names) + 1)), layout="constrained")
    ax = figure.add_subplot()
    places = np.arange(len(names) + 1)
    stages = own_stages(summary["stages"])
    height = 0.8 / len(stages)
    for number, stage in enumerate(stages):
        block = summary["stages"][stage][metric]
        entries = [block, *(block["per_class"].get(name, _NOTHING) for name in names)]
        at = places + (number - (len(stages) - 1) / 2) * height
        _bars(ax, at, entries, height * 0.92, STAGE_COLOURS[stage], stage, horizontal=True)
    if metric == "interclass_noise":
        block = summary["stages"]["raw"][metric]
        chances = [_value(entry["chance"]) for entry in (block, *block["per_class"].values())]
        ax.vlines(chances, places - 0.45, places + 0.45, colors=INK, linewidth=1.2, linestyles=(0, (2, 1.2)))
        ax.plot([], [], color=INK, linewidth=1.2, linestyle=(0, (2, 1.2)), label="chance")
    ax.set_yticks(places, ["all classes", *shown])
    ax.get_yticklabels()[0].set_fontproperties(FONT.properties(TEXT_SIZE, bold=True))
    ax.set_ylim(len(names) + 0.6, -0.6)
    ax.set_xlabel(METRIC_WORDS[metric])
    ax.set_xlim(0, 1)
    ax.grid(axis="x")
    ax.set_axisbelow(True)
    _legend_above(ax)
    return figure


def stage_chart(summary: Mapping) -> Chart:
    """The macro means of all stages and controls, one panel for each of the three noise figures."""
    metrics = ("interclass_noise", "intraclass_noise", "hollow_fraction")
    stages = list(summary["stages"])
    figure = Chart(figsize=(7.2, 2.3), layout="constrained")
    for ax, metric in zip(figure.subplots(1, len(metrics), sharey=True), metrics, strict=True):
        for place, stage in enumerate(stages):
            entry = summary["stages"][stage][metric]
            hatch = None if stage in STAGES else "////"
            _bars(ax, [place], [entry], 0.7, STAGE_COLOURS[stage], None, horizontal=True, hatch=hatch)
        if metric == "interclass_noise" and summary["stages"]["raw"][metric]["chance"] is not None:
            ax.axvline(summary["stages"]["raw"][metric]["chance"], color=INK, linewidth=1, linestyle=(0, (2, 1.2)))
        ax.set_yticks(range(len(stages)), stages)
        ax.set_title(METRIC_WORDS[metric])
        ax.set_xlim(0, 1)
        ax.grid(axis="x")
        ax.set_axisbelow(True)
    ax.invert_yaxis()
    return figure


def leakage_chart(
    matrix: Sequence[Sequence[float] | None], class_names: Sequence[str], stage: str, texts: Mapping[str, str]
) -> Chart:
    """Where each class's attention goes: rows are the queries' classes, columns the keys'; absent classes are left
    out.

    texts: what stands for each class's name, as in `chart_names`. Where the classes are many or their names long, the
    columns have the classes' numbers, which the rows give with the names.
    """
    present = [index for index, row in enumerate(matrix) if row is not None]
    shares = np.array([row or [np.nan] * len(class_names) for row in matrix]).reshape(-1, len(class_names))
    keys = [index for index in range(len(class_names)) if index in present or np.nansum(shares[:, index]) > 0]
    names = [texts[class_names[index]] for index in keys]
    few = len(keys) <= FEW_KEYS
    name_room = widest(names)
    if few and name_room <= SLANTED_ROOM and not any("\n" in name for name in names):
        rows = present
        figure = Chart(figsize=(max(3.6, 2.2 + 0.42 * len(keys)), 1.4 + 0.36 * max(len(rows), 1)), layout="constrained")
        ax = figure.add_subplot()
        ax.set_xticks(range(len(keys)), names, rotation=40, ha="right")
        ax.set_yticks(range(len(rows)), [texts[class_names[index]] for index in rows])
        ax.set_xlabel("attention falls on")
    else:
        rows = keys
        across, down = (0.42, 0.36) if few else (0.16, 0.15)
        down = max([down, *(LINE * (name.count("\n") + 1) for name in names)])
        figure = Chart(figsize=(2.2 + name_room + across * len(keys), 1.4 + down * len(keys)), layout="constrained")
        ax = figure.add_subplot()
        ax.set_xticks(range(len(keys)), list(map(str, keys)), rotation=0 if few else 90)
        ax.set_yticks(range(len(keys)), [f"{name}   {index}" for name, index in zip(names, keys, strict=True)])
        ax.set_xlabel("attention falls on the class of this number")
    colours = matplotlib.colormaps["magma"].with_extremes(bad=NO_VALUE)
    shown = np.ma.masked_invalid(shares[np.ix_(rows, keys)])
    picture = ax.imshow(shown, cmap=colours, norm=Normalize(0, 1), aspect="auto")
    ax.set_ylabel("query of class" if rows == present else "query of class (grey: none)")
    ax.set_title(stage)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    if few:
        _write_shares(ax, shown)
    bar = figure.colorbar(picture, ax=ax, fraction=0.035, pad=0.02)
    bar.set_label("share of the attention, numbers in %" if few else "share of the attention")
    bar.outline.set_visible(False)
    return figure


def _write_shares(ax: Axes, shares: np.ndarray) -> None:
    """The shares that are worth a number, in percent, each in its cell."""
    for (row, column), share in np.ndenumerate(np.ma.filled(shares, 0)):
        if share >= 0.005:
            colour = "#000000" if share > 0.6 else "#ffffff"
            text = ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=7)
            text.set_in_layout(False)


def hollow_chart(summary: Mapping) -> Chart:
    """The hollow fraction over its threshold τ, one line a stage or control."""
    curve = summary["hollow_curve"]
    figure = Chart(figsize=(4.8, 2.9), layout="constrained")
    ax = figure.add_subplot()
    for stage, values in curve["stages"].items():
        style = "-" if stage in STAGES else (0, (4, 2))
        drawn = [_value(value) for value in values]
        ax.plot(curve["thresholds"], drawn, linestyle=style, marker="o", markersize=3, color=STAGE_COLOURS[stage])
        ax.lines[-1].set_label(stage)
    ax.set_xlabel("threshold τ, × the class's mean attention")
    ax.set_ylabel("hollow fraction")
    ax.set_ylim(0, 1)
    ax.grid()
    _legend_beside(ax)
    return figure


def difference_chart(differences: Mapping[str, Mapping[str, Mapping]]) -> Chart:
    """Paired differences with their intervals: one panel a metric, one line for each of the named differences."""
    figure = Chart(figsize=(7.2, 0.8 + 0.32 * len(differences)), layout="constrained")
    shown = [m for m in DIFFERENCE_METRICS if any(block[m]["mean"] is not None for block in differences.values())]
    if not shown:
        return figure
    axes = np.atleast_1d(figure.subplots(1, len(shown), sharey=True))
    for ax, metric in zip(axes, shown, strict=True):
        ax.axvline(0, color=INK, linewidth=0.8)
        for place, block in enumerate(differences.values()):
            entry = block[metric]
            if entry["mean"] is None:
                continue
            if entry["low"] is not None:
                ax.plot([entry["low"], entry["high"]], [place, place], color=INK, linewidth=1.4)
            ax.plot(entry["mean"], place, "o", color="#3b82c4", markersize=5)
        ax.set_title(METRIC_WORDS[metric])
        ax.set_yticks(range(len(differences)), [name.replace(" - ", " − ") for name in differences])
        ax.set_ylim(len(differences) - 0.5, -0.5)
        ax.margins(x=0.15)
        ax.locator_params(axis="x", nbins=3)
        ax.grid(axis="x")
    return figure


def group_chart(summary: Mapping, texts: Mapping[str, str]) -> Chart:
    """The three noise figures of each group, one mark a stage with its interval.

    texts: what stands for each group's name, as in `chart_names`.
    """
    groups, stages = summary["groups"], own_stages(summary["stages"])
    pitch = max([0.3, *(LINE * (texts[name].count("\n") + 1) for name in groups)])
    figure = Chart(figsize=(7.2, 1.0 + pitch * len(groups)), layout="constrained")
    axes = figure.subplots(1, len(GROUP_METRICS), sharey=True)
    for ax, metric in zip(axes, GROUP_METRICS, strict=True):
        for number, stage in enumerate(stages):
            at = np.arange(len(groups)) + (number - (len(stages) - 1) / 2) * 0.2
            entries = [block["stages"][stage][metric] for block in groups.values()]
            means, errors = _means_and_errors(entries)
            look: dict[str, Any] = {"fmt": "o", "markersize": 4, "elinewidth": 1.2, "color": STAGE_COLOURS[stage]}
            ax.errorbar(means, at, xerr=errors, label=stage, **look)
        ax.set_yticks(range(len(groups)), [texts[name] for name in groups])
        ax.set_title(METRIC_WORDS[metric])
        ax.set_xlim(0, 1)
        ax.grid(axis="x")
    axes[0].set_ylim(len(groups) - 0.5, -0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def comparison_chart(summaries: Mapping[str, Mapping], texts: Mapping[str, str]) -> Chart:
    """Several checkpoints side by side: the three noise figures of the stages that each of them has.

    texts: what stands for each checkpoint's name, as in `chart_names`.
    """
    metrics = ("interclass_noise", "intraclass_noise", "hollow_fraction")
    columns = min(3, int(6.8 / (widest(texts.values()) + 0.6)))
    lines = max(text.count("\n") + 1 for text in texts.values()) * -(-len(summaries) // columns)
    figure = Chart(figsize=(7.2, 2.2 + 0.16 * lines), layout="constrained")
    axes = figure.subplots(1, len(metrics), sharey=True)
    width = 0.8 / len(summaries)
    stages = own_stages(stage for summary in summaries.values() for stage in summary["stages"])
    for ax, metric in zip(axes, metrics, strict=True):
        for number, (name, summary) in enumerate(summaries.items()):
            at = np.arange(len(stages)) + (number - (len(summaries) - 1) / 2) * width
            entries = [summary["stages"].get(stage, {}).get(metric, _NOTHING) for stage in stages]
            colour = CHECKPOINT_COLOURS[number % len(CHECKPOINT_COLOURS)]
            _bars(ax, at, entries, width * 0.9, colour, texts[name], horizontal=False)
        ax.set_xticks(range(len(stages)), stages)
        ax.set_title(METRIC_WORDS[metric])
        ax.set_ylim(0, 1)
        ax.grid(axis="y")
        ax.set_axisbelow(True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    return figure


def noise_map_figure(image: np.ndarray, record: ImageRecord) -> Chart:
    """A photo, H×W×3 uint8, and where in it the queries are noisy, stage by stage, on one colour scale from 0 to 1."""
    height, width = image.shape[:2]
    panels = 1 + len(record.noise_maps)
    figure = Chart(figsize=(0.4 + 1.7 * panels, 0.32 + 1.58 * height / width), layout="constrained")
    axes = figure.subplots(1, panels)
    axes[0].imshow(image, interpolation="antialiased")
    axes[0].set_title("photo")
    colours = matplotlib.colormaps["magma"].with_extremes(bad=NO_VALUE)
    extent = Grid((height, width), record.noise_maps["raw"].shape).extent()
    for ax, stage in zip(axes[1:], record.noise_maps, strict=True):
        ax.set_title(stage)
        values = np.ma.masked_invalid(record.noise_maps[stage])
        picture = ax.imshow(values, cmap=colours, norm=Normalize(0, 1), extent=extent, interpolation="nearest")
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=list(axes), fraction=0.02, pad=0.01)
    bar.set_label("interclass noise")
    bar.outline.set_visible(False)
    return figure


_NOTHING = {"mean": None, "low": None, "high": None}


def _bars(
    ax: Axes,
    at: Sequence[float] | np.ndarray,
    entries: Sequence[Mapping],
    size: float,
    colour: str,
    label: str | None,
    *,
    horizontal: bool,
    hatch: str | None = None,
) -> None:
    """Bars of means with their intervals; what is undefined has no bar."""
    means, errors = _means_and_errors(entries)
    look: dict[str, Any] = {
        "color": colour,
        "label": label,
        "hatch": hatch,
        "edgecolor": INK if hatch else colour,
        "linewidth": 0,
    }
    bars: dict[str, Any] = {"ecolor": INK, "error_kw": {"elinewidth": 0.9, "capsize": 0}}
    if horizontal:
        ax.barh(at, means, size, xerr=errors, **look, **bars)
    else:
        ax.bar(at, means, size, yerr=errors, **look, **bars)


def _means_and_errors(entries: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray]:
    """Means, and how far their intervals reach to both sides; NaN and 0 for what is undefined."""
    means = np.array([_value(entry["mean"]) for entry in entries])
    lows, highs = (np.array([_value(entry[end]) for entry in entries]) for end in ("low", "high"))
    # An interval of very skewed values can end short of the mean.
    return means, np.clip(np.nan_to_num([means - lows, highs - means]), 0, None)


def _value(number: float | None) -> float:
    return np.nan if number is None else number


def widest(texts: Iterable[str]) -> float:
    """Inches of the widest line."""
    return max((FONT.width(line, TEXT_SIZE) for text in texts for line in text.split("\n")), default=0)


def _legend_above(ax: Axes) -> None:
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0.2, handlelength=1.4)


def _legend_beside(ax: Axes) -> None:
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=2)


# --- files -----------------------------------------------------------------------------------------------------------


def save_chart(path: Path, draw: Callable[[], Chart], texts: Iterable[str] = ()) -> str:
    """Write what `draw` draws as `path`.png and `path`.svg, and return it as an inline SVG in the page's colours.

    texts: what it calls things by their names, in any letters.
    """
    style = {**STYLE, "font.family": FONT.families("".join(texts).replace("\n", ""))}
    with print_settings(style):
        figure = draw()
        buffer = io.StringIO()
        save_figure(figure, buffer, format="svg", dpi=SVG_DOTS_PER_INCH, style=style)
        figure.set_layout_engine("none")  # both files are laid out alike, and finding the layout costs most of the time
        dpi = min(DOTS_PER_INCH, int(MOST_DOTS / max(figure.get_size_inches())))
        options: dict[str, Any] = {"format": "png", "dpi": dpi, "facecolor": "white", "style": style}
        write_atomically(path.with_name(f"{path.name}.png"), lambda file: save_figure(figure, file, **options))
    svg = buffer.getvalue()
    on_white = re.sub(r"(<svg\b[^>]*>)", r'\1<rect width="100%" height="100%" fill="white"/>', svg, count=1)
    write_atomically(path.with_name(f"{path.name}.svg"), lambda file: file.write_text(on_white, encoding="utf-8"))
    inline = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return inline.replace(INK, "currentColor")
