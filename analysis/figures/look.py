"""How a figure is drawn: its width, fonts, titles and letters, and what publishers ask of them."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from analysis.figures.reading import require
from analysis.printing import letter

# Widths of one column and of both columns of a two-column page, in inches.
COLUMN_WIDTH, PAGE_WIDTH = 3.5, 7.16
MAX_WIDTH = 12.0

# Perceptually uniform, and those of the differences pale at nothing.
Colormap = Literal["magma", "inferno", "viridis", "plasma", "cividis", "gray"]
DifferenceColormap = Literal["RdBu_r", "PuOr_r", "BrBG"]
# Only fonts that come with matplotlib, so that a recipe draws the same figure everywhere. STIXGeneral is the Times-like
# one. (TeX Gyre Termes has PostScript outlines, which no PDF can embed as TrueType.)
FontFamily = Literal["DejaVu Sans", "DejaVu Serif", "STIXGeneral"]
Letters = Literal["none", "panels", "columns", "rows"]
LetterForm = Literal["(a)", "a", "A"]
LetterPlace = Literal["inside", "above", "below"]
TitlePlace = Literal["above", "below"]
ColourBar = Literal["right", "below", "none"]
Outline = Literal["none", "true", "predicted"]
Style = Literal["plain", "ieee", "elsevier", "springer"]


class StyleValues(NamedTuple):
    """What a style says: the widths of one column and of the page, in inches, and fields of `Look`."""

    column_width: float
    width: float
    font_family: FontFamily
    font_size: float
    letters: Letters
    letter_form: LetterForm
    letter_place: LetterPlace
    titles: TitlePlace
    bold: bool


def _inches(millimetres: float) -> float:
    return round(millimetres / 25.4, 3)


# Journals of one publisher differ: the guide for authors of the journal has the last word.
STYLES: dict[str, StyleValues] = {
    "plain": StyleValues(COLUMN_WIDTH, PAGE_WIDTH, "DejaVu Sans", 7.0, "none", "(a)", "inside", "above", True),
    # IEEE Author Center, "Size Requirements for Graphics": 3.5 and 7.16 inches. IEEEtran sets (a) and its title
    # centred beneath each part, in Times of 8 points.
    "ieee": StyleValues(COLUMN_WIDTH, PAGE_WIDTH, "STIXGeneral", 8.0, "columns", "(a)", "below", "below", False),
    # Elsevier, "Artwork sizing": 90 and 190 mm, letters of 7 points; "Artwork types": Times is among the fonts.
    "elsevier": StyleValues(_inches(90), _inches(190), "STIXGeneral", 7.0, "panels", "(a)", "above", "above", False),
    # Springer, "Artwork and Illustrations Guidelines": 84 and 174 mm, sans serif letters of 8 to 12 points; a, b, c.
    "springer": StyleValues(_inches(84), _inches(174), "DejaVu Sans", 8.0, "panels", "a", "above", "above", True),
}
OF_STYLE: Any = None  # in place of a value, for the style's


@dataclass(frozen=True)
class Look:
    """How the figure is drawn.

    style: the publisher whose values the fields have that are not given, down to `bold`. width: of the whole figure, in
    inches; its height follows. font_size: of its texts, in points; none is smaller. letter_place: of letters on panels;
    inside, they stand in the panel's corner. titles: where those of the columns stand. bold: titles and letters.
    """

    style: Style = "plain"
    width: float = OF_STYLE
    font_family: FontFamily = OF_STYLE
    font_size: float = OF_STYLE
    letters: Letters = OF_STYLE
    letter_form: LetterForm = OF_STYLE
    letter_place: LetterPlace = OF_STYLE
    titles: TitlePlace = OF_STYLE
    bold: bool = OF_STYLE
    colour_bar: ColourBar = "right"
    colormap: Colormap = "magma"
    difference_colormap: DifferenceColormap = "RdBu_r"
    class_outline: Outline = "none"  # of the query's class: that of the labels, or that of the prediction
    query_marker: bool = True
    noise_figures: bool = True  # under the maps, with the query's pixel and classes under the pictures
    # Rows without a title of their own are named by their query's class, and by their model where there are several.
    class_titles: bool = False

    def __post_init__(self):
        if self.style not in STYLES:
            raise ValueError(f"style is {self.style!r}; choose one of {', '.join(STYLES)}")
        for name, value in STYLES[self.style]._asdict().items():
            if name != "column_width" and getattr(self, name) is OF_STYLE:
                object.__setattr__(self, name, value)
        require(1 <= self.width <= MAX_WIDTH, "width", self.width, f"in 1 … {MAX_WIDTH:g} inches")
        require(5 <= self.font_size <= 16, "font_size", self.font_size, "in 5 … 16 points")

    def letter(self, index: int) -> str:
        """The letter of a panel, column or row, counted from 0."""
        bare = letter(index).strip("()")
        return {"(a)": f"({bare})", "a": bare, "A": bare.upper()}[self.letter_form]


PLAIN = Look()
