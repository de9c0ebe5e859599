"""Text in pictures: its width in a font, its lines, and what stands for a name that no font can write."""

import math
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import AbstractPathEffect, Normal
from matplotlib.textpath import text_to_path

from analysis.printing.fonts import fallbacks, has_bold, has_cff_outlines

# A word may be broken after these, after the dots of a name (stages.2.blocks, but not 0.25), and between the letters of
# Chinese, Japanese and Korean.
EAST_ASIAN = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
DOT = r"(?<=[^\W\d_]\.)(?=\w)|(?<=\w\.)(?=[^\W\d_])"
BREAKS = re.compile(rf"(?<=[-_/·])(?=\S)|{DOT}|(?<=[{EAST_ASIAN}])(?=[{EAST_ASIAN}])")
ELLIPSIS = "…"


class Font:
    """A font family, helped by the machine's fonts for letters that it lacks: the widths of texts, and their lines."""

    def __init__(self, family: str):
        self.family = family

    def properties(self, size: float, bold: bool = False, text: str = "") -> FontProperties:
        """What matplotlib calls the font of a text; size in points. Bold where all its letters have a bold face."""
        others = fallbacks(text, self.family) or ()
        weight = "bold" if bold and has_bold(others) else "normal"
        return FontProperties(family=[self.family, *others], size=size, weight=weight)

    def effects(self, text: str) -> list[AbstractPathEffect]:
        """The path effects that a text must have: letters that a PDF cannot embed as TrueType are drawn as outlines."""
        others = fallbacks(text, self.family)
        return [Normal()] if others and has_cff_outlines(others) else []

    def families(self, text: str) -> list[str]:
        """This family and those that help it with a text."""
        return [self.family, *(fallbacks(text, self.family) or ())]

    def width(self, text: str, size: float, bold: bool = False) -> float:
        """In inches, of one line."""
        return size * _width_in_ems(text, self.properties(1, bold, text)) / 72

    def wrap(self, text: str, room: float, size: float, bold: bool = False, *, anywhere: bool = False) -> list[str]:
        """The text in lines of at most `room` inches, broken between words and after BREAKS where it must be.

        anywhere: break other words between any letters. Else raises ValueError for a word that has no room: letters are
        never made smaller than they were chosen.
        """
        lines: list[str] = []
        for word in text.split(" ") if text else ():  # no-break spaces keep their words together
            for index, part in enumerate(self._parts(word, room, size, bold, anywhere)):
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

    def _parts(self, word: str, room: float, size: float, bold: bool, anywhere: bool) -> list[str]:
        """A word whole, or where it has no room, the parts between its BREAKS, or its letters."""
        if self.width(word, size, bold) <= room:
            return [word]
        parts = BREAKS.split(word)
        widest = max(parts, key=lambda part: self.width(part, size, bold))
        width = self.width(widest, size, bold)
        if width <= room:
            return parts
        if not anywhere:
            raise ValueError(
                f"{widest!r} has no room: at {size:g} points it is {width:.2f} inches wide, and there are {room:.2f}; "
                f"take letters of at most {math.floor(10 * size * room / width) / 10:g} points, shorten it, or take "
                "fewer columns or a wider figure"
            )
        fits = [self.width(part, size, bold) <= room for part in parts]
        return [
            piece for part, whole in zip(parts, fits, strict=True) for piece in ([part] if whole else _letters(part))
        ]

    def can_write(self, text: str) -> bool:
        """Whether this family, or a font of the machine, has all the letters of a text."""
        return fallbacks(text, self.family) is not None

    def require_glyphs(self, text: str) -> None:
        """Raises ValueError naming the characters that no font here has: they would be drawn as boxes."""
        if not self.can_write(text):
            missing = [letter for letter in sorted(set(text)) if not self.can_write(letter)]
            raise ValueError(
                f"neither {self.family} nor a font of this machine can write {', '.join(map(repr, missing[:5]))}; "
                "change the text, or install a font that has them"
            )


class Names(NamedTuple):
    """What a picture calls things. texts: name -> what is written, in lines. key: what is not the name -> the name."""

    texts: dict[str, str]
    key: dict[str, str]


def picture_names(names: Mapping[str, str], font: Font, size: float, room: float = 2.2, most_lines: int = 3) -> Names:
    """What a picture calls things with names of any length and letters.

    names: each name and what stands for it where no font can write it, such as "class 3". Names wider than `room`
    inches are broken into lines, and cut after `most_lines` of them; what is cut or numbered is in the key.
    """
    texts, key = {}, {}
    for name, number in names.items():
        plain = " ".join(name.split())
        lines = font.wrap(plain, room, size, anywhere=True) if font.can_write(plain) else [number]
        if len(lines) > most_lines:
            end = f"{ELLIPSIS} ({number})"
            last = lines[most_lines - 1]
            while last and font.width(last + end, size) > room:
                last = last[:-1]
            lines = [*lines[: most_lines - 1], last + end]
            key[number] = name
        elif not font.can_write(plain):
            key[number] = name
        texts[name] = "\n".join(lines)
    return Names(texts, key)


def _letters(word: str) -> list[str]:
    """The letters of a word, each with its accents."""
    found: list[str] = []
    for sign in word:
        if found and unicodedata.combining(sign):
            found[-1] += sign
        else:
            found.append(sign)
    return found


def letter(index: int) -> str:
    """(a) … (z), (aa) …"""
    rest, last = divmod(index, 26)
    return f"({chr(96 + rest) if rest else ''}{chr(97 + last)})"


@lru_cache(maxsize=4096)
def _width_in_ems(text: str, font: FontProperties) -> float:
    """The width of a text over its font size."""
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] if text else 0.0
