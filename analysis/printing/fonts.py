"""Which fonts can write a text: those that come with matplotlib, and for letters that these lack the machine's own.

The fonts that come with matplotlib are the same everywhere, so a text that they can write looks the same everywhere.
"""

import unicodedata
from functools import lru_cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager, get_font, weight_dict
from matplotlib.ft2font import FT2Font

# Of those that come with matplotlib the ones of plain text.
OWN_FAMILIES = ("DejaVu Sans", "DejaVu Serif", "STIXGeneral")
USUAL_WEIGHT = 400
LEAST_BOLD = 600
# The version of the "maxp" table of fonts whose outlines are PostScript's (CFF), not TrueType's.
CFF_VERSION = (0, 0x5000)


def fallbacks(text: str, family: str) -> tuple[str, ...] | None:
    """The families that hold what `family` lacks of a text, best first; none are needed: (). None where none do.

    Families of matplotlib come first, then the machine's: those that hold most of it, with TrueType outlines before
    others, which no PDF can embed as TrueType.
    """
    missing = frozenset(letter for letter in text if _is_drawn(letter)) - _letters(family)
    return _families_with(missing, family) if missing else ()


def has_bold(families: tuple[str, ...]) -> bool:
    """Whether each of the families has a bold face."""
    return all(any(entry.name == name and _weight(entry) >= LEAST_BOLD for entry in _upright()) for name in families)


def has_cff_outlines(families: tuple[str, ...]) -> bool:
    """Whether one of the families has PostScript outlines (CFF), which a PDF's TrueType fonts cannot hold."""
    return any(_is_cff(entry) for entry in _upright() if entry.name in families)


def _is_drawn(letter: str) -> bool:
    """Whether a letter needs a glyph: formatting characters do not."""
    return unicodedata.category(letter) != "Cf"


@lru_cache(maxsize=16)
def _letters(family: str) -> frozenset[str]:
    return frozenset(map(chr, get_font(findfont(FontProperties(family=family))).get_charmap()))


@lru_cache(maxsize=64)
def _families_with(missing: frozenset[str], family: str) -> tuple[str, ...] | None:
    found: list[str] = []
    left = set(missing)
    for name in OWN_FAMILIES:
        if name != family and left & _letters(name):
            found.append(name)
            left -= _letters(name)
    others = [entry for entry in _upright() if not _is_of_matplotlib(entry)] if left else []
    held = {entry: letters for entry in others if (letters := _held(entry, left))}
    while left and held:
        best = min(held, key=lambda entry: (-len(held[entry] & left), *_taste(entry)))
        if not held[best] & left:
            break
        found.append(best.name)
        left -= held[best]
    return None if left else tuple(found)


def _upright() -> list[FontEntry]:
    """The machine's upright fonts of the usual width whose letters are outlines."""
    usual = [entry for entry in fontManager.ttflist if entry.style == "normal" and entry.stretch == "normal"]
    return [entry for entry in usual if entry.size == "scalable"]


def _is_of_matplotlib(entry: FontEntry) -> bool:
    return Path(entry.fname).is_relative_to(matplotlib.get_data_path())


def _opened(entry: FontEntry) -> FT2Font | None:
    """The font, None where it cannot be read or has no outlines, such as one of coloured pictures."""
    try:
        font = FT2Font(entry.fname, face_index=entry.index)
    except (OSError, RuntimeError):
        return None
    return font if font.scalable else None


def _held(entry: FontEntry, letters: set[str]) -> frozenset[str]:
    font = _opened(entry)
    return frozenset() if font is None else frozenset(letter for letter in letters if font.get_char_index(ord(letter)))


@lru_cache(maxsize=64)
def _is_cff(entry: FontEntry) -> bool:
    font = _opened(entry)
    table = None if font is None else font.get_sfnt_table("maxp")
    return table is not None and tuple(table["version"]) == CFF_VERSION


def _weight(entry: FontEntry) -> int:
    """From 100, thin, to 900; matplotlib has some by name."""
    return entry.weight if isinstance(entry.weight, int) else weight_dict.get(entry.weight, USUAL_WEIGHT)


def _taste(entry: FontEntry) -> tuple:
    """What is preferred among fonts that hold as much: TrueType, then plain sans-serif of the usual weight."""
    name = entry.name.lower()
    serif = "serif" in name or "mincho" in name or "myeongjo" in name or "ming" in name or "song" in name
    return _is_cff(entry), "mono" in name, serif, abs(_weight(entry) - USUAL_WEIGHT), entry.name
