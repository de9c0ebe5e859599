"""Panels in a grid -> a matplotlib figure of an exact width, for print.

All lengths are in inches but font sizes, which are in points; where everything lies, `analysis.figures.layout` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.annotations import draw_annotations, is_in, write_edged
from analysis.figures.layout import (
    BAR_THICKNESS,
    FEWEST_TICKS,
    LABEL_GAP,
    MARGIN,
    MOST_TICKS,
    NUMBER_GAP,
    TEXT_GAP,
    TICK_LENGTH,
    Bar,
    Grid,
    GridRow,
    Layout,
    Panel,
    ends,
    lay_out,
    number_width,
    ticks,
)
from analysis.printing import PrintedFigure

ASCENT = 0.85  # from the top of a line to its baseline, in font sizes
FRAME = 0.4  # points
BOX, BOX_WIDTH = "#00b7ff", 0.9  # of what is shown enlarged, unlike any colour of a map
GREY = "#6b6b6b"
UNSEEN = "#c8c8c8"  # where a map does not reach: the model saw a crop of the image


class PlacedPanel(NamedTuple):
    """Where a panel is: its row, from 0, an inset's being the row above; its place and size in parts of the figure.

    shown: the part (top, left, height, width) of the row's image, in pixels.
    """

    row: int
    left: float
    top: float
    width: float
    height: float
    shown: tuple[int, int, int, int]


class GridFigure(PrintedFigure):
    """A figure of panels that says where they are."""

    panels: Sequence[PlacedPanel] = ()


def draw_grid(grid: Grid) -> GridFigure:
    """The figure of a grid, laid out by `lay_out`, whose errors it raises."""
    layout = lay_out(grid)
    sheet = _Sheet(GridFigure(figsize=(grid.look.width, layout.down.height)), grid, layout)
    _draw_titles(sheet)
    for index, row in enumerate(grid.rows):
        _draw_row_title(sheet, index)
        for column, panel in enumerate(row.panels):
            _draw_panel(sheet, index, column, panel)
    sheet.figure.panels = _placed_panels(grid, layout)
    for bar, left in zip(grid.bars_beside, layout.across.bars, strict=True):
        _draw_bar_beside(sheet, bar, left)
    for bar in grid.bars_below:
        _draw_bar_below(sheet, bar)
    for index, line in enumerate(layout.footnote):
        sheet.write(line, MARGIN, layout.down.footnote + index * grid.step, ha="left")
    return sheet.figure


@dataclass(frozen=True, eq=False)
class _Sheet:
    """A figure that is being drawn, with places in inches from its left and top edge."""

    figure: GridFigure
    grid: Grid
    layout: Layout

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        whole = self.grid.look.width, self.layout.down.height
        box = left / whole[0], 1 - (top + height) / whole[1], width / whole[0], height / whole[1]
        return self.figure.add_axes(box)

    def write(self, text: str, x: float, top: float, ha: str = "center", bold: bool = False) -> None:
        """One line of text whose top is `top` inches below the figure's."""
        self._text(text, x, top + ASCENT * self.grid.size / 72, bold, ha=ha, va="baseline")

    def write_upright(self, text: str, x: float, middle: float, bold: bool = False) -> None:
        """One line of text, read from below, whose middle is `middle` inches below the figure's top."""
        self._text(text, x, middle, bold, rotation=90, ha="left", va="center")

    def _text(self, text: str, x: float, y: float, bold: bool, **style: Any) -> None:
        position = x / self.grid.look.width, 1 - y / self.layout.down.height
        font = self.grid.font
        style |= {"fontproperties": font.properties(self.grid.size, bold, text), "path_effects": font.effects(text)}
        self.figure.text(*position, text, parse_math=False, **style)


def _placed_panels(grid: Grid, layout: Layout) -> list[PlacedPanel]:
    wide, high, down = grid.look.width, layout.down.height, layout.down
    return [
        PlacedPanel(
            _number(grid, index) - row.is_inset,
            layout.pictures[column] / wide,
            down.tops[index] / high,
            layout.picture_width / wide,
            down.heights[index] / high,
            row.shown,
        )
        for index, row in enumerate(grid.rows)
        for column, panel in enumerate(row.panels)
        if panel.is_there
    ]


def _draw_titles(sheet: _Sheet) -> None:
    across, titles = sheet.layout.across, sheet.layout.titles
    step, most, begin = sheet.grid.step, max(map(len, titles.lines)), sheet.layout.down.titles
    below = sheet.grid.look.titles == "below"
    for left, lines, subtitles in zip(across.lefts, titles.lines, titles.subtitles, strict=True):
        middle = left + across.width / 2
        top = begin + (0 if below else most - len(lines)) * step  # short titles stand close to the panels
        for index, line in enumerate(lines):
            sheet.write(line, middle, top + index * step, bold=sheet.grid.look.bold)
        top = top + len(lines) * step
        for index, line in enumerate(subtitles):
            sheet.write(line, middle, top + index * step)


