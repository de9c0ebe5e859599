import dataclasses
import io
import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm

from analysis import Capture
from analysis.figures import attention_figure, recipe_figure
from analysis.figures.drawing import UNSEEN
from analysis.figures.panels import PREDICTION_NOTE, shares
from analysis.figures.recipe import COLUMNS, Attention, Checkpoint, Look, Recipe, RecipeError, Row, Scale, StreetImage
from analysis.geometry import Grid, pixel_to_cell
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl.classes import CAMVID

SIZE, CELLS = (40, 72), (5, 9)
QUERIES = [13, 40]
PIXELS = [Grid(SIZE, CELLS).pixel_at(*divmod(query, CELLS[1])) for query in QUERIES]
MAPS = ("raw", "rectified", "retained")
CHANGES = ("rectified-raw", "retained-rectified")


@pytest.fixture
def capture():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(11), 45).T.reshape(11, *CELLS).astype(np.float32)
    return Capture(
        query=rng.normal(size=(4, *CELLS)).astype(np.float32),
        key=rng.normal(size=(4, *CELLS)).astype(np.float32),
        class_probs=probs,
        image=rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
        labels=np.kron(rng.integers(0, 3, CELLS), np.ones((8, 8), int)).astype(np.uint8),
        prediction=rng.integers(0, 11, SIZE).astype(np.uint8),
        label_set=CAMVID,
        gate="sigmoid",
        lr_kernel=3,
    )


def make_recipe(columns=MAPS, pixels=PIXELS, **parts) -> Recipe:
    return Recipe((Checkpoint("a"),), tuple(Row(StreetImage(0), pixel) for pixel in pixels), tuple(columns), **parts)


def draw(capture, columns=MAPS, pixels=PIXELS, **parts):
    return recipe_figure(make_recipe(columns, pixels, **parts), [capture] * len(pixels))


def panels(figure):
    """The axes of the panels, row by row; what is left over are colour bars."""
    return [ax for ax in figure.axes if ax.images]


def bars(figure):
    return [ax for ax in figure.axes if not ax.images]


def words(figure):
    return [text.get_text() for text in figure.texts]


def caption(figure, ax) -> str:
    """The lines centred right under a panel."""
    box = ax.get_position()
    below = 0.35 / figure.get_size_inches()[1]
    lines = [
        (-y, text.get_text())
        for text in figure.texts
        for x, y in [text.get_position()]
        if abs(x - (box.x0 + box.x1) / 2) < 1e-6 and box.y0 - below < y < box.y0
    ]
    return "\n".join(line for _, line in sorted(lines))


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


def test_differences_are_those_of_the_maps_drawn(capture):
    for kind, change in (("shared", lambda rows: rows), ("uniform", shares), ("log", shares)):
        figure = draw(capture, (*MAPS, *CHANGES), scale=Scale(kind))
        raw, rectified, retained = (change(rows) for rows in attention_rows(capture, QUERIES))
        shown = panels(figure)
        for row in range(2):
            assert (shown[row * 5 + 3].images[0].get_array() == rectified[row] - raw[row]).all()
            assert (shown[row * 5 + 4].images[0].get_array() == retained[row] - rectified[row]).all()
    noise = {
        name: query_metrics(rows, capture.cell_labels, QUERIES, ignore_index=11).interclass_noise[0]
        for name, rows in attention_rows(capture, QUERIES)._asdict().items()
    }
    change = noise["retained"] - noise["rectified"]
    assert caption(figure, shown[4]).endswith(f"{change:+.2f}".replace("-", "−"))


def test_a_row_may_lack_a_picture_and_says_so(capture):
    bare = dataclasses.replace(capture, labels=None)
    figure = recipe_figure(make_recipe(("labels", "raw")), [capture, bare])
    (empty,) = [ax for ax in figure.axes if ax.texts]
    assert empty.texts[0].get_text() == "no labels" and not empty.images


