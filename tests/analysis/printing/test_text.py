import pytest

from analysis.printing import MIN_TEXT_SIZE, Font, fonts, letter, picture_names
from tests.fonts import machine_with, small_font

FONT = Font("DejaVu Sans")


@pytest.fixture(autouse=True)
def no_memory():
    yield
    fonts._families_with.cache_clear()


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


def test_characters_without_a_glyph_are_named(monkeypatch):
    machine_with(monkeypatch)
    FONT.require_glyphs("λ × − × ✓ 3×3")
    with pytest.raises(
        ValueError, match=r"neither DejaVu Sans nor a font of this machine can write .木.; .*install a font"
    ):
        FONT.require_glyphs("a 木")


def test_letters_go_on_after_z():
    assert [letter(index) for index in (0, 25, 26, 52)] == ["(a)", "(z)", "(aa)", "(ba)"]


def test_long_words_are_broken_after_hyphens_and_keep_their_accents():
    room = FONT.width("m" * 10, 8)
    assert FONT.broken("m" * 25, room, 8) == ["m" * 10, "m" * 10, "m" * 5]
    assert FONT.broken("mmmmmm_mmmmmmm", room, 8) == ["mmmmmm_", "mmmmmmm"]
    assert FONT.broken("two words", room, 8) == ["two words"]
    accents = FONT.broken("e\u0301" * 40, room, 8)
    assert "".join(accents) == "e\u0301" * 40 and not any(piece.startswith("\u0301") for piece in accents)


def test_names_of_any_length_and_letters_have_a_text_in_pictures(monkeypatch, tmp_path):
    machine_with(monkeypatch)
    names = {"road": "class 0", "木": "class 1", "a long name of several words": "class 2", "m" * 200: "class 3"}
    room = FONT.width("a long name of", 8)
    found = picture_names(names, FONT, 8, room, most_lines=2)
    assert found.texts["road"] == "road" and found.texts["木"] == "class 1"
    assert found.texts["a long name of several words"] == "a long name of\nseveral words"
    assert found.texts["m" * 200].endswith("m… (class 3)")
    assert found.key == {"class 1": "木", "class 3": "m" * 200}
    assert all(FONT.width(line, 8) <= room for text in found.texts.values() for line in text.split("\n"))

    machine_with(monkeypatch, small_font(tmp_path / "a.ttf", "Small", "木"))
    assert picture_names(names, FONT, 8, room).texts["木"] == "木"
    assert FONT.families("木") == ["DejaVu Sans", "Small"]
    assert FONT.width("木", 36) == pytest.approx(0.5)  # a glyph of one em
    assert FONT.properties(8, bold=True, text="木").get_weight() == "normal"
    assert FONT.properties(8, bold=True, text="a").get_weight() == "bold"
