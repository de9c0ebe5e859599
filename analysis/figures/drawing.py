"""Panels in a grid -> a matplotlib figure of an exact width, for print.

All lengths are in inches but font sizes, which are in points. The layout is computed before anything is drawn, from
the measured widths of the texts, so that no text is cut off or meets another.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from analysis.figures.recipe import Look
from analysis.figures.text import Font, letter
from analysis.geometry import map_extent

MARGIN = 0.02
GAP = 0.05
GROUP_GAP = 0.10  # between pictures, maps and differences
BAR_THICKNESS = 0.08
TICK_LENGTH = 0.03
LABEL_GAP = 0.04
FEWEST_TICKS, MOST_TICKS = 2, 7
MIN_PANEL = 0.3
# Heights are whole dots at 300 and at 600 dpi.
DOTS_PER_INCH = 300
MAX_HEIGHT = 24.0
SMALL = 0.9  # captions and numbers, of the titles' size
LINE = 1.2  # from one line to the next, in font sizes
ASCENT = 0.85  # from the top of a line to its baseline, in font sizes
FRAME = 0.4  # points
GREY = "#6b6b6b"
HALO = [withStroke(linewidth=1.6, foreground="black")]


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel: what it shows, and what lies on it and beneath it. Positions are pixels of the row's image.

    picture: H×W×3 uint8, or an h×w map with its `norm` and `colormap`, or None for an empty frame saying `missing`.
    captions: the same caption in one or more forms of one or more lines each, longest form first.
    query: the pixel (y, x) to mark. outline: H×W bool, whose border is drawn.
    """

    picture: np.ndarray | None
    norm: Normalize | None = None
    colormap: str | None = None
    captions: Sequence[Sequence[str]] = ((),)
    query: tuple[int, int] | None = None
    outline: np.ndarray | None = None
    missing: str = ""


@dataclass(frozen=True)
class Column:
    """A column's group (pictures, maps or differences, in this order), its title and a line beneath it."""

    group: int
    title: str
    subtitle: str = ""


@dataclass(frozen=True, eq=False)
class Bar:
    """A colour bar of the columns of one group. labels: what it shows, longest form first. factor: of its numbers."""

    group: int
    norm: Normalize
    colormap: str
    labels: Sequence[str]
    factor: float = 1.0
    extends: bool = False  # the colours stop short of the largest values


@dataclass(frozen=True, eq=False)
class GridRow:
    """A row of panels over one image of `size` (H, W) pixels; `cells` (h, w) of its maps."""

    panels: Sequence[Panel]
    size: tuple[int, int]
    cells: tuple[int, int]
    title: str = ""


def draw_grid(
    rows: Sequence[GridRow], columns: Sequence[Column], bars: Sequence[Bar], look: Look, footnote: str = ""
) -> Figure:
    """The figure, `look.width` wide and at most MAX_HEIGHT high: panels that would be too high for it are shrunk.

    Raises ValueError where the panels or their texts have no room.
    """
    return _Grid(rows, columns, bars, look, footnote).draw()


