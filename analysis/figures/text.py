"""The texts of a figure: their widths in a font, their lines, and whether the font can write them."""

import math
import re
from functools import lru_cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

# A word may be broken after these.
BREAKS = re.compile(r"(?<=[-_/·])(?=\S)")


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

    def wrap(self, text: str, room: float, size: float, bold: bool = False) -> list[str]:
        """The text in lines of at most `room` inches, broken between words and after BREAKS where it must be.

        Raises ValueError for a word that has no room: letters are never made smaller than they were chosen.
        """
        lines: list[str] = []
        for word in text.split(" ") if text else ():  # no-break spaces keep their words together
            for index, part in enumerate(self._parts(word, room, size, bold)):
                joined = f"{lines[-1]}{' ' if index == 0 else ''}{part}" if lines else part
                if lines and self.width(joined, size, bold) <= room:
                    lines[-1] = joined
                else:
                    lines.append(part)
        return lines

    def least_room(self, text: str, size: float, bold: bool = False) -> float:
        """The inches of a line that the text needs at least, broken wherever it can be."""
        parts = (part for word in text.split(" ") for part in BREAKS.split(word))
        return max((self.width(part, size, bold) for part in parts), default=0.0)

    def _parts(self, word: str, room: float, size: float, bold: bool) -> list[str]:
        """A word whole, or where it has no room, the parts between its BREAKS."""
        if self.width(word, size, bold) <= room:
            return [word]
        parts = BREAKS.split(word)
        widest = max(parts, key=lambda part: self.width(part, size, bold))
        width = self.width(widest, size, bold)
        if width > room:
            raise ValueError(
                f"{widest!r} has no room: at {size:g} points it is {width:.2f} inches wide, and there are {room:.2f}; "
                f"take letters of at most {math.floor(10 * size * room / width) / 10:g} points, shorten it, or take "
                "fewer columns or a wider figure"
            )
        return parts

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
