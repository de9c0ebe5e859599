import dataclasses
import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis import Capture
from analysis.figures import PREDICTION_NOTE, attention_figure, shares
from analysis.geometry import cell_to_pixel, pixel_to_cell
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl.classes import CAMVID

SIZE, CELLS = (40, 72), (5, 9)
QUERIES = [13, 40]
MAPS = ("raw", "rectified", "retained")


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


def panels(figure):
    """The axes of the panels; what is left over are colour bars."""
    return [ax for ax in figure.axes if ax.images]


def bars(figure):
    return [ax for ax in figure.axes if not ax.images]


def titles(figure):
    return [text.get_text() for text in figure.texts]


def test_a_row_a_query_and_a_column_a_picture(capture):
    figure = attention_figure(capture, QUERIES)
    shown = panels(figure)
    assert len(shown) == 2 * 6 and len(bars(figure)) == 1
    assert [t for t in titles(figure) if t in ("photo", "labels", "prediction", *MAPS)] == [
        "photo",
        "labels",
        "prediction",
        *MAPS,
    ]
    assert (shown[0].images[0].get_array() == capture.image).all()
    assert (shown[1].images[0].get_array() == CAMVID.colour(capture.labels)).all()
    assert (shown[2].images[0].get_array() == CAMVID.colour(capture.prediction)).all()


def test_maps_are_the_rows_and_carry_their_noise(capture):
    figure = attention_figure(capture, QUERIES, values="weight", gate="binary", lr_weights="box")
    stages = attention_rows(capture, QUERIES, gate="binary", lr_weights="box")
    shown = panels(figure)
    for column, rows in enumerate(stages):
        metrics = query_metrics(rows, capture.cell_labels, QUERIES, ignore_index=11)
        for row in range(2):
            ax = shown[row * 6 + 3 + column]
            assert (ax.images[0].get_array() == rows[row]).all()
            noise, chance = metrics.interclass_noise[row], metrics.chance[row]
            assert ax.get_xlabel() == f"interclass noise {noise:.2f}\n{noise / chance:.2f} × chance"
    assert "binary gate" in titles(figure) and "constant box 3×3" in titles(figure)


def test_one_colour_scale_for_all_maps(capture):
    figure = attention_figure(capture, QUERIES, values="weight", clip_percentile=90)
    limits = {ax.images[0].get_clim() for row in (0, 6) for ax in panels(figure)[row + 3 : row + 6]}
    values = np.stack(attention_rows(capture, QUERIES))
    assert limits == {(0, np.percentile(values, 90))}
    (bar,) = bars(figure)
    figure.savefig(io.BytesIO())
    assert len([label.get_text() for label in bar.get_yticklabels() if label.get_text()]) >= 3


def test_a_colour_scale_for_each_row(capture):
    figure = attention_figure(capture, QUERIES, values="weight", scale="row")
    assert len(bars(figure)) == 2
    values = np.stack(attention_rows(capture, QUERIES), axis=1)
    for row in (0, 1):
        limits = {ax.images[0].get_clim() for ax in panels(figure)[row * 6 + 3 : row * 6 + 6]}
        assert limits == {(0, np.percentile(values[row], 99.5))}


def test_cells_lie_where_the_networks_geometry_has_them(capture):
    figure = attention_figure(capture, QUERIES)
    left, right, bottom, top = panels(figure)[3].images[0].get_extent()
    # The boundary between two cells in the drawing is the boundary between their pixels.
    for y in range(SIZE[0]):
        assert int((y + 1e-9 - top) / (bottom - top) * CELLS[0]) == pixel_to_cell(y, 0, SIZE, CELLS)[0]
    for x in range(SIZE[1]):
        assert int((x + 1e-9 - left) / (right - left) * CELLS[1]) == pixel_to_cell(0, x, SIZE, CELLS)[1]