def test_pictures_alone_need_no_query(capture):
    figure = draw(capture, ("photo", "prediction"), [None])
    assert len(panels(figure)) == 2 and not bars(figure)
    assert words(figure) == ["photo", "prediction"]
    assert not any(ax.lines for ax in figure.axes)


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


# --- colours ---------------------------------------------------------------------------------------------------------


def test_one_colour_scale_for_all_maps(capture):
    figure = draw(capture, ("photo", *MAPS), scale=Scale("shared", 90))
    limits = {ax.images[0].get_clim() for row in (0, 4) for ax in panels(figure)[row + 1 : row + 4]}
    values = np.stack(attention_rows(capture, QUERIES))
    assert limits == {(0, np.percentile(values, 90))}
    (bar,) = bars(figure)
    figure.savefig(io.BytesIO())
    numbers = [float(label.get_text()) for label in bar.get_yticklabels()]
    assert len(numbers) >= 3
    # The numbers are per cent of the weights at their places.
    assert numbers == pytest.approx([100 * place for place in bar.get_yticks()])


def test_only_the_maps_that_are_drawn_decide_the_scale(capture):
    figure = draw(capture, ("rectified",), scale=Scale("shared", 100))
    assert panels(figure)[0].images[0].get_clim() == (0, attention_rows(capture, QUERIES).rectified.max())


def test_a_colour_scale_for_each_map(capture):
    figure = draw(capture, (*MAPS, CHANGES[0]), scale=Scale("map", 100))
    stages = attention_rows(capture, QUERIES)
    for row in range(2):
        for column, rows in enumerate(stages):
            ax = panels(figure)[row * 4 + column]
            assert ax.images[0].get_clim() == (0, rows[row].max())
            assert caption(figure, ax).endswith(f"{100 * rows[row].max():.2g} %")
        most = np.abs(stages.rectified[row] - stages.raw[row]).max()
        assert panels(figure)[row * 4 + 3].images[0].get_clim() == (-most, most)
    assert [bar.get_ylim() for bar in bars(figure)] == [(0, 1), (-1, 1)]


