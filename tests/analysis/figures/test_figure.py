import dataclasses
import itertools

import pytest

from analysis import Capture
from analysis.figures import attention_figure
from analysis.figures.recipe import COLUMNS, Attention, Look, RecipeError, Scale
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl.classes import CAMVID
from tests.analysis.figures.small import MAPS, PIXELS, QUERIES, bars, caption, draw, make_capture, panels, words


@pytest.fixture
def capture():
    return make_capture()


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_a_row_a_query_and_a_column_a_picture(capture):
    figure = attention_figure(capture, QUERIES)
    shown = panels(figure)
    assert len(shown) == 2 * 6 and len(bars(figure)) == 1
    names = ["photo", "labels", "prediction", *MAPS]
    assert [text for text in words(figure) if text in names] == names
    assert (shown[0].images[0].get_array() == capture.image).all()
    assert (shown[1].images[0].get_array() == CAMVID.colour(capture.labels)).all()
    assert (shown[2].images[0].get_array() == CAMVID.colour(capture.prediction)).all()
    assert caption(figure, shown[0]) == "row {}, column {}".format(*PIXELS[0])
    assert caption(figure, shown[7]) == CAMVID.class_names[capture.cell_labels.flat[QUERIES[1]]]
    assert caption(figure, shown[8]) == CAMVID.class_names[capture.cell_prediction.flat[QUERIES[1]]]


def test_maps_are_the_rows_and_carry_their_noise(capture):
    figure = attention_figure(capture, QUERIES, scale="shared", gate="binary", lr_weights="box", temperature=0.5)
    stages = attention_rows(capture, QUERIES, gate="binary", lr_weights="box", temperature=0.5)
    shown = panels(figure)
    for column, rows in enumerate(stages):
        metrics = query_metrics(rows, capture.cell_labels, QUERIES, ignore_index=11)
        for row in range(2):
            ax = shown[row * 6 + 3 + column]
            assert (ax.images[0].get_array() == rows[row]).all()
            noise, chance = metrics.interclass_noise[row], metrics.chance[row]
            assert caption(figure, ax) in (
                f"interclass noise {noise:.2f}\n{noise / chance:.2f} × chance",
                f"noise {noise:.2f}\n{noise / chance:.2f} × chance",
            )
    assert "binary gate" in words(figure) and "constant box 3×3" in words(figure)


def test_the_recipe_decides_how_the_maps_are_computed(capture):
    attention = Attention(gate=None, lr_kernel=5, lr_weights="learnt", temperature=2.0)
    figure = draw(capture, scale=Scale("shared"), attention=attention)
    stages = attention_rows(capture, QUERIES, gate=None, lr_kernel=5, temperature=2.0)
    drawn = [ax.images[0].get_array() for ax in panels(figure)]
    for place, (row, stage) in enumerate(itertools.product(range(2), stages)):
        assert (drawn[place] == stage[row]).all()
    assert "no GR" in words(figure) and "LR 5×5" in words(figure)


def test_pictures_alone_need_no_query(capture):
    figure = draw(capture, ("photo", "prediction"), [None])
    assert len(panels(figure)) == 2 and not bars(figure)
    assert words(figure) == ["photo", "prediction"]
    assert not any(ax.lines for ax in figure.axes)


# --- layout ----------------------------------------------------------------------------------------------------------


def test_queries_and_keys_alone_are_enough(capture):
    figure = attention_figure(Capture(capture.query, capture.key), [3])
    assert len(panels(figure)) == 3 and {"no GR", "no LR"} <= set(words(figure))
    assert all(caption(figure, ax) == "" for ax in panels(figure))


# --- refusals --------------------------------------------------------------------------------------------------------


def test_options_that_do_not_fit_are_refused(capture):
    with pytest.raises(ValueError, match="no query"):
        attention_figure(capture, [])
    with pytest.raises(ValueError, match="off the map"):
        attention_figure(capture, [45])
    with pytest.raises(ValueError, match="clip_percentile is 0"):
        attention_figure(capture, [0], clip_percentile=0)
    with pytest.raises(ValueError, match="oracle gate needs true labels"):
        attention_figure(dataclasses.replace(capture, labels=None), [0], gate="oracle")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pixels": [(3, 4), (40, 0)]}, r"rows\[1\].pixel: pixel \(40, 0\) is off the image, which has 40 rows"),
        ({"pixels": [(3, 99_999)]}, r"rows\[0\].pixel: .* is off the image"),
        ({"columns": COLUMNS, "look": Look(width=2)}, "8 columns on 2 inches leave 0.0. inches a panel"),
        (
            {"column_titles": ("incomprehensibilities" * 2, "", ""), "look": Look(width=3.5)},
            "'incompreh.*' has no room",
        ),
        ({"column_titles": ("木", "", "")}, "the font DejaVu Sans cannot write '木'"),
        ({"column_titles": ("a\nb", "", "")}, r"the font DejaVu Sans cannot write '\\n'"),
    ],
)
def test_a_recipe_that_cannot_be_drawn_gets_one_sentence(capture, change, sentence):
    with pytest.raises(RecipeError, match=sentence):
        draw(capture, **change)
