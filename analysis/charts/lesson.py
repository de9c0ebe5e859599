"""The lesson's Plotly figures. They bring no background and no text colour, so that they suit light and dark themes."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.colors
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from analysis.geometry import Grid
from analysis.lesson import CLASS_NAMES

# Told apart by colour-blind readers, on white and on black.
CLASS_COLOURS = ("#56b4e9", "#009e73", "#e69f00")
SAME, OTHER, LINE = "#2c8fcb", "#d55e00", "#8c8c8c"
# Magma, but for its first colour: the app's theme takes #000001 … #000036 for its own colours' names.
ATTENTION_COLOURS = ["#01000a", *plotly.colors.sequential.Magma[1:]]
# Share of the greatest attention values that all get the brightest colour, in maps of a real image.
CLIPPED = 0.5  # per cent
# Share of the brightest value from which black letters are easier to read than white ones.
BRIGHT = 0.55
CELL = 62  # pixels of one cell of a small grid
GATE_DASHES = {"sigmoid": "solid", "similarity": "dot", "binary": "dash"}


def grid_figure(
    values: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    query: tuple[int, int] | None = None,
    digits: int = 3,
    largest: float | None = None,
    title: str = "",
) -> go.Figure:
    """Numbers h×w as a grid of coloured cells, each with its number.

    labels: h×w indices of CLASS_NAMES, framed in the class's colour and named. query: (row, column) of the cell that
    is marked. largest: the value of the brightest colour; the greatest value unless given.
    """
    height, width = values.shape
    text = [[f"{values[y, x]:.{digits}f}" for x in range(width)] for y in range(height)]
    if labels is not None:
        text = [[f"{text[y][x]}<br><i>{CLASS_NAMES[labels[y, x]]}</i>" for x in range(width)] for y in range(height)]
    brightest = largest or float(values.max()) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=values,
            hovertemplate="row %{y}, column %{x}: %{z:.4f}<extra></extra>",
            colorscale=ATTENTION_COLOURS,
            zmin=0,
            zmax=brightest,
            xgap=6,
            ygap=6,
            showscale=False,
        )
    )
    for y, x in np.ndindex(height, width):
        colour = "black" if values[y, x] > BRIGHT * brightest else "white"
        figure.add_annotation(x=x, y=y, text=text[y][x], showarrow=False, font={"size": 12, "color": colour})
    if labels is not None:
        for y, x in np.ndindex(height, width):
            _frame(figure, y, x, CLASS_COLOURS[labels[y, x]], 3)
    if query is not None:
        figure.add_annotation(
            x=query[1],
            y=query[0],
            text="<b>query</b>",
            yshift=-24,
            font={"size": 11, "color": "#ffffff"},
            bgcolor="#b3003c",
            borderpad=1,
            showarrow=False,
        )
    axis = {"visible": False, "fixedrange": True}
    figure.update_xaxes(**axis, range=[-0.55, width - 0.45])
    figure.update_yaxes(**axis, range=[height - 0.45, -0.55])
    return _plain(figure, height * CELL + (36 if title else 8), title)


def _frame(figure: go.Figure, y: int, x: int, colour: str, line_width: int) -> None:
    reach = 0.46
    figure.add_shape(
        type="rect", x0=x - reach, x1=x + reach, y0=y - reach, y1=y + reach, line={"color": colour, "width": line_width}
    )


def saturation_figure(rows: Mapping[str, np.ndarray], shown: int = 20) -> go.Figure:
    """Sorted rows, each of length keys, one line a name: the attention of the `shown` strongest keys."""
    figure = go.Figure()
    for (name, row), colour in zip(rows.items(), (OTHER, SAME), strict=False):
        figure.add_scatter(
            x=np.arange(1, shown + 1),
            y=row[:shown],
            name=name,
            mode="lines+markers",
            line={"color": colour},
            hovertemplate="key %{x}: %{y:.3f}<extra>" + name + "</extra>",
        )
    figure.update_xaxes(title="keys, the strongest first", fixedrange=True)
    figure.update_yaxes(title="attention", range=[0, 1.03], fixedrange=True)
    return _plain(figure, 330, legend=True)


def distributions_figure(distributions: Mapping[str, Sequence[float]]) -> go.Figure:
    """Class distributions beside each other: name -> one probability for each of CLASS_NAMES."""
    figure = go.Figure()
    for (name, probs), colour in zip(distributions.items(), (SAME, OTHER), strict=False):
        figure.add_bar(
            x=CLASS_NAMES,
            y=probs,
            name=name,
            marker_color=colour,
            text=[f"{p:.2f}" for p in probs],
            textposition="outside",
            cliponaxis=False,
        )
    figure.update_xaxes(fixedrange=True)
    figure.update_yaxes(title="probability", range=[0, 1.1], fixedrange=True)
    return _plain(figure, 240, legend=True)


def gate_figure(
    confidence: np.ndarray, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], marked: float
) -> go.Figure:
    """Each gate against the confidence of both cells: same class in one colour, different classes in the other.

    confidence: of length P, and so are both values of each gate, of cells of one class and of two.
    """
    figure = go.Figure()
    for gate, pair in curves.items():
        for values, what, colour in zip(pair, ("same class", "other class"), (SAME, OTHER), strict=True):
            figure.add_scatter(
                x=confidence,
                y=values,
                name=f"{gate}, {what}",
                mode="lines",
                line={"color": colour, "dash": GATE_DASHES[gate], "width": 2.5},
                hovertemplate="%{y:.3f}<extra>" + f"{gate}, {what}" + "</extra>",
            )
    figure.add_vline(x=marked, line={"color": LINE, "width": 1})
    figure.update_xaxes(title="how sure both cells are of their class", fixedrange=True)
    figure.update_yaxes(title="gate", range=[-0.03, 1.03], fixedrange=True)
    return _plain(figure, 330, legend=True)


def cost_figure(cells: np.ndarray, unfolded: np.ndarray, folded: np.ndarray, marked: int) -> go.Figure:
    """Bytes that LR needs against the number of cells, arrays of one length, both logarithmic, for both formulas."""
    figure = go.Figure()
    for name, values, colour in (("unfolded map", unfolded, OTHER), ("folded into the values", folded, SAME)):
        figure.add_scatter(
            x=cells,
            y=values,
            name=name,
            mode="lines",
            line={"color": colour, "width": 3},
            hovertemplate="%{x} cells: %{y:.3s}B<extra>" + name + "</extra>",
        )
    # On a logarithmic axis, a line is placed by its value, not by its logarithm.
    figure.add_vline(x=marked, line={"color": LINE, "width": 1})
    figure.update_xaxes(title="cells N", type="log", tickvals=4 ** np.arange(4, 9), tickformat=",d", fixedrange=True)
    figure.update_yaxes(title="memory", type="log", exponentformat="SI", ticksuffix="B", fixedrange=True)
    return _plain(figure, 330, legend=True)


def worth_figure(scores: Mapping[str, float]) -> go.Figure:
    """What is in the attention's place -> mean IoU, as dots on a common scale, the first one marked.

    The scale is enlarged to the values' range, and need not begin at 0.
    """
    names, values = list(scores), list(scores.values())
    figure = go.Figure(
        go.Scatter(
            x=values,
            y=names,
            mode="markers+text",
            marker={"size": 16, "color": [SAME] + [OTHER] * (len(names) - 1)},
            text=[f"{value:.3f}" for value in values],
            textposition="top center",
            cliponaxis=False,  # near 0, in a narrow window, a number is wider than what lies left of its dot
            hovertemplate="%{y}: %{x:.4f}<extra></extra>",
        )
    )
    # From the first dot down, so that it does not cross that one's number.
    line = {"color": SAME, "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=values[0], x1=values[0], y0=0, y1=len(names) - 0.7, line=line)
    spread = max(max(values) - min(values), 0.01)
    figure.update_xaxes(
        title="mean IoU",
        range=[max(min(values) - 0.35 * spread, -0.06), max(values) + 0.35 * spread],  # room for the dots' numbers
        fixedrange=True,
    )
    figure.update_yaxes(autorange="reversed", fixedrange=True)
    return _plain(figure, 70 * len(names) + 60)


def street_figure(image: np.ndarray, query: tuple[float, float], maps: Mapping[str, np.ndarray]) -> go.Figure:
    """A photo H×W×3 uint8 with the query (y, x in pixels) marked, and up to three maps h×w on one colour scale.

    Panels lie two by two; the greatest CLIPPED per cent of all values share the brightest colour.
    """
    height, width = image.shape[:2]
    figure = make_subplots(2, 2, subplot_titles=["photo", *maps], horizontal_spacing=0.02, vertical_spacing=0.07)
    figure.add_trace(go.Image(source=_png_address(image), hoverinfo="skip"), 1, 1)
    for index, values in enumerate(maps.values(), start=1):
        y, x = Grid((height, width), values.shape).centres()
        figure.add_trace(
            go.Heatmap(
                z=values,
                x=x,
                y=y,
                coloraxis="coloraxis",
                hovertemplate="%{z:.5f}<extra></extra>",
            ),
            index // 2 + 1,
            index % 2 + 1,
        )
    for index in range(len(maps) + 1):
        figure.add_trace(
            go.Scatter(
                x=[query[1]],
                y=[query[0]],
                mode="markers",
                marker={"symbol": "circle-open", "size": 13, "color": "#00e5ff", "line": {"width": 3}},
                hoverinfo="skip",
            ),
            index // 2 + 1,
            index % 2 + 1,
        )
    figure.update_xaxes(visible=False, range=[-0.5, width - 0.5], fixedrange=True)
    figure.update_yaxes(visible=False, range=[height - 0.5, -0.5], fixedrange=True)
    for panel in ("", "2", "3", "4"):  # cells as wide as they are high on the photo, close under their titles
        square = {"scaleanchor": f"x{panel}", "constrain": "domain", "constraintoward": "top"}
        figure.update_layout({f"yaxis{panel}": square, f"xaxis{panel}": {"constrain": "domain"}})
    largest = float(np.percentile(np.stack(list(maps.values())), 100 - CLIPPED))
    figure.update_layout(
        coloraxis={
            "colorscale": ATTENTION_COLOURS,
            "cmin": 0,
            "cmax": largest or 1.0,
            "colorbar": {
                "title": {"text": "share of the attention", "side": "bottom"},
                "orientation": "h",
                "thickness": 12,
                "y": 0,
                "yanchor": "top",
            },
        },
        showlegend=False,
    )
    return _plain(figure, 480, margin_top=28)


def picking_figure(image: np.ndarray, grid: Grid, pixel: tuple[int, int] | None) -> go.Figure:
    """A photo H×W×3 uint8 with its pixels counted at the sides, whose cells can be clicked; a ring on the pixel (y, x).

    grid: how the cells lie on the photo. The first trace holds a point for each cell, with its pixel.
    """
    height, width = image.shape[:2]
    pixels = np.array([grid.pixel_at(row, column) for row, column in np.ndindex(grid.cells)])
    figure = go.Figure(
        go.Scatter(
            x=pixels[:, 1],
            y=pixels[:, 0],
            mode="markers",
            marker={"size": 7, "color": "rgba(0, 0, 0, 0)"},
            hovertemplate="row y = %{y}, column x = %{x}<extra></extra>",
        )
    )
    if pixel is not None:
        ring = {"symbol": "circle-open", "size": 13, "color": "#00e5ff", "line": {"width": 3}}
        figure.add_scatter(x=[pixel[1]], y=[pixel[0]], mode="markers", marker=ring, hoverinfo="skip")
    figure.add_layout_image(
        source=_png_address(image),
        xref="x",
        yref="y",
        x=-0.5,
        y=-0.5,
        sizex=width,
        sizey=height,
        sizing="stretch",
        layer="below",
    )
    figure.update_xaxes(range=[-0.5, width - 0.5], fixedrange=True, showgrid=False, zeroline=False, constrain="domain")
    figure.update_yaxes(
        range=[height - 0.5, -0.5], fixedrange=True, showgrid=False, zeroline=False, scaleanchor="x", constrain="domain"
    )
    return _plain(figure, 380)


def _png_address(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _plain(
    figure: go.Figure, height: int, title: str = "", *, legend: bool = False, margin_top: int | None = None
) -> go.Figure:
    top = margin_top if margin_top is not None else (36 if title or legend else 8)
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": top, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=legend,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        title={"text": title, "font": {"size": 14}, "x": 0, "y": 0.99, "yanchor": "top"} if title else None,
    )
    return figure
