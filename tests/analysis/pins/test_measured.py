import dataclasses

import numpy as np
import pytest

from analysis.maps import attention_rows
from analysis.noise import query_metrics
from analysis.options import STAGES
from analysis.pins.measured import PIN_METRICS, measure_pins, measure_queries, same_place
from tests.analysis.pins.small import FIRST, OPTIONS, PLAIN, make_capture, make_objects, make_pooled, make_views


@pytest.fixture
def views():
    return make_views()


def test_pins_have_the_maps_and_figures_of_their_cells(views):
    capture, view = views[0].capture, views[0]
    assert view.cells == ((0, 0), (5, 10), (2, 5))  # 41 of 83 pixels is the middle column of 11
    assert view.class_names == ("a", "=b", "a") and view.measured_against == "labels"
    rows = attention_rows(capture, [0, 65, 27], **OPTIONS.as_dict())
    for stage in STAGES:
        np.testing.assert_array_equal(getattr(view.rows, stage), getattr(rows, stage))
        metrics = query_metrics(getattr(rows, stage), capture.cell_labels, [0, 65, 27], ignore_index=255)
        for pin in range(3):
            found = view.figures(pin, stage)
            assert list(found) == list(PIN_METRICS)
            assert found["hollow_fraction"] == metrics.hollow_fraction[pin]
            assert found["times_chance"] == pytest.approx(metrics.interclass_noise[pin] / metrics.chance[pin])


def test_a_cell_without_a_class_and_a_capture_without_classes_have_no_figures():
    view = measure_pins(make_capture(), [(46, 0)], OPTIONS, FIRST)
    assert view.class_names == (None,) and view.figures(0, "raw")["interclass_noise"] is None
    bare = make_capture(labels=None, prediction=None, class_probs=None)
    view = measure_pins(bare, [(46, 0)], PLAIN, FIRST)
    assert view.measured_against is None and set(view.figures(0, "raw").values()) == {None}
    assert not view.emptied(0, "raw")
    assert measure_pins(make_capture(labels=None), [(1, 1)], OPTIONS, FIRST).measured_against == "prediction"


def test_an_emptied_row_is_said():
    probs = np.zeros((2, 6, 11), np.float32)
    probs[0, 0, 0] = 1
    probs[1].flat[1:] = 1
    capture = make_capture(class_probs=probs)
    view = measure_pins(capture, [(0, 0)], dataclasses.replace(OPTIONS, gate="binary"), FIRST)
    assert view.emptied(0, "rectified") and not view.emptied(0, "raw")
    assert view.figures(0, "rectified")["interclass_noise"] is None


def test_a_pixel_off_the_image_is_refused():
    with pytest.raises(ValueError, match="off the image"):
        measure_pins(make_capture(), [(47, 0)], OPTIONS, FIRST)


def test_places_are_relative_to_the_corners():
    assert same_place((0, 0), (47, 83), (10, 300)) == (0, 0)
    assert same_place((46, 82), (47, 83), (10, 300)) == (9, 299)
    assert same_place((23, 41), (47, 83), (11, 301)) == (5, 150)


def test_pins_over_other_keys_are_the_blocks_under_their_pixels():
    capture = make_pooled()
    view = measure_pins(capture, [(8, 9), (46, 82)], PLAIN, FIRST)
    assert view.cells == ((1, 1), (5, 10)) and [view.query(pin) for pin in range(2)] == [12, 65]
    rows = attention_rows(capture, [12, 65])
    np.testing.assert_array_equal(view.rows.raw, rows.raw)
    metrics = query_metrics(rows.raw, capture.key_labels, [12, 65], ignore_index=255, query_labels=capture.cell_labels)
    for pin in range(2):
        assert view.figures(pin, "raw")["interclass_noise"] == metrics.interclass_noise[pin]
    centred = measure_queries(capture, [12, 65], PLAIN, FIRST)
    assert centred.pixels == (capture.grid.pixel_at(1, 1), capture.grid.pixel_at(5, 10))
    assert centred.cells == view.cells and centred.metrics.keys() == view.metrics.keys()
    with pytest.raises(ValueError, match="off the part that the model saw"):
        measure_pins(make_pooled(crop=(8, 9, 30, 60)), [(7, 9)], PLAIN, FIRST)


def test_queries_without_a_place_are_chosen_by_number_alone():
    view = measure_queries(make_objects(), [2, 1], PLAIN, FIRST)
    assert view.pixels == (None, None) and view.cells == ((0, 2), (0, 1)) and view.class_names == ("=b", None)
    with pytest.raises(ValueError, match="have no place on the image; choose one by its number"):
        measure_pins(make_objects(), [(0, 0)], PLAIN, FIRST)
