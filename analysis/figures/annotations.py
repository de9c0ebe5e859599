"""Annotations of a figure, arrows, boxes, letters and short texts: what they are, and how they are drawn on a panel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.patheffects import Stroke, withStroke

from analysis.figures.reading import require
from analysis.printing import Font

MAX_PIXEL = 99_999  # of any image's row or column
MAX_ANNOTATIONS = 16  # of a row
MAX_TEXT_LENGTH = 30

AnnotationKind = Literal["arrow", "box", "text"]
AnnotationPanels = Literal["all", "photo", "maps"]
AnnotationColour = Literal["white", "black", "yellow", "red", "blue"]
# Each colour, and that of the thin edge around it which makes it read on any picture.
COLOURS = {
    "white": ("#ffffff", "#000000"),
    "black": ("#000000", "#ffffff"),
    "yellow": ("#ffe100", "#000000"),
    "red": ("#e0001b", "#ffffff"),
    "blue": ("#0057e7", "#ffffff"),
}
LINE_WIDTH, EDGE = 1.2, 0.8  # points: of arrows and boxes, and of the edge on each side of a line or letter
ARROW_HEAD: Final = "-|>,head_length=0.45,head_width=0.25"
HEAD_SCALE = 7.0  # points
TEXT_LINE = 1.0  # the height of a line of text, in font sizes


@dataclass(frozen=True)
class Annotation:
    """An arrow, a box, or a letter or short text on one row's panels. Places are pixels (y, x) of the row's image.

    at: an arrow's tip, a box's corner, a text's middle. to: an arrow's tail, a box's opposite corner; None for a text.
    text: of a text alone. panels: on all of the row's panels, the photo, or the maps; and in the row's inset where it
    falls into it.
    """

    kind: AnnotationKind
    at: tuple[int, int]
    to: tuple[int, int] | None = None
    text: str = ""
    panels: AnnotationPanels = "all"
    colour: AnnotationColour = "white"

    def __post_init__(self):
        for field, place in (("at", self.at), ("to", self.to)):
            inside = place is None or all(0 <= side <= MAX_PIXEL for side in place)
            require(inside, field, list(place or ()), f"[y, x], each in 0 … {MAX_PIXEL}")
        if len(self.text) > MAX_TEXT_LENGTH:
            raise ValueError(f"text has {len(self.text)} characters; an annotation has at most {MAX_TEXT_LENGTH}")


def check_annotations(annotations: Sequence[Annotation], where: str) -> None:
    """Raises ValueError for too many of them, and for fields that do not go together; where: names them."""
    if len(annotations) > MAX_ANNOTATIONS:
        raise ValueError(f"{where} has {len(annotations)} entries; a row has at most {MAX_ANNOTATIONS}")
    for index, annotation in enumerate(annotations):
        if wrong := _what_is_wrong(annotation):
            raise ValueError(f"{where}[{index}] {wrong}")


def _what_is_wrong(annotation: Annotation) -> str:
    """Why an annotation whose fields are right one by one cannot be drawn; "" if it can."""
    if annotation.kind == "text":
        if not annotation.text.strip():
            return "is a text without letters; type what it says"
        return "is a text and has another end, `to`; leave that out" if annotation.to is not None else ""
    if annotation.text:
        return f"is {_named(annotation)} and has a text; give the text an annotation of its own"
    if annotation.to is None:
        return f"is {_named(annotation)} without its other end; give `to` as [y, x]"
    return f"is {_named(annotation)} whose two ends are one pixel; move one" if annotation.to == annotation.at else ""


def _named(annotation: Annotation) -> str:
    return f"{'an' if annotation.kind == 'arrow' else 'a'} {annotation.kind}"


def farthest(annotation: Annotation) -> tuple[int, int]:
    """The largest row and column that an annotation names."""
    y, x = annotation.at
    return (y, x) if annotation.to is None else (max(y, annotation.to[0]), max(x, annotation.to[1]))


def is_on(annotation: Annotation, *, is_photo: bool, is_map: bool) -> bool:
    """Whether a panel bears an annotation."""
    return annotation.panels == "all" or (is_photo if annotation.panels == "photo" else is_map)


# --- drawing ---------------------------------------------------------------------------------------------------------


def draw_annotations(
    ax: Axes, annotations: Sequence[Annotation], shown: tuple[int, int, int, int], width: float, font: Font, size: float
) -> None:
    """Draw what falls into the part (top, left, height, width) of the image that a panel, `width` inches wide, shows.

    An arrow belongs where its tip is, and a text where its middle is; what reaches beyond the panel is cut, but a text
    is moved inside. Raises ValueError for a text that is wider or higher than its panel.
    """
    for annotation in annotations:
        if annotation.kind == "box":
            _draw_box(ax, annotation)
        elif not is_in(annotation.at, shown):
            continue
        elif annotation.kind == "arrow":
            _draw_arrow(ax, annotation)
        else:
            y, x = text_place(annotation, shown, width, font, size)
            colour, edge = COLOURS[annotation.colour]
            write_edged(ax, annotation.text, (x, y), font, size, colour=colour, edge=edge)


def write_edged(
    ax: Axes,
    text: str,
    at: tuple[float, float],
    font: Font,
    size: float,
    *,
    colour: str,
    edge: str,
    bold: bool = True,
    **style: Any,
) -> None:
    """A text that reads on any picture, in the middle of `at` (x, y) if `style` says nothing else.

    The edge is drawn by itself, beneath: a text with path effects would be outlines in a file, and no text.
    """
    style = {"ha": "center", "va": "center", "parse_math": False, "clip_on": True, **style}
    style |= {"fontproperties": font.properties(size, bold, text)}
    beneath = [Stroke(linewidth=2 * EDGE, foreground=edge, joinstyle="round")]
    ax.annotate(text, at, color=edge, path_effects=beneath, **style)
    ax.annotate(text, at, color=colour, path_effects=font.effects(text), **style)


def text_place(
    annotation: Annotation, shown: tuple[int, int, int, int], width: float, font: Font, size: float
) -> tuple[float, float]:
    """(y, x) of a text's middle: its own, or the nearest where the whole of it lies on the panel."""
    top, left, rows, columns = shown
    pixels = columns / width  # an inch
    high = (TEXT_LINE * size + 2 * EDGE) / 72 * pixels
    wide = (font.width(annotation.text, size, bold=True) + 2 * EDGE / 72) * pixels
    if wide > columns or high > rows:
        raise ValueError(
            f"the annotation {annotation.text!r} has no room on its panel of {width:.2f}×{rows / pixels:.2f} inches; "
            "shorten it, or take smaller letters, fewer columns or a wider figure"
        )
    y = min(max(annotation.at[0], top - 0.5 + high / 2), top + rows - 0.5 - high / 2)
    x = min(max(annotation.at[1], left - 0.5 + wide / 2), left + columns - 0.5 - wide / 2)
    return y, x


