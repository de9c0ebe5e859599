import pytest

from analysis.printing import Font, fonts, letter, picture_names
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


def test_a_word_without_room_is_refused_with_the_size_that_would_do():
    """Letters are never made smaller than they were chosen."""
    with pytest.raises(ValueError, match=r"'attention' has no room: at 7 points .* letters of at most (\d\.\d) points"):
        FONT.wrap("an attention", 0.4, 7)
    assert FONT.wrap("an attention", 0.4, 6.0) == ["an", "attention"]


def test_a_long_name_breaks_after_its_hyphens_and_only_where_it_must():
    assert FONT.wrap("1 · camvid-dnl_best", 3, 7) == ["1 · camvid-dnl_best"]
    assert FONT.wrap("1 · camvid-dnl_best", FONT.width("camvid-", 7) + 0.01, 7) == ["1 ·", "camvid-", "dnl_", "best"]
    room = FONT.width("segformer.", 7) + 0.01
    assert FONT.wrap("segformer.stages.2.attn", room, 7) == ["segformer.", "stages.2.", "attn"]
    assert FONT.least_room("0.123456789", 7) == FONT.width("0.123456789", 7)


def test_lines_break_between_words():
    room = FONT.width("two words", 7)
    assert FONT.wrap("two words more", room, 7) == ["two words", "more"]
    assert FONT.wrap("two words", room, 7) == ["two words"]
    kept = "two\N{NO-BREAK SPACE}words"
    assert FONT.wrap(f"more {kept}", room, 7) == ["more", kept]
    assert FONT.wrap("", room, 7) == []


def test_east_asian_lines_break_between_letters(monkeypatch, tmp_path):
    machine_with(monkeypatch, small_font(tmp_path / "a.ttf", "Small", "道路木"))  # one em each
    assert FONT.wrap("道路木道路 road", 3.1 * 36 / 72, 36) == ["道路木", "道路", "road"]


def test_other_words_break_between_letters_where_that_is_allowed():
    room = FONT.width("m" * 10, 8)
    assert FONT.wrap("m" * 25, room, 8, anywhere=True) == ["m" * 10, "m" * 10, "m" * 5]
    assert FONT.wrap("mmmmmm_mmmmmmm", room, 8, anywhere=True) == ["mmmmmm_", "mmmmmmm"]
    accents = FONT.wrap("e\u0301" * 40, room, 8, anywhere=True)
    assert "".join(accents) == "e\u0301" * 40 and not any(piece.startswith("\u0301") for piece in accents)


def test_characters_without_a_glyph_are_named(monkeypatch):
    machine_with(monkeypatch)
    FONT.require_glyphs("λ × − × ✓ 3×3")
    with pytest.raises(
        ValueError, match=r"neither DejaVu Sans nor a font of this machine can write .木.; .*install a font"
    ):
        FONT.require_glyphs("a 木")


def test_letters_go_on_after_z():
    assert [letter(index) for index in (0, 25, 26, 52)] == ["(a)", "(z)", "(aa)", "(ba)"]


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
