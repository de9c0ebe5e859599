"""Text in pictures: its width in a font, its lines, and what stands for a name that no font can write."""

import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import AbstractPathEffect, Normal
from matplotlib.textpath import text_to_path

from analysis.printing.fonts import fallbacks, has_bold, has_cff_outlines

# Points; nothing in a figure is smaller.
MIN_TEXT_SIZE = 4.5
ELLIPSIS = "…"
# After these a long word may be broken.
HYPHENS = "-_/.·、。"


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

    def broken(self, text: str, room: float, size: float) -> list[str]:
        """As `wrap`, but words that are too long are broken as well, after a hyphen where there is one."""
        return [part for line in self.wrap(text, room, size) for part in self._pieces(line, room, size)]

    def _pieces(self, word: str, room: float, size: float) -> list[str]:
        pieces = []
        while self.width(word, size) > room and len(word) > 1:
            end = next(end for end in range(len(word) - 1, 0, -1) if end == 1 or self.width(word[:end], size) <= room)
            while end < len(word) - 1 and unicodedata.combining(word[end]):  # a letter keeps its accents
                end += 1
            hyphen = max(word.rfind(sign, end // 2, end) for sign in HYPHENS) + 1
            pieces.append(word[: hyphen or end])
            word = word[len(pieces[-1]) :]
        return [*pieces, word]

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
        lines = font.broken(plain, room, size) if font.can_write(plain) else [number]
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


def letter(index: int) -> str:
    """(a) … (z), (aa) …"""
    rest, last = divmod(index, 26)
    return f"({chr(96 + rest) if rest else ''}{chr(97 + last)})"


@lru_cache(maxsize=4096)
def _width_in_ems(text: str, font: FontProperties) -> float:
    """The width of a text over its font size."""
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] if text else 0.0
