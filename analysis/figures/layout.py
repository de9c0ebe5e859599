"""Where everything in a figure of panels lies, computed before anything is drawn.

It rests on the measured widths of the texts, so that no text is cut off or meets another. All lengths are in inches,
places from the figure's left and top edge, but font sizes are in points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from analysis.figures.annotations import Annotation
from analysis.figures.look import LetterPlace, Look
from analysis.printing import Font

MARGIN = 0.02
GAP = 0.05
GROUP_GAP = 0.10  # between pictures, maps and differences
TEXT_GAP = 0.03  # between a panel and the texts above and beneath it
BAR_THICKNESS = 0.08
TICK_LENGTH = 0.03
NUMBER_GAP = 0.02  # between a tick and its number
LABEL_GAP = 0.04
FEWEST_TICKS, MOST_TICKS = 2, 7
MIN_PANEL = 0.3
# Heights are whole dots at 300 and at 600 dpi.
DOTS_PER_INCH = 300
MAX_HEIGHT = 24.0
LINE = 1.2  # from one line to the next, in font sizes
HALF_NUMBER = 0.6  # half of the number at the end of a bar beside the panels, in font sizes
MOST_ROW_TITLE_LINES = 4


# --- what a figure shows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel: what it shows, and what lies on it and beneath it. Positions are pixels of the row's image.

    picture: H×W×3 uint8, or an h×w map with its `norm` and `colormap`, or None for an empty frame saying `missing`.
    captions: the same caption in one or more forms of one or more lines each, longest form first.
    query: the pixel (y, x) to mark. outline: H×W bool, whose border is drawn. is_there: False leaves the place free.
    annotations: what is drawn on it where it falls into what is shown.
    """

    picture: np.ndarray | None
    norm: Normalize | None = None
    colormap: str | None = None
    captions: Sequence[Sequence[str]] = ((),)
    query: tuple[int, int] | None = None
    outline: np.ndarray | None = None
    missing: str = ""
    is_there: bool = True
    annotations: Sequence[Annotation] = ()


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
    """A row of panels over one image of `size` (H, W) pixels.

    extent: the edges (left, right, bottom, top) of its maps in pixels of that image. view: the part that is shown,
    (top, left, height, width); None for the whole image. box: a part that is framed. is_inset: whether it belongs to
    the row above, so that it has no letter of its own.
    """

    panels: Sequence[Panel]
    size: tuple[int, int]
    extent: tuple[float, float, float, float]
    title: str = ""
    view: tuple[int, int, int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    is_inset: bool = False

    @property
    def shown(self) -> tuple[int, int, int, int]:
        """(top, left, height, width) of what the panels show."""
        return (0, 0, *self.size) if self.view is None else self.view


@dataclass(frozen=True, eq=False)
class Grid:
    """A figure's panels, row by row, its colour bars, its look, and a note beneath it all."""

    rows: Sequence[GridRow]
    columns: Sequence[Column]
    bars: Sequence[Bar]
    look: Look
    footnote: str = ""

    @property
    def font(self) -> Font:
        """The font of all texts."""
        return Font(self.look.font_family)

    @property
    def size(self) -> float:
        """The size of all texts, in points."""
        return self.look.font_size

    @property
    def step(self) -> float:
        """From one line of text to the next, in inches."""
        return LINE * self.size / 72

    def letter_lines(self, row: GridRow, place: LetterPlace) -> int:
        """How many lines the letters of a row's panels take above or below them: one or none."""
        look = self.look
        return int(look.letters == "panels" and look.letter_place == place and not row.is_inset)

    @property
    def bars_beside(self) -> Sequence[Bar]:
        """The colour bars right of the panels."""
        return self.bars if self.look.colour_bar == "right" else ()

    @property
    def bars_below(self) -> Sequence[Bar]:
        """The colour bars beneath the panels."""
        return self.bars if self.look.colour_bar == "below" else ()


# --- where it lies ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Across:
    """Left edges: of the columns, all `width` wide, of the rows' titles, and of the colour bars beside the panels."""

    lefts: Sequence[float]
    width: float
    row_titles: float
    bars: Sequence[float]


@dataclass(frozen=True)
class Titles:
    """The columns' titles and their subtitles in lines.

    height: of the titles alone. head: where the first row begins. foot: what the titles take beneath the last row.
    """

    lines: Sequence[Sequence[str]]
    subtitles: Sequence[Sequence[str]]
    height: float
    head: float
    foot: float


@dataclass(frozen=True)
class Down:
    """Of each row of panels: its top edge, the panels' height, and the bottom edge with the captions.

    panels: the bottom edge of the last row's panels. titles, bars, footnote: the top edges of the columns' titles, the
    bars beneath the panels, and the footnote. height: of the figure.
    """

    tops: Sequence[float]
    heights: Sequence[float]
    bottoms: Sequence[float]
    panels: float
    titles: float
    bars: float
    footnote: float
    height: float


@dataclass(frozen=True)
class Layout:
    """Where everything lies. pictures: left edges of what the panels show, each `picture_width` wide.

    captions: the lines beneath each panel, row by row and column by column. row_titles: the lines of each row's title.
    A panel that is shrunk stands in the middle of its column, whose width the texts keep.
    """

    across: Across
    titles: Titles
    captions: Sequence[Sequence[Sequence[str]]]
    down: Down
    pictures: Sequence[float]
    picture_width: float
    row_titles: Sequence[Sequence[str]]
    footnote: Sequence[str]


def lay_out(grid: Grid) -> Layout:
    """The layout of a figure `look.width` wide and at most MAX_HEIGHT high: panels too high for it are shrunk.

    Raises ValueError where the panels or their texts have no room, and for characters that the font cannot write.
    """
    _check_glyphs(grid)
    for lines in range(1, MOST_ROW_TITLE_LINES + 1):
        layout = _with_row_titles(grid, lines)
        if max(map(len, layout.row_titles)) <= lines:
            return layout
    longest = max((row.title for row in grid.rows), key=len)
    raise ValueError(f"the row's title {longest!r} has no room beside its panels; shorten it or take smaller letters")


def _with_row_titles(grid: Grid, most_lines: int) -> Layout:
    """The layout that leaves room for so many lines of the rows' titles, which may turn out to need more."""
    across = _across(grid, most_lines)
    titles = _titles(grid, across)
    captions = _captions(grid, across)
    footnote = grid.font.wrap(grid.footnote, grid.look.width - 2 * MARGIN, grid.size)
    down, shrunk = _down(grid, across, titles, captions, len(footnote))
    picture_width = shrunk * across.width
    rooms = [bottom - top for top, bottom in zip(down.tops, down.bottoms, strict=True)]
    return Layout(
        across=across,
        titles=titles,
        captions=captions,
        down=down,
        pictures=[left + (across.width - picture_width) / 2 for left in across.lefts],
        picture_width=picture_width,
        row_titles=[
            grid.font.wrap(row.title, room, grid.size, grid.look.bold)
            for row, room in zip(grid.rows, rooms, strict=True)
        ],
        footnote=footnote,
    )


def _check_glyphs(grid: Grid) -> None:
    texts = [text for column in grid.columns for text in (column.title, column.subtitle)]
    bars = (*grid.bars_beside, *grid.bars_below)
    texts += [row.title for row in grid.rows] + [label for bar in bars for label in bar.labels] + [grid.footnote]
    texts += [line for row in grid.rows for panel in row.panels for form in panel.captions for line in form]
    texts += [each.text for row in grid.rows for panel in row.panels for each in panel.annotations]
    grid.font.require_glyphs("".join(texts))


def _across(grid: Grid, title_lines: int) -> Across:
    """The columns share what margins, row titles of so many lines, gaps and bars leave of the width."""
    look, count = grid.look, len(grid.columns)
    strip = 0.0  # left of the panels, for letters and titles of the rows
    if look.letters == "rows":
        letters = map(look.letter, range(len(grid.rows)))
        strip = max(grid.font.width(each, grid.size, look.bold) for each in letters) + GAP
    row_titles = MARGIN + strip
    if any(row.title for row in grid.rows):
        strip += title_lines * grid.step + GAP
    beside = [_bar_width(grid, bar) for bar in grid.bars_beside]
    gaps = [
        GAP if after.group == before.group else GROUP_GAP
        for before, after in zip(grid.columns, grid.columns[1:], strict=False)
    ]
    left = MARGIN + strip
    right = look.width - MARGIN - sum(beside)
    width = (right - left - sum(gaps)) / count
    if width < MIN_PANEL:
        raise ValueError(
            f"{count} columns on {look.width:g} inches leave {max(0, width):.2f} inches a panel; take "
            f"fewer columns or a wider figure, for at least {MIN_PANEL} inches"
        )
    return Across(
        lefts=[left + index * width + sum(gaps[:index]) for index in range(count)],
        width=width,
        row_titles=row_titles,
        bars=[right + sum(beside[:index]) + GROUP_GAP for index in range(len(beside))],
    )


def _bar_width(grid: Grid, bar: Bar) -> float:
    """What a bar beside the panels takes: the gap, itself, its numbers and its label."""
    counts = range(FEWEST_TICKS, MOST_TICKS + 1)  # how many there will be, the height decides
    numbers = number_width(grid, [mark for count in counts for mark in ticks(bar, count)])
    return GROUP_GAP + BAR_THICKNESS + TICK_LENGTH + NUMBER_GAP + numbers + LABEL_GAP + grid.step


def _titles(grid: Grid, across: Across) -> Titles:
    """Titles broken into lines that fit their columns."""
    titles = [_lettered(grid, index, column.title) for index, column in enumerate(grid.columns)]
    room = across.width + GAP / 2
    lines = [grid.font.wrap(title, room, grid.size, grid.look.bold) for title in titles]
    subtitles = [grid.font.wrap(column.subtitle, room, grid.size) for column in grid.columns]
    most, below = max(map(len, lines)), max(map(len, subtitles))
    height = most * grid.step
    whole = height + below * grid.step + (TEXT_GAP if most or below else 0)
    head, foot = (MARGIN, whole) if grid.look.titles == "below" else (MARGIN + whole, 0.0)
    if grid.bars_beside:
        head = max(head, HALF_NUMBER * grid.size / 72)
    return Titles(lines, subtitles, height, head, foot)


def _lettered(grid: Grid, index: int, title: str) -> str:
    return f"{grid.look.letter(index)} {title}".strip() if grid.look.letters == "columns" else title


def _captions(grid: Grid, across: Across) -> Sequence[Sequence[Sequence[str]]]:
    """The longest form of the captions that fits everywhere, or the shortest in as many lines as it takes."""
    forms = max(len(panel.captions) for row in grid.rows for panel in row.panels)
    for form in range(forms):
        captions = [[_form(panel, form) for panel in row.panels] for row in grid.rows]
        lines = [line for row in captions for caption in row for line in caption]
        if all(grid.font.width(line, grid.size) <= across.width for line in lines):
            break
    room = across.width + GAP / 2
    return [
        [
            # Names of classes under pictures may have words of any length.
            [part for line in caption for part in grid.font.wrap(line, room, grid.size, anywhere=panel.norm is None)]
            for caption, panel in zip(shown, row.panels, strict=True)
        ]
        for shown, row in zip(captions, grid.rows, strict=True)
    ]


def _form(panel: Panel, index: int) -> Sequence[str]:
    return panel.captions[min(index, len(panel.captions) - 1)]


def _down(
    grid: Grid, across: Across, titles: Titles, captions: Sequence[Sequence[Sequence[str]]], footnote_lines: int
) -> tuple[Down, float]:
    """The rows beneath each other, and what their panels are shrunk by where the figure would be too high."""
    heights = [across.width * row.shown[2] / row.shown[3] for row in grid.rows]
    down = _stacked(grid, heights, titles, captions, footnote_lines)
    shrunk = min(1.0, 1 - (down.height - MAX_HEIGHT) / sum(heights))
    if shrunk < 1:
        if shrunk * max(across.width, *heights) < MIN_PANEL:
            raise ValueError(
                f"the figure would be {down.height:.1f} inches high, and {MAX_HEIGHT:g} are allowed; take fewer rows"
            )
        down = _stacked(grid, [shrunk * height for height in heights], titles, captions, footnote_lines)
    return down, shrunk


def _stacked(
    grid: Grid,
    heights: Sequence[float],
    titles: Titles,
    captions: Sequence[Sequence[Sequence[str]]],
    footnote_lines: int,
) -> Down:
    """Panels of these heights beneath each other, with all that follows them."""
    top, tops, bottoms = titles.head, [], []
    for height, row, texts in zip(heights, grid.rows, captions, strict=True):
        lines = max(map(len, texts)) + grid.letter_lines(row, "below")
        top += grid.letter_lines(row, "above") * (grid.step + TEXT_GAP)
        tops.append(top)
        bottom = top + height + (lines * grid.step + TEXT_GAP if lines else 0)
        bottoms.append(max(bottom, top + grid.font.least_room(row.title, grid.size, grid.look.bold)))
        top = bottoms[-1] + GAP
    panels = tops[-1] + heights[-1]
    under = bottoms[-1] + (TEXT_GAP if titles.foot else 0)
    bars = bottoms[-1] + titles.foot + MARGIN
    if grid.bars_beside:
        bars = max(bars, panels + HALF_NUMBER * grid.size / 72)
    footnote = bars
    if grid.bars_below:
        footnote += TEXT_GAP + BAR_THICKNESS + TICK_LENGTH + 2 * grid.step + NUMBER_GAP
    height = footnote + footnote_lines * grid.step
    whole = math.ceil(height * DOTS_PER_INCH - 1e-6) / DOTS_PER_INCH
    at = under if titles.foot else MARGIN
    return Down(tops, heights, bottoms, panels, at, bars, footnote, whole)


# --- colour bars -----------------------------------------------------------------------------------------------------


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


def number_width(grid: Grid, marks: Sequence[tuple[float, str]]) -> float:
    """The width of the widest number at a bar's ticks."""
    return max(grid.font.width(text, grid.size) for _, text in marks)
