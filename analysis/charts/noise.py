"""Noise summaries as Plotly figures.

`summary` is what `analysis.measure.data_set_summary` returns: plain numbers, None where one is undefined. A chart
shows those numbers as they are and leaves out what is None. Charts bring no background, fonts or text colours, so that
they suit the page's light and dark themes; the colours of the stages are told apart by colour-blind readers, too.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis.noise import HOLLOW_THRESHOLD
from analysis.words import METRIC_WORDS, SPLIT_WORDS, STAGE_COLOURS, STAGE_WORDS

# Controls are hatched: they are no stage of the method.
STAGE_PATTERNS = {"uniform": "/", "oracle": "\\", "box": "x"}
STAGE_MARKERS = {
    "raw": "circle",
    "rectified": "square",
    "retained": "diamond",
    "uniform": "x",
    "oracle": "triangle-up",
    "box": "cross",
}
# Metrics that are shares: their axis runs from 0 to 1, and they may stand on one axis.
SHARES = ("interclass_noise", "intraclass_noise", "hollow_fraction", "top_mass", "auc", "average_precision")
DIFFERENCE_COLOURS = {
    "rectified - raw": STAGE_COLOURS["rectified"],
    "retained - rectified": STAGE_COLOURS["retained"],
    "retained - raw": STAGE_COLOURS["uniform"],
}
BINS = 40
# Above this many classes a number in every cell of the matrix could not be read.
MOST_NUMBERED_CLASSES = 12
LEAKAGE_COLOURS = "Viridis"  # opaque, so that Plotly's choice of black or white numbers fits both themes
GROUP_GAP = 0.3  # share of a group's place that stays free
BAR = 12  # pixels across one bar of a group
LINE = "#8b929b"  # of marks that belong to no stage: readable on white and on black
NUMBER = ".3f"


def stage_bars(summaries: Mapping[str, dict], metric: str, stages: Sequence[str]) -> go.Figure:
    """One bar a stage with its interval, for each of the named summaries (one a checkpoint), and the chance level."""
    several = len(summaries) > 1
    figure = go.Figure()
    for stage in stages:
        figures = {name: _of(summary, stage, metric) for name, summary in summaries.items() if _has(summary, stage)}
        words = STAGE_WORDS[stage].replace(" ", "<br>")  # level, however narrow the chart
        place = [[plain(name) for name in figures], [words] * len(figures)] if several else [words]
        _add_bars(figure, stage, place, list(figures.values()), across=False)
        if metric == "interclass_noise":
            _add_chance(figure, place, [found.get("chance") for found in figures.values()], across=False)
    figure.update_xaxes(type="multicategory" if several else "category", tickangle=0)
    return _finish(figure, value_axis="y", metric=metric, height=300, legend=False)


def class_bars(
    summary: dict, metric: str, stages: Sequence[str], class_names: Sequence[str] | None = None
) -> go.Figure:
    """One group of bars a class, one bar a stage, with intervals and (interclass noise) each class's chance level.

    class_names: which classes to show, in this order; by default all that have a figure.
    """
    shown = classes_with_figures(summary, metric, stages) if class_names is None else list(class_names)
    names = [plain(name) for name in shown]
    figure = go.Figure()
    for stage in stages:
        per_class = _of(summary, stage, metric).get("per_class", {})
        _add_bars(figure, stage, names, [per_class.get(name, {}) for name in shown], across=True)
    if metric == "interclass_noise" and stages:
        per_class = _of(summary, stages[0], metric).get("per_class", {})
        levels = [per_class.get(name, {}).get("chance") for name in shown]
        _add_chance(figure, names, levels, across=True, size=BAR * len(stages))
    figure.update_yaxes(type="category", autorange="reversed", automargin=True)
    return _finish(figure, value_axis="x", metric=metric, height=_grouped_height(names, stages))


def classes_with_figures(summary: dict, metric: str, stages: Sequence[str]) -> list[str]:
    """The classes for which at least one of the stages has a mean of this metric, in the summary's order."""
    found: dict[str, None] = {}
    for stage in stages:
        for name, figures in _of(summary, stage, metric).get("per_class", {}).items():
            if figures.get("mean") is not None:
                found[name] = None
    return list(found)