def is_in(pixel: tuple[int, int], part: tuple[int, int, int, int]) -> bool:
    """Whether a pixel (y, x) lies in a part (top, left, height, width) of an image."""
    (y, x), (top, left, height, width) = pixel, part
    return top <= y < top + height and left <= x < left + width


def _edged(colour: str) -> dict[str, Any]:
    """The colours and lines of an arrow or a box."""
    inner, edge = COLOURS[colour]
    effects = [withStroke(linewidth=LINE_WIDTH + 2 * EDGE, foreground=edge)]
    return {"edgecolor": inner, "linewidth": LINE_WIDTH, "path_effects": effects}


def _draw_arrow(ax: Axes, annotation: Annotation) -> None:
    assert annotation.to is not None  # see check_annotations
    ends = [place[::-1] for place in (annotation.to, annotation.at)]
    ax.add_patch(
        FancyArrowPatch(
            *ends,
            arrowstyle=ARROW_HEAD,
            mutation_scale=HEAD_SCALE,
            shrinkA=0,
            shrinkB=0,
            joinstyle="miter",
            facecolor=COLOURS[annotation.colour][0],
            **_edged(annotation.colour),
        )
    )


def _draw_box(ax: Axes, annotation: Annotation) -> None:
    """A frame around all pixels from one corner to the other."""
    assert annotation.to is not None
    (top, bottom), (left, right) = (sorted(pair) for pair in zip(annotation.at, annotation.to, strict=True))
    place, size = (left - 0.5, top - 0.5), (right - left + 1, bottom - top + 1)
    ax.add_patch(Rectangle(place, *size, fill=False, joinstyle="miter", **_edged(annotation.colour)))
