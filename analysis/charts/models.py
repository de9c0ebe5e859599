"""Plotly figures of the Models page: scores per class and training curves. They suit light and dark themes."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.charts.noise import plain

COLOURS = ("#2c8fcb", "#d55e00")
CURVES = {"loss": "training loss", "miou": "mean IoU (validation)", "gamma": "γ"}
PIXELS_PER_CLASS = 24


def iou_figure(scores: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Bars of each class's IoU (0 … 1): model -> class -> IoU, up to two models beside each other."""
    figure = go.Figure()
    for (model, iou), colour in zip(scores.items(), COLOURS, strict=False):
        figure.add_bar(
            x=list(iou.values()),
            y=[plain(name) for name in iou],
            orientation="h",
            name=plain(model),
            marker_color=colour,
            text=[f"{value:.2f}" for value in iou.values()],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.3f}<extra>" + plain(model) + "</extra>",
        )
    figure.update_xaxes(title="IoU", range=[0, 1.08], fixedrange=True)
    figure.update_yaxes(autorange="reversed", fixedrange=True)
    classes = max(len(iou) for iou in scores.values())
    _finish(figure, 90 + PIXELS_PER_CLASS * classes * len(scores), legend=len(scores) > 1)
    return figure


def curves_figure(records: Sequence[Mapping[str, float]]) -> go.Figure:
    """A training log over its epochs: one panel for each of CURVES that the records hold."""
    shown = [name for name in CURVES if any(name in record for record in records)]
    figure = make_subplots(1, max(1, len(shown)), subplot_titles=[CURVES[name] for name in shown])
    for column, name in enumerate(shown, start=1):
        points = [(record["epoch"], record[name]) for record in records if name in record]
        figure.add_scatter(
            x=[epoch for epoch, _ in points],
            y=[value for _, value in points],
            mode="lines+markers",
            marker={"size": 5},
            line={"color": COLOURS[0]},
            hovertemplate="epoch %{x}: %{y:.4f}<extra></extra>",
            row=1,
            col=column,
        )
    figure.update_xaxes(title="epoch", fixedrange=True)
    figure.update_yaxes(fixedrange=True)
    _finish(figure, 300, legend=False)
    return figure


def _finish(figure: go.Figure, height: int, *, legend: bool) -> None:
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 36, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=legend,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "traceorder": "normal"},
    )