def _draw_row_title(sheet: _Sheet, index: int) -> None:
    grid, down, lines = sheet.grid, sheet.layout.down, sheet.layout.row_titles[index]
    top, height = down.tops[index], down.heights[index]
    if grid.look.letters == "rows" and not grid.rows[index].is_inset:
        sheet.write(grid.look.letter(_number(grid, index)), MARGIN, top, ha="left", bold=grid.look.bold)
    # Beside the panel, or where that is too low, beside panel and captions.
    fits = all(grid.font.width(line, grid.size, grid.look.bold) <= height for line in lines)
    middle = top + (height if fits else down.bottoms[index] - top) / 2
    for place, line in enumerate(lines):
        sheet.write_upright(line, sheet.layout.across.row_titles + place * grid.step, middle, bold=grid.look.bold)


# --- panels ----------------------------------------------------------------------------------------------------------


def _draw_panel(sheet: _Sheet, index: int, column: int, panel: Panel) -> None:
    if not panel.is_there:
        return
    grid, layout = sheet.grid, sheet.layout
    row, top, height = grid.rows[index], layout.down.tops[index], layout.down.heights[index]
    ax = sheet.axes(layout.pictures[column], top, layout.picture_width, height)
    _draw_picture(sheet, ax, row, panel)
    if panel.outline is not None and panel.outline.any() and not panel.outline.all():
        lines = ax.contour(panel.outline, levels=[0.5], colors="white", linewidths=0.5)
        lines.set_path_effects([withStroke(linewidth=1.0, foreground="black")])
    if row.box is not None and panel.picture is not None:
        _draw_box(ax, row.box)
    if panel.query is not None and grid.look.query_marker and is_in(panel.query, row.shown):
        y, x = panel.query
        size = float(np.clip(4 * layout.picture_width, 2.6, 4.8))
        mark: dict[str, Any] = {"markersize": size, "markeredgewidth": size / 5, "markerfacecolor": "none"}
        halo = [withStroke(linewidth=size / 2.6, foreground="black")]
        ax.plot(x, y, "o", clip_on=False, markeredgecolor="white", path_effects=halo, **mark)
    if panel.picture is not None:
        draw_annotations(ax, panel.annotations, row.shown, layout.picture_width, grid.font, grid.size)
    if grid.look.letters == "panels" and not row.is_inset:
        _draw_letter(sheet, ax, grid.look.letter(_panels_before(grid, index, column)), index, column)
    below = top + height + TEXT_GAP + grid.letter_lines(row, "below") * grid.step
    for line, text in enumerate(layout.captions[index][column]):
        sheet.write(text, layout.across.lefts[column] + layout.across.width / 2, below + line * grid.step)


def _draw_box(ax: Axes, part: tuple[int, int, int, int]) -> None:
    """A frame around a part (top, left, height, width) of the image, which reads on light and dark."""
    top, left, height, width = part
    frame = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=BOX, linewidth=BOX_WIDTH)
    frame.set_path_effects([withStroke(linewidth=2.2 * BOX_WIDTH, foreground="black")])
    ax.add_patch(frame)


def _panels_before(grid: Grid, index: int, column: int) -> int:
    """How many panels stand before one, row by row, insets not counted."""
    rows = [row for row in grid.rows[:index] if not row.is_inset]
    before = [*(panel for row in rows for panel in row.panels), *grid.rows[index].panels[:column]]
    return sum(panel.is_there for panel in before)


def _number(grid: Grid, index: int) -> int:
    """The number of a row from 0, insets not counted."""
    return sum(not row.is_inset for row in grid.rows[:index])


def _draw_picture(sheet: _Sheet, ax: Axes, row: GridRow, panel: Panel) -> None:
    """What the panel shows, in a frame, in pixels of the row's image."""
    if panel.picture is None:
        font = sheet.grid.font.properties(sheet.grid.size)
        room = sheet.layout.picture_width
        words = "\n".join(sheet.grid.font.wrap(panel.missing, room, sheet.grid.size))
        ax.text(0.5, 0.5, words, fontproperties=font, color=GREY, ha="center", va="center",
                transform=ax.transAxes, parse_math=False)  # fmt: skip
    elif panel.norm is None:
        ax.imshow(panel.picture, interpolation="antialiased")
    else:
        ax.imshow(panel.picture, cmap=panel.colormap, norm=panel.norm, extent=row.extent, interpolation="nearest")
        if not _covers(row.extent, row.size):
            ax.set_facecolor(UNSEEN)  # unlike any colour of a map
    top, left, height, width = row.shown
    limits = {"xlim": (left - 0.5, left + width - 0.5), "ylim": (top + height - 0.5, top - 0.5)}
    ax.set(**limits, xticks=[], yticks=[], aspect="auto")
    for spine in ax.spines.values():
        spine.set_linewidth(BOX_WIDTH if row.is_inset else FRAME)
        if row.is_inset:
            spine.set_edgecolor(BOX)


