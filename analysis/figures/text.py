"""The texts of a figure: their widths in a font, their lines, and whether the font can write them."""

from collections.abc import Sequence
from functools import lru_cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

# Points; nothing in a figure is smaller.
MIN_TEXT_SIZE = 4.5


class Font:
    """A font family: the widths of its texts, and what it can write."""

    def __init__(self, family: str):
        self.family = family

    def properties(self, size: float, bold: bool = False) -> FontProperties:
        """What matplotlib calls this font; size in points."""
        return FontProperties(family=self.family, size=size, weight="bold" if bold else "normal")

    def width(self, text: str, size: float, bold: bool = False) -> float:
        """In inches."""
        return size * _width_in_ems(text, self.properties(1, bold)) / 72

    def fitting_size(self, texts: Sequence[str], room: float, size: float, bold: bool = False) -> float:
        """`size`, or less where a text needs it to be at most `room` inches wide. Raises ValueError below the least."""
        widest = max(texts, key=lambda text: self.width(text, size, bold), default="")
        width = self.width(widest, size, bold)
        fitting = size if width <= room else size * room / width
        if fitting < MIN_TEXT_SIZE:
            raise ValueError(
                f"{widest!r} has no room: its {room:.2f} inches would need letters of {fitting:.1f} points, and the "
                f"least is {MIN_TEXT_SIZE}; shorten it, take fewer columns or a wider figure"
            )
        return fitting

    def wrap(self, text: str, room: float, size: float, bold: bool = False) -> list[str]:
        """The text in lines of at most `room` inches, where its words allow."""
        lines: list[str] = []
        for word in text.split(" ") if text else ():  # no-break spaces keep their words together
            if lines and self.width(f"{lines[-1]} {word}", size, bold) <= room:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    def require_glyphs(self, text: str) -> None:
        """Raises ValueError naming the characters that the font lacks: they would be drawn as boxes."""
        known = get_font(findfont(self.properties(10))).get_charmap()
        if missing := sorted(set(text) - set(map(chr, known))):
            raise ValueError(
                f"the font {self.family} cannot write {', '.join(map(repr, missing[:5]))}; change the text or the font"
            )


def letter(index: int) -> str:
    """(a) … (z), (aa) …"""
    rest, last = divmod(index, 26)
    return f"({chr(96 + rest) if rest else ''}{chr(97 + last)})"


@lru_cache(maxsize=4096)
def _width_in_ems(text: str, font: FontProperties) -> float:
    """The width of a text over its font size."""
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] if text else 0.0
