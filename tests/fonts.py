"""Small fonts for tests, and a machine that has them and those of matplotlib alone."""

from pathlib import Path

import matplotlib
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from analysis.printing import fonts


def small_font(file: Path, family: str, letters: str, *, cff: bool = False) -> Path:
    """A font whose letters are all the same square, with TrueType outlines or PostScript's (CFF)."""
    names = [".notdef", *(f"letter{index}" for index in range(len(letters)))]
    builder = FontBuilder(1000, isTTF=not cff)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    pen = T2CharStringPen(1000, None) if cff else TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, 800), (900, 800), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    outline = pen.getCharString() if cff else pen.glyph()
    if cff:
        builder.setupCFF(family.replace(" ", ""), {}, dict.fromkeys(names, outline), {})
    else:
        builder.setupGlyf(dict.fromkeys(names, outline))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular", "psName": family.replace(" ", "")})
    builder.setupOS2(usWeightClass=400, sTypoAscender=800, sTypoDescender=-200)
    builder.setupPost()
    builder.save(file)
    return file


def machine_with(monkeypatch: pytest.MonkeyPatch, *files: Path) -> None:
    """Let the machine have the fonts that come with matplotlib and these."""
    own = [entry for entry in fontManager.ttflist if entry.fname.startswith(matplotlib.get_data_path())]
    monkeypatch.setattr(fontManager, "ttflist", own)
    for file in files:
        fontManager.addfont(file)
    fonts._families_with.cache_clear()