class _Grid:
    """The layout of one figure, and its drawing."""

    def __init__(self, rows, columns, bars, look: Look, footnote: str):
        self.rows, self.columns, self.look = rows, columns, look
        self.bars = bars if look.colour_bar != "none" else []
        self.font = Font(look.font_family)
        self._check_glyphs(footnote)
        self.small = look.font_size * SMALL
        self._lay_out_columns()
        self._lay_out_titles()
        self._lay_out_captions()
        self.footnote = self.font.wrap(footnote, look.width - 2 * MARGIN, self.small)
        self._lay_out_rows()

    # --- layout ---

    def _check_glyphs(self, footnote: str) -> None:
        texts = [text for column in self.columns for text in (column.title, column.subtitle)]
        texts += [row.title for row in self.rows] + [label for bar in self.bars for label in bar.labels] + [footnote]
        texts += [line for row in self.rows for panel in row.panels for form in panel.captions for line in form]
        self.font.require_glyphs("".join(texts))

    def _lay_out_columns(self) -> None:
        """The left edges of the panels, and their common width."""
        look, count = self.look, len(self.columns)
        self.strip = 0.0  # left of the panels, for letters and titles of the rows
        if look.letters == "rows":
            self.strip = max(self.font.width(letter(index), look.font_size) for index in range(len(self.rows))) + GAP
        self.row_title_left = MARGIN + self.strip
        if any(row.title for row in self.rows):
            self.strip += LINE * look.font_size / 72 + GAP
        beside = [self._bar_width(bar) for bar in self.bars] if look.colour_bar == "right" else []
        gaps = [
            GAP if after.group == before.group else GROUP_GAP
            for before, after in zip(self.columns, self.columns[1:], strict=False)
        ]
        left = MARGIN + self.strip
        right = look.width - MARGIN - sum(beside)
        self.panel_width = (right - left - sum(gaps)) / count
        if self.panel_width < MIN_PANEL:
            raise ValueError(
                f"{count} columns on {look.width:g} inches leave {max(0, self.panel_width):.2f} inches a panel; take "
                f"fewer columns or a wider figure, for at least {MIN_PANEL} inches"
            )
        self.lefts = [left + index * self.panel_width + sum(gaps[:index]) for index in range(count)]
        self.bar_lefts = [right + sum(beside[:index]) + GROUP_GAP for index in range(len(beside))]

    def _bar_width(self, bar: Bar) -> float:
        """What a bar beside the panels takes: the gap, itself, its numbers and its label."""
        counts = range(FEWEST_TICKS, MOST_TICKS + 1)  # how many there will be, the height decides
        numbers = max(self.font.width(text, self.small) for count in counts for _, text in ticks(bar, count))
        return GROUP_GAP + BAR_THICKNESS + TICK_LENGTH + 0.02 + numbers + LABEL_GAP + LINE * self.small / 72

    def _lay_out_titles(self) -> None:
        """Titles broken into lines that fit their columns, all of one size."""
        titles = [self._lettered(index, column.title) for index, column in enumerate(self.columns)]
        words = [word for title in titles for word in title.split(" ")]
        subtitles = [column.subtitle for column in self.columns]
        room = self.panel_width + GAP / 2
        self.title_size = self.font.fitting_size(words, room, self.look.font_size, bold=True)
        self.subtitle_size = self.font.fitting_size(subtitles, room, min(self.small, self.title_size))
        self.titles = [self.font.wrap(title, room, self.title_size, bold=True) for title in titles]
        self.title_lines = max(map(len, self.titles))
        self.title_height = LINE * self.title_size / 72 * self.title_lines
        self.head = MARGIN + self.title_height + (LINE * self.subtitle_size / 72 if any(subtitles) else 0)
        self.head += 0.03 if self.title_lines or any(subtitles) else 0
        if self.bar_lefts:
            self.head = max(self.head, 0.6 * self.small / 72)  # half of the number at the bar's end

    def _lettered(self, index: int, title: str) -> str:
        return f"{letter(index)} {title}".strip() if self.look.letters == "columns" else title

    def _lay_out_captions(self) -> None:
        """The longest form of the captions that fits everywhere, or the shortest in a smaller size."""
        panels = [panel for row in self.rows for panel in row.panels]
        forms = max(len(panel.captions) for panel in panels)
        for form in range(forms):
            self.captions = [[_form(panel, form) for panel in row.panels] for row in self.rows]
            lines = [line for row in self.captions for caption in row for line in caption]
            if all(self.font.width(line, self.small) <= self.panel_width for line in lines):
                break
        self.caption_size = self.font.fitting_size(lines, self.panel_width + GAP / 2, self.small)

    def _lay_out_rows(self) -> None:
        """The panels' sizes, shrunk where the figure would be too high, and the row titles'."""
        heights = [self.panel_width * row.size[0] / row.size[1] for row in self.rows]
        self._stack(heights)
        excess = self.height - MAX_HEIGHT
        shrunk = min(1.0, 1 - excess / sum(heights))
        if shrunk < 1:
            if shrunk * max(self.panel_width, *heights) < MIN_PANEL:
                raise ValueError(
                    f"the figure would be {self.height:.1f} inches high, and {MAX_HEIGHT:g} are allowed; take fewer "
                    "rows"
                )
            self._stack([shrunk * height for height in heights])
        # A shrunk panel stands in the middle of its column, whose width the texts keep.
        self.picture_width = shrunk * self.panel_width
        self.picture_lefts = [left + (self.panel_width - self.picture_width) / 2 for left in self.lefts]
        titles = [row.title for row in self.rows]
        room = min(bottom - top for top, bottom in zip(self.tops, self.bottoms, strict=True))
        self.row_title_size = self.font.fitting_size(titles, room, self.look.font_size, bold=True)

    def _stack(self, heights: list[float]) -> None:
        """The top edges of panels of these heights, and the height of the figure."""
        step = LINE * self.caption_size / 72
        top, self.tops, self.heights, self.bottoms = self.head, [], [], []  # of the panels; with their captions
        for height, captions in zip(heights, self.captions, strict=True):
            lines = max(map(len, captions))
            self.tops.append(top)
            self.heights.append(height)
            self.bottoms.append(top + height + (lines * step + 0.03 if lines else 0))
            top = self.bottoms[-1] + GAP
        self.bottom = self.tops[-1] + self.heights[-1]
        height = top - GAP + MARGIN
        if self.bar_lefts:
            height = max(height, self.bottom + 0.6 * self.small / 72)
        self.bar_top = height
        if self.look.colour_bar == "below" and self.bars:
            height += 0.03 + BAR_THICKNESS + TICK_LENGTH + 2 * LINE * self.small / 72 + 0.02
        self.footnote_top = height
        height += len(self.footnote) * LINE * self.small / 72
        self.height = math.ceil(height * DOTS_PER_INCH - 1e-6) / DOTS_PER_INCH

    # --- drawing ---

    def draw(self) -> Figure:
        self.figure = Figure(figsize=(self.look.width, self.height))
        self._draw_titles()
        for index, row in enumerate(self.rows):
            self._draw_row_title(index, row)
            for column, panel in enumerate(row.panels):
                self._draw_panel(index, column, panel)
        for index, bar in enumerate(self.bars):
            if self.look.colour_bar == "right":
                self._draw_bar_beside(bar, self.bar_lefts[index])
            else:
                self._draw_bar_below(bar)
        for index, line in enumerate(self.footnote):
            self._write(line, MARGIN, self.footnote_top + index * LINE * self.small / 72, self.small, ha="left")
        return self.figure

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        whole = self.look.width, self.height
        box = left / whole[0], 1 - (top + height) / whole[1], width / whole[0], height / whole[1]
        return self.figure.add_axes(box)

    def _write(self, text: str, x: float, top: float, size: float, ha: str = "center", bold: bool = False, **style):
        """One line of text whose top is `top` inches below the figure's."""
        baseline = top + ASCENT * size / 72
        position = x / self.look.width, 1 - baseline / self.height
        font = self.font.properties(size, bold)
        self.figure.text(*position, text, fontproperties=font, ha=ha, va="baseline", parse_math=False, **style)

    def _draw_titles(self) -> None:
        step = LINE * self.title_size / 72
        for column, left, lines in zip(self.columns, self.lefts, self.titles, strict=True):
            middle = left + self.panel_width / 2
            top = MARGIN + (self.title_lines - len(lines)) * step  # short titles stand on the panels, not above them
            for index, line in enumerate(lines):
                self._write(line, middle, top + index * step, self.title_size, bold=True)
            if column.subtitle:
                self._write(column.subtitle, middle, MARGIN + self.title_height, self.subtitle_size)

    def _draw_row_title(self, index: int, row: GridRow) -> None:
        top, height = self.tops[index], self.heights[index]
        if self.look.letters == "rows":
            self._write(letter(index), MARGIN, top, self.look.font_size, ha="left", bold=True)
        if row.title:
            # Beside the panel, or where that is too low, beside panel and captions.
            fits = self.font.width(row.title, self.row_title_size, bold=True) <= height
            x, y = self.row_title_left, top + (height if fits else self.bottoms[index] - top) / 2
            style: dict[str, Any] = {"rotation": 90, "ha": "left", "va": "center", "parse_math": False}
            font = self.font.properties(self.row_title_size, bold=True)
            self.figure.text(x / self.look.width, 1 - y / self.height, row.title, fontproperties=font, **style)

    def _draw_panel(self, index: int, column: int, panel: Panel) -> None:
        row, top, height = self.rows[index], self.tops[index], self.heights[index]
        ax = self._axes(self.picture_lefts[column], top, self.picture_width, height)
        if panel.picture is None:
            font = self.font.properties(self.caption_size)
            ax.text(0.5, 0.5, panel.missing, fontproperties=font, color=GREY, ha="center", va="center",
                    transform=ax.transAxes, parse_math=False)  # fmt: skip
        elif panel.norm is None:
            ax.imshow(panel.picture, interpolation="antialiased")
        else:
            extent = map_extent(row.size, row.cells)
            ax.imshow(panel.picture, cmap=panel.colormap, norm=panel.norm, extent=extent, interpolation="nearest")
        ax.set(xlim=(-0.5, row.size[1] - 0.5), ylim=(row.size[0] - 0.5, -0.5), xticks=[], yticks=[], aspect="auto")
        for spine in ax.spines.values():
            spine.set_linewidth(FRAME)
        if panel.outline is not None and panel.outline.any() and not panel.outline.all():
            lines = ax.contour(panel.outline, levels=[0.5], colors="white", linewidths=0.5)
            lines.set_path_effects([withStroke(linewidth=1.0, foreground="black")])
        if panel.query is not None and self.look.query_marker:
            y, x = panel.query
            size = float(np.clip(4 * self.picture_width, 2.6, 4.8))
            mark: dict[str, Any] = {"markersize": size, "markeredgewidth": size / 5, "markerfacecolor": "none"}
            halo = [withStroke(linewidth=size / 2.6, foreground="black")]
            ax.plot(x, y, "o", clip_on=False, markeredgecolor="white", path_effects=halo, **mark)
        if self.look.letters == "panels":
            self._draw_letter(ax, letter(index * len(self.columns) + column))
        step = LINE * self.caption_size / 72
        for line, text in enumerate(self.captions[index][column]):
            middle = self.lefts[column] + self.panel_width / 2
            self._write(text, middle, top + height + 0.03 + line * step, self.caption_size)

    def _draw_letter(self, ax: Axes, text: str) -> None:
        font = self.font.properties(self.look.font_size, bold=True)
        style: dict[str, Any] = {"fontproperties": font, "color": "white", "path_effects": HALO, "parse_math": False}
        corner, inwards = (0, 1), (2, -2)
        style |= {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "left", "va": "top"}
        ax.annotate(text, corner, inwards, **style)

    def _draw_bar_beside(self, bar: Bar, left: float) -> None:
        """A bar as high as all the panels."""
        top, height = self.tops[0], self.bottom - self.tops[0]
        ax = self._axes(left, top, BAR_THICKNESS, height)
        marks = ticks(bar, int(np.clip(height / 0.25, FEWEST_TICKS, MOST_TICKS)))
        self._draw_bar(bar, ax, "vertical", marks)
        ax.tick_params(pad=1.5)
        label = self._fitting_label(bar, height)
        numbers = max(self.font.width(text, self.small) for _, text in marks)
        x = left + BAR_THICKNESS + TICK_LENGTH + 0.02 + numbers + LABEL_GAP
        position = x / self.look.width, 1 - (top + height / 2) / self.height
        style: dict[str, Any] = {"rotation": 90, "ha": "left", "va": "center", "parse_math": False}
        self.figure.text(*position, label, fontproperties=self.font.properties(self.small), **style)

    def _draw_bar_below(self, bar: Bar) -> None:
        """A bar as wide as the columns whose colours it explains."""
        own = [left for left, column in zip(self.lefts, self.columns, strict=True) if column.group == bar.group]
        left, width = own[0], own[-1] + self.panel_width - own[0]
        top = self.bar_top + 0.03
        marks = ticks(bar, int(np.clip(width / 0.4, FEWEST_TICKS, MOST_TICKS)))
        self._draw_bar(bar, self._axes(left, top, width, BAR_THICKNESS), "horizontal", marks)
        label_top = top + BAR_THICKNESS + TICK_LENGTH + LINE * self.small / 72 + 0.02
        self._write(self._fitting_label(bar, width), left + width / 2, label_top, self.small)

    def _draw_bar(self, bar: Bar, ax: Axes, orientation: str, marks: list[tuple[float, str]]) -> None:
        shown = ScalarMappable(bar.norm, bar.colormap)
        extend = ("both" if ends(bar.norm)[0] < 0 else "max") if bar.extends else "neither"
        drawn = self.figure.colorbar(shown, cax=ax, orientation=orientation, extend=extend, extendfrac=0.02)
        axis = drawn.long_axis
        axis.set_major_locator(FixedLocator([value for value, _ in marks]))
        axis.set_minor_locator(NullLocator())
        axis.set_ticklabels([text for _, text in marks], fontproperties=self.font.properties(self.small))
        drawn.ax.tick_params(width=FRAME, length=TICK_LENGTH * 72, pad=1)
        drawn.outline.set_linewidth(FRAME)

    def _fitting_label(self, bar: Bar, room: float) -> str:
        return next((text for text in bar.labels if self.font.width(text, self.small) <= room), bar.labels[-1])


def ends(norm: Normalize) -> tuple[float, float]:
    """Where a colour scale begins and ends."""
    assert norm.vmin is not None and norm.vmax is not None  # matplotlib's are open until data come, ours never
    return norm.vmin, norm.vmax


def ticks(bar: Bar, count: int) -> list[tuple[float, str]]:
    """About `count` round values on a bar's scale, and their texts."""
    low, high = (end * bar.factor for end in ends(bar.norm))
    values: Sequence[float]
    if isinstance(bar.norm, LogNorm):
        values = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high) + 1e-9) + 1)]
    else:
        symmetric = low < 0
        values = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10], symmetric=symmetric).tick_values(low, high)
    slack = 1e-9 * (high - low)
    inside = [0.0 if abs(value) < slack else value for value in values if low - slack <= value <= high + slack]
    return [(value / bar.factor, f"{value:g}".replace("-", "−")) for value in inside]


def _form(panel: Panel, index: int) -> Sequence[str]:
    return panel.captions[min(index, len(panel.captions) - 1)]
