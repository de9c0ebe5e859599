"""The pins' figures as a Plotly figure, in the colours of the stages."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.charts.noise import LINE, SHARES, plain
from analysis.pins.measured import PinnedPixels
from analysis.words import METRIC_WORDS, STAGE_COLOURS, STAGE_WORDS

HEIGHT = 250  # pixels of one source's bars
HEAD = 70  # of the legend and the margins
CHANCE_PIXELS = 400  # across all dashes of chance


def pins_figure(views: Sequence[PinnedPixels], metric: str) -> go.Figure:
    """One group of bars a pin, one bar a stage, and chance as a dash across interclass noise; a row of bars a view.

    metric: one of PIN_METRICS but chance itself. What is undefined has no bar.
    """
    several = len(views) > 1
    titles = [plain(view.source.name) for view in views] if several else None
    figure = make_subplots(len(views), 1, shared_xaxes=True, subplot_titles=titles, vertical_spacing=0.18)
    first_with = {stage: view for view in reversed(views) for stage in view.stages}
    for row, view in enumerate(views, start=1):
        place = [pin_words(view, pin) for pin in range(len(view.pixels))]
        for stage in view.stages:
            figure.add_bar(
                x=place,
                y=[view.figures(pin, stage)[metric] for pin in range(len(place))],
                name=STAGE_WORDS[stage],
                legendgroup=stage,
                showlegend=view is first_with[stage],
                marker_color=STAGE_COLOURS[stage],
                hovertemplate=f"%{{y:.3f}}<extra>{STAGE_WORDS[stage]}</extra>",
                row=row,
                col=1,
            )
        if metric == "interclass_noise":
            _add_chance(figure, view, place, row)
    axis = {"rangemode": "tozero", "title": METRIC_WORDS[metric]} | ({"range": [0, 1.02]} if metric in SHARES else {})
    figure.update_yaxes(**axis)
    return figure.update_layout(
        barmode="group",
        bargap=0.3,
        height=HEAD + HEIGHT * len(views),
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.06, "x": 0, "traceorder": "normal"},
        dragmode=False,
    )


def pin_words(view: PinnedPixels, pin: int) -> str:
    """What a pin is called in a chart: its number and class."""
    name = view.class_names[pin]
    return f"{pin + 1} {plain(name)}" if name else f"{pin + 1}"


def _add_chance(figure: go.Figure, view: PinnedPixels, place: list[str], row: int) -> None:
    figure.add_scatter(
        x=place,
        y=[view.figures(pin, "raw")["chance"] for pin in range(len(place))],
        mode="markers",
        marker={
            "symbol": "line-ew",
            "size": min(110, CHANCE_PIXELS // len(place)),
            "line": {"color": LINE, "width": 2.5},
            "color": LINE,
        },
        name="chance",
        legendgroup="chance",
        showlegend=row == 1,
        hovertemplate="chance %{y:.3f}<extra></extra>",
        row=row,
        col=1,
    )