def _covers(extent: tuple[float, float, float, float], size: tuple[int, int]) -> bool:
    """Whether a map of this extent leaves no pixel of its image of H×W bare."""
    left, right, bottom, top = extent
    return left <= -0.5 and right >= size[1] - 0.5 and top <= -0.5 and bottom >= size[0] - 0.5


def _draw_letter(sheet: _Sheet, ax: Axes, text: str, row: int, column: int) -> None:
    """A panel's letter: in its corner, above its left edge, or centred beneath it."""
    grid, layout = sheet.grid, sheet.layout
    place, bold = grid.look.letter_place, grid.look.bold
    top, left = layout.down.tops[row], layout.pictures[column]
    if place == "above":
        sheet.write(text, left, top - TEXT_GAP - grid.step, ha="left", bold=bold)
    elif place == "below":
        sheet.write(text, left + layout.picture_width / 2, top + layout.down.heights[row] + TEXT_GAP, bold=bold)
    else:
        corner: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "xytext": (2, -2)}
        corner |= {"ha": "left", "va": "top"}
        write_edged(ax, text, (0, 1), grid.font, grid.size, colour="white", edge="black", bold=bold, **corner)


# --- colour bars -----------------------------------------------------------------------------------------------------


def _draw_bar_beside(sheet: _Sheet, bar: Bar, left: float) -> None:
    """A bar as high as all the panels."""
    down = sheet.layout.down
    top, height = down.tops[0], down.panels - down.tops[0]
    ax = sheet.axes(left, top, BAR_THICKNESS, height)
    marks = ticks(bar, int(np.clip(height / 0.25, FEWEST_TICKS, MOST_TICKS)))
    _draw_bar(sheet, bar, ax, "vertical", marks)
    ax.tick_params(pad=1.5)
    x = left + BAR_THICKNESS + TICK_LENGTH + NUMBER_GAP + number_width(sheet.grid, marks) + LABEL_GAP
    sheet.write_upright(_fitting_label(sheet, bar, height), x, top + height / 2)


def _draw_bar_below(sheet: _Sheet, bar: Bar) -> None:
    """A bar as wide as the columns whose colours it explains."""
    across = sheet.layout.across
    own = [left for left, column in zip(across.lefts, sheet.grid.columns, strict=True) if column.group == bar.group]
    left, width = own[0], own[-1] + across.width - own[0]
    top = sheet.layout.down.bars + TEXT_GAP
    marks = ticks(bar, int(np.clip(width / 0.4, FEWEST_TICKS, MOST_TICKS)))
    _draw_bar(sheet, bar, sheet.axes(left, top, width, BAR_THICKNESS), "horizontal", marks)
    label_top = top + BAR_THICKNESS + TICK_LENGTH + sheet.grid.step + NUMBER_GAP
    sheet.write(_fitting_label(sheet, bar, width), left + width / 2, label_top)


def _draw_bar(sheet: _Sheet, bar: Bar, ax: Axes, orientation: str, marks: list[tuple[float, str]]) -> None:
    shown = ScalarMappable(bar.norm, bar.colormap)
    extend = ("both" if ends(bar.norm)[0] < 0 else "max") if bar.extends else "neither"
    drawn = sheet.figure.colorbar(shown, cax=ax, orientation=orientation, extend=extend, extendfrac=0.02)
    axis = drawn.long_axis
    axis.set_major_locator(FixedLocator([value for value, _ in marks]))
    axis.set_minor_locator(NullLocator())
    axis.set_ticklabels([text for _, text in marks], fontproperties=sheet.grid.font.properties(sheet.grid.size))
    drawn.ax.tick_params(width=FRAME, length=TICK_LENGTH * 72, pad=1)
    drawn.outline.set_linewidth(FRAME)


def _fitting_label(sheet: _Sheet, bar: Bar, room: float) -> str:
    """The longest form of the bar's label that has room, or the shortest."""
    font, size = sheet.grid.font, sheet.grid.size
    return next((text for text in bar.labels if font.width(text, size) <= room), bar.labels[-1])
