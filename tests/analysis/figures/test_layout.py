import dataclasses
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize

from analysis.figures import attention_figure, recipe_figure
from analysis.figures.layout import (
    BAR_THICKNESS,
    DOTS_PER_INCH,
    GAP,
    MARGIN,
    Bar,
    Column,
    Grid,
    GridRow,
    Panel,
    lay_out,
    ticks,
)
from analysis.figures.recipe import COLUMNS, Look, Row, StreetImage
from tests.analysis.figures.small import (
    CHANGES,
    MAPS,
    PIXELS,
    QUERIES,
    SIZE,
    bars,
    draw,
    make_capture,
    make_recipe,
    panels,
)


@pytest.fixture
def capture():
    return make_capture()


def test_rows_may_have_images_of_other_sizes(capture):
    tall = dataclasses.replace(
        capture,
        query=np.swapaxes(capture.query, 1, 2),
        key=np.swapaxes(capture.key, 1, 2),
        class_probs=np.swapaxes(capture.class_probs, 1, 2),
        image=np.swapaxes(capture.image, 0, 1),
        labels=capture.labels.T,
        prediction=capture.prediction.T,
    )
    figure = recipe_figure(make_recipe(("photo", "raw"), [(0, 71), (71, 0)]), [capture, tall])
    width, height = figure.get_size_inches()
    for ax, (high, wide) in zip(panels(figure), (SIZE, SIZE, SIZE[::-1], SIZE[::-1]), strict=True):
        box = ax.get_position()
        assert box.width * width / (box.height * height) == pytest.approx(wide / high)


LOOKS = {
    "two columns": (("photo", "labels", *MAPS), Look()),
    "all columns": (COLUMNS, Look(letters="columns", colour_bar="below", font_family="DejaVu Serif")),
    "one column": (("photo", *MAPS), Look(width=3.5, colour_bar="below", letters="rows")),
    "one narrow column": (("photo", "labels", *MAPS), Look(width=3.5, font_size=6)),
    "large letters": (("raw", "retained", CHANGES[1]), Look(font_size=12, font_family="STIXGeneral", letters="panels")),
    "IEEE": (("photo", *MAPS), Look("ieee")),
    "IEEE, every panel lettered": (("photo", "labels", *MAPS), Look("ieee", letters="panels", colour_bar="below")),
    "Elsevier": (("photo", *MAPS, *CHANGES), Look("elsevier")),
    "Springer": (("photo", "labels", *MAPS), Look("springer", class_titles=True)),
    "Springer, one column": (("photo", "raw"), Look("springer", 3.307, letters="columns", colour_bar="below")),
    "maps alone": (MAPS, Look(width=3.5, noise_figures=False, colour_bar="right")),
}


@pytest.mark.parametrize("name", LOOKS)
def test_no_text_leaves_the_figure_or_meets_another(capture, name):
    columns, look = LOOKS[name]
    rows = (Row(StreetImage(0), PIXELS[0], "Pavement"), Row(StreetImage(0), PIXELS[1], "Road"))
    recipe = dataclasses.replace(make_recipe(columns, look=look), rows=rows)
    figure = recipe_figure(recipe, [capture] * 2)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    assert figure.get_size_inches()[0] == look.width
    texts = [*figure.texts, *(text for ax in bars(figure) for text in ax.get_xticklabels() + ax.get_yticklabels())]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    inside = [text for ax in figure.axes for text in ax.texts]
    assert {text.get_fontsize() for text in (*texts, *inside)} == {look.font_size}
    whole = figure.bbox.padded(1)
    assert all(whole.contains(*box.min) and whole.contains(*box.max) for box in boxes)
    frames = [ax.get_window_extent(renderer) for ax in figure.axes]
    for one, other in itertools.combinations([box.padded(-0.7) for box in (*boxes, *frames)], 2):
        assert not one.overlaps(other)


def test_pixels_are_square(capture):
    figure = attention_figure(capture, QUERIES)
    assert figure.get_size_inches()[0] == 7.16
    for ax in panels(figure):
        box = ax.get_position()
        width, height = box.width * figure.get_size_inches()[0], box.height * figure.get_size_inches()[1]
        assert width / height == pytest.approx(SIZE[1] / SIZE[0])
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1


def test_colour_bars_are_as_long_as_the_panels_they_explain(capture):
    columns = ("photo", *MAPS, *CHANGES)
    beside = draw(capture, columns)
    places = [ax.get_position() for ax in panels(beside)]
    for bar in bars(beside):
        assert bar.get_position().y1 == pytest.approx(places[0].y1)
        assert bar.get_position().y0 == pytest.approx(places[-1].y0)
    below = draw(capture, columns, look=Look(colour_bar="below"))
    places = [ax.get_position() for ax in panels(below)]
    for bar, (first, last) in zip(bars(below), ((1, 3), (4, 5)), strict=True):
        assert bar.get_position().x0 == pytest.approx(places[first].x0)
        assert bar.get_position().x1 == pytest.approx(places[last].x1)
    assert not bars(draw(capture, columns, look=Look(colour_bar="none")))


