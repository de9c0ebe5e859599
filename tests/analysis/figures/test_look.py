"""Publishers' styles: what they set, what wins over them, and where titles and letters stand."""

import json

import pytest

from analysis.figures import attention_figure, recipe_from_json
from analysis.figures.look import STYLES, Look
from tests.analysis.figures.small import MAPS, QUERIES, draw, make_capture, panels, words


@pytest.fixture(scope="module")
def capture():
    return make_capture()


def look_of(values: dict) -> Look:
    row = {"image": {"source": "street", "index": 0}, "pixel": [1, 2]}
    return recipe_from_json(json.dumps({"checkpoints": [{"name": "a"}], "rows": [row], "look": values})).look


def test_without_a_style_nothing_is_asked():
    assert Look() == Look("plain", 7.16, "DejaVu Sans", 7.0, "none", "(a)", "inside", "above", True)


@pytest.mark.parametrize(
    ("style", "column", "page"), [("ieee", 88.9, 181.9), ("elsevier", 90, 190), ("springer", 84, 174)]
)
def test_columns_are_the_publishers(style, column, page):
    assert STYLES[style].column_width * 25.4 == pytest.approx(column, abs=0.04)
    assert look_of({"style": style}).width * 25.4 == pytest.approx(page, abs=0.04)


def test_what_is_given_wins_over_the_style():
    look = look_of({"style": "ieee", "width": 3.5, "bold": True, "letters": "none"})
    assert (look.width, look.bold, look.letters) == (3.5, True, "none")
    assert (look.font_family, look.font_size, look.titles) == ("STIXGeneral", 8.0, "below")
    with pytest.raises(ValueError, match=r"look.style is .acm.; it must be one of .plain., .ieee."):
        look_of({"style": "acm"})
    with pytest.raises(ValueError, match="style is 'acm'; choose one of plain, ieee"):
        Look("acm")


def places(figure, texts) -> dict[str, tuple[float, float]]:
    """(x, y) in inches from the figure's lower left corner."""
    width, height = figure.get_size_inches()
    found = {text.get_text(): text.get_position() for text in figure.texts}
    return {text: (found[text][0] * width, found[text][1] * height) for text in texts}


def boxes(figure) -> list:
    width, height = figure.get_size_inches()
    return [[width * ax.get_position().x0, height * ax.get_position().y0] for ax in panels(figure)], [
        [width * ax.get_position().x1, height * ax.get_position().y1] for ax in panels(figure)
    ]


def test_titles_and_their_letters_stand_beneath_all_rows(capture):
    figure = draw(capture, look=Look("ieee"))
    lower, upper = boxes(figure)
    for index, place in enumerate(places(figure, ["(a) raw", "(b) rectified", "(c) retained"]).values()):
        assert place[0] == pytest.approx((lower[index][0] + upper[index][0]) / 2)
        assert place[1] < lower[-1][1]
    assert all(text.get_fontweight() == "normal" for text in figure.texts)
    assert upper[0][1] == pytest.approx(figure.get_size_inches()[1], abs=0.1)  # no room is left above


@pytest.mark.parametrize(("style", "names"), [("elsevier", "(a) (b) (c) (d) (e) (f)"), ("springer", "a b c d e f")])
def test_letters_stand_above_the_left_edge_of_each_panel(capture, style, names):
    figure = draw(capture, look=Look(style))
    lower, upper = boxes(figure)
    assert [text for text in words(figure) if text in names.split()] == names.split()
    for index, (x, y) in enumerate(places(figure, names.split()).values()):
        assert x == pytest.approx(lower[index][0]) and upper[index][1] < y < upper[index][1] + 0.1
    weights = {text.get_text(): text.get_fontweight() for text in figure.texts}
    assert weights["raw"] == weights[names.split()[0]] == ("bold" if style == "springer" else "normal")


def test_letters_stand_centred_beneath_each_panel_before_its_caption(capture):
    figure = draw(capture, MAPS[:2], look=Look("ieee", letters="panels", letter_form="A"))
    lower, upper = boxes(figure)
    captions = [text.get_position()[1] * figure.get_size_inches()[1] for text in figure.texts if "noise" in str(text)]
    for index, (x, y) in enumerate(places(figure, "ABCD").values()):
        assert x == pytest.approx((lower[index][0] + upper[index][0]) / 2) and y < lower[index][1]
        assert captions[index] < y


def test_python_takes_a_style(capture):
    figure = attention_figure(capture, QUERIES, style="springer")
    assert figure.get_size_inches()[0] == 6.85 and {"a", "l"} <= set(words(figure))
    assert attention_figure(capture, QUERIES[:1], style="springer", width=5).get_size_inches()[0] == 5
