import pytest

from analysis.figures.text import Font, letter

FONT = Font("DejaVu Sans")


def test_widths_grow_with_the_size_and_the_text():
    assert FONT.width("raw", 20) == pytest.approx(2 * FONT.width("raw", 10))
    assert FONT.width("raw raw", 10) > 2 * FONT.width("raw", 10)
    assert FONT.width("", 10) == 0
    assert FONT.width("raw", 10, bold=True) > FONT.width("raw", 10)


def test_a_word_without_room_is_refused_with_the_size_that_would_do():
    """Letters are never made smaller than they were chosen."""
    with pytest.raises(ValueError, match=r"'attention' has no room: at 7 points .* letters of at most (\d\.\d) points"):
        FONT.wrap("an attention", 0.4, 7)
    assert FONT.wrap("an attention", 0.4, 6.0) == ["an", "attention"]


def test_a_long_name_breaks_after_its_hyphens_and_only_where_it_must():
    assert FONT.wrap("1 · camvid-dnl_best", 3, 7) == ["1 · camvid-dnl_best"]
    assert FONT.wrap("1 · camvid-dnl_best", FONT.width("camvid-", 7) + 0.01, 7) == ["1 ·", "camvid-", "dnl_", "best"]


def test_lines_break_between_words():
    room = FONT.width("two words", 7)
    assert FONT.wrap("two words more", room, 7) == ["two words", "more"]
    assert FONT.wrap("two words", room, 7) == ["two words"]
    kept = "two\N{NO-BREAK SPACE}words"
    assert FONT.wrap(f"more {kept}", room, 7) == ["more", kept]
    assert FONT.wrap("", room, 7) == []


def test_characters_without_a_glyph_are_named():
    FONT.require_glyphs("λ × − × ✓ 3×3")
    with pytest.raises(ValueError, match="DejaVu Sans cannot write '木'"):
        FONT.require_glyphs("a 木")


def test_letters_go_on_after_z():
    assert [letter(index) for index in (0, 25, 26, 52)] == ["(a)", "(z)", "(aa)", "(ba)"]
