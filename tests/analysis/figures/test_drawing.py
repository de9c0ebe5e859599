import dataclasses

import numpy as np
import pytest

from analysis.figures import attention_figure
from analysis.figures.recipe import Look
from analysis.geometry import pixel_to_cell
from tests.analysis.figures.small import CELLS, MAPS, QUERIES, SIZE, draw, make_capture, panels, words


@pytest.fixture
def capture():
    return make_capture()


def test_cells_lie_where_the_networks_geometry_has_them(capture):
    figure = attention_figure(capture, QUERIES)
    left, right, bottom, top = panels(figure)[3].images[0].get_extent()
    # The boundary between two cells in the drawing is the boundary between their pixels.
    for y in range(SIZE[0]):
        assert int((y + 1e-9 - top) / (bottom - top) * CELLS[0]) == pixel_to_cell(y, 0, SIZE, CELLS)[0]
    for x in range(SIZE[1]):
        assert int((x + 1e-9 - left) / (right - left) * CELLS[1]) == pixel_to_cell(0, x, SIZE, CELLS)[1]


def test_the_query_is_marked_on_every_panel_or_on_none(capture):
    figure = draw(capture, ("photo", *MAPS), [(3, 70), (39, 1)])
    for index, ax in enumerate(panels(figure)):
        y, x = [(3, 70), (39, 1)][index // 4]
        assert ax.lines[0].get_xydata().tolist() == [[x, y]]
        assert ax.get_ylim() == (SIZE[0] - 0.5, -0.5)
    unmarked = draw(capture, ("photo", *MAPS), look=Look(query_marker=False))
    assert not any(ax.lines for ax in panels(unmarked))


@pytest.mark.parametrize(("outline", "source"), [("true", "labels"), ("predicted", "prediction")])
def test_the_outline_is_that_of_the_querys_class(capture, outline, source):
    half = np.zeros(SIZE, np.uint8)
    half[:, 36:] = 2
    split = dataclasses.replace(capture, **{source: half})
    figure = draw(split, ("photo", "labels", "raw"), [(20, 60)], look=Look(class_outline=outline))
    photo, labels, raw = panels(figure)
    assert not labels.collections
    for ax in (photo, raw):
        (lines,) = ax.collections
        assert np.concatenate([path.vertices for path in lines.get_paths()])[:, 0] == pytest.approx(35.5)
    assert not any(ax.collections for ax in panels(draw(split, ("photo", "labels", "raw"), [(20, 60)])))


def test_titles_and_letters(capture):
    own = draw(capture, column_titles=("one", "", "$x_1$ & <b>"))
    assert "one" in words(own) and "$x_1$ & <b>" in words(own)  # no mathematics, no markup
    assert not set(words(own)) & {*MAPS, "softmax"}
    assert {"(a) raw", "(b) rectified", "(c) retained"} <= set(words(draw(capture, look=Look(letters="columns"))))
    assert [text for text in words(draw(capture, look=Look(letters="rows"))) if "(" in text] == ["(a)", "(b)"]
    lettered = panels(draw(capture, look=Look(letters="panels")))
    assert [ax.texts[0].get_text() for ax in lettered] == ["(a)", "(b)", "(c)", "(d)", "(e)", "(f)"]
