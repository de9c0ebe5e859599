"""A summary's charts as matplotlib figures, and how they become files and inline pictures.

Text and lines are drawn in INK on nothing, so that the page can put its own colours in, light or dark; files get a
white ground.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.geometry import Grid
from analysis.measure import ImageRecord
from analysis.options import STAGES, own_stages
from analysis.words import METRIC_WORDS, STAGE_COLOURS
from dnl.files import write_atomically

INK = "#14181d"
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
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "denoised-nl",
    "text.parse_math": False,  # a class may be called "$"
    "hatch.linewidth": 0.6,
}


# --- charts ----------------------------------------------------------------------------------------------------------


def class_chart(summary: Mapping, metric: str) -> Figure:
    """One metric by class and stage, with 95 % intervals; a mark at chance where the metric has one."""
    names = list(summary["stages"]["raw"][metric]["per_class"])
    figure = Figure(figsize=(7.2, 0.9 + 0.48 * (len(names) + 1)), layout="constrained")
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
    ax.set_yticks(places, ["all classes", *names])
    ax.get_yticklabels()[0].set_fontweight("bold")
    ax.set_ylim(len(names) + 0.6, -0.6)
    ax.set_xlabel(METRIC_WORDS[metric])
    ax.set_xlim(0, 1)
    ax.grid(axis="x")
    ax.set_axisbelow(True)
    _legend_above(ax)
    return figure


def stage_chart(summary: Mapping) -> Figure:
    """The macro means of all stages and controls, one panel for each of the three noise figures."""
    metrics = ("interclass_noise", "intraclass_noise", "hollow_fraction")
    stages = list(summary["stages"])
    figure = Figure(figsize=(7.2, 2.3), layout="constrained")
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


def leakage_chart(matrix: Sequence[Sequence[float] | None], class_names: Sequence[str], stage: str) -> Figure:
    """Where each class's attention goes: rows are the queries' classes, columns the keys'; absent classes are left
    out."""
    present = [index for index, row in enumerate(matrix) if row is not None]
    shares = np.array([row for row in matrix if row is not None]).reshape(len(present), len(class_names))
    keys = [index for index in range(len(class_names)) if index in present or shares[:, index].any()]
    shares = shares[:, keys]
    side = max(3.0, 1.6 + 0.42 * len(keys))
    figure = Figure(figsize=(min(side + 0.6, 14), min(1.4 + 0.36 * max(len(present), 1), 14)), layout="constrained")
    ax = figure.add_subplot()
    picture = ax.imshow(shares, cmap="magma", norm=Normalize(0, 1), aspect="auto")
    ax.set_xticks(range(len(keys)), [class_names[index] for index in keys], rotation=40, ha="right")
    ax.set_yticks(range(len(present)), [class_names[index] for index in present])
    ax.set_xlabel("attention falls on")
    ax.set_ylabel("query of class")
    ax.set_title(stage)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    if len(keys) <= 24:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                colour = "#000000" if share > 0.6 else "#ffffff"
                ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=7)
    bar = figure.colorbar(picture, ax=ax, fraction=0.035, pad=0.02)
    bar.set_label("share of the attention, numbers in %")
    bar.outline.set_visible(False)
    return figure


def hollow_chart(summary: Mapping) -> Figure:
    """The hollow fraction over its threshold τ, one line a stage or control."""
    curve = summary["hollow_curve"]
    figure = Figure(figsize=(4.8, 2.9), layout="constrained")
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


def difference_chart(differences: Mapping[str, Mapping[str, Mapping]]) -> Figure:
    """Paired differences with their intervals: one panel a metric, one line for each of the named differences."""
    figure = Figure(figsize=(7.2, 0.8 + 0.32 * len(differences)), layout="constrained")
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


def comparison_chart(summaries: Mapping[str, Mapping]) -> Figure:
    """Several checkpoints side by side: the three noise figures of the stages that each of them has."""
    metrics = ("interclass_noise", "intraclass_noise", "hollow_fraction")
    figure = Figure(figsize=(7.2, 2.2 + 0.16 * len(summaries)), layout="constrained")
    axes = figure.subplots(1, len(metrics), sharey=True)
    width = 0.8 / len(summaries)
    stages = own_stages(stage for summary in summaries.values() for stage in summary["stages"])
    for ax, metric in zip(axes, metrics, strict=True):
        for number, (name, summary) in enumerate(summaries.items()):
            at = np.arange(len(stages)) + (number - (len(summaries) - 1) / 2) * width
            entries = [summary["stages"].get(stage, {}).get(metric, _NOTHING) for stage in stages]
            colour = CHECKPOINT_COLOURS[number % len(CHECKPOINT_COLOURS)]
            _bars(ax, at, entries, width * 0.9, colour, name, horizontal=False)
        ax.set_xticks(range(len(stages)), stages)
        ax.set_title(METRIC_WORDS[metric])
        ax.set_ylim(0, 1)
        ax.grid(axis="y")
        ax.set_axisbelow(True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def noise_map_figure(image: np.ndarray, record: ImageRecord) -> Figure:
    """A photo, H×W×3 uint8, and where in it the queries are noisy, stage by stage, on one colour scale from 0 to 1."""
    height, width = image.shape[:2]
    panels = 1 + len(record.noise_maps)
    figure = Figure(figsize=(0.4 + 1.7 * panels, 0.32 + 1.58 * height / width), layout="constrained")
    axes = figure.subplots(1, panels)
    axes[0].imshow(image, interpolation="antialiased")
    axes[0].set_title("photo")
    colours = matplotlib.colormaps["magma"].with_extremes(bad="#8b929b")
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
    means = np.array([_value(entry["mean"]) for entry in entries])
    lows, highs = (np.array([_value(entry[end]) for entry in entries]) for end in ("low", "high"))
    # A percentile interval of few images can end short of the mean.
    errors = np.clip(np.nan_to_num([means - lows, highs - means]), 0, None)
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


def _value(number: float | None) -> float:
    return np.nan if number is None else number


def _legend_above(ax: Axes) -> None:
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0.2, handlelength=1.4)


def _legend_beside(ax: Axes) -> None:
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=2)


# --- files -----------------------------------------------------------------------------------------------------------


def save_chart(path: Path, draw: Callable[[], Figure]) -> str:
    """Write what `draw` draws as `path`.png and `path`.svg, and return it as an inline SVG in the page's colours."""
    with matplotlib.rc_context(STYLE):
        figure = draw()
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        png = path.with_name(f"{path.name}.png")
        write_atomically(png, lambda file: figure.savefig(file, format="png", dpi=200, facecolor="white"))
    svg = buffer.getvalue()
    on_white = re.sub(r"(<svg\b[^>]*>)", r'\1<rect width="100%" height="100%" fill="white"/>', svg, count=1)
    write_atomically(path.with_name(f"{path.name}.svg"), lambda file: file.write_text(on_white, encoding="utf-8"))
    inline = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return inline.replace(INK, "currentColor")
