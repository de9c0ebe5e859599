import dataclasses
import io

import numpy as np
import pytest
from matplotlib.colors import LogNorm

from analysis.figures import attention_figure, recipe_figure
from analysis.figures.panels import PREDICTION_NOTE, shares
from analysis.figures.recipe import Attention, Look, Scale
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from tests.analysis.figures.small import (
    CELLS,
    CHANGES,
    MAPS,
    QUERIES,
    SIZE,
    bars,
    caption,
    draw,
    make_capture,
    make_recipe,
    panels,
    words,
)


@pytest.fixture
def capture():
    return make_capture()


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


def test_one_colour_scale_for_all_maps(capture):
    figure = draw(capture, ("photo", *MAPS), scale=Scale("shared", 90))
    limits = {ax.images[0].get_clim() for row in (0, 4) for ax in panels(figure)[row + 1 : row + 4]}
    values = np.stack(attention_rows(capture, QUERIES))
    assert limits == {(0, np.percentile(values, 90, method="higher"))}
    (bar,) = bars(figure)
    figure.savefig(io.BytesIO())
    numbers = [float(label.get_text()) for label in bar.get_yticklabels()]
    assert len(numbers) >= 3
    # The numbers are per cent of the weights at their places.
    assert numbers == pytest.approx([100 * place for place in bar.get_yticks()])


def test_maps_that_are_nearly_even_show_on_a_scale_of_their_own_range_which_the_bar_says(capture):
    even = dataclasses.replace(capture, query=0.01 * capture.query)
    rows = shares(attention_rows(even, QUERIES).raw)
    assert np.ptp(rows) < 0.1
    common = draw(even, ("raw",), scale=Scale("uniform", 100, from_lowest=True))
    assert panels(common)[0].images[0].get_clim() == (rows.min(), rows.max())
    assert [ax.get_ylabel() for ax in bars(common)] == [""] and "× an even spread, not from 0" in " ".join(
        words(common)
    )
    own = draw(even, ("raw",), scale=Scale("map", 100, from_lowest=True))
    weights = attention_rows(even, QUERIES).raw
    for ax, map_ in zip(panels(own), weights, strict=True):
        assert ax.images[0].get_clim() == (map_.min(), map_.max())
        low, high = caption(own, ax).splitlines()[-1].removesuffix(" %").split(" … ")
        assert float(low) < float(high) and float(high) == pytest.approx(100 * map_.max(), rel=0.01)
    assert "attention, of each map's own range" in words(own)
    from_zero = draw(even, ("raw",), scale=Scale("log", from_lowest=True))
    assert not [text for text in words(from_zero) if "not from 0" in text]


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


def test_without_labels_the_prediction_stands_in_and_the_figure_says_so(capture):
    bare = dataclasses.replace(capture, labels=None)
    figure = attention_figure(bare, [QUERIES[0]])
    assert PREDICTION_NOTE in words(figure) and "labels" not in words(figure)
    raw = attention_rows(bare, [QUERIES[0]]).raw
    noise = query_metrics(raw, bare.cell_prediction, [QUERIES[0]], ignore_index=11).interclass_noise[0]
    assert caption(figure, panels(figure)[2]).startswith(f"interclass noise {noise:.2f}")
    assert PREDICTION_NOTE not in words(attention_figure(capture, [0]))
    assert PREDICTION_NOTE not in words(draw(bare, look=Look(noise_figures=False)))


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


def test_shares_by_hand():
    rows = np.array([[[0.1, 0.3, 0.0]], [[0.0, 0.0, 0.0]]])
    assert shares(rows).tolist() == [[[pytest.approx(0.75), pytest.approx(2.25), 0.0]], [[0.0, 0.0, 0.0]]]