def test_the_query_is_marked_on_every_panel(capture):
    figure = attention_figure(capture, QUERIES)
    for index, ax in enumerate(panels(figure)):
        y, x = cell_to_pixel(*divmod(QUERIES[index // 6], CELLS[1]), SIZE, CELLS)
        assert ax.lines[0].get_xydata().tolist() == [[x, y]]
        assert ax.get_ylim() == (SIZE[0] - 0.5, -0.5)
    assert [ax.texts[0].get_text() for ax in panels(figure)[::6]] == ["1", "2"]


def test_pixels_are_square_at_page_width(capture):
    figure = attention_figure(capture, QUERIES)
    assert figure.get_size_inches()[0] == pytest.approx(7.16)
    for ax in panels(figure):
        box = ax.get_position()
        width, height = box.width * figure.get_size_inches()[0], box.height * figure.get_size_inches()[1]
        assert width / height == pytest.approx(SIZE[1] / SIZE[0])
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1


def test_no_text_leaves_the_figure_or_meets_another(capture):
    figure = attention_figure(capture, QUERIES)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [*figure.texts, *(ax.xaxis.label for ax in panels(figure))]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    whole = figure.bbox.padded(1)
    assert all(whole.contains(*box.min) and whole.contains(*box.max) for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_without_labels_the_prediction_stands_in_and_the_figure_says_so(capture):
    bare = dataclasses.replace(capture, labels=None)
    figure = attention_figure(bare, [QUERIES[0]])
    assert PREDICTION_NOTE in titles(figure) and "labels" not in titles(figure)
    raw = attention_rows(bare, [QUERIES[0]]).raw
    noise = query_metrics(raw, bare.cell_prediction, [QUERIES[0]], ignore_index=11).interclass_noise[0]
    assert panels(figure)[2].get_xlabel().startswith(f"interclass noise {noise:.2f}")
    assert PREDICTION_NOTE not in titles(attention_figure(capture, [0]))


def test_queries_and_keys_alone_are_enough(capture):
    figure = attention_figure(Capture(capture.query, capture.key), [3])
    assert len(panels(figure)) == 3 and {"no GR", "no LR"} <= set(titles(figure))
    assert all(ax.get_xlabel() == "" for ax in panels(figure))


def test_undefined_noise_is_said_in_words(capture):
    ignored = dataclasses.replace(capture, labels=np.full(SIZE, 11, np.uint8))
    assert "without a label" in panels(attention_figure(ignored, [0]))[3].get_xlabel()
    alone = dataclasses.replace(capture, labels=np.zeros(SIZE, np.uint8))
    assert "nothing to compare with" in panels(attention_figure(alone, [0]))[3].get_xlabel()
    two = np.zeros((*CELLS,), np.uint8)
    two[0, 0] = 1
    lonely = dataclasses.replace(capture, labels=np.kron(two, np.ones((8, 8), np.uint8)))
    figure = attention_figure(lonely, [0], gate="oracle", lr_kernel=None)
    assert "emptied" in panels(figure)[4].get_xlabel() and "nan" not in panels(figure)[3].get_xlabel()


def test_a_map_of_zeros_is_drawn_flat(capture):
    probs = np.zeros((11, *CELLS), np.float32)
    probs[0], probs[:, 0, 0] = 1, np.eye(11)[1]
    # Scores that leave nothing on the query's own cell, the only one of its class: the gate empties the row.
    key = np.zeros((4, *CELLS), np.float32)
    key[0, 0, 0] = -2000
    query = np.ones((4, *CELLS), np.float32)
    empty = dataclasses.replace(capture, class_probs=probs, key=key, query=query)
    figure = attention_figure(empty, [0], gate="binary")
    assert np.isfinite(panels(figure)[4].images[0].get_clim()).all()
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize(("format", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_it_saves_in_every_format(capture, format, start):
    buffer = io.BytesIO()
    attention_figure(capture, [7]).savefig(buffer, format=format)
    assert buffer.getvalue().startswith(start)


def test_options_that_do_not_fit_are_refused(capture):
    with pytest.raises(ValueError, match="scale is 'log'"):
        attention_figure(capture, [0], scale="log")
    with pytest.raises(ValueError, match="clip_percentile is 0"):
        attention_figure(capture, [0], clip_percentile=0)
    with pytest.raises(ValueError, match="no query"):
        attention_figure(capture, [])
    with pytest.raises(ValueError, match="cells 0 … 44"):
        attention_figure(capture, [45])


def test_shares_by_hand():
    rows = np.array([[[0.1, 0.3, 0.0]], [[0.0, 0.0, 0.0]]])
    assert shares(rows).tolist() == [[[pytest.approx(0.75), pytest.approx(2.25), 0.0]], [[0.0, 0.0, 0.0]]]


def test_weights_are_drawn_as_they_are_and_named(capture):
    drawn = {values: attention_figure(capture, QUERIES, values=values) for values in ("share", "weight")}
    labels = {values: figure.axes[-1].get_ylabel() for values, figure in drawn.items()}
    assert labels["share"].startswith("attention, × an even spread")
    assert labels["weight"].startswith("attention weight")
    with pytest.raises(ValueError, match="values is 'mass'"):
        attention_figure(capture, QUERIES, values="mass")
