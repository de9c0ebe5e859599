import pytest

from analysis.figures.text import MIN_TEXT_SIZE, Font, letter

FONT = Font("DejaVu Sans")


def test_widths_grow_with_the_size_and_the_text():
    assert FONT.width("raw", 20) == pytest.approx(2 * FONT.width("raw", 10))
    assert FONT.width("raw raw", 10) > 2 * FONT.width("raw", 10)
    assert FONT.width("", 10) == 0
    assert FONT.width("raw", 10, bold=True) > FONT.width("raw", 10)


def test_texts_get_the_size_that_the_widest_of_them_fits_in():
    assert FONT.fitting_size(["a", "attention"], 2.0, 7) == 7
    size = FONT.fitting_size(["a", "attention"], 0.4, 7)
    assert MIN_TEXT_SIZE < size < 7
    assert FONT.width("attention", size) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="'attention' has no room"):
        FONT.fitting_size(["a", "attention"], 0.2, 7)
    assert FONT.fitting_size([], 0.2, 7) == 7


def test_lines_break_between_words_alone():
    room = FONT.width("two words", 7)
    assert FONT.wrap("two words more", room, 7) == ["two words", "more"]
    assert FONT.wrap("two words", room, 7) == ["two words"]
    assert FONT.wrap("two\N{NO-BREAK SPACE}words\N{NO-BREAK SPACE}more", room, 7) == ["two\xa0words\xa0more"]
    assert FONT.wrap("", room, 7) == []


def test_characters_without_a_glyph_are_named():
    FONT.require_glyphs("λ × − × ✓ 3×3")
    with pytest.raises(ValueError, match="DejaVu Sans cannot write '木'"):
        FONT.require_glyphs("a 木")


def test_letters_go_on_after_z():
    assert [letter(index) for index in (0, 25, 26, 52)] == ["(a)", "(z)", "(aa)", "(ba)"]