def test_a_logarithmic_scale_reaches_down_four_decades_and_shows_nothing_as_its_low_end(capture):
    empty = np.zeros((11, *CELLS), np.float32)
    empty[np.arange(45) % 11, np.arange(45) // 9, np.arange(45) % 9] = 1
    figure = draw(dataclasses.replace(capture, class_probs=empty), ("rectified",), scale=Scale("log", 100),
                  attention=Attention(gate="binary"))  # fmt: skip
    image = panels(figure)[0].images[0]
    low, high = image.get_clim()
    assert isinstance(image.norm, LogNorm) and high / low == pytest.approx(1e4)
    assert (image.get_array() == 0).any()
    assert not np.ma.getmaskarray(image.norm(image.get_array())).any()


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


# --- layout ----------------------------------------------------------------------------------------------------------

LOOKS = {
    "two columns": (("photo", "labels", *MAPS), Look()),
    "all columns": (COLUMNS, Look(letters="columns", colour_bar="below", font_family="DejaVu Serif")),
    "one column": (("photo", *MAPS), Look(width=3.5, colour_bar="below", letters="rows")),
    "one narrow column": (("photo", "labels", *MAPS), Look(width=3.5, font_size=6)),
    "large letters": (("raw", "retained", CHANGES[1]), Look(font_size=12, font_family="STIXGeneral", letters="panels")),
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


def test_titles_and_letters(capture):
    own = draw(capture, column_titles=("one", "", "$x_1$ & <b>"))
    assert "one" in words(own) and "$x_1$ & <b>" in words(own)  # no mathematics, no markup
    assert not set(words(own)) & {*MAPS, "softmax"}
    assert {"(a) raw", "(b) rectified", "(c) retained"} <= set(words(draw(capture, look=Look(letters="columns"))))
    assert [text for text in words(draw(capture, look=Look(letters="rows"))) if "(" in text] == ["(a)", "(b)"]
    lettered = panels(draw(capture, look=Look(letters="panels")))
    assert [ax.texts[0].get_text() for ax in lettered] == ["(a)", "(b)", "(c)", "(d)", "(e)", "(f)"]


def test_without_labels_the_prediction_stands_in_and_the_figure_says_so(capture):
    bare = dataclasses.replace(capture, labels=None)
    figure = attention_figure(bare, [QUERIES[0]])
    assert PREDICTION_NOTE in words(figure) and "labels" not in words(figure)
    raw = attention_rows(bare, [QUERIES[0]]).raw
    noise = query_metrics(raw, bare.cell_prediction, [QUERIES[0]], ignore_index=11).interclass_noise[0]
    assert caption(figure, panels(figure)[2]).startswith(f"interclass noise {noise:.2f}")
    assert PREDICTION_NOTE not in words(attention_figure(capture, [0]))
    assert PREDICTION_NOTE not in words(draw(bare, look=Look(noise_figures=False)))


def test_queries_and_keys_alone_are_enough(capture):
    figure = attention_figure(Capture(capture.query, capture.key), [3])
    assert len(panels(figure)) == 3 and {"no GR", "no LR"} <= set(words(figure))
    assert all(caption(figure, ax) == "" for ax in panels(figure))


def test_undefined_noise_is_said_in_words(capture):
    ignored = dataclasses.replace(capture, labels=np.full(SIZE, 11, np.uint8))
    figure = attention_figure(ignored, [0])
    assert "without a label" in caption(figure, panels(figure)[3])
    assert caption(figure, panels(figure)[1]) == "no class"
    alone = attention_figure(dataclasses.replace(capture, labels=np.zeros(SIZE, np.uint8)), [0])
    assert "one class" in caption(alone, panels(alone)[3])
    two = np.zeros((*CELLS,), np.uint8)
    two[0, 0] = 1
    lonely = dataclasses.replace(capture, labels=np.kron(two, np.ones((8, 8), np.uint8)))
    figure = attention_figure(lonely, [0], gate="oracle", lr_kernel=None)
    assert "emptied" in caption(figure, panels(figure)[4])
    assert not any("nan" in text for text in words(figure))
    assert not any("nan" in text for text in words(draw(lonely, CHANGES, [(0, 0)], attention=Attention("oracle"))))


def test_maps_of_zeros_are_drawn_flat(capture):
    probs = np.zeros((11, *CELLS), np.float32)
    probs[0], probs[:, 0, 0] = 1, np.eye(11)[1]
    # Scores that leave nothing on the query's own cell, the only one of its class: the gate empties the row.
    key = np.zeros((4, *CELLS), np.float32)
    key[0, 0, 0] = -2000
    query = np.ones((4, *CELLS), np.float32)
    empty = dataclasses.replace(capture, class_probs=probs, key=key, query=query)
    for kind in ("uniform", "shared", "map", "log"):
        figure = draw(empty, ("rectified", CHANGES[1]), [(0, 0)], attention=Attention("binary"), scale=Scale(kind))
        assert all(np.isfinite(ax.images[0].get_clim()).all() for ax in panels(figure))
        figure.savefig(io.BytesIO())


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


def test_shares_by_hand():
    rows = np.array([[[0.1, 0.3, 0.0]], [[0.0, 0.0, 0.0]]])
    assert shares(rows).tolist() == [[[pytest.approx(0.75), pytest.approx(2.25), 0.0]], [[0.0, 0.0, 0.0]]]


# --- keys that are other cells than the queries, blocks, crops, queries without a place ------------------------------


@pytest.fixture
def pooled(capture):
    """5×9 queries and 2×3 keys that are blocks of a part of the photo."""
    rng = np.random.default_rng(1)
    return dataclasses.replace(
        capture,
        key=rng.normal(size=(4, 2, 3)).astype(np.float32),
        key_size=(2, 3),
        placement="blocks",
        crop=(4, 8, 30, 54),
        class_probs=None,
        gate=None,
        lr_kernel=None,
    )


def test_maps_are_drawn_where_the_keys_lie(pooled):
    figure = attention_figure(pooled, QUERIES, scale="shared")
    raw = attention_rows(pooled, QUERIES).raw
    labels = Grid(SIZE, (2, 3), "blocks", pooled.crop).votes(pooled.labels, 11, 11)
    metrics = query_metrics(raw, labels, QUERIES, ignore_index=11, query_labels=pooled.cell_labels)
    for row, query in enumerate(QUERIES):
        photo, ax = panels(figure)[6 * row], panels(figure)[6 * row + 3]
        assert (ax.images[0].get_array() == raw[row]).all()
        assert ax.images[0].get_extent() == [7.5, 61.5, 33.5, 3.5]
        assert matplotlib.colors.to_hex(ax.get_facecolor()) == UNSEEN
        y, x = pooled.grid.pixel_at(*divmod(query, 9))
        assert ax.lines[0].get_xydata().tolist() == photo.lines[0].get_xydata().tolist() == [[x, y]]
        assert f"{metrics.interclass_noise[row]:.2f}\n" in caption(figure, ax)
    whole = attention_figure(dataclasses.replace(pooled, crop=None), QUERIES)
    ax = panels(whole)[3]
    assert ax.images[0].get_extent() == [-0.5, 71.5, 39.5, -0.5]
    assert matplotlib.colors.to_hex(ax.get_facecolor()) != UNSEEN


def test_a_pixel_s_query_is_the_block_under_it(pooled):
    figure = recipe_figure(make_recipe(("raw",), [(19, 35)], scale=Scale("shared")), [pooled])
    query = pooled.cell_at(19, 35)
    assert (panels(figure)[0].images[0].get_array() == attention_rows(pooled, [query]).raw[0]).all()
    with pytest.raises(RecipeError, match=r"rows\[0\].pixel.*off the part that the model saw"):
        recipe_figure(make_recipe(("raw",), [(0, 0)]), [pooled])


def test_queries_without_a_place_have_their_names_as_titles_and_no_mark(pooled):
    objects = dataclasses.replace(
        pooled,
        query=pooled.query.reshape(4, 1, 45),
        query_names=tuple(f"object {number}" for number in range(45)),
        query_labels=np.where(np.arange(45) == 3, 11, np.arange(45) % 3),
    )
    figure = attention_figure(objects, [7, 3], scale="shared")
    raw = attention_rows(objects, [7, 3]).raw
    shown = panels(figure)
    assert "object 7" in words(figure) and "object 3" in words(figure)
    assert not any(ax.lines for ax in shown)
    for row in range(2):
        assert (shown[6 * row + 3].images[0].get_array() == raw[row]).all() and caption(figure, shown[6 * row]) == ""
    assert caption(figure, shown[1]) == CAMVID.class_names[1] and caption(figure, shown[7]) == "no class"
    assert "query without a label" in caption(figure, shown[9]) or "no label" in caption(figure, shown[9])
    with pytest.raises(ValueError, match=r"the queries are \[45\]; 'image' has the queries 0 … 44"):
        attention_figure(objects, [45])
    with pytest.raises(RecipeError, match="have no place; choose one by its number"):
        recipe_figure(make_recipe(("raw",), [(20, 20)]), [objects])
    among = dataclasses.replace(objects, key=objects.query, key_size=None)
    with pytest.raises(ValueError, match="the keys of 'image' have no place on the image"):
        attention_figure(among, [0])


def test_queries_and_other_keys_alone_are_enough(pooled):
    bare = dataclasses.replace(pooled, image=None, labels=None, prediction=None, label_set=None)
    for ax in panels(attention_figure(bare, [0, 44])):
        assert ax.images[0].get_extent() == [-0.5, 8.5, 4.5, -0.5]
