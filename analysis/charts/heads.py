"""Noise by layer and head as Plotly figures: what `analysis.measure.heads_summary` returns, as it is."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from analysis.charts.noise import interval_words, plain, times_chance

COLOURS = "Cividis"  # told apart by colour-blind readers, and opaque: the numbers on it fit both themes
# Above this many columns a number in every cell could not be read.
MOST_NUMBERED = 16


def head_map(summary: Mapping, stage: str) -> go.Figure:
    """Interclass noise over chance, one row a layer and one column a head; what is undefined stays empty."""
    heads = sorted({int(number) for layer in summary["layers"].values() for number in layer["heads"]})
    table, words = [], []
    for layer in summary["layers"].values():
        found = [_times_chance(layer["heads"].get(str(number)), stage) for number in heads]
        table.append([entry.get("mean") for entry in found])
        words.append([interval_words(entry) for entry in found])
    names = [plain(name) or "layer" for name in summary["layers"]]
    hover = "%{y}, head %{x}: %{z:.2f} × chance%{customdata}<extra></extra>"
    figure = _map(table, list(map(str, heads)), names, words, hover, numbered=len(heads) <= MOST_NUMBERED)
    figure.update_xaxes(title="head")
    return figure


def class_map(summary: Mapping, stage: str, layer: str) -> go.Figure:
    """Interclass noise over chance in one layer, one row a class of the query and one column a head."""
    heads = summary["layers"][layer]["heads"]
    found = {
        number: head["stages"][stage]["interclass_noise"]["per_class"]
        for number, head in heads.items()
        if stage in head["stages"]
    }
    names = list(dict.fromkeys(name for classes in found.values() for name in classes))
    table = [[_over_chance(classes.get(name)) for classes in found.values()] for name in names]
    words = [[_images(classes.get(name)) for classes in found.values()] for name in names]
    hover = "%{y}, head %{x}: %{z:.2f} × chance%{customdata}<extra></extra>"
    numbered = len(found) <= MOST_NUMBERED
    figure = _map(table, list(found), [plain(name) for name in names], words, hover, numbered=numbered)
    figure.update_xaxes(title="head")
    return figure


def head_rows(summary: Mapping, stage: str) -> list[dict]:
    """The figures of every head as rows of a table: means, and interclass noise over chance with its interval."""
    rows = []
    for layer, block in summary["layers"].items():
        for number, head in block["heads"].items():
            if stage not in head["stages"]:
                continue
            figures = head["stages"][stage]
            times = times_chance(figures["interclass_noise"])
            rows.append(
                {
                    "layer": layer,
                    "head": int(number),
                    "interclass noise": figures["interclass_noise"]["mean"],
                    "× chance": times["mean"],
                    "× chance, from": times["low"],
                    "× chance, to": times["high"],
                    "intraclass noise": figures["intraclass_noise"]["mean"],
                    "hollow fraction": figures["hollow_fraction"]["mean"],
                    "effective keys": figures["effective_keys"]["mean"],
                    "query dependence": head["query_dependence"],
                }
            )
    return rows


def _map(
    table: list[list[float | None]],
    columns: list[str],
    rows: list[str],
    words: list[list[str]],
    hover: str,
    *,
    numbered: bool,
) -> go.Figure:
    values = np.array(table, float).reshape(len(rows), len(columns))  # None -> NaN
    top = max(1.0, float(np.nanmax(values, initial=0)))
    figure = go.Figure(
        go.Heatmap(
            z=[[None if np.isnan(value) else value for value in row] for row in values],
            x=columns,
            y=rows,
            zmin=0,
            zmax=top,
            colorscale=COLOURS,
            colorbar={"title": {"text": "× chance"}, "thickness": 12},
            customdata=words,
            hovertemplate=hover,
            xgap=1,
            ygap=1,
        )
    )
    if numbered:
        figure.add_trace(_numbers(values, columns, rows, top))
    figure.update_xaxes(type="category", showgrid=False, automargin=True)
    figure.update_yaxes(type="category", showgrid=False, automargin=True, autorange="reversed")
    figure.update_layout(
        height=130 + 30 * max(3, len(rows)),
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    return figure


def _numbers(values: np.ndarray, columns: list[str], rows: list[str], top: float) -> go.Scatter:
    """The numbers of the cells, black on the lighter colours and white on the darker ones."""
    places = [(row, column) for row, column in np.ndindex(values.shape) if np.isfinite(values[row, column])]
    colours = ["#000000" if values[place] > top / 2 else "#ffffff" for place in places]
    return go.Scatter(
        x=[columns[column] for _, column in places],
        y=[rows[row] for row, _ in places],
        text=[f"{values[place]:.2f}" for place in places],
        mode="text",
        textfont={"color": colours, "size": 12},
        hoverinfo="skip",
        showlegend=False,
    )


def _times_chance(head: Mapping | None, stage: str) -> dict:
    if head is None or stage not in head["stages"]:
        return {}
    return times_chance(head["stages"][stage]["interclass_noise"])


def _over_chance(figures: Mapping | None) -> float | None:
    return None if figures is None or not figures["chance"] else figures["mean"] / figures["chance"]


def _images(figures: Mapping | None) -> str:
    return "" if figures is None else f", in {figures['images']} image{'s' * (figures['images'] != 1)}"
