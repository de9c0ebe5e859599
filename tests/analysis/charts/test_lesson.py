import numpy as np

from analysis import lesson
from analysis.charts.lesson import cost_figure, gate_figure, grid_figure, street_figure, worth_figure


def test_the_grid_shows_every_number_with_its_class_and_marks_the_query():
    values = np.array([[0.0, 0.25, 0.5], [0.125, 1.0, 0.0]])
    labels = np.array([[0, 1, 2], [2, 2, 2]])
    figure = grid_figure(values, labels=labels, query=(1, 0), digits=2)
    texts = {(note.y, note.x): note.text for note in figure.layout.annotations[:6]}
    assert texts[0, 1] == "0.25<br><i>tree</i>" and texts[1, 1] == "1.00<br><i>road</i>"
    marker = figure.layout.annotations[6]
    assert (marker.y, marker.x) == (1, 0) and "query" in marker.text
    np.testing.assert_array_equal(figure.data[0].z, values)
    assert len(figure.layout.shapes) == 6


def test_numbers_on_the_grid_contrast_with_their_cell():
    figure = grid_figure(np.array([[0.1, 0.9]]), largest=1.0)
    assert [note.font.color for note in figure.layout.annotations] == ["white", "black"]


def test_a_grid_of_nothing_still_has_a_scale():
    assert grid_figure(np.zeros((2, 3))).data[0].zmax == 1


def test_gate_curves_are_one_line_a_gate_and_class():
    confidence = np.linspace(0.4, 1, 5)
    figure = gate_figure(confidence, lesson.gate_curves(confidence), 0.8)
    assert len(figure.data) == 6 and figure.layout.shapes[0].x0 == 0.8


def test_the_cost_is_drawn_on_logarithmic_axes():
    figure = cost_figure(np.array([10, 100]), np.array([1e3, 1e5]), np.array([1e2, 1e3]), 50)
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert list(figure.data[0].y) == [1e3, 1e5]


def test_the_axis_of_the_worth_holds_all_scores_even_equal_ones():
    for scores in ({"learnt": 0.6, "uniform": 0.4}, {"learnt": 0.5, "uniform": 0.5}):
        low, high = worth_figure(scores).layout.xaxis.range
        assert low < min(scores.values()) <= max(scores.values()) < high


def test_maps_lie_on_the_photos_corners_and_share_one_scale():
    image = np.zeros((36, 48, 3), np.uint8)
    maps = {name: np.full((3, 5), value) for name, value in (("raw", 0.1), ("rectified", 0.2), ("retained", 0.3))}
    figure = street_figure(image, (10, 20), maps)
    heatmaps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert len(heatmaps) == 3
    for heatmap in heatmaps:
        assert (heatmap.x[0], heatmap.x[-1], heatmap.y[0], heatmap.y[-1]) == (0, 47, 0, 35)
    assert np.isclose(figure.layout.coloraxis.cmax, 0.3)
    rings = [trace for trace in figure.data if trace.type == "scatter"]
    assert [(ring.x[0], ring.y[0]) for ring in rings] == [(20, 10)] * 4
