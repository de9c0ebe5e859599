from pathlib import Path

import pytest
from matplotlib.font_manager import fontManager

from analysis.printing import fonts
from analysis.printing.fonts import fallbacks, has_bold, has_cff_outlines
from tests.fonts import machine_with, small_font


@pytest.fixture(autouse=True)
def no_memory():
    yield
    fonts._families_with.cache_clear()


def test_fonts_of_matplotlib_are_enough_for_what_they_hold(monkeypatch, tmp_path):
    machine_with(monkeypatch, small_font(tmp_path / "a.ttf", "Small", "λa道"))
    assert fallbacks("λ × Straße", "DejaVu Sans") == ()
    assert fallbacks("", "DejaVu Sans") == ()
    assert fallbacks("a\u200d\u200eb", "DejaVu Sans") == ()  # formatting needs no glyph
    assert fallbacks("✓", "STIXGeneral") in ((), ("DejaVu Sans",))


def test_the_machine_s_fonts_help_with_the_rest(monkeypatch, tmp_path):
    machine_with(monkeypatch)
    assert fallbacks("道", "DejaVu Sans") is None
    files = [
        small_font(tmp_path / "a.ttf", "A Some", "道"),
        small_font(tmp_path / "b.otf", "B Outlines", "道路木", cff=True),
        small_font(tmp_path / "c.ttf", "C Serif", "道路木"),
        small_font(tmp_path / "d.ttf", "D Sans", "道路木"),
        small_font(tmp_path / "e.ttf", "E Korean", "도로"),
    ]
    machine_with(monkeypatch, *files)
    assert fallbacks("a 道路", "DejaVu Sans") == ("D Sans",)  # holds all of it, TrueType, no serifs
    assert set(fallbacks("道路도로", "DejaVu Sans")) == {"D Sans", "E Korean"}
    assert fallbacks("道車", "DejaVu Sans") is None
    assert not has_cff_outlines(("D Sans",)) and has_cff_outlines(("B Outlines",))
    assert has_bold(("DejaVu Sans",)) and has_bold(()) and not has_bold(("D Sans",))


def test_files_that_are_no_fonts_help_with_nothing(monkeypatch, tmp_path):
    file = small_font(tmp_path / "a.ttf", "A", "道")
    machine_with(monkeypatch, file)
    file.write_bytes(b"")
    assert fallbacks("道", "DejaVu Sans") is None
    assert any(entry.name == "A" for entry in fontManager.ttflist)


def test_the_container_has_a_font_for_chinese_japanese_and_korean():
    """One with TrueType outlines, as a PDF can embed; Noto's, for one, has those of CFF."""
    text = (Path(__file__).parents[3] / "Dockerfile").read_text(encoding="utf-8")
    assert "install --yes --no-install-recommends fonts-wqy-zenhei" in text