def test_panels_too_high_for_any_page_are_shrunk_in_their_columns(capture):
    slim = dataclasses.replace(capture, image=np.zeros((4000, 72, 3), np.uint8), labels=None, prediction=None)
    figure = draw(slim)
    width, height = figure.get_size_inches()
    assert height == 24
    for ax in panels(figure):
        box = ax.get_position()
        assert box.height * height / (box.width * width) == pytest.approx(4000 / 72)
    middles = [(ax.get_position().x0 + ax.get_position().x1) / 2 for ax in panels(figure)]
    titles = [text for text in figure.texts if text.get_text() in MAPS]
    assert [text.get_position()[0] for text in titles] == pytest.approx(middles[: len(MAPS)])


def test_more_rows_than_a_page_has_room_for_are_refused(capture):
    with pytest.raises(ValueError, match="inches high, and 24 are allowed"):
        attention_figure(capture, [0] * 200)


# --- the layout by itself --------------------------------------------------------------------------------------------


def make_grid(rows=2, columns=3, **look) -> Grid:
    panel = Panel(np.zeros((2, 4)), Normalize(0, 1), "magma", captions=(("a long caption",), ("short",)))
    row = GridRow([panel] * columns, (20, 40), (2, 4))
    bar = Bar(1, Normalize(0, 8), "magma", ("how much", "much"))
    return Grid([row] * rows, [Column(1, "map")] * columns, [bar], Look(**look))


def test_panels_and_gaps_fill_the_width():
    grid = make_grid(colour_bar="none")
    across = lay_out(grid).across
    assert across.lefts[0] == MARGIN and across.bars == []
    steps = np.diff(across.lefts)
    assert steps == pytest.approx([across.width + GAP] * 2)
    assert across.lefts[-1] + across.width == pytest.approx(grid.look.width - MARGIN)
    beside = lay_out(make_grid()).across
    assert beside.width < across.width and beside.bars[0] > beside.lefts[-1] + beside.width


def test_rows_stand_beneath_each_other_with_their_captions():
    down = lay_out(make_grid()).down
    assert down.heights == pytest.approx([lay_out(make_grid()).across.width / 2] * 2)
    assert down.tops[1] == pytest.approx(down.bottoms[0] + GAP)
    assert down.bottoms[0] > down.tops[0] + down.heights[0]
    assert down.tops[1] + down.heights[1] == pytest.approx(down.panels)
    assert down.height >= down.footnote >= down.bars >= down.bottoms[-1]
    assert down.height * DOTS_PER_INCH == pytest.approx(round(down.height * DOTS_PER_INCH))
    below = lay_out(make_grid(colour_bar="below")).down
    assert below.footnote - below.bars > BAR_THICKNESS


def test_captions_take_their_longest_form_that_fits():
    assert lay_out(make_grid()).captions[0][0] == ["a long caption"]
    narrow = lay_out(make_grid(columns=8, width=5.0, colour_bar="none"))
    assert all(caption == ["short"] for row in narrow.captions for caption in row)


def test_a_long_row_title_takes_several_lines_and_room_of_its_own():
    grid = make_grid(rows=1)
    row = dataclasses.replace(grid.rows[0], title="Pedestrian · camvid-dnl of the second seed")
    layout = lay_out(dataclasses.replace(grid, rows=[row]))
    assert len(layout.row_titles[0]) > 1
    assert layout.across.lefts[0] >= layout.across.row_titles + len(layout.row_titles[0]) * grid.step
    with pytest.raises(ValueError, match="has no room beside its panels"):
        lay_out(dataclasses.replace(grid, rows=[dataclasses.replace(row, title=" ".join(["word"] * 60))]))


def test_a_layout_is_a_value():
    assert lay_out(make_grid()) == lay_out(make_grid())
    with pytest.raises(dataclasses.FrozenInstanceError):
        lay_out(make_grid()).picture_width = 1


def test_ticks_are_round_and_count_in_the_bars_numbers():
    bar = Bar(1, Normalize(0, 0.08), "magma", ("weight, %",), factor=100)
    assert ticks(bar, 4) == [(0.0, "0"), (0.02, "2"), (0.04, "4"), (0.06, "6"), (0.08, "8")]
    differences = Bar(2, Normalize(-1, 1), "RdBu_r", ("difference",))
    assert [text for _, text in ticks(differences, 2)] == ["−1", "0", "1"]
    decades = Bar(1, LogNorm(1e-3, 10), "magma", ("× even",))
    assert [text for _, text in ticks(decades, 2)] == ["0.001", "0.01", "0.1", "1", "10"]