def leakage_heatmap(summary: dict, stage: str, class_names: Sequence[str]) -> go.Figure:
    """Where the attention of each class goes: rows are the query's class, columns the class that gets the mass.

    Each row sums to 1. Classes that neither ask nor get anything are left out; a class without queries has no row.
    """
    nothing = [None] * len(class_names)
    matrix = np.array([nothing if row is None else row for row in summary["leakage"][stage]], float)  # None -> NaN
    asking = np.flatnonzero(np.isfinite(matrix).any(axis=1))
    getting = np.flatnonzero((np.nan_to_num(matrix) > 0).any(axis=0))
    names = [plain(name) for name in class_names]
    shares = matrix[np.ix_(asking, getting)]
    numbered = max(shares.shape, default=0) <= MOST_NUMBERED_CLASSES
    figure = go.Figure(
        go.Heatmap(
            z=_without_nan(shares),
            x=[names[c] for c in getting],
            y=[names[c] for c in asking],
            zmin=0,
            colorscale=LEAKAGE_COLOURS,
            showscale=not numbered,
            colorbar={"title": {"text": "share of<br>the mass"}, "tickformat": ".0%", "thickness": 12},
            text=[["" if np.isnan(v) or v < 0.005 else f"{v:.0%}" for v in row] for row in shares],
            texttemplate="%{text}" if numbered else None,
            hovertemplate="%{y} gives %{z:.1%}<br>of its attention to %{x}<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    figure.update_xaxes(type="category", title="the class that gets it", tickangle=-45)
    figure.update_yaxes(type="category", title="the query's class", autorange="reversed")
    if numbered:
        figure.update_traces(textfont_size=11)
        figure.update_layout(xaxis_dtick=1, yaxis_dtick=1)
    figure.update_xaxes(showgrid=False, automargin=True)
    figure.update_yaxes(showgrid=False, automargin=True)
    return _bare(figure, height=180 + 32 * max(3, len(asking)))


def distribution(values: Mapping[str, np.ndarray], metric: str) -> go.Figure:
    """How the queries of one image spread over a metric: stage -> one value a query, NaN where undefined.

    Steps of the share of each stage's queries in BINS equal bins; the medians stand in the legend.
    """
    defined = {stage: array[np.isfinite(array)] for stage, array in values.items()}
    highest = max((array.max() for array in defined.values() if array.size), default=1.0)
    edges = np.linspace(0, 1 if metric in SHARES else max(float(highest), np.finfo(float).tiny), BINS + 1)
    figure = go.Figure()
    for stage, array in defined.items():
        if not array.size:
            continue
        share = np.histogram(array, edges)[0] / array.size
        figure.add_scatter(
            x=edges,
            y=[*share, share[-1]],
            mode="lines",
            line={"color": STAGE_COLOURS[stage], "width": 2, "shape": "hv", "dash": _dash(stage)},
            name=f"{STAGE_WORDS[stage]}, median {np.median(array):.2f}",
            hovertemplate="%{y:.1%} of the queries from %{x:.3g}<extra>" + STAGE_WORDS[stage] + "</extra>",
        )
    figure.update_xaxes(title=METRIC_WORDS[metric])
    figure.update_yaxes(title="share of the queries", tickformat=".0%", rangemode="tozero")
    return _bare(figure, height=340)


def hollow_curve(summary: dict, stages: Sequence[str]) -> go.Figure:
    """The hollow fraction over its threshold τ, one line a stage; the threshold of the other figures is marked."""
    curve = summary["hollow_curve"]
    figure = go.Figure()
    for stage in stages:
        if stage not in curve["stages"]:
            continue
        figure.add_scatter(
            x=curve["thresholds"],
            y=curve["stages"][stage],
            mode="lines+markers",
            line={"color": STAGE_COLOURS[stage], "dash": _dash(stage)},
            marker={"symbol": STAGE_MARKERS[stage], "size": 7},
            name=STAGE_WORDS[stage],
            hovertemplate="τ = %{x}: %{y:.1%}<extra>" + STAGE_WORDS[stage] + "</extra>",
        )
    figure.add_vline(
        x=HOLLOW_THRESHOLD, line={"color": LINE, "dash": "dot", "width": 1}, annotation_text=f"τ = {HOLLOW_THRESHOLD}"
    )
    figure.update_xaxes(title="threshold τ, times the class's mean attention", rangemode="tozero")
    figure.update_yaxes(title="hollow fraction", range=[0, 1.02])
    return _bare(figure, height=360)


def stage_differences(summary: dict, metrics: Sequence[str]) -> go.Figure:
    """What each step changes, paired by image, with intervals: left of 0 is less of the metric."""
    figure = go.Figure()
    for pair, colour in DIFFERENCE_COLOURS.items():
        if pair not in summary["differences"]:
            continue
        found = [summary["differences"][pair].get(metric, {}) for metric in metrics]
        figure.add_scatter(
            x=[difference.get("mean") for difference in found],
            y=[METRIC_WORDS[metric] for metric in metrics],
            error_x=_intervals(found),
            mode="markers",
            orientation="h",
            marker={"color": colour, "size": 10, "symbol": STAGE_MARKERS[pair.partition(" ")[0]]},
            name=pair.replace("-", "−"),
            customdata=[interval_words(difference) for difference in found],
            hovertemplate="%{y}: %{x:+.3f}%{customdata}<extra>%{fullData.name}</extra>",
        )
    figure.add_vline(x=0, line={"color": LINE, "width": 1})
    figure.update_layout(scattermode="group", scattergap=0.4)
    figure.update_xaxes(title="change of the mean", zeroline=False, range=_range_of_differences(summary, metrics))
    figure.update_yaxes(type="category", autorange="reversed", automargin=True)
    return _bare(figure, height=150 + 62 * max(1, len(metrics)))


def kept_mass_bars(summary: dict, stages: Sequence[str]) -> go.Figure:
    """The mass that each stage's rows keep on labelled cells, and how many rows a gate has emptied."""
    figure = go.Figure()
    for stage in stages:
        _add_bars(figure, stage, [STAGE_WORDS[stage]], [_of(summary, stage, "kept_mass")], across=True)
        emptied = summary["emptied"].get(stage, 0)
        figure.data[-1].update(text=[f" {emptied:,} emptied" if emptied else ""], textposition="outside")
    figure.update_yaxes(type="category", autorange="reversed", automargin=True)
    return _finish(figure, value_axis="x", metric="kept_mass", height=90 + 44 * max(1, len(stages)), legend=False)


def split_bars(summary: dict, metric: str, stages: Sequence[str]) -> go.Figure:
    """One group of bars for boundary and interior queries, and for those whose class GR names rightly and wrongly."""
    splits = [name for name in SPLIT_WORDS if any(_of(summary, stage, metric).get(name) for stage in stages)]
    words = [SPLIT_WORDS[name] for name in splits]
    figure = go.Figure()
    for stage in stages:
        of_stage = _of(summary, stage, metric)
        _add_bars(figure, stage, words, [of_stage.get(name) or {} for name in splits], across=True)
    figure.update_yaxes(type="category", autorange="reversed", automargin=True)
    return _finish(figure, value_axis="x", metric=metric, height=_grouped_height(splits, stages))


def figure_table(summary: dict, stages: Sequence[str]) -> list[dict[str, str]]:
    """All figures as text: a row for each metric (and chance, × chance and the micro mean), a column for each stage."""
    rows = []
    for metric, words in METRIC_WORDS.items():
        found = {STAGE_WORDS[stage]: _of(summary, stage, metric) for stage in stages}
        rows.append({"figure": words} | {stage: _number(of) + interval_words(of) for stage, of in found.items()})
        rows.append({"figure": f"{words}, micro"} | {stage: _number(of, "micro") for stage, of in found.items()})
        if metric == "interclass_noise":
            rows.append({"figure": "chance"} | {stage: _number(of, "chance") for stage, of in found.items()})
            times = {stage: times_chance(of) for stage, of in found.items()}
            name = {"figure": "interclass noise / chance"}
            rows.append(name | {stage: _number(of) + interval_words(of) for stage, of in times.items()})
    return rows


def group_table(summary: dict, stages: Sequence[str]) -> list[dict[str, str | int]]:
    """The figures of each group as text: a row for each group and stage."""
    rows = []
    for group, block in summary["groups"].items():
        for stage in (stage for stage in stages if stage in block["stages"]):
            found = block["stages"][stage]
            row: dict[str, str | int] = {"group": group, "images": block["images"], "stage": STAGE_WORDS[stage]}
            row |= {METRIC_WORDS[metric]: _number(of) + interval_words(of) for metric, of in found.items()}
            times = times_chance(found["interclass_noise"])
            rows.append(row | {"interclass noise / chance": _number(times) + interval_words(times)})
    return rows


def times_chance(interclass: Mapping) -> dict:
    """Interclass noise over chance as figures with an interval of their own."""
    ends = {"mean": "times_chance", "low": "times_chance_low", "high": "times_chance_high"}
    return {end: interclass.get(name) for end, name in ends.items()}


def plain(name: str) -> str:
    """A name as Plotly shall show it letter by letter: Plotly reads tags and entities in every text."""
    return html.escape(name, quote=False)


def interval_words(figures: Mapping) -> str:
    """ " (low … high)" where the figures have an interval, else an empty text."""
    if figures.get("low") is None or figures.get("high") is None:
        return ""
    return f" ({figures['low']:{NUMBER}} … {figures['high']:{NUMBER}})"


def _number(figures: Mapping, key: str = "mean") -> str:
    return "–" if figures.get(key) is None else f"{figures[key]:{NUMBER}}"


# --- parts of the charts ---------------------------------------------------------------------------------------------


def _has(summary: dict, stage: str) -> bool:
    return stage in summary["stages"]


def _of(summary: dict, stage: str, metric: str) -> dict:
    return summary["stages"].get(stage, {}).get(metric, {})


def _add_bars(figure: go.Figure, stage: str, place: list, found: Sequence[Mapping], *, across: bool) -> None:
    """The bars of one stage: `found` holds mean, low and high of each place. across: bars run from left to right."""
    means = [figures.get("mean") for figures in found]
    along, values, error = ("y", "x", "error_x") if across else ("x", "y", "error_y")
    figure.add_bar(
        **{along: place, values: means, error: _intervals(found)},
        orientation="h" if across else "v",
        name=STAGE_WORDS[stage],
        marker={
            "color": STAGE_COLOURS[stage],
            "pattern": {"shape": STAGE_PATTERNS.get(stage, ""), "size": 6, "solidity": 0.25},
        },
        customdata=[interval_words(figures) for figures in found],
        hovertemplate=f"%{{{values}:{NUMBER}}}%{{customdata}}<extra>{STAGE_WORDS[stage]}</extra>",
    )


def _intervals(found: Sequence[Mapping]) -> dict:
    """Error bars from mean to low and high; none where there is no interval."""
    known = [interval_words(figures) != "" and figures.get("mean") is not None for figures in found]
    reach = [
        (figures["high"] - figures["mean"], figures["mean"] - figures["low"]) if there else (None, None)
        for figures, there in zip(found, known, strict=True)
    ]
    above, below = ([side[n] for side in reach] for n in (0, 1))
    return {"array": above, "arrayminus": below, "color": LINE, "thickness": 1.5, "width": 4, "visible": any(known)}


def _add_chance(
    figure: go.Figure, place: list, levels: Sequence[float | None], *, across: bool, size: int = 36
) -> None:
    """A dash at the noise of uniform attention, across each bar or group of bars."""
    along, values, symbol = ("y", "x", "line-ns") if across else ("x", "y", "line-ew")
    figure.add_scatter(
        **{along: place, values: list(levels)},
        mode="markers",
        marker={"symbol": symbol, "size": size, "line": {"color": LINE, "width": 2.5}, "color": LINE},
        name="chance",
        legendgroup="chance",
        showlegend=across,
        hovertemplate=f"chance %{{{values}:{NUMBER}}}<extra></extra>",
    )


def _range_of_differences(summary: dict, metrics: Sequence[str]) -> list[float]:
    """From the lowest to the highest end of an interval, 0 included, with room for the marks."""
    ends = [0.0]
    for pair in DIFFERENCE_COLOURS:
        for metric in metrics:
            found = summary["differences"].get(pair, {}).get(metric, {})
            ends += [found[name] for name in ("mean", "low", "high") if found.get(name) is not None]
    room = 0.08 * (max(ends) - min(ends)) or 0.01
    return [min(ends) - room, max(ends) + room]


def _grouped_height(groups: Sequence[str], stages: Sequence[str]) -> int:
    """Of a chart with a group of horizontal bars for each of `groups`; the rest is for the legend and the axis."""
    return 150 + round(BAR * max(1, len(stages)) / (1 - GROUP_GAP)) * max(1, len(groups))


def _dash(stage: str) -> str:
    return "dash" if stage in STAGE_PATTERNS else "solid"


def _finish(figure: go.Figure, *, value_axis: str, metric: str, height: int, legend: bool = True) -> go.Figure:
    axis: dict[str, Any] = {"rangemode": "tozero"} | ({"title": METRIC_WORDS[metric]} if legend else {})
    if metric in SHARES:
        axis |= {"range": [0, 1.02]}
    figure.update_layout({f"{value_axis}axis": axis}, barmode="group", bargap=GROUP_GAP, showlegend=legend)
    return _bare(figure, height)


def _bare(figure: go.Figure, height: int) -> go.Figure:
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 28, "b": 8},
        legend={
            "orientation": "h",
            "itemsizing": "constant",
            "yanchor": "bottom",
            "y": 1,
            "x": 0,
            "traceorder": "normal",
        },
        dragmode=False,
    )


def _without_nan(matrix: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in matrix]
