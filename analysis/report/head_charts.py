"""A heads_summary's charts as matplotlib figures: layers by heads, layers along chance, and classes by heads."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from analysis.report.charts import INK, Chart, widest
from analysis.words import STAGE_COLOURS

# Told apart by colour-blind readers; dark is little noise. Its middle is grey, so what has no value has no colour.
COLOURS = matplotlib.colormaps["cividis"].with_extremes(bad="#00000000")
# Columns whose cells have room for a number.
FEW_COLUMNS = 24
# Heads of a layer that are drawn as marks of their own with intervals.
FEW_MARKS = 16


def head_chart(summary: Mapping, stage: str, texts: Mapping[str, str]) -> Chart:
    """Interclass noise over chance, one row a layer and one column a head, with numbers where there is room.

    texts: what stands for each layer's name, as in `charts.chart_names`. What has no noise is empty.
    """
    heads, names = heads_of(summary), list(summary["layers"])
    table = np.full((len(names), len(heads)), np.nan)
    for row, name in enumerate(names):
        for number, head in summary["layers"][name]["heads"].items():
            if stage in head["stages"]:
                table[row, heads.index(int(number))] = _times_chance(head["stages"][stage])
    left = 0.6 + widest([texts[name] for name in names])
    pitch = 0.42 if len(heads) <= FEW_COLUMNS else 0.16
    figure = Chart(figsize=(max(3.2, left + 0.9 + pitch * len(heads)), 1.1 + 0.3 * len(names)), layout="constrained")
    ax = figure.add_subplot()
    _matrix(figure, ax, table)
    ax.set_yticks(range(len(names)), [texts[name] for name in names])
    step = 1 if len(heads) <= FEW_COLUMNS else -(-len(heads) // FEW_COLUMNS)
    ax.set_xticks(range(0, len(heads), step), list(map(str, heads[::step])))
    ax.set_xlabel("head")
    ax.set_title(f"{stage}, interclass noise × chance")
    return figure


def layer_chart(summary: Mapping, stage: str, texts: Mapping[str, str]) -> Chart:
    """Interclass noise over chance along the layers, one mark a head, with its interval where there is one."""
    names = list(summary["layers"])
    figure = Chart(figsize=(7.2, 0.9 + 0.34 * len(names)), layout="constrained")
    ax = figure.add_subplot()
    ax.axvline(1, color=INK, linewidth=1, linestyle=(0, (2, 1.2)), label="chance")
    for row, name in enumerate(names):
        heads = [head["stages"][stage] for head in summary["layers"][name]["heads"].values() if stage in head["stages"]]
        places = row + np.linspace(-0.3, 0.3, len(heads)) if len(heads) > 1 else np.array([row])
        for place, head in zip(places, heads, strict=True):
            block = head["interclass_noise"]
            if block["times_chance"] is None:
                continue
            if block["times_chance_low"] is not None and len(heads) <= FEW_MARKS:
                ends = [block["times_chance_low"], block["times_chance_high"]]
                ax.plot(ends, [place, place], color=STAGE_COLOURS[stage], linewidth=1, alpha=0.6)
            ax.plot(block["times_chance"], place, "o", color=STAGE_COLOURS[stage], markersize=3.5)
    ax.set_yticks(range(len(names)), [texts[name] for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.set_xlabel(f"{stage} interclass noise, × chance; one mark a head, the broken line is chance")
    ax.grid(axis="x")
    ax.set_axisbelow(True)
    return figure


def class_heads_chart(summary: Mapping, stage: str, texts: Mapping[str, str], classes: Mapping[str, str]) -> Chart:
    """Interclass noise over chance, one row a class and one column a head, layers beside each other.

    texts, classes: what stands for the names of layers and classes.
    """
    columns = [
        (name, number, head["stages"][stage]["interclass_noise"]["per_class"])
        for name, layer in summary["layers"].items()
        for number, head in layer["heads"].items()
        if stage in head["stages"]
    ]
    shown = [name for name in classes if any(name in found for _, _, found in columns)]
    table = np.array([[_of_class(found, name) for _, _, found in columns] for name in shown])
    widths = 0.42 if len(columns) <= FEW_COLUMNS else 0.1
    left = 1.6 + widest([classes[name] for name in shown])
    height = 1.4 + 0.28 * max(len(shown), 1) + widest([texts[name] for name, _, _ in columns]) * 0.7
    figure = Chart(figsize=(max(3.6, left + widths * len(columns)), height), layout="constrained")
    ax = figure.add_subplot()
    if not shown:
        return figure
    _matrix(figure, ax, table)
    ax.set_yticks(range(len(shown)), [classes[name] for name in shown])
    starts = [index for index, column in enumerate(columns) if not index or column[0] != columns[index - 1][0]]
    for start in starts[1:]:
        ax.axvline(start - 0.5, color="#ffffff", linewidth=1.5)
    ends = [*starts[1:], len(columns)]
    middles = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    ax.set_xticks(middles, [texts[columns[start][0]] for start in starts], rotation=40, ha="right")
    ax.set_xlabel("layer; a column is a head")
    ax.set_title(f"{stage}, interclass noise × chance, by class")
    return figure


def heads_of(summary: Mapping) -> list[int]:
    """The numbers of all heads that some layer has, in order."""
    return sorted({int(number) for layer in summary["layers"].values() for number in layer["heads"]})


def _matrix(figure: Chart, ax: Axes, table: np.ndarray) -> None:
    """The cells of a table in COLOURS, from 0 to chance or to the highest, with numbers where they have room."""
    top = max(1.0, float(np.nanmax(table, initial=0)))
    picture = ax.imshow(np.ma.masked_invalid(table), cmap=COLOURS, norm=Normalize(0, top), aspect="auto")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    if table.shape[1] <= FEW_COLUMNS:
        for (row, column), value in np.ndenumerate(table):
            if np.isfinite(value):
                colour = "#000000" if value / top > 0.5 else "#ffffff"
                ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
    bar = figure.colorbar(picture, ax=ax, fraction=0.035, pad=0.02)
    bar.set_label("× chance")
    bar.outline.set_visible(False)


def _times_chance(stage: Mapping) -> float:
    value = stage["interclass_noise"]["times_chance"]
    return np.nan if value is None else value


def _of_class(found: Mapping, name: str) -> float:
    figures = found.get(name)
    return np.nan if figures is None or not figures["chance"] else figures["mean"] / figures["chance"]
